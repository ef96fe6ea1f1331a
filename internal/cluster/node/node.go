// Package node joins the parts of the cluster into one value that the rest of the worker uses: what functions there
// are, where their instances run, who the members are, and how to change that.
//
// Life cycle: New; Start prepares the namespace and the three internal topics and returns when both tables are read
// to the end; Join makes this worker a member, from when on it may be elected; Leave gives leadership and membership
// up, the tables stay current; Stop ends everything. Nothing that can be tried again ends the process.
package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/cluster/assignment"
	"github.com/functions-worker/functions-worker/internal/cluster/leader"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
	"github.com/functions-worker/functions-worker/internal/cluster/metadata"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Admin is what the cluster needs of the broker's admin API; *broker.Admin is one.
type Admin interface {
	Clusters(ctx context.Context) ([]string, error)
	NamespacePolicies(ctx context.Context, namespace string) (*broker.NamespacePolicies, error)
	CreateNamespace(ctx context.Context, namespace string, policies broker.NamespacePolicies) error
	CreateTopic(ctx context.Context, topic string) error
	CreateSubscription(ctx context.Context, topic, subscription string, position broker.Position) error
	TopicStats(ctx context.Context, topic string) (*broker.TopicStats, error)
	CompactTopic(ctx context.Context, topic string) error
}

// Options of a Node.
type Options struct {
	// Self is this worker as it is announced; the port is the TLS port when TLS is on.
	Self cluster.WorkerInfo
	// Namespace is tenant/namespace of the internal topics, PulsarCluster the cluster a new namespace is made for.
	Namespace, PulsarCluster string
	// MetadataTopic, CoordinationTopic and AssignmentTopic are names within Namespace.
	MetadataTopic, CoordinationTopic, AssignmentTopic string
	// CompactedMetadata is useCompactedMetadataTopic; it must be the same on all workers.
	CompactedMetadata bool
	// ExternallyManaged says that functions are assigned as a whole (Kubernetes); the same on all workers.
	ExternallyManaged bool

	Client pulsar.Client
	Admin  Admin
	// HTTP calls the leader, with this worker's credentials on every hop; nil is http.DefaultClient. TLS chooses https.
	HTTP *http.Client
	TLS  bool

	// Intervals of the leader's periodic work; zero or less turns one off, except FailureCheck (30 s) and
	// RescheduleTimeout (60 s), which fall back to their defaults.
	FailureCheck, RescheduleTimeout, RebalanceCheck, DrainProbe, Compaction time.Duration

	Observer cluster.Observer // may be nil
	Log      *zap.Logger      // may be nil

	// The following is set by tests and simulations only.
	openLog func(topic string, compacted bool) rlog.Log
	join    func(ctx context.Context) (seat, error)
	forward func(ctx context.Context, to cluster.WorkerInfo, meta *pb.FunctionMetaData, deletion bool) error
	timing  leader.Timing
}

// seat is membership; *leader.Seat is one.
type seat interface {
	Events() <-chan bool
	Close()
}

// Node is this worker's part in the cluster. It is safe for concurrent use.
type Node struct {
	opts        Options
	log         *zap.Logger
	topics      struct{ metadata, coordination, assignments string }
	functions   *metadata.Table
	assignments *assignment.Table
	codec       metadata.Codec
	logs        struct{ metadata, assignments rlog.Log }
	follow      struct{ metadata, assignments *rlog.Follower }
	changed     chan struct{}
	initialized atomic.Bool

	run    context.Context // ends with Stop
	cancel context.CancelFunc
	tasks  sync.WaitGroup // the followers

	mu       sync.Mutex
	elector  *leader.Elector // nil before Join
	seat     seat
	leave    context.CancelFunc
	left     chan struct{} // closed when the elector has ended
	leftOnce sync.Once
	drains   map[string]drainState // completed drains to go on with when nobody else has led in between

	writing chan struct{} // capacity 1: held during a write to the metadata topic
	office  atomic.Pointer[office]
}

const (
	defaultFailureCheck      = 30 * time.Second
	defaultRescheduleTimeout = 60 * time.Second
)

