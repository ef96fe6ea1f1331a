package wasm

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func dataSection(pieces ...piece) []byte {
	out := binary.AppendUvarint(nil, uint64(len(pieces)))
	for _, p := range pieces {
		out = append(append(append(out, 0, opI32Const), signed(p.offset)...), opEnd)
		out = append(binary.AppendUvarint(out, uint64(len(p.bytes))), p.bytes...)
	}
	return out
}

// memoryOf is what the pieces leave in a memory, without zeros.
func memoryOf(pieces []piece) map[uint64]byte {
	memory := map[uint64]byte{}
	for _, p := range pieces {
		for i, b := range p.bytes {
			memory[p.offset+uint64(i)] = b
		}
	}
	maps.DeleteFunc(memory, func(_ uint64, b byte) bool { return b == 0 })
	return memory
}

// TestMergedDataIsTheSame: the memory begins with the same bytes, whatever the pieces were, and its end is not further away.
func TestMergedDataIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) piece {
			return piece{rapid.Uint64Range(0, 2000).Draw(t, "offset"), rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")}
		}), 0, 30).Draw(t, "pieces")
		section := dataSection(pieces...)
		before := slices.Clone(section)
		merged, ok := piecesOf(mergeData(section))
		require.True(t, ok)
		require.Equal(t, before, section, "the module itself is not written to")
		require.Equal(t, memoryOf(pieces), memoryOf(merged))
		require.LessOrEqual(t, len(merged), len(pieces))
		end := func(pieces []piece) (most uint64) {
			for _, p := range pieces {
				most = max(most, p.end())
			}
			return most
		}
		require.Equal(t, end(pieces), end(merged))
	})
}

func TestMergedData(t *testing.T) {
	merged, ok := piecesOf(mergeData(dataSection(piece{100, []byte("c")}, piece{0, []byte("a")}, piece{20, []byte("b")})))
	require.True(t, ok)
	require.Equal(t, []piece{{0, append(append([]byte("a"), make([]byte, 19)...), 'b')}, {100, []byte("c")}}, merged)
	for name, section := range map[string][]byte{
		"overlapping":         dataSection(piece{0, []byte("abc")}, piece{1, []byte("x")}),
		"passive":             {1, 1, 1, 'a'},
		"another memory":      {1, 2, 0, opI32Const, 0, opEnd, 1, 'a'},
		"offset of a global":  {1, 0, opGlobalGet, 0, opEnd, 1, 'a'},
		"the upper half":      {1, 0, opI32Const, 0x7f, opEnd, 1, 'a'},
		"longer than it says": append(dataSection(piece{0, []byte("a")}), 0),
		"shorter":             {2, 0, opI32Const, 0, opEnd, 1, 'a'},
		"a huge number":       {0xff, 0xff, 0xff, 0xff, 0x0f},
		"nothing":             {},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, section, mergeData(section)) })
	}
}
