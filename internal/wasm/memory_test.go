//go:build !race

// The race detector's own memory is not what these tests are about.

package wasm

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// Many functions of one module share its code. A Go guest takes about 2.6 MiB of its own. FUNCTIONS_TEST_FULL=1 makes 500, which
// must take less than 1.5 GB.
func TestManyFunctionsOfOneModule(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("takes seconds, reads /proc")
	}
	guests := 100
	if os.Getenv("FUNCTIONS_TEST_FULL") != "" {
		guests = 500
	}
	h := newHost(t, DefaultLimits())
	settings, err := ParseSettings("", DefaultLimits())
	require.NoError(t, err)
	file := goGuest(t, "exclamation")
	env := &benchEnvironment{}
	before, start := rss(t), time.Now()
	for range guests {
		p, err := h.Program(t.Context(), file, settings, zap.NewNop())
		require.NoError(t, err)
		defer func() { require.NoError(t, p.Close(context.WithoutCancel(t.Context()))) }()
		_, err = p.handle(t.Context(), env, []byte("hello"))
		require.NoError(t, err)
	}
	debug.FreeOSMemory()
	grown := rss(t) - before
	t.Logf("%d Go guests: %d MiB in %s", guests, grown>>20, time.Since(start).Round(time.Millisecond))
	require.Less(t, grown, int64(guests)*3_000_000)
	require.Len(t, h.modules, 1)
}