// New checks the options and makes a Node that does nothing yet.
func New(o Options) (*Node, error) {
	if err := membership.Check(o.Self); err != nil {
		return nil, err
	}
	for key, value := range map[string]string{"pulsarFunctionsNamespace": o.Namespace, "functionMetadataTopicName": o.MetadataTopic,
		"clusterCoordinationTopicName": o.CoordinationTopic, "functionAssignmentTopicName": o.AssignmentTopic} {
		if value == "" {
			return nil, fmt.Errorf("%s is not set", key)
		}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.HTTP == nil {
		o.HTTP = http.DefaultClient
	}
	if o.FailureCheck <= 0 {
		o.FailureCheck = defaultFailureCheck
	}
	if o.RescheduleTimeout <= 0 {
		o.RescheduleTimeout = defaultRescheduleTimeout
	}
	n := &Node{opts: o, log: o.Log, functions: metadata.NewTable(), assignments: assignment.NewTable(),
		changed: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
	n.codec = metadata.Codec{Compacted: o.CompactedMetadata, WorkerID: o.Self.WorkerID, RequestID: uuid.NewString}
	n.topics.metadata, n.topics.coordination, n.topics.assignments =
		n.topic(o.MetadataTopic), n.topic(o.CoordinationTopic), n.topic(o.AssignmentTopic)
	n.run, n.cancel = context.WithCancel(context.Background())
	if n.opts.openLog == nil {
		n.opts.openLog = func(topic string, compacted bool) rlog.Log {
			return rlog.NewPulsar(rlog.PulsarOptions{Client: o.Client, Topic: topic, ReadCompacted: compacted})
		}
	}
	if n.opts.join == nil {
		n.opts.join = func(ctx context.Context) (seat, error) {
			return leader.Take(ctx, o.Client, n.topics.coordination, membership.Announcement(o.Self))
		}
	}
	if n.opts.forward == nil {
		n.opts.forward = n.forwardHTTP
	}
	n.logs.metadata = n.opts.openLog(n.topics.metadata, o.CompactedMetadata)
	n.logs.assignments = n.opts.openLog(n.topics.assignments, true)
	n.follow.metadata = rlog.NewFollower(n.logs.metadata, o.Self.WorkerID+"-function-metadata-tailer",
		n.applyMetadata, n.log.Named("metadata"))
	n.follow.assignments = rlog.NewFollower(n.logs.assignments, o.Self.WorkerID+"-function-assignment-tailer",
		n.applyAssignment, n.log.Named("assignments"))
	n.follow.assignments.Reviewed(n.retainAssignments)
	if o.CompactedMetadata {
		n.follow.metadata.Reviewed(n.retainFunctions)
	}
	return n, nil
}

// retainAssignments drops what was deleted while this worker could not see it.
func (n *Node) retainAssignments(alive func(key string) bool) {
	touched := n.assignments.Retain(alive)
	if len(touched) > 0 {
		n.log.Info("assignments that ended unseen are dropped", zap.Int("number", len(touched)))
	}
	n.signal(touched)
}

func (n *Node) retainFunctions(alive func(key string) bool) {
	if dropped := n.functions.Retain(alive); dropped > 0 {
		n.log.Info("functions that were deleted unseen are dropped", zap.Int("number", dropped))
	}
}

// signal tells the supervisor that assignments of these workers changed, if this one is among them.
func (n *Node) signal(workers []string) {
	if !slices.Contains(workers, n.opts.Self.WorkerID) {
		return
	}
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

func (n *Node) topic(name string) string { return "persistent://" + n.opts.Namespace + "/" + name }

// Start prepares the broker side and reads both topics to their end; it waits for a broker that is not there, for as
// long as ctx allows. On an error everything is ended again.
func (n *Node) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			n.cancel()
			n.tasks.Wait()
		}
	}()
	began := time.Now()
	if err := n.bootstrap(ctx); err != nil {
		return err
	}
	if err := n.refuseTwin(ctx); err != nil { // Join asks again: before it, instances are started
		return err
	}
	n.tasks.Go(func() { n.follow.metadata.Run(n.run) })
	n.tasks.Go(func() { n.follow.assignments.Run(n.run) })
	if err := n.catchUp(ctx); err != nil {
		return fmt.Errorf("reading the internal topics: %w", err)
	}
	n.initialized.Store(true)
	n.log.Info("the internal topics are read", zap.Int("functions", n.functions.Len()), zap.Int("ownInstances", len(n.Own())),
		zap.Duration("took", time.Since(began)))
	return nil
}

// CatchUp returns when everything is known that both topics hold at this moment.
func (n *Node) CatchUp(ctx context.Context) error {
	if err := n.catchUp(ctx); err != nil {
		return fmt.Errorf("reading the internal topics: %w", err)
	}
	return nil
}

// catchUp reads both topics to their end.
func (n *Node) catchUp(ctx context.Context) error {
	assignments := make(chan error, 1)
	go func() { assignments <- n.follow.assignments.CatchUp(ctx) }()
	return errors.Join(n.follow.metadata.CatchUp(ctx), <-assignments)
}

