package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func function(name string, parallelism int32) *pb.FunctionMetaData {
	return &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: name, Parallelism: parallelism}}
}

func heartbeat(worker string) *pb.FunctionMetaData {
	return &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "pulsar-function", Namespace: "heartbeat", Name: worker, Parallelism: 1}}
}

// on builds assignments: worker, function, id.
func on(worker string, meta *pb.FunctionMetaData, ids ...int32) map[string]*pb.Assignment {
	assigned := map[string]*pb.Assignment{}
	for _, id := range ids {
		i := &pb.Instance{FunctionMetaData: meta, InstanceId: id}
		assigned[pb.InstanceKey(i)] = &pb.Assignment{Instance: i, WorkerId: worker}
	}
	return assigned
}

func all(parts ...map[string]*pb.Assignment) map[string]*pb.Assignment {
	joined := map[string]*pb.Assignment{}
	for _, p := range parts {
		maps.Copy(joined, p)
	}
	return joined
}

// brief is a plan as text: "key worker", or "key -" for a tombstone.
func brief(p Plan) []string {
	var lines []string
	for _, c := range p.Changes {
		worker := "-"
		if c.Assignment != nil {
			worker = c.Assignment.GetWorkerId()
		}
		lines = append(lines, c.Key+" "+worker)
	}
	return lines
}

func TestSchedule(t *testing.T) {
	f, g := function("f", 2), function("g", 1)
	updated := proto.CloneOf(f)
	updated.Version = 1
	unknown := proto.CloneOf(f)
	unknown.ProtoReflect().SetUnknown([]byte{0xf8, 0x06, 0x01})
	tests := map[string]struct {
		in           Input
		want         []string
		wantUnplaced []string
	}{
		"new instances go to the worker with the fewest": {
			in:   Input{Functions: []*pb.FunctionMetaData{f, g}, Members: []string{"a", "b"}, Assignments: on("a", g, 0)},
			want: []string{"t/n/f:0 b", "t/n/f:1 a"}},
		"nothing to do publishes nothing": {
			in: Input{Functions: []*pb.FunctionMetaData{f}, Members: []string{"a"}, Assignments: on("a", proto.CloneOf(f), 0, 1)}},
		"what is not wanted any more is tombstoned": {
			in:   Input{Functions: []*pb.FunctionMetaData{g}, Members: []string{"a"}, Assignments: all(on("a", f, 0), on("a", g, 0))},
			want: []string{"t/n/f:0 -"}},
		"an update goes to the same worker, even a dead or drained one": {
			in: Input{Functions: []*pb.FunctionMetaData{updated}, Members: []string{"a", "b"}, Drained: map[string]bool{"b": true},
				Assignments: all(on("dead", f, 0), on("b", f, 1))},
			want: []string{"t/n/f:0 dead", "t/n/f:1 b"}},
		"unknown fields are part of the comparison": {
			in:   Input{Functions: []*pb.FunctionMetaData{unknown}, Members: []string{"a"}, Assignments: on("a", f, 0, 1)},
			want: []string{"t/n/f:0 a", "t/n/f:1 a"}},
		"an assignment on a dead worker counts until it has failed": {
			in: Input{Functions: []*pb.FunctionMetaData{g}, Members: []string{"a"}, Assignments: on("dead", g, 0)}},
		"a failed one moves without a tombstone": {
			in:   Input{Functions: []*pb.FunctionMetaData{g}, Members: []string{"a"}, Assignments: on("dead", g, 0), Failed: map[string]bool{"t/n/g:0": true}},
			want: []string{"t/n/g:0 a"}},
		"a drained worker gets nothing": {
			in:   Input{Functions: []*pb.FunctionMetaData{f}, Members: []string{"a", "b"}, Drained: map[string]bool{"a": true}},
			want: []string{"t/n/f:0 b", "t/n/f:1 b"}},
		"no worker at all leaves everything as it is": {
			in:           Input{Functions: []*pb.FunctionMetaData{f}, Assignments: on("dead", f, 0), Failed: map[string]bool{"t/n/f:0": true}},
			wantUnplaced: []string{"t/n/f:0", "t/n/f:1"}},
		"externally managed functions have one assignment": {
			in:   Input{Functions: []*pb.FunctionMetaData{f}, Members: []string{"a"}, ExternallyManaged: true, Assignments: on("a", f, 0, 1)},
			want: []string{"t/n/f:0 -", "t/n/f:1 -", "t/n/f:-1 a"}},
		"a heartbeat function goes to the worker it is named after, drained or not": {
			in:   Input{Functions: []*pb.FunctionMetaData{heartbeat("b")}, Members: []string{"a", "b"}, Drained: map[string]bool{"b": true}},
			want: []string{"pulsar-function/heartbeat/b:0 b"}},
		"a heartbeat function of an unknown worker is left out": {
			in:           Input{Functions: []*pb.FunctionMetaData{heartbeat("nobody"), g}, Members: []string{"a"}},
			want:         []string{"t/n/g:0 a"},
			wantUnplaced: []string{"pulsar-function/heartbeat/nobody:0"}},
		"a heartbeat function on the wrong worker is put right": {
			in:   Input{Functions: []*pb.FunctionMetaData{heartbeat("b")}, Members: []string{"a", "b"}, Assignments: on("a", heartbeat("b"), 0)},
			want: []string{"pulsar-function/heartbeat/b:0 b"}},
		"nothing registered": {in: Input{Members: []string{"a"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan := Schedule(test.in)
			require.Equal(t, test.want, brief(plan))
			require.Equal(t, test.wantUnplaced, plan.Unplaced)
		})
	}
}

func TestParallelismIsBounded(t *testing.T) {
	require.Len(t, Instances(function("f", 1<<31-1), false), pb.MaxParallelism)
	require.Empty(t, Instances(function("f", -1), false))
	require.Len(t, Instances(function("f", 1<<31-1), true), 1)
}

func TestDrain(t *testing.T) {
	f := function("f", 4)
	tests := map[string]struct {
		in           Input
		want         []string
		wantUnplaced int
	}{
		"everything moves to the others, the emptiest first": {
			in:   Input{Functions: []*pb.FunctionMetaData{f}, Members: []string{"a", "b", "c"}, Assignments: all(on("a", f, 0, 1), on("b", f, 2))},
			want: []string{"t/n/f:0 c", "t/n/f:1 b"}},
		"an assignment on a dead worker does not disturb": {
			in:   Input{Functions: []*pb.FunctionMetaData{f}, Members: []string{"a", "b"}, Assignments: all(on("a", f, 0), on("dead", f, 1, 2))},
			want: []string{"t/n/f:0 b"}},
		"heartbeat functions stay": {
			in: Input{Functions: []*pb.FunctionMetaData{heartbeat("a")}, Members: []string{"a", "b"}, Assignments: on("a", heartbeat("a"), 0)}},
		"nobody else is there": {
			in: Input{Functions: []*pb.FunctionMetaData{f}, Members: []string{"a"}, Assignments: on("a", f, 0)}, wantUnplaced: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan := Drain(test.in, "a")
			require.Equal(t, test.want, brief(plan))
			require.Len(t, plan.Unplaced, test.wantUnplaced)
			require.Empty(t, test.in.Drained, "the input is not touched")
		})
	}
}

