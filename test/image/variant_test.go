package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPulsarVariant: in the image on top of the Pulsar image, bin/pulsar functions-worker is this worker, and everything else is Pulsar's.
func TestPulsarVariant(t *testing.T) {
	distribution, worker := os.Getenv("PULSAR_HOME"), os.Getenv("FUNCTIONS_WORKER_BIN")
	if distribution == "" || worker == "" {
		t.Skip("needs the Pulsar distribution and the built worker: run scripts/test.sh image")
	}
	home := filepath.Join(t.TempDir(), "pulsar")
	require.NoError(t, os.CopyFS(filepath.Join(home, "bin"), os.DirFS(filepath.Join(distribution, "bin"))))
	for _, name := range []string{"conf", "lib", "instances", "examples"} {
		require.NoError(t, os.Symlink(filepath.Join(distribution, name), filepath.Join(home, name)))
	}
	for range 2 { // a second time changes nothing
		out, err := exec.Command("../../deploy/image/onto-pulsar.sh", home, worker).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run := func(args ...string) string {
		cmd := exec.Command(filepath.Join(home, "bin", "pulsar"), args...)
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "PULSAR_HOME=/nowhere", "PULSAR_MEM=-Xmx64m")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "bin/pulsar %v: %s", args, out)
		return string(out)
	}
	own, err := exec.Command(worker, "version").Output()
	require.NoError(t, err)
	require.Equal(t, string(own), run("functions-worker", "version"))
	require.Contains(t, run("version"), "Current version of pulsar is: 4.0.8")
	require.Contains(t, run("help"), "Run a broker server")
	require.FileExists(t, filepath.Join(home, "bin", "function-localrunner"))
}
