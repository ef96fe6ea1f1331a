package image

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSizes: an image is pulled on every node, so a dependency that makes it a third larger is noticed here.
func TestSizes(t *testing.T) {
	root := rootfs(t)
	binary, err := os.Stat(filepath.Join(root, "pulsar", "bin", "functions-worker"))
	require.NoError(t, err)
	var image int64
	require.NoError(t, filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			image += info.Size()
		}
		return err
	}))
	t.Logf("binary %.1f MB, slim image %.1f MB", float64(binary.Size())/1e6, float64(image)/1e6)
	require.Less(t, binary.Size(), int64(50e6), "the worker's binary")
	require.Less(t, image, int64(60e6), "the files of the slim image")
}
