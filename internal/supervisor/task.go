package supervisor

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Phase is where an instance is on its way.
type Phase string

// The phases of an instance.
const (
	Pending  Phase = "pending"  // waits for a place among the starting ones
	Fetching Phase = "fetching" // its package is being brought here
	Starting Phase = "starting" // launched, has not answered yet
	Running  Phase = "running"
	BackOff  Phase = "backoff" // waits for its next attempt
	Stopping Phase = "stopping"
	Stopped  Phase = "stopped"  // assigned here and not to run
	Cleaning Phase = "cleaning" // no longer assigned here; files and subscriptions are being removed
)

// task walks one instance through its phases. Its inputs change under mu; one goroutine does the work.
type task struct {
	s   *Supervisor
	key string
	log *zap.Logger

	mu   sync.Mutex
	root context.Context // of all generations
	spec *pb.Instance    // what is wanted; nil: no longer assigned
	gen  *generation     // changes with every input
	view view
	last *pb.Instance // the last spec that was not nil, for cleaning up
}

// generation is the time between two changes of a task's inputs. Everything done for it ends with its context.
type generation struct {
	ctx     context.Context
	cancel  context.CancelFunc
	settled chan struct{} // closed when the first attempt is made or there is nothing to do
	once    sync.Once
}

func newGeneration(root context.Context) *generation {
	g := &generation{settled: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(root)
	return g
}

func (g *generation) settle() { g.once.Do(func() { close(g.settled) }) }

// view is what readers see of the task.
type view struct {
	phase    Phase
	message  string
	rt       runtime.Runtime // nil when nothing is launched
	answered bool            // the current run has answered once
	restarts int64
	started  time.Time
	next     time.Time
	lastExit *runtime.Exit // of an earlier run of this generation
	reason   string        // why the last attempt ended, one line
}

func newTask(root context.Context, s *Supervisor, key string, spec *pb.Instance) *task {
	return &task{s: s, key: key, log: s.o.Log.With(zap.String("instance", key)), root: root, spec: spec, last: spec,
		gen: newGeneration(root), view: view{phase: Pending}}
}

// want changes what is wanted; an equal value changes nothing.
func (t *task) want(spec *pb.Instance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if (spec == nil) == (t.spec == nil) && (spec == nil || proto.Equal(spec, t.spec)) {
		return
	}
	if t.spec = spec; spec != nil {
		t.last = spec
	}
	t.renew()
}

func (t *task) wanted() *pb.Instance {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec
}

// restart begins a new generation with the same wish and returns a channel that closes when that has been acted on.
func (t *task) restart() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renew()
	return t.gen.settled
}

// renew ends the generation; the caller has the lock.
func (t *task) renew() {
	t.gen.cancel()
	t.gen.settle() // whoever waited for the old one has been overtaken
	t.gen = newGeneration(t.root)
}

func (t *task) snapshot() (*pb.Instance, *generation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec, t.gen
}

// run is the life of the task. At the top of the loop nothing of the instance runs.
func (t *task) run() {
	for t.root.Err() == nil {
		spec, gen := t.snapshot()
		switch {
		case spec == nil:
			t.goAway(gen.ctx)
			if gen.ctx.Err() == nil && t.s.retire(t) {
				t.end(gen)
				return
			}
		case !pb.WantsToRun(spec):
			t.set(func(v *view) { *v = view{phase: Stopped} })
			gen.settle()
			if t.s.o.Factory.ExternallyManaged() {
				t.deleteExternal(gen.ctx, spec) // stopped while nobody here watched, or not completely
			}
			<-gen.ctx.Done()
		default:
			t.keepRunning(gen, spec)
		}
	}
	t.set(func(v *view) { *v = view{phase: Stopped, message: "the worker is shutting down"} })
	_, gen := t.snapshot()
	t.end(gen)
}

func (t *task) end(gen *generation) {
	gen.cancel()
	gen.settle()
}

// series is what the attempts of one generation share.
type series struct {
	gen                        *generation
	spec                       *pb.Instance
	launches                   int64
	packageFile, transformFile string
}

// attempt is the result of one try to run the instance.
type attempt struct {
	lasted time.Duration // 0 when it was not launched
	reason string
	exit   *runtime.Exit
}

// keepRunning starts the instance again and again until the generation ends. Nothing of it is left when it returns.
func (t *task) keepRunning(gen *generation, spec *pb.Instance) {
	t.set(func(v *view) { *v = view{phase: Pending, message: "waiting for its turn"} })
	defer t.removeFiles(spec)
	sr := &series{gen: gen, spec: spec}
	for failures := 0; ; {
		a := t.attempt(sr)
		gen.settle()
		if gen.ctx.Err() != nil {
			return
		}
		d := t.s.o.Restart.After(failures, a.lasted, t.s.o.Random())
		failures = d.Failures
		t.log.Warn("instance will be started again", zap.String("after", a.reason), zap.Duration("delay", d.Delay), zap.String("why", d.Reason))
		t.set(func(v *view) {
			v.phase, v.message, v.next = BackOff, d.Reason, time.Now().Add(d.Delay)
			v.rt, v.started, v.reason = nil, time.Time{}, a.reason
			if a.exit != nil {
				v.lastExit = a.exit
			}
		})
		sleep(gen.ctx, d.Delay)
		if gen.ctx.Err() != nil {
			return
		}
	}
}

