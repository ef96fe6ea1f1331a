package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// TestAnyHistoryConverges: whatever happens in whatever order, no instance ever runs twice at the same time, and when
// things calm down exactly the wanted instances run.
func TestAnyHistoryConverges(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(o *Options, _ *rig) { o.ParallelStarts = 2 }, func(t *testing.T, r *rig) {
				rnd := rand.New(&lockedSource{source: rand.NewPCG(seed, 1)})
				upTo := func(d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }
				r.packages.err = func(int) error {
					if rnd.IntN(5) == 0 {
						return errors.New("no package")
					}
					return nil
				}
				r.factory.plan = func(string, int) fakePlan {
					p := fakePlan{startTime: upTo(time.Second), answers: upTo(8 * time.Second), stopTime: upTo(5 * time.Second)}
					if rnd.IntN(3) == 0 {
						p.dies = upTo(20*time.Second) + 1
					}
					if rnd.IntN(8) == 0 {
						p.startErr = errors.New("cannot start")
					}
					return p
				}
				wanted := map[string]*pb.Instance{}
				for range 40 {
					act(r, rnd, wanted)
					pass(upTo(4 * time.Second))
					for id := range 3 {
						require.LessOrEqual(t, r.factory.alive(fmt.Sprintf("t/n/f:%d", id)), 1, "two runs of one instance")
					}
				}
				r.factory.mu.Lock()
				r.factory.plan = func(string, int) fakePlan { return fakePlan{} }
				r.factory.mu.Unlock()
				r.packages.mu.Lock()
				r.packages.err = nil
				r.packages.mu.Unlock()
				pass(10 * time.Minute)
				for id := range int32(3) {
					key := fmt.Sprintf("t/n/f:%d", id)
					want, phase := 0, Phase("")
					switch spec := wanted[key]; {
					case spec != nil && pb.WantsToRun(spec):
						want, phase = 1, Running
					case spec != nil:
						phase = Stopped
					}
					require.Equal(t, phase, r.phase(key))
					require.Equal(t, want, r.factory.alive(key))
				}
				require.Empty(t, r.slots, "every place was given back")
				require.Empty(t, r.fetches)
			})
		})
	}
}

// lockedSource lets the fakes, which run on many goroutines, share one source.
type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}

// act does one random thing to one of three instances.
func act(r *rig, rnd *rand.Rand, wanted map[string]*pb.Instance) {
	id := rnd.Int32N(3)
	key := fmt.Sprintf("t/n/f:%d", id)
	switch rnd.IntN(5) {
	case 0, 1:
		v := rnd.Uint64N(4)
		wanted[key] = makeInstance("f", id, version(v), func(i *pb.Instance) { i.FunctionMetaData.FunctionDetails.UserConfig = fmt.Sprint(v) })
		r.cluster.assign(wanted[key])
	case 2:
		wanted[key] = makeInstance("f", id, stopped)
		r.cluster.assign(wanted[key])
	case 3:
		delete(wanted, key)
		r.cluster.set(func(c *fakeCluster) { delete(c.own, key); c.gone["t/n/f"] = rnd.IntN(2) == 0 })
	case 4:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(3))*time.Second)
		_ = r.Restart(ctx, key)
		cancel()
	}
}
