package wasm

import (
	"cmp"
	"encoding/binary"
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

// piece is data for an offset of the memory.
type piece struct {
	offset uint64
	bytes  []byte
}

func (p piece) end() uint64 { return p.offset + uint64(len(p.bytes)) }

// mergeData makes few pieces of data of many: Go compiles to tens of thousands, between two runs of zeros each, which is a
// megabyte in every guest. What it cannot read, or where the order of the pieces counts, stays as it is.
func mergeData(body []byte) []byte {
	pieces, ok := piecesOf(body)
	if !ok {
		return body
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.offset, b.offset) })
	merged := pieces[:0]
	for _, p := range pieces {
		last := len(merged) - 1
		switch {
		case last < 0 || p.offset > merged[last].end()+mergeGap:
			merged = append(merged, piece{p.offset, slices.Clone(p.bytes)})
		case p.offset < merged[last].end():
			return body // they overlap
		default:
			zeros := make([]byte, p.offset-merged[last].end())
			merged[last].bytes = append(append(merged[last].bytes, zeros...), p.bytes...)
		}
	}
	out := binary.AppendUvarint(make([]byte, 0, len(body)), uint64(len(merged)))
	for _, p := range merged {
		out = append(append(append(out, 0, opI32Const), signed(p.offset)...), opEnd)
		out = append(binary.AppendUvarint(out, uint64(len(p.bytes))), p.bytes...)
	}
	return out
}

// piecesOf are the pieces of a data section, if all of them go to the first memory, to offsets that are written as numbers.
func piecesOf(body []byte) ([]piece, bool) {
	c := cursor{b: body}
	n, err := c.uint32()
	if err != nil || uint64(n) > uint64(len(body)) {
		return nil, false
	}
	pieces := make([]piece, 0, n)
	for range n {
		kind, err := c.uint32()
		if op, opErr := c.byte(); err != nil || opErr != nil || kind != 0 || op != opI32Const {
			return nil, false
		}
		from := c.at
		offset, err := c.uint32()
		if end, endErr := c.byte(); err != nil || endErr != nil || end != opEnd {
			return nil, false
		}
		if offset > math.MaxInt32 || c.b[c.at-2]&0x40 != 0 || c.at-from > leb32+1 {
			return nil, false // a signed number: this one is below zero, which stands for an offset in the upper half
		}
		size, err := c.uint32()
		if err != nil {
			return nil, false
		}
		data, err := c.take(uint64(size))
		if err != nil {
			return nil, false
		}
		pieces = append(pieces, piece{uint64(offset), data})
	}
	return pieces, c.at == len(c.b)
}
