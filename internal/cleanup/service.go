package cleanup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Cluster is what the cluster agrees on; *node.Node has it.
type Cluster interface {
	// CatchUp returns when everything is known that the metadata and assignments topics hold at this moment.
	CatchUp(ctx context.Context) error
	AllFunctions() []*pb.FunctionMetaData
	Assignments() map[string]map[string]*pb.Assignment
}

// Broker makes and removes subscriptions and topics; *broker.Admin has it.
type Broker interface {
	CreateSubscription(ctx context.Context, topic, subscription string, position broker.Position) error
	DeleteSubscription(ctx context.Context, topic, subscription string, force bool) error
	UnsubscribeNamespace(ctx context.Context, namespace, subscription string) error
	DeleteTopic(ctx context.Context, topic string, force bool) error
}

// Packages is the package store.
type Packages interface {
	// Delete removes a package; nil when there is none.
	Delete(ctx context.Context, key string) error
}

// Options of a Service; all but Log are required.
type Options struct {
	Queue    Queue
	Cluster  Cluster
	Broker   Broker
	Packages Packages
	Worker   string // the worker's id
	Log      *zap.Logger
}

const (
	// putTimeout bounds how long a request waits for its entry to be written.
	putTimeout = 5 * time.Second
	// maxJobs bounds what is taken from the queue at once.
	maxJobs = 10_000
	// rememberFor is how long a deletion is known to be taken care of. Owners of its instances report it again when the
	// last one has stopped, a minute later at most.
	rememberFor = time.Hour
)

// Service records clean-ups, and carries them out while this worker is the one to do that.
type Service struct {
	o     Options
	log   *zap.Logger
	local chan Entry // entries that could not be written
	items chan received
	added recent // deletions recorded by this worker
	done  recent // deletions that this worker has cleaned up after

	jobs []*job // of Run only; in the order they came
}

// received is an entry from the queue.
type received struct {
	entry Entry
	item  Item
}

// New makes a Service; nothing is done before it is used.
func New(o Options) (*Service, error) {
	if o.Queue == nil || o.Cluster == nil || o.Broker == nil || o.Packages == nil {
		return nil, errors.New("cleanup: Queue, Cluster, Broker and Packages are required")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Service{o: o, log: o.Log, local: make(chan Entry, maxJobs), items: make(chan received)}, nil
}

// Add records an entry; it is called before the change that makes things superfluous. When the entry cannot be written
// within 5 s, this worker keeps it in memory and carries it out itself: a delete does not fail because of its clean-up.
// There is no way to take it back: when the change fails, the entry is dropped in time because it never happened.
func (s *Service) Add(ctx context.Context, e Entry) {
	if e.Empty() {
		return
	}
	e = e.complete(s.o.Worker, time.Now())
	if len(e.Remove) > 0 {
		s.added.add(e.incarnation(), time.Now())
	}
	data, err := json.Marshal(e)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, putTimeout)
		defer cancel()
		err = s.o.Queue.Put(ctx, data)
	}
	if err == nil {
		return
	}
	select {
	case s.local <- e:
		s.log.Warn("a clean-up could not be recorded; this worker does it, unless it ends before", zap.String("function", e.Function), zap.Error(err))
	default:
		s.log.Error("a clean-up could not be recorded and is not done", zap.String("function", e.Function), zap.Stringers("leftovers", e.Remove),
			zap.Strings("packages", e.Packages), zap.Error(err))
	}
}

// Clean is told by the owner of the last instance of a deleted component. It matters for deletions through a Java worker,
// which records nothing; of others the entry is in the queue already, and a second one is recognised when it comes.
func (s *Service) Clean(ctx context.Context, meta *pb.FunctionMetaData) {
	e := Deleted(meta)
	if s.added.has(e.incarnation(), time.Now()) || s.done.has(e.incarnation(), time.Now()) {
		return
	}
	s.added.add(e.incarnation(), time.Now())
	s.Add(ctx, e)
}

