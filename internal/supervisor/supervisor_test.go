package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a supervisor that runs among fakes, in a bubble where time is the test's.
type rig struct {
	*Supervisor
	cluster  *fakeCluster
	factory  *fakeFactory
	packages *fakePackages
	cleaner  *fakeCleaner
	stop     context.CancelFunc
	ended    chan struct{}
}

const key0 = "t/n/f:0"

func bubble(t *testing.T, change func(*Options, *rig), test func(t *testing.T, r *rig)) {
	file := filepath.Join(t.TempDir(), "package")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	synctest.Test(t, func(t *testing.T) {
		r := &rig{cluster: newCluster(), factory: newFakeFactory(), packages: &fakePackages{path: file}, cleaner: &fakeCleaner{}, ended: make(chan struct{})}
		o := Options{Cluster: r.cluster, Factory: r.factory, Packages: r.packages, Cleaner: r.cleaner, ParallelStarts: 4,
			Restart: RestartPolicy{Jitter: -1}, Random: func() float64 { return 0.5 }}
		if change != nil {
			change(&o, r)
		}
		var err error
		r.Supervisor, err = New(o)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		r.stop = cancel
		go func() {
			defer close(r.ended)
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		test(t, r)
		cancel()
		<-r.ended
		for key := range r.factory.runs {
			if n := r.factory.alive(key); n != 0 {
				t.Errorf("%d runs of %s outlive the supervisor", n, key)
			}
		}
	})
}

// pass lets time go by and everything settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) phase(key string) Phase {
	for _, s := range r.Instances() {
		if s.Key == key {
			return s.Phase
		}
	}
	return ""
}

func (r *rig) status(key string) *pb.FunctionStatus { return r.Status(context.Background(), key, 0) }

func TestAssignedInstanceRuns(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.packages.takes = time.Second
		r.factory.plan = func(string, int) fakePlan { return fakePlan{answers: 3 * time.Second} }
		r.cluster.assign(makeInstance("f", 0))
		pass(500 * time.Millisecond)
		require.Equal(t, Fetching, r.phase(key0))
		require.Equal(t, "starting: fetching the package", r.status(key0).FailureException)
		pass(time.Second)
		require.Equal(t, Starting, r.phase(key0))
		require.Equal(t, "UNAVAILABLE: io exception", r.status(key0).FailureException)
		require.False(t, r.status(key0).Running)
		pass(4 * time.Second)
		require.Equal(t, Running, r.phase(key0))
		require.True(t, proto.Equal(&pb.FunctionStatus{Running: true, NumReceived: 5, InstanceId: "0"}, r.status(key0)), "restarts and instance id are the worker's")
		require.Equal(t, "prepare f", r.cleaner.list())
		in := r.factory.run(key0, 0).in
		require.NotEqual(t, in.FunctionID, in.FunctionVersion)
		require.Equal(t, r.packages.path, in.PackageFile)
		m, err := r.Metrics(context.Background(), key0, 0)
		require.NoError(t, err)
		require.Equal(t, map[string]float64{"good": 1}, m.UserMetrics)
	})
}

func TestTransformFunctionIsFetchedToo(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.cluster.assign(makeInstance("f", 0, func(i *pb.Instance) {
			i.FunctionMetaData.TransformFunctionPackageLocation = &pb.PackageLocationMetaData{PackagePath: "tf"}
		}))
		pass(time.Second)
		fetched, _ := r.packages.list()
		require.Equal(t, "f pkg,f tf (transform)", fetched)
		require.NotEmpty(t, r.factory.run(key0, 0).in.TransformFile)
	})
}

func TestCrashedInstanceComesBackLaterAndLater(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.factory.plan = func(_ string, n int) fakePlan { return fakePlan{dies: 500 * time.Millisecond} }
		begun := time.Now()
		r.cluster.assign(makeInstance("f", 0))
		pass(700 * time.Millisecond)
		require.Equal(t, BackOff, r.phase(key0))
		require.Equal(t, "restarting in 1s after: the process exited with status 1; its last output was:\nboom", r.status(key0).FailureException)
		pass(10 * time.Minute)
		var starts []string
		for n := range r.factory.count(key0) {
			starts = append(starts, r.factory.run(key0, n).launched.Sub(begun).Round(time.Second).String())
			require.EqualValues(t, n, r.factory.run(key0, n).in.Restarts)
		}
		require.Equal(t, []string{"0s", "2s", "4s", "9s", "17s", "34s", "1m6s", "2m7s", "3m7s", "4m8s", "5m8s", "6m9s", "7m9s", "8m10s", "9m10s"}, starts)
		require.EqualValues(t, r.factory.count(key0)-1, r.status(key0).NumRestarts)
		fetched, removed := r.packages.list()
		require.Equal(t, "f pkg", fetched, "the package is fetched once")
		require.Empty(t, removed)
	})
}

