// Package scheduler decides where instances run (coordination contract, sections 4.2 and 6). It is pure: it is given
// functions, assignments and members, and returns the assignments to publish, in order. Only a leader uses it.
package scheduler

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/cluster/assignment"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Input is what a decision rests on. Nothing in it is modified.
type Input struct {
	Functions   []*pb.FunctionMetaData
	Assignments map[string]*pb.Assignment // by instance key, of all workers, dead ones included
	Members     []string                  // ids of the live workers
	Drained     map[string]bool           // workers that get nothing new, in whatever state their drain is
	// Failed are the instances whose assignment no longer counts, because their worker is gone for too long.
	Failed map[string]bool
	// ExternallyManaged: one assignment with id -1 per function.
	ExternallyManaged bool
}

// Plan is a decision: what to publish, in this order.
type Plan struct {
	Changes []assignment.Change
	// Unplaced are the instances for which no worker could be found; they stay as they are.
	Unplaced []string
}

// Instances are the instances a function wants (section 6.2). They share meta.
func Instances(meta *pb.FunctionMetaData, externallyManaged bool) []*pb.Instance {
	if externallyManaged {
		return []*pb.Instance{{FunctionMetaData: meta, InstanceId: -1}}
	}
	var instances []*pb.Instance
	for id := range pb.InstanceCount(meta.GetFunctionDetails()) {
		instances = append(instances, &pb.Instance{FunctionMetaData: meta, InstanceId: id})
	}
	return instances
}

// Heartbeat functions live in this tenant and namespace; each belongs to the worker it is named after.
const (
	heartbeatTenant    = "pulsar-function"
	heartbeatNamespace = "heartbeat"
)

// HeartbeatWorker is the worker that a heartbeat function is for.
func HeartbeatWorker(meta *pb.FunctionMetaData) (worker string, ok bool) {
	d := meta.GetFunctionDetails()
	return d.GetName(), d.GetTenant() == heartbeatTenant && d.GetNamespace() == heartbeatNamespace
}

// Schedule makes one scheduling run (section 6.4).
func Schedule(in Input) Plan {
	wanted := in.wanted()
	var plan Plan
	current := map[string]*pb.Assignment{}
	for _, key := range slices.Sorted(maps.Keys(in.Assignments)) {
		a := in.Assignments[key]
		instance, ok := wanted[key]
		switch {
		case !ok:
			plan.Changes = append(plan.Changes, assignment.Change{Key: key})
			continue
		case in.Failed[key]:
			continue // it is placed like a new one, and the new assignment replaces the old one by its key
		case !sameInstance(a.GetInstance(), instance):
			// an update goes to the same worker, even a dead or drained one: moving is the failure check's business
			a = &pb.Assignment{Instance: instance, WorkerId: a.GetWorkerId()}
			plan.Changes = append(plan.Changes, assignment.Change{Key: key, Assignment: a})
		}
		current[key] = a
	}
	var open []string
	for _, key := range sortedKeys(wanted) {
		worker, heartbeat := HeartbeatWorker(wanted[key].GetFunctionMetaData())
		if heartbeat {
			plan.placeHeartbeat(in, current, key, wanted[key], worker)
		} else if current[key] == nil {
			open = append(open, key)
		}
	}
	plan.place(wanted, open, newLoad(in.available(), current))
	return plan
}

// placeHeartbeat puts a heartbeat instance on its worker. One for a worker that is not there stays out: publishing it
// would stop Java leaders.
func (p *Plan) placeHeartbeat(in Input, current map[string]*pb.Assignment, key string, i *pb.Instance, worker string) {
	if a := current[key]; a != nil && a.GetWorkerId() == worker {
		return
	}
	if !slices.Contains(in.Members, worker) {
		p.Unplaced = append(p.Unplaced, key)
		return
	}
	p.Changes = append(p.Changes, assignment.Change{Key: key, Assignment: &pb.Assignment{Instance: i, WorkerId: worker}})
}

