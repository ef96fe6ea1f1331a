package instancelog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRotatingFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "out")
	f, err := Open(path, 100, nil)
	require.NoError(t, err)
	for range 200 {
		_, _ = f.Write([]byte("0123456789"))
	}
	f.Close()
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 1+copies)
	for _, e := range files {
		info, err := e.Info()
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(100))
	}
}

func TestRingKeepsTheEnd(t *testing.T) {
	r := NewRing(5)
	for _, s := range []string{"abc", "defg", "h"} {
		_, _ = r.Write([]byte(s))
	}
	require.Equal(t, "defgh", r.String())
}
