package supervisor

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// configured is a version with a user config of its own.
func configured(v uint64, config string) *pb.Instance {
	return makeInstance("f", 0, version(v), func(i *pb.Instance) { i.FunctionMetaData.FunctionDetails.UserConfig = config })
}

// byConfig plans runs by the user config of their version.
func (r *rig) byConfig(plans map[string]fakePlan) {
	r.factory.mu.Lock()
	defer r.factory.mu.Unlock()
	r.factory.byConfig = plans
}

func TestAVersionThatDoesNotStartIsRolledBack(t *testing.T) {
	for name, broken := range map[string]fakePlan{
		"it cannot be launched":      {startErr: errors.New("no such thing")},
		"it ends before it answers":  {answers: -1, dies: time.Second},
		"it answers and never works": {notAlive: true, dies: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				r.byConfig(map[string]fakePlan{"broken": broken})
				r.cluster.assign(configured(1, "good"))
				pass(time.Second)
				require.True(t, r.status(key0).Running)
				r.cluster.assign(configured(2, "broken"))
				pass(10 * time.Second)
				status := r.status(key0)
				require.True(t, status.Running)
				require.Contains(t, status.FailureException, "version 2 did not start, 3 times in a row (")
				require.Contains(t, status.FailureException, "version 1 runs instead, until the function is updated or restarted")
				require.Equal(t, []string{"good", "broken", "broken", "broken", "good"}, r.factory.configs(key0))

				done := r.task(key0).restart() // tries the new version again
				<-done
				pass(10 * time.Second)
				require.True(t, r.status(key0).Running)
				require.Equal(t, []string{"good", "broken", "broken", "broken", "good", "broken", "broken", "broken", "good"}, r.factory.configs(key0))

				r.cluster.assign(configured(3, "better"))
				pass(time.Second)
				require.Equal(t, &pb.FunctionStatus{Running: true, NumReceived: 5, InstanceId: "0"}, r.status(key0), "nothing is left of the failure")
				r.cluster.assign(configured(4, "broken"))
				pass(10 * time.Second)
				require.Contains(t, r.status(key0).FailureException, "version 3 runs instead")
				r.cluster.unassign(key0)
				pass(time.Second)
				_, removed := r.packages.list()
				require.Contains(t, removed, "f")
			})
		})
	}
}

// TestAnOutageIsNoFaultOfTheUpdate: when the version before does not start either, the wanted one runs as soon as it can.
func TestAnOutageIsNoFaultOfTheUpdate(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.byConfig(map[string]fakePlan{})
		r.cluster.assign(configured(1, "good"))
		pass(time.Second)
		require.True(t, r.status(key0).Running)
		away := fakePlan{startErr: errors.New("no broker")}
		r.byConfig(map[string]fakePlan{"good": away, "new": away})
		r.cluster.assign(configured(2, "new"))
		pass(time.Minute)
		require.Contains(t, r.status(key0).FailureException, "after: no broker")
		r.byConfig(map[string]fakePlan{})
		pass(2 * time.Minute)
		configs := r.factory.configs(key0)
		require.Equal(t, []string{"good", "new", "new", "new", "good", "good", "good", "new"}, configs[:8])
		require.NotContains(t, configs[8:], "good")
		require.Equal(t, "new", configs[len(configs)-1])
		require.True(t, r.status(key0).Running)
	})
}

func TestWhatIsNotRolledBack(t *testing.T) {
	for name, tc := range map[string]struct {
		first, second *pb.Instance
		plans         map[string]fakePlan
		asideErr      error
		fetch         func(n int) error
		want          string // the config of the last run
		wantError     string
	}{
		"a version that started and failed later": {first: configured(1, "good"), second: configured(2, "broken"),
			plans: map[string]fakePlan{"broken": {dies: time.Second}}, want: "broken", wantError: "the process exited with status 1"},
		"after a version that never ran": {first: configured(1, "bad"), second: configured(2, "broken"),
			plans: map[string]fakePlan{"bad": {startErr: errors.New("no")}, "broken": {startErr: errors.New("nothing")}}, want: "broken", wantError: "nothing"},
		"the same function again": {first: configured(1, "good"), second: configured(2, "good"), want: "good"},
		"when the old package cannot be kept": {first: configured(1, "good"), second: configured(2, "broken"), asideErr: errors.New("disk full"),
			plans: map[string]fakePlan{"broken": {startErr: errors.New("nothing")}}, want: "broken", wantError: "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				r.byConfig(tc.plans)
				r.packages.asideErr = tc.asideErr
				r.cluster.assign(tc.first)
				pass(time.Second)
				r.cluster.assign(tc.second)
				pass(30 * time.Second)
				configs := r.factory.configs(key0)
				require.Equal(t, tc.want, configs[len(configs)-1])
				require.NotContains(t, r.status(key0).FailureException, "instead")
				if tc.wantError != "" {
					require.Contains(t, r.status(key0).FailureException, tc.wantError)
				}
			})
		})
	}
}

// TestAPackageThatCannotBeFetched counts as a start that failed.
func TestAPackageThatCannotBeFetched(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.cluster.assign(configured(1, "good"))
		pass(time.Second)
		r.packages.err = func(int) error { return errors.New("no such package") }
		r.cluster.assign(configured(2, "new"))
		pass(10 * time.Second)
		require.True(t, r.status(key0).Running)
		require.Contains(t, r.status(key0).FailureException, "(fetching the package: no such package); version 1 runs instead")
		require.Equal(t, []string{"good", "good"}, r.factory.configs(key0))
	})
}