// Prepare makes the subscription over which the instances of a batch source share their tasks, before one starts.
func (s *Service) Prepare(ctx context.Context, d *pb.FunctionDetails) error {
	if !isBatchSource(d) {
		return nil
	}
	l := batchLeftover(d)
	for try := 1; ; try++ {
		callCtx, cancel := context.WithTimeout(ctx, stepTimeout)
		err := s.o.Broker.CreateSubscription(callCtx, l.Topic, l.Subscription, broker.Latest)
		cancel()
		switch {
		case err == nil, broker.IsConflict(err): // it is there already
			return nil
		case ctx.Err() != nil:
			return err
		case try >= prepareTries || broker.IsUnauthorized(err): // the latter does not pass by itself
			return fmt.Errorf("after %d attempts: %w", try, err)
		}
		sleep(ctx, time.Second)
	}
}

// prepareTries are those of the Java worker, one second apart.
const prepareTries = 10

// Run receives entries and carries them out until ctx ends.
func (s *Service) Run(ctx context.Context) {
	var receiving sync.WaitGroup
	receiving.Go(func() { s.receive(ctx) })
	defer func() {
		receiving.Wait()
		s.tellLost()
		s.o.Queue.Close()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		items := s.items
		if len(s.jobs) >= maxJobs {
			items = nil
		}
		select {
		case <-ctx.Done():
			return
		case r := <-items:
			s.take(r)
		case e := <-s.local:
			s.jobs = append(s.jobs, newJob(e, nil))
		case <-timer.C:
			s.round(ctx)
		}
		timer.Reset(s.untilNext(time.Now()))
	}
}

// receive hands over what the queue gives.
func (s *Service) receive(ctx context.Context) {
	for ctx.Err() == nil {
		item, err := s.o.Queue.Receive(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("a clean-up could not be received", zap.Error(err))
				sleep(ctx, time.Second)
			}
			continue
		}
		entry, err := decode(item.Data())
		switch {
		case errors.Is(err, errNewer): // it stays for a worker that knows what it means
			s.log.Warn("a clean-up is left to workers of a later version", zap.Error(err))
			continue
		case err != nil:
			s.log.Warn("a clean-up that cannot be understood is passed over", zap.Error(err))
			s.finish(item)
			continue
		}
		select {
		case s.items <- received{entry, item}:
		case <-ctx.Done():
		}
	}
}

func (s *Service) finish(item Item) bool {
	if err := item.Done(); err != nil {
		s.log.Warn("a finished clean-up could not be taken off the queue, will try again", zap.Error(err))
		return false
	}
	return true
}

// take makes a job of an entry, or gives the known job the new handle when the entry was delivered again.
func (s *Service) take(r received) {
	for _, j := range s.jobs {
		if j.entry.ID == r.entry.ID {
			j.item = r.item
			return
		}
	}
	s.jobs = append(s.jobs, newJob(r.entry, r.item))
}

// tellLost names what is known to this process only.
func (s *Service) tellLost() {
	for {
		select {
		case e := <-s.local:
			s.jobs = append(s.jobs, newJob(e, nil))
			continue
		default:
		}
		break
	}
	for _, j := range s.jobs {
		if j.item == nil {
			s.log.Error("the worker ends before a clean-up that could not be recorded; it is not done", zap.String("function", j.entry.Function),
				zap.Stringers("leftovers", j.entry.Remove), zap.Strings("packages", j.entry.Packages))
		}
	}
}

// recent is a set of incarnations that forgets. The zero value is empty. It is safe for concurrent use.
type recent struct {
	mu    sync.Mutex
	since map[incarnation]time.Time
}

func (r *recent) add(i incarnation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = map[incarnation]time.Time{}
	}
	for other, at := range r.since {
		if now.Sub(at) > rememberFor {
			delete(r.since, other)
		}
	}
	r.since[i] = now
}

func (r *recent) has(i incarnation, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.since[i]
	return ok && now.Sub(at) <= rememberFor
}