// attempt fetches, launches and watches one run, and returns when nothing of it runs any more.
func (t *task) attempt(sr *series) attempt {
	ctx, begun := sr.gen.ctx, time.Now()
	t.set(func(v *view) { v.phase, v.message, v.next = Pending, "waiting for its turn", time.Time{} })
	err := t.fetch(ctx, sr)
	release := func() {}
	var rt runtime.Runtime
	if err == nil {
		release, err = place(ctx, t.s.slots)
	}
	defer func() { release() }()
	if err == nil {
		rt, err = t.launch(ctx, sr)
	}
	if err != nil {
		if ctx.Err() == nil {
			t.log.Warn("instance could not be started", zap.Error(err))
		}
		return attempt{reason: err.Error()}
	}
	launched := time.Now()
	t.set(func(v *view) {
		v.phase, v.message, v.rt, v.answered, v.started, v.restarts = Starting, "waiting for its first answer", rt, false, launched, sr.launches-1
	})
	if o := t.s.o.Observer; o != nil {
		o.InstanceStarted(t.key, launched.Sub(begun))
	}
	sr.gen.settle()
	t.watch(ctx, rt, release)
	if ctx.Err() != nil {
		t.stop(rt, sr.spec)
	}
	exit := endOf(rt)
	if o := t.s.o.Observer; o != nil {
		o.InstanceEnded(t.key, exit)
	}
	t.set(func(v *view) { v.rt = nil })
	return attempt{lasted: max(time.Since(launched), 1), reason: exit.Reason, exit: &exit}
}

// endOf is how a run ended; one that would not end is given up.
func endOf(rt runtime.Runtime) runtime.Exit {
	select {
	case <-rt.Done():
		return rt.Exit()
	default:
		return runtime.Exit{Time: time.Now(), Asked: true, Reason: "it could not be stopped"}
	}
}

// watch returns when the run has ended or the generation has. It gives the place among the starting instances back
// when the instance answers, or has used up its time.
func (t *task) watch(ctx context.Context, rt runtime.Runtime, release func()) {
	defer release()
	place := time.AfterFunc(t.s.o.StartWait, release)
	defer place.Stop()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		callCtx, cancel := context.WithTimeout(ctx, t.s.o.CallTimeout)
		_, err := rt.Status(callCtx)
		cancel()
		if err == nil {
			break
		}
		select {
		case <-rt.Done():
			return
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	release()
	t.set(func(v *view) { v.phase, v.message, v.answered = Running, "", true })
	select {
	case <-rt.Done():
	case <-ctx.Done():
	}
}

// place waits for a free place. It may be given back more than once.
func place(ctx context.Context, places chan struct{}) (release func(), err error) {
	select {
	case places <- struct{}{}:
		return sync.OnceFunc(func() { <-places }), nil
	case <-ctx.Done():
		return func() {}, ctx.Err()
	}
}

// launch prepares the instance's topics and starts the runtime.
func (t *task) launch(ctx context.Context, sr *series) (runtime.Runtime, error) {
	o, d := t.s.o, sr.spec.GetFunctionMetaData().GetFunctionDetails()
	t.set(func(v *view) { v.phase, v.message = Starting, "preparing" })
	if o.Cleaner != nil {
		prepareCtx, cancel := context.WithTimeout(ctx, o.PrepareTimeout)
		err := o.Cleaner.Prepare(prepareCtx, d)
		cancel()
		if err != nil && ctx.Err() == nil {
			t.log.Warn("the topics of the instance could not be prepared; starting it nevertheless", zap.Error(err))
		}
	}
	rt, err := o.Factory.New(runtime.Instance{Spec: proto.CloneOf(sr.spec), PackageFile: sr.packageFile, TransformFile: sr.transformFile,
		FunctionID: uuid.NewString(), FunctionVersion: uuid.NewString(), TransformFunctionID: uuid.NewString(), Restarts: sr.launches})
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sr.launches++
	if err := rt.Start(ctx); err != nil {
		t.set(func(v *view) { v.restarts = sr.launches - 1 })
		t.stop(rt, sr.spec) // whatever a failed start left
		return nil, err
	}
	return rt, nil
}

// fetch brings the packages here, unless an earlier attempt of the series did and they are still there.
func (t *task) fetch(ctx context.Context, sr *series) error {
	o, meta := t.s.o, sr.spec.GetFunctionMetaData()
	if o.Factory.ExternallyManaged() || (sr.packageFile != "" && isFile(sr.packageFile) && (sr.transformFile == "" || isFile(sr.transformFile))) {
		return nil
	}
	release, err := place(ctx, t.s.fetches) // apart from the starts, so that a slow download holds up nobody who has his files
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, o.FetchTimeout)
	defer cancel()
	t.set(func(v *view) { v.phase, v.message = Fetching, "fetching the package" })
	d, id := meta.GetFunctionDetails(), sr.spec.GetInstanceId()
	file, err := o.Packages.Local(ctx, d, meta.GetPackageLocation(), id, false)
	if err != nil {
		return fmt.Errorf("fetching the package: %w", err)
	}
	var transform string
	if loc := meta.GetTransformFunctionPackageLocation(); loc.GetPackagePath() != "" {
		if transform, err = o.Packages.Local(ctx, d, loc, id, true); err != nil {
			return fmt.Errorf("fetching the package of the transform function: %w", err)
		}
	}
	sr.packageFile, sr.transformFile = file, transform
	t.set(func(v *view) { v.message = "waiting for its turn to start" })
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// set changes the view and tells the observer of a new phase.
func (t *task) set(change func(*view)) {
	t.mu.Lock()
	before := t.view.phase
	change(&t.view)
	after := t.view.phase
	t.mu.Unlock()
	if before != after && t.s.o.Observer != nil {
		t.s.o.Observer.PhaseChanged(t.key, after)
	}
}
