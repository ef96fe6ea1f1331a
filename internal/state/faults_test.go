package state

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/functions-worker/functions-worker/internal/state/tablepb"
)

const (
	getStream    = tablepb.RootRangeService_GetStream_FullMethodName
	createNS     = tablepb.RootRangeService_CreateNamespace_FullMethodName
	createStream = tablepb.RootRangeService_CreateStream_FullMethodName
	deleteStream = tablepb.RootRangeService_DeleteStream_FullMethodName
	putValue     = tablepb.TableService_Put_FullMethodName
	rangeValues  = tablepb.TableService_Range_FullMethodName
)

// failing fails the first n calls of a method.
func failing(method string, n int, code codes.Code) func(context.Context, string, int) error {
	return func(_ context.Context, m string, before int) error {
		if m == method && before < n {
			return status.Error(code, "injected")
		}
		return nil
	}
}

func answering(method string, n int, code tablepb.StatusCode) func(string, int) tablepb.StatusCode {
	return func(m string, before int) tablepb.StatusCode {
		if m == method && before < n {
			return code
		}
		return tablepb.StatusCode_SUCCESS
	}
}

func TestFaultsThatPass(t *testing.T) {
	cases := map[string]func(f *fake){
		"range not routed yet":          func(f *fake) { f.fault = failing(putValue, 2, codes.NotFound) },
		"service moves":                 func(f *fake) { f.fault = failing(getStream, 2, codes.Unavailable) },
		"internal error of gRPC":        func(f *fake) { f.fault = failing(createStream, 1, codes.Internal) },
		"internal error of the service": func(f *fake) { f.answer = answering(getStream, 2, tablepb.StatusCode_INTERNAL_SERVER_ERROR) },
		"error of a put":                func(f *fake) { f.answer = answering(putValue, 2, tablepb.StatusCode_INTERNAL_SERVER_ERROR) },
		"stale container":               func(f *fake) { f.answer = answering(putValue, 1, tablepb.StatusCode_STALE_GROUP_INFO) },
		"lost race for the namespace":   func(f *fake) { f.answer = answering(createNS, 1, tablepb.StatusCode_INTERNAL_SERVER_ERROR) },
		"lost race for the table":       func(f *fake) { f.answer = answering(createStream, 1, tablepb.StatusCode_INTERNAL_SERVER_ERROR) },
		"namespace exists":              func(f *fake) { f.answer = answering(createNS, 1, tablepb.StatusCode_NAMESPACE_EXISTS) },
		"a call that hangs": func(f *fake) {
			f.fault = func(ctx context.Context, m string, before int) error {
				if m == putValue && before == 0 {
					<-ctx.Done()
				}
				return nil
			}
		},
	}
	for name, inject := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, address := startFake(t)
			inject(f)
			s := newStore(t, Options{URL: "bk://" + address, CallTimeout: 300 * time.Millisecond})
			require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k", []byte("v")))
			value, _, _, err := s.Get(t.Context(), "t", "n", "f", "k")
			require.NoError(t, err)
			require.Equal(t, "v", string(value))
		})
	}
}

func TestFaultsThatStay(t *testing.T) {
	cases := map[string]struct {
		inject    func(f *fake)
		want      string
		wantCalls int // of getStream; 0 = several
	}{
		"no permission":        {func(f *fake) { f.fault = failing(getStream, 99, codes.PermissionDenied) }, "PermissionDenied", 1},
		"no table service":     {func(f *fake) { f.fault = failing(getStream, 99, codes.Unimplemented) }, "Unimplemented", 1},
		"a name it refuses":    {func(f *fake) { f.answer = answering(getStream, 99, tablepb.StatusCode_INVALID_STREAM_NAME) }, "INVALID_STREAM_NAME", 1},
		"it never gets better": {func(f *fake) { f.fault = failing(getStream, 999, codes.Unavailable) }, "no success in 500ms: rpc error: code = Unavailable desc = injected", 0},
		"hangs for ever": {func(f *fake) {
			f.fault = func(ctx context.Context, _ string, _ int) error { <-ctx.Done(); return ctx.Err() }
		}, "DeadlineExceeded", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, address := startFake(t)
			c.inject(f)
			s := newStore(t, Options{URL: "bk://" + address, Timeout: 500 * time.Millisecond, CallTimeout: 200 * time.Millisecond})
			for what, do := range map[string]func() error{
				"reading the state of t/n/f":       func() error { _, _, _, err := s.Get(t.Context(), "t", "n", "f", "k"); return err },
				"writing the state of t/n/f":       func() error { return s.Put(t.Context(), "t", "n", "f", "k", nil) },
				"deleting from the state of t/n/f": func() error { return s.Delete(t.Context(), "t", "n", "f", "k") },
			} {
				before, started := f.count(getStream), time.Now()
				err := do()
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, what)
				require.Less(t, time.Since(started), 3*time.Second)
				if calls := f.count(getStream) - before; c.wantCalls > 0 {
					require.Equal(t, c.wantCalls, calls)
				} else {
					require.Greater(t, calls, 1)
				}
			}
		})
	}
}

