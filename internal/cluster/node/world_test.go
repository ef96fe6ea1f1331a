package node

import (
	"context"
	"errors"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// world is a broker in memory with the workers on it; it runs in simulated time.
type world struct {
	metadata, assignments *rlog.Memory
	compacted             bool

	mu    sync.Mutex
	seats map[string]*simSeat // by worker id: those the broker has
	nodes map[string]*simNode
}

// simNode is one worker process.
type simNode struct {
	*Node
	world *world
	cut   bool // partitioned from the broker and the other workers
	dead  bool
}

func newWorld(compacted bool) *world {
	return &world{metadata: rlog.NewMemory(), assignments: rlog.NewMemory(), compacted: compacted,
		seats: map[string]*simSeat{}, nodes: map[string]*simNode{}}
}

func workerID(i int) string { return "w" + strconv.Itoa(i) }

// simSeat is a consumer; the broker forgets it while its worker is cut off.
type simSeat struct {
	world  *world
	name   string
	id     string
	since  time.Time
	events chan bool
}

func (s *simSeat) Events() <-chan bool { return s.events }
func (s *simSeat) Close()              { s.world.unseat(s) }

func (w *world) unseat(s *simSeat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seats[s.id] == s {
		delete(w.seats, s.id)
		w.notifyLater()
	}
}

// notifyLater tells everybody who is active a second after a change, as the broker does.
func (w *world) notifyLater() {
	time.AfterFunc(time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		active := w.active()
		for _, s := range w.seats {
			select {
			case s.events <- s.name == active:
			default:
			}
		}
	})
}

// active depends on the set of names only, so a worker that joins can take leadership from a healthy one.
func (w *world) active() string {
	best, bestHash := "", uint32(0)
	for _, s := range w.seats {
		h := fnv.New32a()
		_, _ = h.Write([]byte(s.name))
		if sum := h.Sum32(); best == "" || sum > bestHash {
			best, bestHash = s.name, sum
		}
	}
	return best
}

var errCut = errors.New("simulated: the broker cannot be reached")

// simAdmin is the broker as one worker sees it.
type simAdmin struct{ n *simNode }

func (a simAdmin) check() error {
	a.n.world.mu.Lock()
	defer a.n.world.mu.Unlock()
	if a.n.cut || a.n.dead {
		return errCut
	}
	return nil
}

func (a simAdmin) Clusters(context.Context) ([]string, error) { return []string{"sim"}, a.check() }
func (a simAdmin) NamespacePolicies(context.Context, string) (*broker.NamespacePolicies, error) {
	p := a.n.policies()
	return &p, a.check()
}
func (a simAdmin) CreateNamespace(context.Context, string, broker.NamespacePolicies) error {
	return a.check()
}
func (a simAdmin) CreateTopic(context.Context, string) error { return a.check() }
func (a simAdmin) CreateSubscription(context.Context, string, string, broker.Position) error {
	if err := a.check(); err != nil {
		return err
	}
	return &broker.Error{Code: http.StatusConflict, Reason: "Subscription already exists for topic"}
}

func (a simAdmin) CompactTopic(_ context.Context, topic string) error {
	if err := a.check(); err != nil {
		return err
	}
	if strings.HasSuffix(topic, "assignments") {
		a.n.world.assignments.Compact()
	} else if a.n.world.compacted {
		a.n.world.metadata.Compact()
	}
	return nil
}

