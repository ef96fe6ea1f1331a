package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Cluster is where the assignments of this worker come from.
type Cluster interface {
	// Own gives the instances assigned to this worker by instance key, those that are to be stopped included.
	Own() map[string]*pb.Instance
	// Changed signals that Own may have changed.
	Changed() <-chan struct{}
	// GoneForGood says whether the function is deleted and no instance of it is assigned anywhere (coordination contract, section 7.4).
	GoneForGood(ctx context.Context, fqfn string) (bool, error)
}

// Packages brings the files of a function to this machine.
type Packages interface {
	Local(ctx context.Context, details *pb.FunctionDetails, loc *pb.PackageLocationMetaData, instanceID int32, transform bool) (string, error)
	// SetAside moves a file that Local gave out of the way of the next one, until Remove, and tells where it is then.
	SetAside(details *pb.FunctionDetails, instanceID int32, file string) (string, error)
	Remove(details *pb.FunctionDetails, instanceID int32) error
}

// Cleaner makes and removes what a function needs in the broker.
type Cleaner interface {
	// Prepare runs before each start; it retries by itself.
	Prepare(ctx context.Context, details *pb.FunctionDetails) error
	// Clean is told that a function is gone for good; it makes sure that what it leaves will be removed, by whichever worker.
	Clean(ctx context.Context, meta *pb.FunctionMetaData)
}

// Observer is told about what happens; its methods must return at once.
type Observer interface {
	PhaseChanged(instanceKey string, phase Phase)
	// InstanceStarted reports how long it took from the decision to start until the launch.
	InstanceStarted(instanceKey string, took time.Duration)
	InstanceEnded(instanceKey string, exit runtime.Exit)
}

// Options of a supervisor. Cluster, Factory and Packages are required, the latter not for an externally managed factory.
type Options struct {
	Cluster  Cluster
	Factory  runtime.Factory
	Packages Packages
	Cleaner  Cleaner // nil: nothing is prepared or cleaned up
	Restart  RestartPolicy
	// ParallelStarts bounds how many instances start at the same time, because JVMs are heavy while they boot, and
	// likewise how many packages are fetched at the same time.
	// Default: the number of CPUs, at least 4.
	ParallelStarts int
	// StartWait is how long a starting instance may keep its place among those before it answers. Default 5 s.
	StartWait time.Duration
	// FetchTimeout bounds one attempt to fetch the packages (default 10 min), PrepareTimeout the preparation of topics (30 s).
	FetchTimeout, PrepareTimeout time.Duration
	// StopTimeout bounds the end of one run, the runtime's own grace period included. Default 20 s.
	StopTimeout time.Duration
	// CallTimeout bounds questions to an instance (default 5 s), ScrapeTimeout those for /metrics (default 2 s).
	CallTimeout, ScrapeTimeout time.Duration
	// Resync is how often the assignments are looked at without a signal. Default 30 s.
	Resync   time.Duration
	Log      *zap.Logger
	Observer Observer
	// Random gives numbers in [0,1) for the jitter of delays. Default: math/rand.
	Random func() float64
}

func (o Options) withDefaults() (Options, error) {
	if o.Cluster == nil || o.Factory == nil {
		return o, errors.New("supervisor: Cluster and Factory are required")
	}
	if o.Packages == nil && !o.Factory.ExternallyManaged() {
		return o, errors.New("supervisor: Packages is required for a runtime that runs on this machine")
	}
	o.ParallelStarts = cmp.Or(max(o.ParallelStarts, 0), max(4, goruntime.NumCPU()))
	o.StartWait = cmp.Or(o.StartWait, 5*time.Second)
	o.FetchTimeout = cmp.Or(o.FetchTimeout, 10*time.Minute)
	o.PrepareTimeout = cmp.Or(o.PrepareTimeout, 30*time.Second)
	o.StopTimeout = cmp.Or(o.StopTimeout, 20*time.Second)
	o.CallTimeout = cmp.Or(o.CallTimeout, 5*time.Second)
	o.ScrapeTimeout = cmp.Or(o.ScrapeTimeout, 2*time.Second)
	o.Resync = cmp.Or(o.Resync, 30*time.Second)
	o.Restart = o.Restart.withDefaults()
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return o, nil
}

