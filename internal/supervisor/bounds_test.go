package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

func TestStartsAreBoundedAndStopsAreNot(t *testing.T) {
	bubble(t, func(o *Options, _ *rig) { o.ParallelStarts = 2 }, func(t *testing.T, r *rig) {
		r.factory.plan = func(string, int) fakePlan {
			return fakePlan{answers: 2500 * time.Millisecond, stopTime: 10 * time.Second}
		}
		var specs []*pb.Instance
		for i := range int32(6) {
			specs = append(specs, makeInstance("f", i))
		}
		r.cluster.assign(specs...)
		launched := func() (n int) {
			for i := range 6 {
				n += r.factory.alive(fmt.Sprintf("t/n/f:%d", i))
			}
			return n
		}
		pass(time.Second)
		require.Equal(t, 2, launched())
		pass(3 * time.Second)
		require.Equal(t, 4, launched())
		pass(4 * time.Second)
		require.Equal(t, 6, launched())
		pass(10 * time.Second)
		begun := time.Now()
		r.stop()
		<-r.ended
		require.Equal(t, 10*time.Second, time.Since(begun), "all stop at the same time")
	})
}

func TestAnInstanceThatNeverAnswersGivesItsPlaceBack(t *testing.T) {
	bubble(t, func(o *Options, _ *rig) { o.ParallelStarts = 1 }, func(t *testing.T, r *rig) {
		r.factory.plan = func(string, int) fakePlan { return fakePlan{answers: -1} }
		r.cluster.assign(makeInstance("f", 0), makeInstance("f", 1), makeInstance("f", 2))
		pass(4 * time.Second)
		running := func() int {
			return r.factory.count("t/n/f:0") + r.factory.count("t/n/f:1") + r.factory.count("t/n/f:2")
		}
		require.Equal(t, 1, running())
		pass(10 * time.Second)
		require.Equal(t, 3, running())
		require.Equal(t, Starting, r.phase(key0))
	})
}

func TestARunThatWillNotEndIsGivenUp(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.factory.plan = func(_ string, n int) fakePlan { return fakePlan{immortal: n == 0} }
		r.cluster.assign(makeInstance("f", 0))
		pass(time.Second)
		r.cluster.assign(makeInstance("f", 0, version(2)))
		pass(time.Minute)
		require.Equal(t, Running, r.phase(key0))
		require.Equal(t, 2, r.factory.count(key0))
		r.factory.run(key0, 0).end(runtime.Exit{})
	})
}

func TestSlowDownloadsHoldUpNobodyWhoHasHisFiles(t *testing.T) {
	bubble(t, func(o *Options, _ *rig) { o.ParallelStarts = 1 }, func(t *testing.T, r *rig) {
		r.factory.plan = func(_ string, n int) fakePlan { return fakePlan{dies: time.Duration(1-n) * 10 * time.Second} }
		r.cluster.assign(makeInstance("f", 0))
		pass(time.Second)
		r.packages.takes = time.Hour
		r.cluster.assign(makeInstance("slow", 0))
		pass(time.Minute)
		require.Equal(t, Running, r.phase(key0), "it crashed and came back meanwhile")
		require.EqualValues(t, 1, r.status(key0).NumRestarts)
		require.Equal(t, Fetching, r.phase("t/n/slow:0"))
		pass(10 * time.Minute)
		require.Contains(t, r.status("t/n/slow:0").FailureException, "fetching the package: context deadline exceeded")
	})
}

func TestScrapeLeavesTheDeadOut(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.factory.plan = func(key string, _ int) fakePlan {
			if key == "t/n/f:1" {
				return fakePlan{scrape: time.Hour}
			}
			return fakePlan{scrape: time.Second}
		}
		for i := range int32(4) {
			r.cluster.assign(makeInstance("f", i))
		}
		r.cluster.assign(makeInstance("f", 3, stopped))
		pass(time.Second)
		var page bytes.Buffer
		begun := time.Now()
		require.NoError(t, r.Scrape(context.Background(), &page))
		require.Equal(t, 2*time.Second, time.Since(begun))
		require.Equal(t, "m{i=\"t/n/f:0\"} 1\nlast 2\nm{i=\"t/n/f:2\"} 1\nlast 2\n", page.String())
		require.Error(t, r.Scrape(context.Background(), brokenWriter{}))
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("client went away") }

