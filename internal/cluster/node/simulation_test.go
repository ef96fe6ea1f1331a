package node

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/cluster"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/metadata"
	"github.com/functions-worker/functions-worker/internal/cluster/scheduler"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// step is one event of a simulated history.
type step struct {
	what     string
	worker   int
	function int
	n        int
}

var happenings = []string{"write", "write", "write", "write", "delete", "kill", "start", "partition", "heal", "fence metadata",
	"fence assignments", "lost ack", "lost send", "lost assignment", "rebalance", "drain", "wait", "wait long", "slow"}

func steps(workers int) *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{what: rapid.SampledFrom(happenings).Draw(t, "what"), worker: rapid.IntRange(0, workers-1).Draw(t, "worker"),
			function: rapid.IntRange(0, 3).Draw(t, "function"), n: rapid.IntRange(1, 4).Draw(t, "n")}
	}), 1, 40)
}

// history keeps what callers were told, to compare it with what is there in the end.
type history struct {
	acked   map[string]*pb.FunctionMetaData   // latest write that succeeded; nil: deleted
	unknown map[string][]*pb.FunctionMetaData // writes after it whose outcome the caller was not told; nil: a deletion
}

func (h *history) record(key string, meta *pb.FunctionMetaData, err error) {
	var remote cluster.RemoteError
	switch {
	case err == nil:
		h.acked[key], h.unknown[key] = meta, nil
	case errors.As(err, &cluster.ErrOutdated{}), errors.As(err, &remote), errors.Is(err, cluster.ErrLeaderNotReady), errors.Is(err, cluster.ErrNotLeader):
		// surely not written
	default:
		h.unknown[key] = append(h.unknown[key], meta)
	}
}

func TestHistoriesOfFaultsLoseNothing(t *testing.T) {
	const workers = 4
	rapid.Check(t, func(rt *rapid.T) {
		history, compacted := steps(workers).Draw(rt, "history"), rapid.Bool().Draw(rt, "compacted")
		synctest.Test(t, func(t *testing.T) { simulate(t, workers, history, compacted) })
	})
}