func TestRebalance(t *testing.T) {
	f := function("f", 6)
	tests := map[string]struct {
		in   Input
		want []string
	}{
		"the fullest gives its first to the emptiest": {
			in:   Input{Members: []string{"a", "b"}, Assignments: on("a", f, 0, 1, 2, 3)},
			want: []string{"t/n/f:0 b", "t/n/f:1 b"}},
		"a difference of one is balanced": {
			in: Input{Members: []string{"a", "b"}, Assignments: all(on("a", f, 0, 1), on("b", f, 2))}},
		"only available workers take part": {
			in: Input{Members: []string{"a", "b"}, Drained: map[string]bool{"b": true}, Assignments: all(on("a", f, 0, 1, 2), on("dead", f, 3))}},
		"heartbeat functions do not move": {
			in: Input{Members: []string{"a", "b"}, Assignments: on("a", heartbeat("a"), 0, 1, 2)}},
		"nobody": {in: Input{Assignments: on("dead", f, 0)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, brief(Rebalance(test.in))) })
	}
}

func TestFailureCheck(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	g := function("g", 1)
	alive := Input{Functions: []*pb.FunctionMetaData{g}, Members: []string{"a", "b"}, Assignments: on("a", g, 0)}
	dead := alive
	dead.Members = []string{"b"}
	c := NewFailureCheck()
	require.Empty(t, c.Look(dead, at(0), time.Minute), "the first sight starts the clock")
	require.Empty(t, c.Look(dead, at(60), time.Minute), "not yet longer than the timeout")
	require.Empty(t, c.Look(alive, at(90), time.Minute), "it is back, and forgotten")
	require.Empty(t, c.Look(dead, at(120), time.Minute))
	require.Equal(t, map[string]bool{"t/n/g:0": true}, c.Look(dead, at(181), time.Minute))
	dead.Functions = nil
	require.Empty(t, c.Look(dead, at(300), time.Minute), "the function is gone")
	beat := Input{Functions: []*pb.FunctionMetaData{heartbeat("x")}, Members: []string{"b"}, Assignments: on("x", heartbeat("x"), 0)}
	require.Empty(t, c.Look(beat, at(300), time.Minute))
	require.Empty(t, c.Look(beat, at(900), time.Minute), "a heartbeat is never moved")
}