func TestAnInstanceThatSaysItIsNotRunning(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.factory.plan = func(_ string, n int) fakePlan {
			if n == 0 {
				return fakePlan{dies: time.Second}
			}
			return fakePlan{notAlive: true}
		}
		r.cluster.assign(makeInstance("f", 0))
		pass(10 * time.Second)
		s := r.status(key0)
		require.False(t, s.Running)
		require.Contains(t, s.FailureException, "the process exited with status 1", "the worker's knowledge of the last end goes first")
	})
}

func TestExternallyManagedInstances(t *testing.T) {
	external := func(o *Options, r *rig) { r.factory.external, o.Packages = true, nil }
	const key = "t/n/f:-1"
	tests := []struct {
		name                       string
		end                        func(r *rig)
		wantDetached, wantDeletion bool
	}{
		{name: "the worker leaves: goes on", end: func(r *rig) { r.stop(); <-r.ended }, wantDetached: true},
		{name: "another worker takes over: goes on", end: func(r *rig) { r.cluster.unassign(key) }, wantDetached: true},
		{name: "deleted: ends", end: func(r *rig) {
			r.cluster.set(func(c *fakeCluster) { delete(c.own, key); c.gone["t/n/f"] = true })
		}, wantDetached: true, wantDeletion: true},
		{name: "stopped: ends, and is seen to be gone", end: func(r *rig) { r.cluster.assign(makeInstance("f", -1, stoppedAll)) }, wantDeletion: true},
		{name: "changed: goes on under the next run", end: func(r *rig) {
			r.cluster.assign(makeInstance("f", -1, func(i *pb.Instance) { i.FunctionMetaData.Version++ }))
		}, wantDetached: true},
		{name: "restarted: ends and starts again", end: func(r *rig) { _ = r.Restart(context.Background(), key) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, external, func(t *testing.T, r *rig) {
				r.cluster.assign(makeInstance("f", -1))
				pass(time.Second)
				require.EqualValues(t, 3, r.Status(context.Background(), key, 3).NumReceived)
				require.Equal(t, "3", r.Status(context.Background(), key, 3).InstanceId)
				m, err := r.Metrics(context.Background(), key, 4)
				require.NoError(t, err)
				require.EqualValues(t, 4, m.ReceivedTotal)
				tt.end(r)
				pass(time.Minute)
				first := r.factory.run(key, 0)
				require.Equal(t, tt.wantDetached, first.detached)
				if !tt.wantDetached {
					require.Equal(t, 1, first.stops)
				}
				require.Equal(t, tt.wantDeletion, r.factory.count(key) == 2 && r.factory.run(key, 1).stops == 1)
			})
		})
	}
}

func stoppedAll(i *pb.Instance) {
	i.FunctionMetaData.InstanceStates = map[int32]pb.FunctionState{0: pb.FunctionState_STOPPED}
}

func TestObserverSeesThePhases(t *testing.T) {
	seen := &observer{}
	bubble(t, func(o *Options, _ *rig) { o.Observer = seen }, func(t *testing.T, r *rig) {
		r.factory.plan = func(_ string, n int) fakePlan { return fakePlan{dies: time.Minute * time.Duration(1-n)} }
		r.cluster.assign(makeInstance("f", 0))
		pass(2 * time.Minute)
		r.cluster.unassign(key0)
		pass(time.Second)
		require.Equal(t, "fetching starting +running -backoff pending starting +running stopping -cleaning", strings.TrimSpace(seen.text()))
	})
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{})
	require.ErrorContains(t, err, "Cluster and Factory")
	_, err = New(Options{Cluster: newCluster(), Factory: newFakeFactory()})
	require.ErrorContains(t, err, "Packages")
}

type observer struct {
	fakeCleaner // for its lock and list
}

func (o *observer) add(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, s)
}

func (o *observer) PhaseChanged(_ string, p Phase)        { o.add(" " + string(p)) }
func (o *observer) InstanceStarted(string, time.Duration) { o.add(" +") }
func (o *observer) InstanceEnded(string, runtime.Exit)    { o.add(" -") }
func (o *observer) text() string {
	s := strings.ReplaceAll(strings.Join(o.calls, ""), "+ ", "+")
	return strings.ReplaceAll(s, "- ", "-")
}