func (n *Node) applyMetadata(e rlog.Entry) {
	change, err := n.codec.Decode(e)
	if err != nil {
		n.log.Warn("a metadata entry is passed over", zap.Error(err))
		return
	}
	for _, a := range n.assignments.Function(change.Key) {
		change.Meta = same(change.Meta, a.GetInstance().GetFunctionMetaData())
	}
	n.functions.Apply(change)
}

// same gives the known message if it equals the new one, so that what both topics say is kept once.
func same(read, known *pb.FunctionMetaData) *pb.FunctionMetaData {
	if read != nil && known != nil && proto.Equal(read, known) {
		return known
	}
	return read
}

func (n *Node) applyAssignment(e rlog.Entry) {
	change, err := assignment.Decode(e)
	if err != nil {
		n.log.Warn("an assignment entry is passed over", zap.Error(err))
		return
	}
	if i := change.Assignment.GetInstance(); i != nil {
		known, _ := n.functions.Get(pb.FullyQualifiedName(i.GetFunctionMetaData().GetFunctionDetails()))
		i.FunctionMetaData = same(i.GetFunctionMetaData(), known)
	}
	if n.office.Load() == nil {
		n.mu.Lock()
		n.drains = nil // another leader schedules, and knows nothing of our drains
		n.mu.Unlock()
	}
	n.signal(n.assignments.Apply(change))
}

// Join makes this worker a member. It refuses if another worker is there with the same id; it waits while the
// broker is not reachable.
func (n *Node) Join(ctx context.Context) error {
	if err := n.refuseTwin(ctx); err != nil {
		return err
	}
	var s seat
	err := n.persist(ctx, "joining the cluster", func(ctx context.Context) (err error) {
		s, err = n.opts.join(ctx)
		return err
	})
	if err != nil {
		return err
	}
	electCtx, cancel := context.WithCancel(n.run)
	name := membership.Announcement(n.opts.Self)
	elector := leader.New(leader.Options{
		Name: name, Events: s.Events(), View: n.view, WritersAlive: n.writersAlive,
		OpenAssignments: func(ctx context.Context) (rlog.Writer, error) {
			return n.logs.assignments.OpenWriter(ctx, n.assignmentsWriter())
		},
		OpenMetadata: func(ctx context.Context) (rlog.Writer, error) {
			return n.logs.metadata.OpenWriter(ctx, n.metadataWriter())
		},
		CatchUp: n.catchUp, Lead: n.lead, Timing: n.opts.timing, Log: n.log.Named("leader"),
	})
	left := make(chan struct{})
	n.mu.Lock()
	n.elector, n.seat, n.leave, n.left = elector, s, cancel, left
	n.mu.Unlock()
	go func() { // waited for by Leave
		defer close(left)
		elector.Run(electCtx)
	}()
	n.log.Info("joined the cluster", zap.String("as", name))
	return nil
}

func (n *Node) assignmentsWriter() string { return n.opts.Self.WorkerID + "-scheduler-manager" }
func (n *Node) metadataWriter() string    { return n.opts.Self.WorkerID + "-leader" }

func (n *Node) refuseTwin(ctx context.Context) error {
	var v membership.View
	err := n.persist(ctx, "asking who is in the cluster", func(ctx context.Context) (err error) {
		v, err = n.view(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range v.Members { // our own address may linger after an abrupt end
		if m.WorkerID == n.opts.Self.WorkerID && m != n.opts.Self {
			return fmt.Errorf("a worker with the id %s is in the cluster already, at %s:%d: give every worker its own workerId, "+
				"or wait a minute if that one has just been killed", m.WorkerID, m.Hostname, m.Port)
		}
	}
	return nil
}

// Leave ends leadership, closing the writers first, and then membership. The tables stay current until Stop.
func (n *Node) Leave(ctx context.Context) error {
	n.mu.Lock()
	s, leave, left := n.seat, n.leave, n.left
	n.mu.Unlock()
	if leave == nil {
		return nil
	}
	leave()
	if err := wait(ctx, left); err != nil {
		return fmt.Errorf("giving up leadership: %w", err)
	}
	closed := make(chan struct{})
	go func() { defer close(closed); s.Close() }()
	if err := wait(ctx, closed); err != nil {
		return fmt.Errorf("leaving the cluster: %w", err)
	}
	n.leftOnce.Do(func() { n.log.Info("left the cluster") })
	return nil
}

// Stop leaves the cluster and ends everything. It returns when nothing runs any more, or with an error when ctx ends.
func (n *Node) Stop(ctx context.Context) error {
	err := n.Leave(ctx)
	n.cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); n.tasks.Wait() }()
	return errors.Join(err, wait(ctx, ended))
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