// place gives each open instance to the worker with the fewest.
func (p *Plan) place(wanted map[string]*pb.Instance, open []string, l *load) {
	for _, key := range open {
		worker, ok := l.least()
		if !ok {
			p.Unplaced = append(p.Unplaced, key)
			continue
		}
		l.add(worker, key)
		p.Changes = append(p.Changes, assignment.Change{Key: key, Assignment: &pb.Assignment{Instance: wanted[key], WorkerId: worker}})
	}
}

// Drain moves the instances of one worker to the others (section 6.8). Heartbeat instances stay.
func Drain(in Input, worker string) Plan {
	wanted := in.wanted()
	in.Drained = maps.Clone(in.Drained)
	if in.Drained == nil {
		in.Drained = map[string]bool{}
	}
	in.Drained[worker] = true
	current := map[string]*pb.Assignment{}
	var open []string
	for _, key := range sortedKeys(wanted) {
		a := in.Assignments[key]
		if a == nil {
			continue // for the next scheduling run
		}
		current[key] = a
		if _, heartbeat := HeartbeatWorker(a.GetInstance().GetFunctionMetaData()); a.GetWorkerId() == worker && !heartbeat {
			open = append(open, key)
		}
	}
	var plan Plan
	plan.place(wanted, open, newLoad(in.available(), current))
	return plan
}

// Rebalance moves instances from the fullest to the emptiest worker until they differ by one at most (section 6.5). An
// instance moves at most once.
func Rebalance(in Input) Plan {
	current := map[string]*pb.Assignment{}
	for key, a := range in.Assignments {
		if _, heartbeat := HeartbeatWorker(a.GetInstance().GetFunctionMetaData()); !heartbeat {
			current[key] = a
		}
	}
	l := newLoad(in.available(), current)
	for key, a := range in.Assignments { // a heartbeat instance is a load that cannot move
		if _, ok := current[key]; !ok && l.count[a.GetWorkerId()] != nil {
			l.count[a.GetWorkerId()].fixed++
		}
	}
	moved := map[string]*pb.Assignment{}
	for {
		from, to, ok := l.extremes()
		if !ok {
			break
		}
		key := l.count[from].keys[0]
		l.count[from].keys = l.count[from].keys[1:]
		l.add(to, key)
		moved[key] = &pb.Assignment{Instance: in.Assignments[key].GetInstance(), WorkerId: to}
	}
	var plan Plan
	for _, key := range slices.Sorted(maps.Keys(moved)) {
		if moved[key].GetWorkerId() != in.Assignments[key].GetWorkerId() {
			plan.Changes = append(plan.Changes, assignment.Change{Key: key, Assignment: moved[key]})
		}
	}
	return plan
}

// Available counts the workers that may get instances.
func (in Input) Available() int { return len(in.available()) }

func (in Input) available() []string {
	var workers []string
	for _, w := range in.Members {
		if !in.Drained[w] {
			workers = append(workers, w)
		}
	}
	slices.Sort(workers)
	return slices.Compact(workers)
}

func (in Input) wanted() map[string]*pb.Instance {
	wanted := map[string]*pb.Instance{}
	for _, meta := range in.Functions {
		for _, i := range Instances(meta, in.ExternallyManaged) {
			wanted[pb.InstanceKey(i)] = i
		}
	}
	return wanted
}

// sameInstance compares values including presence and unknown fields, never bytes: the order of maps is not fixed.
func sameInstance(a, b *pb.Instance) bool {
	return a == b || (a.GetInstanceId() == b.GetInstanceId() && a.GetFunctionMetaData() != nil &&
		a.GetFunctionMetaData() == b.GetFunctionMetaData() && len(a.ProtoReflect().GetUnknown()) == 0) || proto.Equal(a, b)
}

func sortedKeys(instances map[string]*pb.Instance) []string {
	return slices.SortedFunc(maps.Keys(instances), func(a, b string) int {
		x, y := instances[a], instances[b]
		dx, dy := pb.FullyQualifiedName(x.GetFunctionMetaData().GetFunctionDetails()), pb.FullyQualifiedName(y.GetFunctionMetaData().GetFunctionDetails())
		if dx != dy {
			if dx < dy {
				return -1
			}
			return 1
		}
		return int(x.GetInstanceId() - y.GetInstanceId())
	})
}