func simulate(t *testing.T, workers int, steps []step, compacted bool) {
	t.Logf("compacted metadata: %v, history: %+v", compacted, steps) // shown on failure
	w := newWorld(compacted)
	defer w.stopAll(t)
	for i := range workers {
		w.start(t, workerID(i))
	}
	h := &history{acked: map[string]*pb.FunctionMetaData{}, unknown: map[string][]*pb.FunctionMetaData{}}
	for _, s := range steps {
		w.step(t, s, h)
	}
	w.metadata.Delay(0)
	w.assignments.Delay(0)
	for i := range workers { // all is well again
		w.heal(workerID(i))
		if w.nodes[workerID(i)] == nil {
			w.start(t, workerID(i))
		}
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	w.checkQuiet(t, h)
}

func (w *world) step(t *testing.T, s step, h *history) {
	id := workerID(s.worker)
	n := w.nodes[id]
	switch s.what {
	case "wait":
		time.Sleep(time.Duration(s.n) * time.Second)
	case "wait long":
		time.Sleep(time.Duration(s.n) * 40 * time.Second)
	case "slow":
		w.metadata.Delay(time.Duration(s.n-1) * 20 * time.Millisecond)
		w.assignments.Delay(time.Duration(s.n-1) * 20 * time.Millisecond)
	case "fence metadata":
		w.metadata.Fence()
	case "fence assignments":
		w.assignments.Fence()
	case "lost ack":
		w.metadata.FailNext(rlog.LostAck)
	case "lost send":
		w.metadata.FailNext(rlog.LostSend)
	case "lost assignment":
		w.assignments.FailNext(rlog.Fault(s.n%2) + rlog.LostAck)
	case "start":
		if n == nil {
			w.start(t, id)
		}
	case "heal":
		w.heal(id)
	}
	if n == nil {
		return
	}
	switch s.what {
	case "kill":
		w.kill(t, id)
	case "partition":
		w.partition(id)
	case "rebalance":
		_ = n.Rebalance(t.Context()) // any answer will do
	case "drain":
		_ = n.Drain(t.Context(), workerID(s.n%4))
	case "write", "delete":
		meta := function(fmt.Sprint("f", s.function), int32(s.n), 0)
		if known, ok := n.Function("t", "n", meta.FunctionDetails.Name); ok {
			meta.Version = known.Version + 1
		}
		err := n.Write(t.Context(), meta, s.what == "delete")
		written := meta
		if s.what == "delete" {
			written = nil
		}
		h.record(pb.FullyQualifiedName(meta.FunctionDetails), written, err)
	}
}

// checkQuiet holds the world against what must be true some minutes after the last fault.
func (w *world) checkQuiet(t *testing.T, h *history) {
	nodes := w.up()
	leaders, live := 0, map[string]bool{}
	for _, n := range nodes {
		live[n.Self().WorkerID] = true
		if n.LeaderReady() {
			leaders++
		}
	}
	require.Equal(t, 1, leaders, "one leader")
	first := nodes[0]
	wanted := map[string]bool{}
	for _, meta := range first.functions.All("") {
		for _, i := range scheduler.Instances(meta, false) {
			key := pb.InstanceKey(i)
			wanted[key] = true
			a := first.assignments.All()[key]
			require.NotNil(t, a, "%s is assigned", key)
			require.True(t, live[a.GetWorkerId()], "%s is on a live worker, not on %s", key, a.GetWorkerId())
			require.True(t, proto.Equal(i, a.GetInstance()), "%s is assigned as it is registered", key)
		}
	}
	require.Len(t, first.assignments.All(), len(wanted), "nothing else is assigned")
	for _, n := range nodes {
		require.Equal(t, first.functions.Len(), n.functions.Len(), "all know the same functions")
		total := 0
		for _, worker := range nodes {
			total += len(n.assignments.Of(worker.Self().WorkerID))
		}
		require.Equal(t, len(wanted), total, "all know the same assignments")
		for _, meta := range first.functions.All("") {
			other, ok := n.functions.Get(pb.FullyQualifiedName(meta.FunctionDetails))
			require.True(t, ok && proto.Equal(meta, other), "all know the same metadata")
		}
	}
	w.checkRegistrations(t, first, h)
	w.checkVersions(t)
}

// checkRegistrations: what a caller was told is there, unless a later write with an unknown outcome replaced it.
func (w *world) checkRegistrations(t *testing.T, n *simNode, h *history) {
	for i := range 4 {
		key := fmt.Sprint("t/n/f", i)
		final, _ := n.functions.Get(key)
		possible := append([]*pb.FunctionMetaData{h.acked[key]}, h.unknown[key]...)
		found := false
		for _, p := range possible {
			found = found || (p == nil && final == nil) || (p != nil && final != nil && proto.Equal(p, final))
		}
		require.True(t, found, "%s is %v, which nobody was told; told: %v", key, final, possible)
	}
}

// checkVersions: no leader has ever written something that was outdated where it stands in the topic.
func (w *world) checkVersions(t *testing.T) {
	if w.compacted {
		return // compaction has removed the context
	}
	table := metadata.NewTable()
	for _, e := range w.metadata.Entries() {
		change, err := metadata.Codec{}.Decode(e)
		require.NoError(t, err)
		require.False(t, table.Outdated(change), "entry %s (%s version %d)", e.ID, change.Key, change.Version)
		table.Apply(change)
	}
}

func TestTakeOverAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		defer w.stopAll(t)
		for i := range 3 {
			w.start(t, workerID(i))
		}
		time.Sleep(10 * time.Second)
		require.NoError(t, w.nodes["w0"].Write(t.Context(), function("f", 9, 0), false))
		time.Sleep(time.Second)
		for _, n := range w.up() {
			require.Len(t, n.Own(), 3)
		}
		for _, n := range w.up() {
			if n.LeaderReady() {
				w.kill(t, n.Self().WorkerID)
			}
		}
		time.Sleep(3 * time.Second)
		left := w.up()
		require.True(t, left[0].LeaderReady() != left[1].LeaderReady(), "the next one leads within seconds")
		time.Sleep(2 * time.Minute)
		require.Equal(t, 9, len(left[0].Own())+len(left[1].Own()), "its instances run elsewhere")
	})
}