// Supervisor owns the instances of this worker.
type Supervisor struct {
	o       Options
	slots   chan struct{} // one element per instance that is starting
	fetches chan struct{} // one element per instance whose package is being fetched

	mu      sync.Mutex
	tasks   map[string]*task
	running sync.WaitGroup // the goroutines of the tasks
	root    context.Context
}

// New checks the options; Run does the work.
func New(o Options) (*Supervisor, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Supervisor{o: o, slots: make(chan struct{}, o.ParallelStarts),
		fetches: make(chan struct{}, o.ParallelStarts), tasks: map[string]*task{}}, nil
}

// Run follows the assignments until ctx ends, then stops all instances in parallel and returns.
func (s *Supervisor) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.root != nil {
		s.mu.Unlock()
		return errors.New("supervisor: Run was called twice")
	}
	s.root = ctx
	s.mu.Unlock()
	ticker := time.NewTicker(s.o.Resync)
	defer ticker.Stop()
	for {
		s.reconcile(ctx)
		select {
		case <-ctx.Done():
			s.running.Wait() // every task sees the end of ctx and stops its run
			return nil
		case <-s.o.Cluster.Changed():
		case <-ticker.C:
		}
	}
}

// reconcile hands every task what is wanted of it now.
func (s *Supervisor) reconcile(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	own := s.o.Cluster.Own()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, spec := range own {
		if spec == nil {
			continue
		}
		if t, ok := s.tasks[key]; ok {
			t.want(spec)
			continue
		}
		t := newTask(ctx, s, key, spec)
		s.tasks[key] = t
		s.running.Go(func() { t.run() })
	}
	for key, t := range s.tasks {
		if own[key] == nil {
			t.want(nil)
		}
	}
}

// retire forgets a task whose instance is no longer assigned, unless it was assigned again meanwhile.
func (s *Supervisor) retire(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.wanted() != nil {
		return false
	}
	delete(s.tasks, t.key)
	return true
}

func (s *Supervisor) task(key string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[key]
}

// sorted gives the tasks by key.
func (s *Supervisor) sorted() []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*task, 0, len(s.tasks))
	for _, t := range s.tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *task) int { return cmp.Compare(a.key, b.key) })
	return all
}

// ErrNotHere: the instance is not one of this worker's.
var ErrNotHere = errors.New("the instance is not assigned to this worker")

// Restart stops the instance and starts it again with no memory of earlier failures. It returns when the old run is
// gone and the first new attempt is made, or when ctx ends (the restart goes on then). A stopped instance stays stopped.
func (s *Supervisor) Restart(ctx context.Context, instanceKey string) error {
	t := s.task(instanceKey)
	if t == nil {
		return fmt.Errorf("restarting %s: %w", instanceKey, ErrNotHere)
	}
	select {
	case <-t.restart():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("restarting %s: it is still under way: %w", instanceKey, ctx.Err())
	}
}

// InstanceState is a snapshot of one instance for people and tests.
type InstanceState struct {
	Key      string
	Phase    Phase
	Message  string    // what it waits for or why, "" when there is nothing to say
	Restarts int64     // since the assignment, the last change or the last restart request
	Started  time.Time // of the current run; zero when none
	Next     time.Time // of the next attempt during back-off
	LastExit *runtime.Exit
	// ControlPort and MetricsPort are 0 when the runtime has none.
	ControlPort, MetricsPort int
}

// Instances gives the state of all instances, sorted by key.
func (s *Supervisor) Instances() []InstanceState {
	var out []InstanceState
	for _, t := range s.sorted() {
		out = append(out, t.state())
	}
	return out
}