func TestStatusWhileComingUpAgainNamesTheLastEnd(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.factory.plan = func(_ string, n int) fakePlan {
			if n == 0 {
				return fakePlan{dies: time.Minute * 2}
			}
			return fakePlan{answers: 10 * time.Second}
		}
		r.cluster.assign(makeInstance("f", 0))
		pass(2*time.Minute + 5*time.Second)
		require.Equal(t, Starting, r.phase(key0))
		require.Equal(t, "the process exited with status 1; its last output was:\nboom", r.status(key0).FailureException)
		pass(time.Minute)
		require.True(t, r.status(key0).Running)
		require.Empty(t, r.status(key0).FailureException)
		require.EqualValues(t, 1, r.status(key0).NumRestarts)
	})
}

func TestFailuresBeforeTheLaunchAreRetried(t *testing.T) {
	tests := []struct {
		name         string
		fetch        func(n int) error
		start        func(n int) fakePlan
		wantStatus   string
		wantRestarts int64
	}{
		{name: "fetch", fetch: func(n int) error {
			if n < 3 {
				return errors.New("no such package")
			}
			return nil
		}, wantStatus: "restarting in 1s after: fetching the package: no such package"},
		{name: "start", start: func(n int) fakePlan {
			if n < 2 {
				return fakePlan{startErr: errors.New(`Cannot run program "python3"`)}
			}
			return fakePlan{}
		}, wantStatus: `restarting in 1s after: Cannot run program "python3"`, wantRestarts: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				r.packages.err = tt.fetch
				if tt.start != nil {
					r.factory.plan = func(_ string, n int) fakePlan { return tt.start(n) }
				}
				r.cluster.assign(makeInstance("f", 0))
				pass(time.Millisecond)
				require.Equal(t, tt.wantStatus, r.status(key0).FailureException)
				pass(time.Minute)
				require.Equal(t, Running, r.phase(key0))
				require.Equal(t, tt.wantRestarts, r.status(key0).NumRestarts)
			})
		})
	}
}

func TestChangesOfTheAssignment(t *testing.T) {
	tests := []struct {
		name      string
		change    func(r *rig)
		wantPhase Phase
		wantRuns  int
		wantAlive int
	}{
		{name: "equal value: nothing", change: func(r *rig) { r.cluster.assign(makeInstance("f", 0)) }, wantPhase: Running, wantRuns: 1, wantAlive: 1},
		{name: "changed metadata: restart", change: func(r *rig) { r.cluster.assign(makeInstance("f", 0, version(2))) }, wantPhase: Running, wantRuns: 2, wantAlive: 1},
		{name: "an unknown field counts", change: func(r *rig) {
			r.cluster.assign(makeInstance("f", 0, func(i *pb.Instance) { i.ProtoReflect().SetUnknown([]byte{0x98, 0x3f, 1}) }))
		}, wantPhase: Running, wantRuns: 2, wantAlive: 1},
		{name: "stopped", change: func(r *rig) { r.cluster.assign(makeInstance("f", 0, stopped)) }, wantPhase: Stopped, wantRuns: 1},
		{name: "another instance stopped", change: func(r *rig) {
			r.cluster.assign(makeInstance("f", 0, func(i *pb.Instance) {
				i.FunctionMetaData.InstanceStates = map[int32]pb.FunctionState{1: pb.FunctionState_STOPPED}
			}))
		}, wantPhase: Running, wantRuns: 2, wantAlive: 1},
		{name: "removed", change: func(r *rig) { r.cluster.unassign(key0) }, wantPhase: "", wantRuns: 1},
		{name: "removed and assigned again at once", change: func(r *rig) {
			r.cluster.unassign(key0)
			synctest.Wait()
			r.cluster.assign(makeInstance("f", 0))
		}, wantPhase: Running, wantRuns: 2, wantAlive: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				r.factory.plan = func(string, int) fakePlan { return fakePlan{stopTime: 3 * time.Second} }
				r.cluster.assign(makeInstance("f", 0))
				pass(time.Second)
				tt.change(r)
				pass(10 * time.Second)
				require.Equal(t, tt.wantPhase, r.phase(key0))
				require.Equal(t, tt.wantRuns, r.factory.count(key0))
				require.Equal(t, tt.wantAlive, r.factory.alive(key0))
				if tt.wantRuns == 2 {
					require.False(t, r.factory.run(key0, 1).launched.Before(r.factory.run(key0, 0).exit.Time), "two runs at the same time")
					require.Zero(t, r.status(key0).NumRestarts)
				}
			})
		})
	}
}

func TestStoppedStatusHasNoError(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.cluster.assign(makeInstance("f", 0, stopped))
		pass(time.Second)
		require.True(t, proto.Equal(&pb.FunctionStatus{InstanceId: "0"}, r.status(key0)))
		require.True(t, proto.Equal(&pb.FunctionStatus{InstanceId: "0"}, r.status("t/n/unknown:0")))
		_, err := r.Metrics(context.Background(), key0, 0)
		require.ErrorIs(t, err, ErrNotRunning)
		_, err = r.Metrics(context.Background(), "x", 0)
		require.ErrorIs(t, err, ErrNotHere)
		require.Zero(t, r.factory.count(key0))
	})
}

func TestInputsDuringFetchAndBackOffActAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.packages.takes = 5 * time.Minute
		r.cluster.assign(makeInstance("f", 0))
		pass(time.Second)
		r.cluster.assign(makeInstance("f", 0, stopped))
		pass(time.Millisecond)
		require.Equal(t, Stopped, r.phase(key0), "a fetch is cut short")

		r.packages.takes = 0
		r.factory.plan = func(_ string, n int) fakePlan { return fakePlan{startErr: errors.New("no")} }
		r.cluster.assign(makeInstance("f", 0, version(3)))
		pass(5 * time.Minute)
		require.Equal(t, BackOff, r.phase(key0))
		r.factory.plan = func(_ string, n int) fakePlan { return fakePlan{} }
		r.cluster.assign(makeInstance("f", 0, version(4)))
		pass(time.Millisecond)
		require.Equal(t, Running, r.phase(key0), "an update does not wait for the back-off")
	})
}

func TestRestart(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		require.ErrorIs(t, r.Restart(context.Background(), key0), ErrNotHere)
		r.factory.plan = func(_ string, n int) fakePlan {
			if n < 3 {
				return fakePlan{dies: 10 * time.Second}
			}
			return fakePlan{stopTime: 2 * time.Second}
		}
		r.cluster.assign(makeInstance("f", 0))
		pass(2 * time.Minute)
		require.EqualValues(t, 3, r.status(key0).NumRestarts)
		begun := time.Now()
		require.NoError(t, r.Restart(context.Background(), key0))
		require.Equal(t, 2*time.Second, time.Since(begun), "it returns when the new run is launched")
		require.Equal(t, 5, r.factory.count(key0))
		require.Zero(t, r.status(key0).NumRestarts)
		fetched, _ := r.packages.list()
		require.Equal(t, "f pkg,f pkg", fetched, "a restart on request fetches the package again")

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorContains(t, r.Restart(ctx, key0), "still under way")
		pass(5 * time.Second)
		require.Equal(t, 6, r.factory.count(key0))

		r.cluster.assign(makeInstance("f", 0, stopped))
		pass(5 * time.Second)
		require.NoError(t, r.Restart(context.Background(), key0))
		require.Equal(t, 6, r.factory.count(key0), "stopped stays stopped")
	})
}

func TestRestartWhoseStartFailsReturns(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.cluster.assign(makeInstance("f", 0))
		pass(time.Second)
		r.factory.plan = func(string, int) fakePlan { return fakePlan{startErr: errors.New("no")} }
		require.NoError(t, r.Restart(context.Background(), key0))
		require.Equal(t, BackOff, r.phase(key0))
	})
}

func TestRemoval(t *testing.T) {
	tests := []struct {
		name        string
		gone        bool
		goneErrFor  time.Duration
		initial     func(*pb.Instance)
		wantCleaned bool
	}{
		{name: "moved to another worker"},
		{name: "deleted", gone: true, wantCleaned: true},
		{name: "deleted while stopped, never run by this worker", gone: true, initial: stopped, wantCleaned: true},
		{name: "the cluster cannot tell for a while", gone: true, goneErrFor: time.Minute, wantCleaned: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				spec := makeInstance("f", 0)
				if tt.initial != nil {
					tt.initial(spec)
				}
				r.cluster.assign(spec)
				pass(time.Second)
				r.cluster.set(func(c *fakeCluster) {
					delete(c.own, key0)
					c.gone["t/n/f"] = tt.gone
					if tt.goneErrFor > 0 {
						c.goneErr = errors.New("broker away")
					}
				})
				if tt.goneErrFor > 0 {
					pass(tt.goneErrFor)
					require.Equal(t, Cleaning, r.phase(key0))
					require.NotContains(t, r.cleaner.list(), "clean")
					r.cluster.set(func(c *fakeCluster) { c.goneErr = nil })
				}
				pass(time.Minute)
				require.Empty(t, r.Instances())
				require.Equal(t, tt.wantCleaned, strings.Contains(r.cleaner.list(), "clean f"))
				_, removed := r.packages.list()
				require.Contains(t, removed, "f")
			})
		})
	}
}

func TestCleaningGivesWayToANewFunctionOfTheSameName(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.cleaner.takes = time.Minute
		r.cluster.assign(makeInstance("f", 0))
		pass(time.Second)
		r.cluster.set(func(c *fakeCluster) { delete(c.own, key0); c.gone["t/n/f"] = true })
		pass(time.Second)
		r.cluster.assign(makeInstance("f", 0))
		pass(time.Second)
		require.Equal(t, Running, r.phase(key0))
		require.Equal(t, "prepare f,gave up f,prepare f", r.cleaner.list())
	})
}
