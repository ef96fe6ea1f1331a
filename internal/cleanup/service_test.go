package cleanup

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// worker is one worker's service in a bubble.
type worker struct {
	*Service
	end  *memoryEnd
	logs *observer.ObservedLogs
	stop func()
}

func startWorker(t *testing.T, q *memoryQueue, f *fakeWorld) *worker {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	w := &worker{end: q.end(), logs: logs}
	var err error
	w.Service, err = New(Options{Queue: w.end, Cluster: f, Broker: f, Packages: f, Worker: "w", Log: zap.New(core)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() { cancel(); <-ended })
	return w
}

// bubble runs a test in simulated time with one worker.
func bubble(t *testing.T, test func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemoryQueue(), newFakeWorld()
		w := startWorker(t, q, f)
		defer w.stop()
		test(t, q, f, w)
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *worker) said(t *testing.T, message string) {
	t.Helper()
	require.NotEmpty(t, w.logs.FilterMessageSnippet(message).All(), "no log line %q in %v", message, w.logs.All())
}

func TestDeletedComponent(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.register(component(1))
		f.set(func(f *fakeWorld) { f.assigned = append(f.assigned, component(1)) })
		w.Add(t.Context(), Deleted(uploaded(1)))
		pass(time.Minute)
		require.Empty(t, f.did(), "it is not deleted yet")
		f.remove("t/n/f")
		pass(time.Minute)
		require.Empty(t, f.did(), "an instance is left")
		f.set(func(f *fakeWorld) { f.assigned = nil })
		pass(pauseEarly)
		require.Equal(t, []string{unsubscribeIn, "package key1"}, f.did())
		require.Zero(t, q.left())
	})
}

func TestNeverScheduledComponentIsCleanedUpAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		w.Add(t.Context(), Deleted(uploaded(1)))
		synctest.Wait()
		require.Equal(t, []string{unsubscribeIn, "package key1"}, f.did())
		require.Zero(t, q.left())
	})
}

func TestDeletionThatDoesNotHappen(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.register(component(1))
		w.Add(t.Context(), Deleted(uploaded(1)))
		pass(changeLimit - time.Minute)
		require.Equal(t, 1, q.left())
		pass(2 * time.Minute)
		require.Zero(t, q.left())
		f.remove("t/n/f")
		pass(time.Hour)
		require.Empty(t, f.did())
		w.Add(t.Context(), Deleted(uploaded(1)))
		pass(time.Second)
		require.Equal(t, []string{unsubscribeIn, "package key1"}, f.did(), "the second attempt is one of its own")
	})
}

func TestAnotherWorkerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemoryQueue(), newFakeWorld()
		first := startWorker(t, q, f)
		f.register(component(1))
		first.Add(t.Context(), Deleted(uploaded(1)))
		f.remove("t/n/f")
		f.set(func(f *fakeWorld) { f.assigned = append(f.assigned, component(1)) })
		pass(time.Second)
		first.stop()
		require.Equal(t, 1, q.left())
		f.set(func(f *fakeWorld) { f.assigned = nil })
		pass(2 * time.Hour)
		require.Empty(t, f.did())
		second := startWorker(t, q, f)
		defer second.stop()
		pass(time.Second)
		require.Equal(t, []string{unsubscribeIn, "package key1"}, f.did())
		require.Zero(t, q.left())
	})
}

// TestDeposedWorkerStops: a worker that is not the active one any more leaves everything to the other, so that nothing is
// removed twice, the second time from somebody else.
func TestDeposedWorkerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemoryQueue(), newFakeWorld()
		first := startWorker(t, q, f)
		defer first.stop()
		f.set(func(f *fakeWorld) { f.answer = func(string) error { return errAway } })
		first.Add(t.Context(), Deleted(component(1)))
		pass(10 * time.Second)
		require.NotEmpty(t, f.did())
		second := startWorker(t, q, f)
		defer second.stop()
		pass(time.Minute)
		f.set(func(f *fakeWorld) { f.calls, f.answer = nil, nil })
		pass(time.Hour)
		require.Equal(t, []string{unsubscribeIn}, f.did())
		require.Zero(t, q.left())
		q.activate(first.end)
		pass(time.Hour)
		require.Len(t, f.did(), 1)
	})
}

