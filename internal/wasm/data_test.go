package wasm

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func dataSection(pieces ...piece) []byte { return appendData(nil, pieces) }

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
		body, err := mergeData(section, false)
		require.NoError(t, err)
		merged, fixed, err := piecesOf(body)
		require.NoError(t, err)
		require.True(t, fixed)
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
	body, err := mergeData(dataSection(piece{100, []byte("c")}, piece{0, []byte("a")}, piece{20, []byte("b")}), false)
	require.NoError(t, err)
	merged, _, err := piecesOf(body)
	require.NoError(t, err)
	require.Equal(t, []piece{{0, append(append([]byte("a"), make([]byte, 19)...), 'b')}, {100, []byte("c")}}, merged)
	for name, section := range map[string][]byte{
		"overlapping":        dataSection(piece{0, []byte("abc")}, piece{1, []byte("x")}),
		"passive":            {1, 1, 1, 'a'},
		"another memory":     {1, 2, 0, opI32Const, 0, opEnd, 1, 'a'},
		"offset of a global": {1, 0, opGlobalGet, 0, opEnd, 1, 'a'},
		"the upper half":     {1, 0, opI32Const, 0x7f, opEnd, 1, 'a'},
	} {
		t.Run(name, func(t *testing.T) {
			same, err := mergeData(section, false)
			require.NoError(t, err)
			require.Equal(t, section, same)
		})
	}
	many := dataSection(slices.Repeat([]piece{{0, nil}}, 3)...)
	same, err := mergeData(many, true)
	require.NoError(t, err)
	require.Equal(t, many, same, "instructions name the pieces by their numbers")
}

// TestDataThatIsNotThere: wazero makes room for what a module says that it has.
func TestDataThatIsNotThere(t *testing.T) {
	far := make([]piece, maxPieces+1)
	for i := range far {
		far[i] = piece{uint64(i) * 100, []byte("x")}
	}
	for name, tc := range map[string]struct {
		section []byte
		want    string
	}{
		"longer than it says": {append(dataSection(piece{0, []byte("a")}), 0), "longer than it says"},
		"shorter":             {[]byte{2, 0, opI32Const, 0, opEnd, 1, 'a'}, "EOF"},
		"a huge number":       {[]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, "4294967295 pieces"},
		"a huge piece":        {[]byte{1, 0, opI32Const, 0, opEnd, 0xff, 0xff, 0xff, 0xff, 0x0f}, "EOF"},
		"nothing":             {nil, "EOF"},
		"an unknown form":     {[]byte{1, 3}, "form 3"},
		"too many":            {dataSection(far...), "100001 pieces"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mergeData(tc.section, false)
			require.ErrorContains(t, err, tc.want)
		})
	}
	for name, tc := range map[string]struct {
		section []byte
		want    string
	}{
		"a huge number":   {[]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, "lists of functions"},
		"a huge list":     {[]byte{1, 0, opI32Const, 0, opEnd, 0xff, 0xff, 0xff, 0xff, 0x0f}, "EOF"},
		"an unknown form": {[]byte{1, 8}, "form 8"},
	} {
		t.Run("elements: "+name, func(t *testing.T) { require.ErrorContains(t, elements(tc.section), tc.want) })
	}
	for name, section := range map[string][]byte{
		"active":                  {1, 0, opI32Const, 0, opEnd, 2, 0, 1},
		"later":                   {1, 1, 0, 1, 0},
		"of another table":        {1, 2, 0, opI32Const, 0, opEnd, 0, 1, 0},
		"declared":                {1, 3, 0, 1, 0},
		"expressions":             {1, 4, opI32Const, 0, opEnd, 1, 0xd2, 0, opEnd},
		"expressions of a table":  {1, 6, 0, opI32Const, 0, opEnd, 0x70, 1, 0xd2, 0, opEnd},
		"expressions for later":   {1, 5, 0x70, 1, 0xd0, 0x70, opEnd},
		"expressions as declared": {1, 7, 0x70, 1, 0xd2, 0, opEnd},
	} {
		t.Run("elements: "+name, func(t *testing.T) { require.NoError(t, elements(section)) })
	}
}
