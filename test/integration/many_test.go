package integration

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// resident is the memory of the worker's process, in bytes.
func (w *worker) resident() int64 {
	w.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	require.NoError(w.t, err)
	_, rest, found := strings.Cut(string(status), "VmRSS:")
	require.True(w.t, found)
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(w.t, err)
	return kib << 10
}

// TestManyIdleFunctions: what an idle compiled-in function costs. FUNCTIONS_TEST_FULL=1 runs 2,000 of them, which must
// take less than 600 MB with the worker.
func TestManyIdleFunctions(t *testing.T) {
	functions := 200
	if os.Getenv("FUNCTIONS_TEST_FULL") != "" {
		functions = 2000
	}
	w := startOwnWorker(t, thread())
	idle := w.resident()
	in, out, prefix := named(unique("many-in")), named(unique("many-out")), unique("many")
	begun := time.Now()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range functions {
		group.Go(func() error {
			name := fmt.Sprintf("%s-%d", prefix, i)
			code, body := w.post("POST", name, fmt.Sprintf(`{"tenant":"public","namespace":"default","name":%q,"jar":"builtin://identity","inputs":[%q],"output":%q}`, name, in, out))
			if code != http.StatusNoContent {
				return fmt.Errorf("%s: %d %s", name, code, body)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	for i := range functions {
		w.awaitRunning(fmt.Sprintf("%s-%d", prefix, i), 1, 2*time.Minute)
	}
	took, used := time.Since(begun), w.resident()
	t.Logf("%d functions after %s: %d MiB, %d KiB each; the worker alone: %d MiB", functions, took.Round(time.Millisecond), used>>20, (used-idle)/int64(functions)>>10, idle>>20)
	require.Less(t, used, int64(600_000_000))
	if os.Getenv("FUNCTIONS_TEST_FULL") != "" {
		time.Sleep(time.Minute)
		t.Logf("a minute later: %d MiB", w.resident()>>20)
	}
	require.Less(t, (used-idle)/int64(functions), int64(600_000))
}