func TestCreatedAnew(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.register(component(2))
		w.Add(t.Context(), Deleted(uploaded(1)))
		pass(time.Second)
		require.Equal(t, []string{"package key1"}, f.did())
		require.Zero(t, q.left())
		w.said(t, "not cleaned up")
	})
}

func TestUserMakesASubscriptionAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memoryQueue, f *fakeWorld, w *worker) {
		w.Add(t.Context(), Deleted(component(1)))
		pass(time.Second)
		require.Equal(t, []string{unsubscribeIn}, f.did())
		// owners of instances report the deletion as well, on this worker and on others
		w.Clean(t.Context(), component(1))
		other, err := New(Options{Queue: w.end, Cluster: f, Broker: f, Packages: f})
		require.NoError(t, err)
		other.Clean(t.Context(), component(1))
		pass(time.Hour)
		require.Len(t, f.did(), 1, "what has the name now is somebody else's")
	})
}

func TestDeletionThroughAJavaWorker(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		for range 3 { // instances
			w.Clean(t.Context(), uploaded(1))
		}
		require.Equal(t, 1, q.left())
		pass(time.Second)
		require.Equal(t, []string{unsubscribeIn, "package key1"}, f.did())
	})
}

func TestReportedTwiceWhileNotDone(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.set(func(f *fakeWorld) { f.answer = func(string) error { return code(412) } })
		w.Add(t.Context(), Deleted(component(1)))
		w.Add(t.Context(), Deleted(component(1)))
		pass(time.Minute)
		tries := len(f.did())
		f.set(func(f *fakeWorld) { f.answer = nil })
		pass(time.Minute)
		require.Len(t, f.did(), tries+1)
		require.Zero(t, q.left())
	})
}

func TestQueueNotReachable(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		q.set(func(q *memoryQueue) { q.putErr = errAway })
		f.register(component(1))
		w.Add(t.Context(), Deleted(uploaded(1)))
		w.said(t, "could not be recorded")
		f.remove("t/n/f")
		pass(pauseEarly)
		require.Equal(t, []string{unsubscribeIn, "package key1"}, f.did())

		f.register(component(1))
		w.Add(t.Context(), Deleted(uploaded(1)))
		w.stop()
		w.said(t, "the worker ends before")
	})
}

func TestUploadInVain(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.register(component(2))
		w.Add(t.Context(), Uploaded("t/n/f", "key1"))
		w.Add(t.Context(), Uploaded("t/n/f", "key2"))
		pass(uploadSettle - time.Second)
		require.Empty(t, f.did())
		require.Equal(t, 2, q.left())
		pass(2 * time.Second)
		require.Equal(t, []string{"package key1"}, f.did())
		require.Zero(t, q.left())
	})
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name     string
		deleted  *pb.FunctionMetaData
		answer   func(call string) error
		wantSaid string
		within   time.Duration
		wantLast string
	}{
		{name: "already gone", deleted: component(1), answer: func(string) error { return code(404) }, wantSaid: "cleaned up", within: time.Second},
		{name: "somebody consumes", deleted: component(1), answer: func(string) error { return code(412) }, wantSaid: "somebody else consumes", within: inUseLimit + time.Minute},
		{name: "somebody consumes, said in words", deleted: component(1), answer: func(string) error {
			return &broker.Error{Code: 500, Reason: "Subscription has active connected consumers"}
		}, wantSaid: "somebody else consumes", within: inUseLimit + time.Minute},
		{name: "batch topic while an instance consumes", deleted: component(1, source(&pb.SourceSpec{Configs: batchConfigs})),
			answer: func(string) error { return code(412) }, wantSaid: "somebody else consumes", within: inUseLimit + time.Minute,
			wantLast: "delete persistent://t/n/f-intermediate BatchSourceExecutor-t/n/f force=false"},
		{name: "batch topic", deleted: component(1, source(&pb.SourceSpec{Configs: batchConfigs})), wantSaid: "cleaned up", within: time.Second,
			wantLast: "delete topic persistent://t/n/f-intermediate force=true"},
		{name: "pattern", deleted: component(1, source(&pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("pattern:a/b/.*")})), wantSaid: "cleaned up",
			within: time.Second, wantLast: "unsubscribe a/b t/n/f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
				f.set(func(f *fakeWorld) { f.answer = tt.answer })
				w.Add(t.Context(), Deleted(tt.deleted))
				pass(tt.within)
				w.said(t, tt.wantSaid)
				require.Zero(t, q.left())
				if tt.wantLast != "" {
					did := f.did()
					require.Equal(t, tt.wantLast, did[len(did)-1])
				}
			})
		})
	}
}

