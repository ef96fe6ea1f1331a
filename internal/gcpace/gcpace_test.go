package gcpace

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPercent(t *testing.T) {
	const mb = 1 << 20
	for name, tc := range map[string]struct {
		rate, live, limit uint64
		want              int
	}{
		"idle":                          {0, 20 * mb, 1 << 62, 100},
		"hardly busy":                   {30 * mb, 20 * mb, 1 << 62, 100},
		"busy":                          {160 * mb, 20 * mb, 1 << 62, 400},
		"very busy":                     {10000 * mb, 16 * mb, 1 << 62, 800},
		"a large heap needs no more":    {10000 * mb, 500 * mb, 1 << 62, 100},
		"hardly a heap":                 {100 * mb, 1, 1 << 62, 5000},
		"a small pod":                   {10000 * mb, 16 * mb, 256 * mb, 200},
		"a pod that is almost full":     {10000 * mb, 100 * mb, 256 * mb, 100},
		"before the first collection":   {0, 0, 1 << 62, 100},
		"a control group without a lot": {10000 * mb, 16 * mb, 0, 100},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, percent(tc.rate, tc.live, allowance(tc.limit))) })
	}
	rapid.Check(t, func(t *rapid.T) {
		live, allowed := rapid.Uint64Range(0, 1<<40).Draw(t, "live"), rapid.Uint64Range(0, most).Draw(t, "allowed")
		p := percent(rapid.Uint64Range(0, 1<<50).Draw(t, "rate"), live, allowed)
		require.GreaterOrEqual(t, p, goDefault)
		require.LessOrEqual(t, uint64(p)*max(live, 1<<20)/100, max(allowed, live, 1<<20), "bytes of garbage")
	})
}

func TestWorthwhile(t *testing.T) {
	require.False(t, worthwhile(400, 400))
	require.False(t, worthwhile(400, 480))
	require.False(t, worthwhile(400, 320))
	require.True(t, worthwhile(400, 600))
	require.True(t, worthwhile(400, 200))
	require.True(t, worthwhile(110, 100), "back to Go's own")
}

func TestLimitOf(t *testing.T) {
	dir := t.TempDir()
	require.Equal(t, uint64(1<<62), limitOf(dir))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "memory"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory/memory.limit_in_bytes"), []byte("1073741824\n"), 0o600))
	require.Equal(t, uint64(1<<30), limitOf(dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.max"), []byte("max\n"), 0o600))
	require.Equal(t, uint64(1<<30), limitOf(dir), "the other version's")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.max"), []byte("536870912\n"), 0o600))
	require.Equal(t, uint64(1<<29), limitOf(dir))
}

// TestRun: a process that allocates fast collects less often after a while, and as Go would when it has ended.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	t.Setenv("GOGC", "")
	stop := Start()
	cycles := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	var kept [][]byte
	perMB := func(mb int) float64 {
		before := cycles()
		for range mb {
			kept = append(kept[:0], make([]byte, 1<<20))
		}
		return float64(cycles()-before) / float64(mb)
	}
	first := perMB(200)
	for deadline := time.Now().Add(20 * time.Second); perMB(200) > first/4; {
		require.True(t, time.Now().Before(deadline), "collects as often as before")
	}
	stop()
	require.Equal(t, goDefault, debug.SetGCPercent(goDefault))
}