func (a simAdmin) TopicStats(_ context.Context, topic string) (*broker.TopicStats, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	w := a.n.world
	switch {
	case strings.HasSuffix(topic, "assignments"):
		return publishers(w.assignments), nil
	case strings.HasSuffix(topic, "metadata"):
		return publishers(w.metadata), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	sub := broker.SubscriptionStats{ActiveConsumerName: w.active(), Consumers: []broker.ConsumerStats{
		{Name: "somebody else"}, // who is no worker
	}}
	for _, s := range w.seats {
		sub.Consumers = append(sub.Consumers, broker.ConsumerStats{Name: s.name, ConnectedSince: s.since.String(),
			Metadata: map[string]string{"id": s.name}})
	}
	return &broker.TopicStats{Subscriptions: map[string]broker.SubscriptionStats{membership.Subscription: sub}}, nil
}

func publishers(l *rlog.Memory) *broker.TopicStats {
	if name := l.Writer(); name != "" {
		return &broker.TopicStats{Publishers: []broker.PublisherStats{{Name: name}}}
	}
	return &broker.TopicStats{}
}

// start begins the life of a worker process.
func (w *world) start(t *testing.T, id string) *simNode {
	s := &simNode{world: w}
	w.metadata.Heal(id + "-")
	w.assignments.Heal(id + "-")
	n, err := New(Options{Self: cluster.WorkerInfo{WorkerID: id, Hostname: "host-" + id, Port: 6750}, Namespace: "public/functions",
		PulsarCluster: "sim", MetadataTopic: "metadata", CoordinationTopic: "coordinate", AssignmentTopic: "assignments",
		CompactedMetadata: w.compacted, Admin: simAdmin{s}, Compaction: 2 * time.Minute, DrainProbe: time.Minute,
		openLog: func(topic string, _ bool) rlog.Log {
			if strings.HasSuffix(topic, "assignments") {
				return w.assignments
			}
			return w.metadata
		},
		join: func(context.Context) (seat, error) { return w.seat(id), nil },
		forward: func(ctx context.Context, to cluster.WorkerInfo, meta *pb.FunctionMetaData, del bool) error {
			return s.send(ctx, to, meta, del)
		},
	})
	require.NoError(t, err)
	s.Node = n
	require.NoError(t, n.Start(t.Context()))
	require.NoError(t, n.Join(t.Context()))
	w.mu.Lock()
	w.nodes[id] = s
	w.mu.Unlock()
	return s
}

func (w *world) seat(id string) *simSeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &simSeat{world: w, id: id, name: id + ":host-" + id + ":6750", since: time.Now(), events: make(chan bool, 16)}
	w.seats[id] = s
	w.notifyLater()
	return s
}

// send is the HTTP request to the leader.
func (s *simNode) send(ctx context.Context, to cluster.WorkerInfo, meta *pb.FunctionMetaData, del bool) error {
	s.world.mu.Lock()
	target := s.world.nodes[to.WorkerID]
	unreachable := s.cut || s.dead || target == nil || target.cut || target.dead
	s.world.mu.Unlock()
	if unreachable {
		return cluster.ErrLeaderNotReady
	}
	err := target.WriteAsLeader(ctx, meta, del)
	if errors.As(err, &cluster.ErrOutdated{}) {
		return cluster.RemoteError{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	return err
}

// kill ends a worker as kill -9 does: nothing is given back by itself, the broker drops the connections.
func (w *world) kill(t *testing.T, id string) {
	w.mu.Lock()
	n, s := w.nodes[id], w.seats[id]
	delete(w.nodes, id)
	n.dead = true
	w.mu.Unlock()
	w.metadata.Cut(id + "-")
	w.assignments.Cut(id + "-")
	if s != nil {
		w.unseat(s)
	}
	require.NoError(t, n.Stop(context.Background()))
}

// partition cuts a worker off; the broker drops what it had. heal lets its clients connect again.
func (w *world) partition(id string) {
	w.mu.Lock()
	n, s := w.nodes[id], w.seats[id]
	n.cut = true
	w.mu.Unlock()
	w.metadata.Cut(id + "-")
	w.assignments.Cut(id + "-")
	if s != nil {
		w.unseat(s)
	}
}

func (w *world) heal(id string) {
	w.metadata.Heal(id + "-")
	w.assignments.Heal(id + "-")
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.nodes[id]
	if n == nil || !n.cut {
		return
	}
	n.cut = false
	s, _ := n.seat.(*simSeat)
	s.since = time.Now()
	w.seats[id] = s
	w.notifyLater()
}

// up lists the workers that run, partitioned ones included, by id.
func (w *world) up() []*simNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	var nodes []*simNode
	for _, n := range w.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *simNode) int { return strings.Compare(a.opts.Self.WorkerID, b.opts.Self.WorkerID) })
	return nodes
}

func (w *world) stopAll(t *testing.T) {
	for _, n := range w.up() {
		require.NoError(t, n.Stop(context.Background()))
	}
	time.Sleep(2 * time.Second) // the last notifications
}
