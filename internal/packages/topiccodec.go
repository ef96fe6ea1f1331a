package packages

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strconv"
)

// A package topic holds uploads, normally one. An upload is a head message, data messages and an end message; all carry
// the upload's id and their sequence number, so that resent messages and the remains of broken uploads are told apart.
// Only the end message, written last, makes the upload count; it says how much there is, its checksum, and where the
// head is, so that a reader begins there without searching.
const (
	propFormat   = "format"
	propUpload   = "upload"
	propPart     = "part"
	propSequence = "sequence"

	topicFormat = "1"
	partHead    = "head"
	partData    = "data"
	partEnd     = "end"

	// maxNotes bounds the JSON of head and end messages.
	maxNotes = 256 << 10
)

// notes is the payload of head and end messages.
type notes struct {
	Key  string `json:"key"`
	Info Info   `json:"info"`
	// the rest is in the end message only
	Parts  int64  `json:"parts,omitempty"` // data messages
	SHA256 string `json:"sha256,omitempty"`
	Head   []byte `json:"head,omitempty"` // serialized id of the head message
}

// part is one message of a package topic.
type part struct {
	upload   string
	kind     string
	sequence int64
	payload  []byte
}

func (p part) properties() map[string]string {
	return map[string]string{propFormat: topicFormat, propUpload: p.upload, propPart: p.kind,
		propSequence: strconv.FormatInt(p.sequence, 10)}
}

func parsePart(properties map[string]string, payload []byte) (part, error) {
	if f := properties[propFormat]; f != topicFormat {
		return part{}, fmt.Errorf("%w: a message of unknown format %.20q in its topic", ErrCorrupt, f)
	}
	sequence, err := strconv.ParseInt(properties[propSequence], 10, 64)
	if err != nil || sequence < 0 {
		return part{}, fmt.Errorf("%w: a message without sequence number in its topic", ErrCorrupt)
	}
	p := part{upload: properties[propUpload], kind: properties[propPart], sequence: sequence, payload: payload}
	if p.upload == "" || (p.kind != partHead && p.kind != partData && p.kind != partEnd) {
		return part{}, fmt.Errorf("%w: a message of unknown kind %.20q in its topic", ErrCorrupt, p.kind)
	}
	return p, nil
}

// parseEnd reads an end message and checks that it is one of this key.
func parseEnd(p part, key string) (notes, error) {
	var n notes
	if len(p.payload) > maxNotes || json.Unmarshal(p.payload, &n) != nil {
		return notes{}, fmt.Errorf("%w: its end message cannot be read", ErrCorrupt)
	}
	if n.Key != key {
		return notes{}, fmt.Errorf("%w: its topic belongs to package %.100q", ErrCorrupt, n.Key)
	}
	if n.Info.Size < 0 || n.Parts < 0 || p.sequence != n.Parts+1 || len(n.SHA256) != 2*sha256.Size {
		return notes{}, fmt.Errorf("%w: its end message contradicts itself", ErrCorrupt)
	}
	return n, nil
}

// assembler puts one upload together again and checks it on the way.
type assembler struct {
	upload string
	want   notes
	next   int64 // sequence number expected
	size   int64
	sum    hash.Hash
}

func newAssembler(upload string, want notes) *assembler {
	return &assembler{upload: upload, want: want, sum: sha256.New()}
}

// feed takes the next message of the topic; it returns the bytes it adds, and done with the end message.
func (a *assembler) feed(p part) (data []byte, done bool, err error) {
	if p.upload != a.upload || p.sequence < a.next {
		return nil, false, nil // the remains of another upload, or a message sent twice
	}
	if p.sequence > a.next {
		return nil, false, fmt.Errorf("%w: part %d of %d is missing", ErrCorrupt, a.next, a.want.Parts)
	}
	a.next++
	switch {
	case p.kind == partHead && p.sequence == 0:
		return nil, false, nil
	case p.kind == partData && p.sequence > 0 && p.sequence <= a.want.Parts:
		a.size += int64(len(p.payload))
		if a.size > a.want.Info.Size {
			return nil, false, fmt.Errorf("%w: it is longer than the %d bytes stored", ErrCorrupt, a.want.Info.Size)
		}
		a.sum.Write(p.payload)
		return p.payload, false, nil
	case p.kind == partEnd && p.sequence == a.want.Parts+1:
		if a.size != a.want.Info.Size {
			return nil, false, fmt.Errorf("%w: it has %d bytes instead of %d", ErrCorrupt, a.size, a.want.Info.Size)
		}
		return nil, true, a.checkSum()
	}
	return nil, false, fmt.Errorf("%w: its parts are out of order", ErrCorrupt)
}

func (a *assembler) checkSum() error {
	want, err := hex.DecodeString(a.want.SHA256)
	if err != nil || !bytes.Equal(want, a.sum.Sum(nil)) {
		return fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	return nil
}
