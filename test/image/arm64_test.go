package image

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArm64: the worker has Go files for arm64 in every package that it imports, and needs no C. That it builds takes minutes on a
// machine of the other kind, so it is not built here.
func TestArm64(t *testing.T) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,CgoFiles,Incomplete,Error", "./cmd/functions-worker")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	packages := 0
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; packages++ {
		var p struct {
			ImportPath string
			CgoFiles   []string
			Incomplete bool
			Error      *struct{ Err string }
		}
		if err := decoder.Decode(&p); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		require.Nil(t, p.Error, p.ImportPath)
		require.False(t, p.Incomplete, p.ImportPath)
		require.Empty(t, p.CgoFiles, p.ImportPath)
	}
	require.Greater(t, packages, 100)
}