func TestNoTable(t *testing.T) {
	f, address := startFake(t)
	s := newStore(t, Options{URL: "bk://" + address})
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k", nil))
	_, _, _, err := s.Get(t.Context(), "t", "n", "other", "k")
	require.ErrorIs(t, err, ErrNoTable, "the namespace is there, the table is not")
	require.NoError(t, s.Cleanup(t.Context(), "t", "n", "other"))
	require.Equal(t, 1, f.count(deleteStream))
	// Somebody else deletes the table and makes it anew: nothing of it may be remembered.
	require.NoError(t, s.Cleanup(t.Context(), "t", "n", "f"))
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k2", []byte("new")))
	other := newStore(t, Options{URL: "bk://" + address})
	require.NoError(t, other.Cleanup(t.Context(), "t", "n", "f"))
	require.NoError(t, other.Put(t.Context(), "t", "n", "f", "k3", []byte("newer")))
	value, _, _, err := s.Get(t.Context(), "t", "n", "f", "k3")
	require.NoError(t, err)
	require.Equal(t, "newer", string(value))
}

func TestNotATable(t *testing.T) {
	f, address := startFake(t)
	f.namespaces["t_n"] = map[string]*fakeTable{"f": {props: &tablepb.StreamProperties{StreamId: 1}}}
	s := newStore(t, Options{URL: "bk://" + address})
	require.ErrorContains(t, s.Put(t.Context(), "t", "n", "f", "k", nil), "t_n/f of the table service is a STREAM and no table")
}

func TestTableSettings(t *testing.T) {
	f, address := startFake(t)
	s := newStore(t, Options{URL: "bk://" + address})
	require.NoError(t, s.Put(t.Context(), "a-b", "c-d", "f-g", "k", nil))
	conf := f.namespaces["a_b_c_d"]["f-g"].props.GetStreamConf()
	require.EqualValues(t, 4, conf.GetMinNumRanges())
	require.EqualValues(t, 4, conf.GetInitialNumRanges())
	require.Equal(t, tablepb.RangeKeyType_HASH, conf.GetKeyType())
	require.Equal(t, tablepb.StorageType_TABLE, conf.GetStorageType())
	require.EqualValues(t, 2, conf.GetSplitPolicy().GetFixedRangePolicy().GetNumRanges())
	require.EqualValues(t, 128<<20, conf.GetRollingPolicy().GetSizePolicy().GetMaxSegmentSize())
	require.EqualValues(t, -1, conf.GetRetentionPolicy().GetTimePolicy().GetRetentionMinutes())
}

// TestReconnect: the service goes away and comes back on its address, under running requests.
func TestReconnect(t *testing.T) {
	f := &fake{namespaces: map[string]map[string]*fakeTable{}, byID: map[int64]*fakeTable{}, calls: map[string]int{}}
	stop, address := f.serve(t, "127.0.0.1:0")
	s := newStore(t, Options{URL: "bk://" + address})
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k", []byte("before")))
	stop()
	result := make(chan error, 1)
	go func() { result <- s.Put(t.Context(), "t", "n", "f", "k", []byte("after")) }()
	time.Sleep(300 * time.Millisecond)
	stop, _ = f.serve(t, address)
	defer stop()
	require.NoError(t, <-result)
	value, _, version, err := s.Get(t.Context(), "t", "n", "f", "k")
	require.NoError(t, err)
	require.Equal(t, "after", string(value))
	require.EqualValues(t, 1, version)
}

func TestSeveralHosts(t *testing.T) {
	_, address := startFake(t)
	for range 5 { // in whatever order they are tried
		s := newStore(t, Options{URL: "bk://127.0.0.1:1," + address + ",127.0.0.1:2"})
		require.NoError(t, s.Ping(t.Context()))
	}
}

func TestNobodyThere(t *testing.T) {
	s := newStore(t, Options{URL: "bk://127.0.0.1:1", Timeout: 300 * time.Millisecond})
	require.ErrorContains(t, s.Ping(t.Context()), "connection refused")
	require.ErrorContains(t, s.Cleanup(t.Context(), "t", "n", "f"), "connection refused")
}

// TestCancelled: a caller who goes away ends the attempts, and Close leaves nothing running.
func TestCancelled(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	f := &fake{namespaces: map[string]map[string]*fakeTable{}, byID: map[int64]*fakeTable{}, calls: map[string]int{}}
	stop, address := f.serve(t, "127.0.0.1:0")
	f.faults(failing(getStream, 1<<20, codes.Unavailable))
	s, err := NewBookKeeper(Options{URL: "bk://" + address})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client went away")
	var ended atomic.Bool
	time.AfterFunc(200*time.Millisecond, func() { ended.Store(true); cancel(gone) })
	_, _, _, err = s.Get(ctx, "t", "n", "f", "k")
	require.ErrorIs(t, err, gone)
	require.True(t, ended.Load())
	require.NoError(t, s.Close())
	require.Error(t, s.Ping(t.Context()))
	stop()
	goleak.VerifyNone(t, leaks)
}

func TestRangeAnswersNotFound(t *testing.T) {
	f, address := startFake(t)
	s := newStore(t, Options{URL: "bk://" + address})
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k", nil))
	f.faults(failing(rangeValues, f.count(rangeValues)+3, codes.NotFound)) // the range moves; the key is not gone
	_, _, _, err := s.Get(t.Context(), "t", "n", "f", "k")
	require.NoError(t, err)
}
