package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const hostileGuest = "testdata/hostile.wasm"

// Whatever a guest does ends its message with an error that says what it did; the next message finds a sane guest.
func TestHostileGuests(t *testing.T) {
	for name, tc := range map[string]struct{ input, want string }{
		"endless loop":              {"l", "ran longer than 50ms and was stopped"},
		"memory without end":        {"a", "unreachable"},
		"trap":                      {"t", "unreachable"},
		"endless recursion":         {"r", "trapped: wasm error: "},
		"a result over the limit":   {"o", "bad pointer: 8388608 bytes"},
		"a pointer past the end":    {"p", "bad pointer: 100 bytes at 2147483632"},
		"a pointer that wraps":      {"q", "bad pointer: 4294967295 bytes at 4294967295"},
		"a name past the end":       {"n", "bad pointer"},
		"reports a failure":         {"f", "refused"},
		"a status without reason":   {"s", "the function failed with status -5"},
		"properties without end":    {"k", "at most 1048576 are allowed (wasm.maxOutput)"},
		"properties packed wrongly": {"w", "packed properties wrongly"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := "30s" // on a busy machine nothing else may end the guest
			if tc.input == "l" {
				timeout = "50ms"
			}
			p := newProgram(t, hostileGuest, fmt.Sprintf(`{"wasm":{"timeout":%q,"maxMemory":"16MiB","maxOutput":"1MiB"}}`, timeout))
			p.rest.factor = -1 << 30 // no pause: the test would wait for it
			_, err := p.handle(t.Context(), &fakeEnvironment{message: fakeMessage{}}, []byte(tc.input))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "wasm stack trace")
			p.rest.until = time.Time{}
			r, err := p.handle(t.Context(), &fakeEnvironment{}, []byte("yes"))
			require.NoError(t, err)
			require.Equal(t, "yes", string(r.Payload))
		})
	}
}

func TestResultOverTheLimit(t *testing.T) {
	p := newProgram(t, hostileGuest, `{"wasm":{"maxOutput":"100B"}}`)
	_, err := p.handle(t.Context(), &fakeEnvironment{}, []byte(strings.Repeat("x", 101)))
	require.ErrorContains(t, err, "the result has 101 bytes; at most 100 are allowed")
	r, err := p.handle(t.Context(), &fakeEnvironment{}, []byte("K"+strings.Repeat("x", 98)))
	require.NoError(t, err)
	require.True(t, r.Explicit)
	require.Equal(t, "K", r.Key)
}

// A call of the host that waits ends with the time of the message.
func TestPublishThatWaits(t *testing.T) {
	p := newProgram(t, hostileGuest, `{"wasm":{"timeout":"30ms"}}`)
	env := &fakeEnvironment{publish: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	_, err := p.handle(t.Context(), env, []byte("P"))
	// the publication ends with the message's time, and so does the guest: either may be first
	require.Error(t, err)
	require.Regexp(t, "deadline exceeded|ran longer than 30ms", err.Error())
	require.Len(t, env.published, 1)
}

// The instance stops: a guest that does not end by itself is ended.
func TestStopWhileAGuestLoops(t *testing.T) {
	p := newProgram(t, hostileGuest, `{"wasm":{"timeout":"1m"}}`)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := p.handle(ctx, &fakeEnvironment{}, []byte("l"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestRest(t *testing.T) {
	var r rest
	now := time.Unix(1000, 0)
	r.ended(true, time.Second, now)
	require.Equal(t, now.Add(4*time.Second), r.until)
	for range 10 {
		r.ended(true, time.Second, now)
	}
	require.Equal(t, now.Add(maxRestFactor*time.Second), r.until)
	r.ended(true, time.Hour, now)
	require.Equal(t, now.Add(maxRest), r.until)
	for range 10 {
		r.ended(false, 0, now)
	}
	require.Zero(t, r.factor)

	// a pause ends with the context
	p := &Program{rest: rest{until: time.Now().Add(time.Hour)}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, p.pause(ctx), "pauses because its last calls ended badly")
}

// Guests of which each was ended give all their memory back.
func TestEndedGuestsLeaveNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	p := newProgram(t, hostileGuest, `{"wasm":{"timeout":1}}`)
	spoil := func(n int) {
		for i := range n {
			p.rest = rest{}
			_, err := p.handle(t.Context(), &fakeEnvironment{}, []byte{"lt"[i%2]})
			require.Error(t, err)
		}
	}
	spoil(10)
	before := mappings(t)
	spoil(100)
	require.Less(t, mappings(t), before+20, "address space of ended guests must be given back")
}

func mappings(t *testing.T) int {
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return strings.Count(string(maps), "\n")
}

func rss(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}

func TestModulesThatCannotStart(t *testing.T) {
	h := newHost(t, DefaultLimits())
	small, err := ParseSettings(`{"wasm":{"memoryPages":1}}`, DefaultLimits())
	require.NoError(t, err)
	_, err = h.Program(t.Context(), hostileGuest, small, zap.NewNop())
	require.ErrorContains(t, err, "the function may have 65536 (customRuntimeOptions: wasm.maxMemory)")
	_, err = h.Program(t.Context(), "testdata/hostile.c", small, zap.NewNop())
	require.ErrorIs(t, err, ErrNotWASM)
	_, err = h.Program(t.Context(), "testdata/nosuch.wasm", small, zap.NewNop())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Empty(t, h.modules, "what failed is not kept")

	limits := DefaultLimits()
	limits.Module = 100
	_, err = newHost(t, limits).Program(t.Context(), hostileGuest, small, zap.NewNop())
	require.ErrorContains(t, err, "larger than 100 bytes")
}

// A limit beyond what a guest of 32 bits can have is no mistake of the operator.
func TestMemoryLimitPastFourGigabytes(t *testing.T) {
	limits := DefaultLimits()
	limits.Memory = 1 << 40
	h, err := NewHost(t.Context(), Options{Limits: limits})
	require.NoError(t, err)
	require.NoError(t, h.Close(t.Context()))
}

func TestCacheDirectory(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	_, err := NewHost(t.Context(), Options{CacheDirectory: open, Limits: DefaultLimits()})
	require.ErrorContains(t, err, "can be written by other users")
	require.ErrorContains(t, err, "goWorker.wasm.cacheDirectory")
}

// After a restart the compiled code comes from the disk.
func TestCacheOutlivesTheHost(t *testing.T) {
	dir := t.TempDir()
	settings, err := ParseSettings("", DefaultLimits())
	require.NoError(t, err)
	load := func() time.Duration {
		h, err := NewHost(t.Context(), Options{CacheDirectory: dir, Limits: DefaultLimits()})
		require.NoError(t, err)
		start := time.Now()
		p, err := h.Program(t.Context(), goGuest(t, "exclamation"), settings, zap.NewNop())
		took := time.Since(start)
		require.NoError(t, errors.Join(err, p.Close(t.Context()), h.Close(t.Context())))
		return took
	}
	goGuest(t, "exclamation")
	first, second := load(), load()
	t.Logf("compiled in %s, from the cache in %s", first, second)
	require.Less(t, second, first)
}