// inputs generates clusters in any state, consistent or not.
func inputs() *rapid.Generator[Input] {
	return rapid.Custom(func(t *rapid.T) Input {
		in := Input{Assignments: map[string]*pb.Assignment{}, Drained: map[string]bool{}, Failed: map[string]bool{},
			ExternallyManaged: rapid.Bool().Draw(t, "external")}
		workers := []string{"w0", "w1", "w2", "w3", "w4"}
		in.Members = rapid.SliceOfDistinct(rapid.SampledFrom(workers), rapid.ID).Draw(t, "members")
		for _, w := range rapid.SliceOfDistinct(rapid.SampledFrom(workers), rapid.ID).Draw(t, "drained") {
			in.Drained[w] = rapid.Bool().Draw(t, "is drained")
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "functions") {
			f := function(fmt.Sprint("f", i), int32(rapid.IntRange(0, 5).Draw(t, "parallelism")))
			if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
				f = heartbeat(rapid.SampledFrom(workers).Draw(t, "heartbeat of"))
			}
			if rapid.IntRange(0, 4).Draw(t, "registered") > 0 {
				in.Functions = append(in.Functions, f)
			}
			old := proto.CloneOf(f)
			old.Version = uint64(rapid.IntRange(0, 1).Draw(t, "version")) // an assignment may embed another version
			for id := int32(-1); id < 6; id++ {
				if rapid.Bool().Draw(t, "assigned") {
					a := on(rapid.SampledFrom(workers).Draw(t, "on"), old, id)
					maps.Copy(in.Assignments, a)
					for key, x := range a {
						in.Failed[key] = !slices.Contains(in.Members, x.WorkerId) && rapid.Bool().Draw(t, "failed")
					}
				}
			}
		}
		return in
	})
}

func apply(in Input, p Plan) Input {
	in.Assignments = maps.Clone(in.Assignments)
	for _, c := range p.Changes {
		if c.Assignment == nil {
			delete(in.Assignments, c.Key)
		} else {
			in.Assignments[c.Key] = c.Assignment
		}
	}
	failed := map[string]bool{}
	for _, key := range p.Unplaced { // what found no place stays failed
		failed[key] = in.Failed[key]
	}
	in.Failed = failed
	return in
}

func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := inputs().Draw(t, "in")
		plan := Schedule(in)
		after := apply(in, plan)
		wanted := in.wanted()
		for key := range after.Assignments {
			if wanted[key] == nil {
				t.Fatalf("%s is not wanted and still assigned", key)
			}
		}
		for key, i := range wanted {
			a := after.Assignments[key]
			if a == nil || in.Failed[key] && slices.Contains(plan.Unplaced, key) {
				if !slices.Contains(plan.Unplaced, key) {
					t.Fatalf("%s is neither assigned nor reported", key)
				}
				continue
			}
			if _, beat := HeartbeatWorker(i.FunctionMetaData); !beat && !proto.Equal(a.Instance, i) {
				t.Fatalf("%s is assigned in an old version", key)
			}
			if old := in.Assignments[key]; (old == nil || in.Failed[key]) && !slices.Contains(in.Members, a.WorkerId) {
				t.Fatalf("%s was newly put on %s, which is no member", key, a.WorkerId)
			}
		}
		if again := Schedule(after); len(again.Changes) > 0 {
			t.Fatalf("a second run publishes %v", brief(again))
		}
	})
}

func TestRebalanceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := inputs().Draw(t, "in")
		plan := Rebalance(in)
		seen := map[string]bool{}
		for _, c := range plan.Changes {
			if seen[c.Key] || c.Assignment == nil || in.Assignments[c.Key] == nil {
				t.Fatalf("%s is moved twice or was not there", c.Key)
			}
			seen[c.Key] = true
		}
		if again := Rebalance(apply(in, plan)); len(again.Changes) > 0 {
			t.Fatalf("a second run publishes %v", brief(again))
		}
	})
}
