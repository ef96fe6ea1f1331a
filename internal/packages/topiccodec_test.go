package packages

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// messages is the topic of one upload.
func messages(key, upload string, chunks [][]byte) []part {
	n := notes{Key: key}
	head, _ := json.Marshal(n)
	parts := []part{{upload: upload, kind: partHead, payload: head}}
	sum := sha256.New()
	for i, chunk := range chunks {
		sum.Write(chunk)
		n.Info.Size += int64(len(chunk))
		parts = append(parts, part{upload: upload, kind: partData, sequence: int64(i) + 1, payload: chunk})
	}
	n.Parts, n.SHA256 = int64(len(chunks)), hex.EncodeToString(sum.Sum(nil))
	end, _ := json.Marshal(n)
	return append(parts, part{upload: upload, kind: partEnd, sequence: n.Parts + 1, payload: end})
}

// assemble reads a topic as the store does.
func assemble(key string, topic []part) ([]byte, bool, error) {
	last := topic[len(topic)-1]
	end, err := parseEnd(last, key)
	if err != nil {
		return nil, false, err
	}
	a := newAssembler(last.upload, end)
	var got []byte
	for _, p := range topic {
		p, err := parsePart(p.properties(), p.payload)
		if err != nil {
			return nil, false, err
		}
		data, done, err := a.feed(p)
		if err != nil || done {
			return got, done, err
		}
		got = append(got, data...)
	}
	return got, false, nil
}

func TestAssemblerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20), 0, 8).Draw(t, "chunks")
		topic := messages("key", "this", chunks)
		want := bytes.Join(chunks, nil)

		// messages sent twice, and the remains of another upload, do not matter
		var noisy []part
		for i, p := range topic {
			noisy = append(noisy, p)
			if i < len(topic)-1 {
				for range rapid.IntRange(0, 2).Draw(t, "again") {
					noisy = append(noisy, p)
				}
				if rapid.Bool().Draw(t, "other") {
					noisy = append(noisy, part{upload: "other", kind: partData, sequence: int64(i), payload: []byte("x")})
				}
			}
		}
		got, done, err := assemble("key", noisy)
		if err != nil || !done || !bytes.Equal(got, want) {
			t.Fatalf("%v %v %q, want %q", err, done, got, want)
		}

		// whatever is lost or changed, it is noticed
		if len(chunks) > 0 {
			i := rapid.IntRange(1, len(chunks)).Draw(t, "victim")
			lost := append(append([]part{}, topic[:i]...), topic[i+1:]...)
			if _, done, err := assemble("key", lost); err == nil && done {
				t.Fatal("a lost part went unnoticed")
			}
			changed := append([]part{}, topic...)
			changed[i].payload = append([]byte{}, changed[i].payload...)
			changed[i].payload[0] ^= 1
			if _, done, err := assemble("key", changed); err == nil && done {
				t.Fatal("a changed part went unnoticed")
			}
		}
		if _, _, err := assemble("other key", topic); err == nil {
			t.Fatal("a package of another key was taken")
		}
	})
}

func TestParsePartRefuses(t *testing.T) {
	good := part{upload: "u", kind: partData, sequence: 1}.properties()
	for name, value := range map[string]string{propFormat: "2", propUpload: "", propPart: "other", propSequence: "-1"} {
		bad := map[string]string{}
		for k, v := range good {
			bad[k] = v
		}
		bad[name] = value
		_, err := parsePart(bad, nil)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
	_, err := parsePart(nil, nil)
	require.ErrorIs(t, err, ErrCorrupt)
}

func FuzzTopicMessages(f *testing.F) {
	for _, p := range messages("key", "u", [][]byte{[]byte("a"), []byte("b")}) {
		f.Add(p.kind, strconv.FormatInt(p.sequence, 10), p.payload)
	}
	f.Add(partEnd, "9223372036854775807", []byte(`{"key":"key","parts":9223372036854775806,"info":{"size":9223372036854775807},"sha256":"`+strings.Repeat("0", 64)+`"}`))
	f.Fuzz(func(t *testing.T, kind, sequence string, payload []byte) {
		p, err := parsePart(map[string]string{propFormat: topicFormat, propUpload: "u", propPart: kind, propSequence: sequence}, payload)
		if err != nil {
			return
		}
		end, err := parseEnd(p, "key")
		if err != nil {
			return
		}
		a := newAssembler("u", end)
		for range 3 {
			data, done, err := a.feed(p)
			if done && err == nil && a.size != end.Info.Size || len(data) > len(payload) {
				t.Fatal("an impossible package was accepted")
			}
		}
	})
}