func TestGivingUp(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.set(func(f *fakeWorld) { f.answer = func(string) error { return errAway } })
		w.Add(t.Context(), Deleted(uploaded(1)))
		pass(giveUp - time.Minute)
		require.Equal(t, 1, q.left())
		require.Less(t, len(f.did()), int(2*giveUp/pauseMax)+200, "tried too often")
		pass(5 * time.Minute)
		require.Zero(t, q.left())
		w.said(t, "given up")
	})
}

func TestClusterOrBrokerCannotTell(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, f *fakeWorld, w *worker) {
		f.set(func(f *fakeWorld) { f.catchUpErr = errAway })
		w.Add(t.Context(), Deleted(component(1)))
		pass(time.Hour)
		require.Empty(t, f.did())
		f.set(func(f *fakeWorld) { f.catchUpErr = nil })
		q.set(func(q *memoryQueue) { q.ackErr = errAway })
		pass(pauseMax)
		require.Equal(t, []string{unsubscribeIn}, f.did())
		pass(time.Minute)
		q.set(func(q *memoryQueue) { q.ackErr = nil })
		pass(pauseMax)
		require.Zero(t, q.left())
		require.Len(t, f.did(), 1, "done once")
	})
}

func TestUnreadableEntries(t *testing.T) {
	bubble(t, func(t *testing.T, q *memoryQueue, _ *fakeWorld, w *worker) {
		require.NoError(t, w.end.Put(t.Context(), []byte("nonsense")))
		require.NoError(t, w.end.Put(t.Context(), []byte(`{"format":2,"id":"x","function":"t/n/f"}`)))
		pass(time.Second)
		require.Equal(t, 1, q.left(), "the one of a later version stays")
		w.said(t, "cannot be understood")
		w.said(t, "later version")
	})
}

func TestPrepare(t *testing.T) {
	batch := component(1, source(&pb.SourceSpec{Configs: batchConfigs})).GetFunctionDetails()
	tests := []struct {
		name    string
		d       *pb.FunctionDetails
		answer  func(n int) error
		want    int
		wantErr string
	}{
		{name: "a function needs nothing", d: component(1).GetFunctionDetails()},
		{name: "a batch source", d: batch, want: 1},
		{name: "there already", d: batch, answer: func(int) error { return code(409) }, want: 1},
		{name: "later", d: batch, answer: func(n int) error {
			if n < 4 {
				return code(500)
			}
			return nil
		}, want: 4},
		{name: "never", d: batch, answer: func(int) error { return code(500) }, want: 10, wantErr: "after 10 attempts"},
		{name: "not allowed", d: batch, answer: func(int) error { return code(403) }, want: 1, wantErr: "after 1 attempts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *memoryQueue, f *fakeWorld, w *worker) {
				n := 0
				f.set(func(f *fakeWorld) {
					f.answer = func(string) error {
						if n++; tt.answer == nil {
							return nil
						}
						return tt.answer(n)
					}
				})
				err := w.Prepare(t.Context(), tt.d)
				if tt.wantErr == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tt.wantErr)
				}
				require.Len(t, f.did(), tt.want)
				for _, call := range f.did() {
					require.Equal(t, "create persistent://t/n/f-intermediate BatchSourceExecutor-t/n/f latest=true", call)
				}
			})
		})
	}
}

// *broker.Admin is the real one.
var (
	_ Broker     = (*broker.Admin)(nil)
	_ QueueAdmin = (*broker.Admin)(nil)
)
