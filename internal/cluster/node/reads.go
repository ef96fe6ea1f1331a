package node

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
	"github.com/functions-worker/functions-worker/internal/cluster/scheduler"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// brokerTimeout bounds one question to the broker.
const brokerTimeout = 10 * time.Second

// Function is a copy of one function's metadata, as far as this worker has read.
func (n *Node) Function(tenant, namespace, name string) (*pb.FunctionMetaData, bool) {
	meta, ok := n.functions.Get(tenant + "/" + namespace + "/" + name)
	if !ok {
		return nil, false
	}
	return proto.CloneOf(meta), true
}

// Functions are copies of all functions, sinks and sources of a namespace, by name.
func (n *Node) Functions(tenant, namespace string) []*pb.FunctionMetaData {
	return clones(n.functions.All(tenant + "/" + namespace + "/"))
}

// AllFunctions are copies of all functions, sinks and sources.
func (n *Node) AllFunctions() []*pb.FunctionMetaData { return clones(n.functions.All("")) }

func clones(shared []*pb.FunctionMetaData) []*pb.FunctionMetaData {
	copies := make([]*pb.FunctionMetaData, len(shared))
	for i, meta := range shared {
		copies[i] = proto.CloneOf(meta)
	}
	return copies
}

// Counts are the numbers of registered functions and of the instances they want.
func (n *Node) Counts() (functions, instances int) {
	all := n.functions.All("")
	for _, meta := range all {
		if n.opts.ExternallyManaged {
			instances++
		} else {
			instances += int(pb.InstanceCount(meta.GetFunctionDetails()))
		}
	}
	return len(all), instances
}

// Assignments are all assignments by worker and instance key. The messages are shared: do not modify them.
func (n *Node) Assignments() map[string]map[string]*pb.Assignment { return n.assignments.ByWorker() }

// FunctionAssignments are those of one function (tenant/namespace/name), by instance id. Do not modify them.
func (n *Node) FunctionAssignments(fqfn string) []*pb.Assignment { return n.assignments.Function(fqfn) }

// Own are the instances assigned to this worker by key, stopped ones included. Do not modify them.
func (n *Node) Own() map[string]*pb.Instance { return n.assignments.Of(n.opts.Self.WorkerID) }

// Changed signals that Own may have changed since it was last received from. It has one receiver.
func (n *Node) Changed() <-chan struct{} { return n.changed }

// Self is this worker.
func (n *Node) Self() cluster.WorkerInfo { return n.opts.Self }

// Initialized says whether Start has read both topics.
func (n *Node) Initialized() bool { return n.initialized.Load() }

// IsLeader and LeaderReady say whether this worker leads and is set up to.
func (n *Node) IsLeader() bool { return n.office.Load() != nil }

// LeaderReady is IsLeader; there is no moment in between that anybody sees.
func (n *Node) LeaderReady() bool { return n.IsLeader() }

// Members asks the broker for the live workers.
func (n *Node) Members(ctx context.Context) ([]cluster.WorkerInfo, error) {
	v, err := n.view(ctx)
	return v.Members, err
}

// Leader asks the broker for the leader; ErrLeaderUnknown when it names none.
func (n *Node) Leader(ctx context.Context) (*cluster.WorkerInfo, error) {
	v, err := n.view(ctx)
	if err != nil {
		return nil, err
	}
	if v.Leader == nil {
		return nil, cluster.ErrLeaderUnknown
	}
	return v.Leader, nil
}

func (n *Node) view(ctx context.Context) (membership.View, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	v, err := membership.Read(ctx, n.opts.Admin, n.topics.coordination)
	if len(v.Unreadable) > 0 {
		n.log.Warn("consumers on the coordination topic are no workers; Java workers cannot tell the members because of them",
			zap.Strings("consumers", v.Unreadable))
	}
	return v, err
}

// writersAlive asks the broker whether it still knows both exclusive producers of this worker.
func (n *Node) writersAlive(ctx context.Context) (bool, error) {
	for topic, name := range map[string]string{n.topics.assignments: n.assignmentsWriter(), n.topics.metadata: n.metadataWriter()} {
		stats, err := n.opts.Admin.TopicStats(ctx, topic)
		if err != nil {
			return false, fmt.Errorf("looking for the producer %s: %w", name, err)
		}
		found := false
		for _, p := range stats.Publishers {
			found = found || p.Name == name
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

// GoneForGood says whether a function (tenant/namespace/name) is unregistered and none of its instances is assigned to
// anybody. It catches up with the metadata topic first: a tombstone may be seen before the deletion that caused it.
func (n *Node) GoneForGood(ctx context.Context, fqfn string) (bool, error) {
	if err := n.follow.metadata.CatchUp(ctx); err != nil {
		return false, fmt.Errorf("finding out whether %s is gone: %w", fqfn, err)
	}
	_, known := n.functions.Get(fqfn)
	return !known && len(n.assignments.Function(fqfn)) == 0, nil
}

// input is what the scheduler decides on.
func (n *Node) input(members []string, drained map[string]bool) scheduler.Input {
	return scheduler.Input{Functions: n.functions.All(""), Assignments: n.assignments.All(), Members: members,
		Drained: drained, ExternallyManaged: n.opts.ExternallyManaged}
}
