package wasm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// sectionData has what a memory begins with.
const (
	sectionData      = 11
	sectionDataCount = 12 // only modules that copy data by its number have it
)

// mergeGap is how many zeros between two pieces of data are written, to make one of them: each piece costs wazero as many
// bytes in every guest.
const mergeGap = 32

// maxPieces bounds pieces of data, lists of functions and globals: wazero makes room for as many as a module says, before it
// looks whether they are there.
const maxPieces = 100_000

// maxUnmerged bounds the pieces of data before they are merged.
const maxUnmerged = 1_000_000

// piece is data for an offset of the memory.
type piece struct {
	offset uint64
	bytes  []byte
}

func (p piece) end() uint64 { return p.offset + uint64(len(p.bytes)) }

// mergeData makes few pieces of data of many: Go compiles to tens of thousands, between two runs of zeros each, which is a
// megabyte in every guest. Where the order of the pieces counts, or what they are is decided later, they stay as they are.
func mergeData(body []byte, numbered bool) ([]byte, error) {
	pieces, fixed, err := piecesOf(body)
	if err != nil {
		return nil, err
	}
	if fixed && !numbered {
		if merged, ok := merge(pieces, len(body)); ok {
			return appendData(make([]byte, 0, len(body)), merged), nil
		}
	}
	if len(pieces) > maxPieces {
		return nil, fmt.Errorf("it has %d pieces of data; at most %d are allowed", len(pieces), maxPieces)
	}
	return body, nil
}

// merge joins pieces that are near to each other. It gives up when they overlap, or when there would be more than most zeros.
func merge(pieces []piece, most int) ([]piece, bool) {
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.offset, b.offset) })
	var merged []piece
	zeros := 0
	for _, p := range pieces {
		last := len(merged) - 1
		switch {
		case last < 0 || p.offset > merged[last].end()+mergeGap:
			merged = append(merged, piece{p.offset, slices.Clone(p.bytes)})
			if len(merged) > maxPieces {
				return nil, false
			}
		case p.offset < merged[last].end():
			return nil, false
		default:
			gap := int(p.offset - merged[last].end())
			if zeros += gap; zeros > most {
				return nil, false
			}
			merged[last].bytes = append(append(merged[last].bytes, noData[:gap]...), p.bytes...)
		}
	}
	return merged, true
}

var noData [mergeGap]byte

func appendData(out []byte, pieces []piece) []byte {
	out = binary.AppendUvarint(out, uint64(len(pieces)))
	for _, p := range pieces {
		out = append(append(append(out, 0, opI32Const), signed(p.offset)...), opEnd)
		out = append(binary.AppendUvarint(out, uint64(len(p.bytes))), p.bytes...)
	}
	return out
}

// piecesOf are the pieces of a data section; fixed tells whether all of them go to the first memory, to offsets that are written
// as numbers.
func piecesOf(body []byte) (pieces []piece, fixed bool, err error) {
	c := cursor{b: body}
	n, err := c.uint32()
	if n > maxUnmerged {
		return nil, false, fmt.Errorf("it has %d pieces of data; at most %d are allowed", n, maxUnmerged)
	}
	fixed = true
	for i := uint32(0); i < n && err == nil; i++ {
		var p piece
		var plain bool
		if p, plain, err = c.piece(); err == nil {
			pieces, fixed = append(pieces, p), fixed && plain
		}
	}
	if err == nil && c.at < len(c.b) {
		err = errors.New("it is longer than it says")
	}
	return pieces, fixed, err
}

// piece reads a piece of data, and tells whether its offset is a number.
func (c *cursor) piece() (p piece, plain bool, err error) {
	kind, err := c.uint32()
	if err == nil && kind == 2 { // of another memory
		err = c.index()
	}
	if err == nil && kind > 2 {
		err = fmt.Errorf("a piece of data has the form %d", kind)
	}
	if err == nil && kind != 1 { // not one that is copied later
		from := c.at
		if err = c.expression(); err == nil && kind == 0 {
			p.offset, plain = plainOffset(c.b[from:c.at])
		}
	}
	if err != nil {
		return p, false, err
	}
	size, err := c.uint32()
	if err != nil {
		return p, false, err
	}
	p.bytes, err = c.take(uint64(size))
	return p, plain, err
}

// expression reads over the instructions that compute a constant.
func (c *cursor) expression() error {
	for {
		op, err := c.byte()
		if err != nil || op == opEnd {
			return err
		}
		if err := c.immediates(op); err != nil {
			return err
		}
	}
}

// plainOffset is the number of an expression that is a number, unless that is below zero, which stands for the upper half of the memory.
func plainOffset(expression []byte) (uint64, bool) {
	c := cursor{b: expression}
	op, err := c.byte()
	if err != nil || op != opI32Const {
		return 0, false
	}
	offset, err := c.uint32()
	if err != nil || c.b[c.at-1]&0x40 != 0 || offset > math.MaxInt32 || c.at != len(c.b)-1 {
		return 0, false
	}
	return uint64(offset), true
}

// elements bounds how many lists of functions there are, and that each is there.
func elements(body []byte) error {
	c := cursor{b: body}
	n, err := c.uint32()
	if n > maxPieces {
		return fmt.Errorf("it has %d lists of functions for tables; at most %d are allowed", n, maxPieces)
	}
	for ; n > 0 && err == nil; n-- {
		err = c.elements()
	}
	return err
}

// elements reads over a list of functions (WebAssembly 2.0, section 5.5.12).
func (c *cursor) elements() error {
	const later, explicit, expressions = 1, 2, 4
	kind, err := c.uint32()
	if err != nil {
		return err
	}
	if kind > later|explicit|expressions {
		return fmt.Errorf("a list of functions has the form %d", kind)
	}
	if kind&later == 0 {
		if kind&explicit != 0 {
			err = c.index()
		}
		if err = errors.Join(err, c.expression()); err != nil {
			return err
		}
	}
	if kind&(later|explicit) != 0 {
		if err := c.one(); err != nil { // what the functions are
			return err
		}
	}
	thing := c.index
	if kind&expressions != 0 {
		thing = c.expression
	}
	return c.list(thing, 0)
}
