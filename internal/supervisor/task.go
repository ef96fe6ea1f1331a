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

	mu   sync.Mutex
	root context.Context // of all generations
	spec *pb.Instance    // what is wanted; nil: no longer assigned
	gen  *generation     // changes with every input
	view view
	last *pb.Instance // the last spec that was not nil, for cleaning up

	fallback *revision // what a version that does not start is replaced by; of the goroutine of the task
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
	note     string        // what to say beside the status of a run
}

func newTask(root context.Context, s *Supervisor, key string, spec *pb.Instance) *task {
	return &task{s: s, key: key, root: root, spec: spec, last: spec,
		gen: newGeneration(root), view: view{phase: Pending}}
}

// logger is made when something is to be said: most of thousands of tasks say nothing.
func (t *task) logger() *zap.Logger { return t.s.o.Log.With(zap.String("instance", t.key)) }

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
			t.set(func(v *view) { *v = view{phase: Pending, message: "waiting for its turn"} })
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
	gen      *generation
	launches int64
	failures int // in a row
	revision
	proven bool // it has run
	back   bool // it is the version before the one that is wanted
}

// revision is a function as it was at one time, and its files on this machine.
type revision struct {
	spec                       *pb.Instance
	packageFile, transformFile string
}

// attempt is one try to run the instance, and how it went.
type attempt struct {
	rt       runtime.Runtime // nil: it was not launched
	launched time.Time
	lasted   time.Duration // 0 when it was not launched
	reason   string
	exit     *runtime.Exit
}

// keepRunning starts the instance again and again until the generation ends. Nothing of it is left when it returns. A task spends
// its life in wait: whatever needs much stack before and after is in functions of their own, for there are thousands of tasks.
func (t *task) keepRunning(gen *generation, spec *pb.Instance) {
	for sr := (&series{gen: gen, revision: revision{spec: spec}}); sr != nil; {
		a := t.begin(sr)
		a.wait(gen.ctx)
		t.finish(sr, a)
		sr = t.next(sr, a, spec)
	}
}

// wait returns when the run has ended or ctx has.
func (a *attempt) wait(ctx context.Context) {
	if a.rt == nil {
		return
	}
	select {
	case <-a.rt.Done():
	case <-ctx.Done():
	}
}

// next pauses before the next attempt and tells of which series it is, spec being what is wanted; nil when the generation has ended.
func (t *task) next(sr *series, a *attempt, spec *pb.Instance) *series {
	ctx := sr.gen.ctx
	if ctx.Err() != nil {
		sr.gen.settle()
		t.leave(sr)
		return nil
	}
	d := t.s.o.Restart.After(sr.failures, a.lasted, t.s.o.Random())
	sr.failures = d.Failures
	t.logger().Warn("instance will be started again", zap.String("after", a.reason), zap.Duration("delay", d.Delay), zap.String("why", d.Reason))
	t.set(func(v *view) {
		v.phase, v.message, v.next = BackOff, d.Reason, time.Now().Add(d.Delay)
		v.rt, v.started, v.reason = nil, time.Time{}, a.reason
		if a.exit != nil {
			v.lastExit = a.exit
		}
	})
	sr.gen.settle()
	if back := t.rollBack(sr, a.reason); back != nil {
		return back
	}
	if t.neitherStarts(sr) {
		sr = &series{gen: sr.gen, launches: sr.launches, failures: sr.failures, revision: revision{spec: spec}}
	}
	sleep(ctx, d.Delay)
	if ctx.Err() != nil {
		t.leave(sr)
		return nil
	}
	return sr
}

// begin fetches and launches one run, and returns when it answers, or has ended, or the generation has.
func (t *task) begin(sr *series) *attempt {
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
			t.logger().Warn("instance could not be started", zap.Error(err))
		}
		return &attempt{reason: err.Error()}
	}
	launched := time.Now()
	t.set(func(v *view) {
		v.phase, v.message, v.rt, v.answered, v.started, v.restarts = Starting, "waiting for its first answer", rt, false, launched, sr.launches-1
	})
	if o := t.s.o.Observer; o != nil {
		o.InstanceStarted(t.key, launched.Sub(begun))
	}
	sr.gen.settle()
	sr.proven = t.awaitAnswer(ctx, rt, release) || sr.proven
	return &attempt{rt: rt, launched: launched}
}

// finish stops a run that its generation has outlived and notes how it ended.
func (t *task) finish(sr *series, a *attempt) {
	if a.rt == nil {
		return
	}
	if sr.gen.ctx.Err() != nil {
		t.stop(a.rt, sr.spec)
	}
	exit := endOf(a.rt)
	sr.proven = sr.proven || time.Since(a.launched) >= t.s.o.Restart.StableAfter
	if o := t.s.o.Observer; o != nil {
		o.InstanceEnded(t.key, exit)
	}
	t.set(func(v *view) { v.rt = nil })
	a.lasted, a.reason, a.exit = max(time.Since(a.launched), 1), exit.Reason, &exit
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

// awaitAnswer returns when the run has answered, and tells whether the function was seen to run; or when the run has ended or the
// generation has. It gives the place among the starting instances back when the instance has used up its time for an answer.
func (t *task) awaitAnswer(ctx context.Context, rt runtime.Runtime, release func()) (ran bool) {
	place := time.AfterFunc(t.s.o.StartWait, release)
	defer place.Stop()
	var ready <-chan struct{} // nil: the runtime does not say
	if r, ok := rt.(runtime.Readier); ok {
		ready = r.Ready()
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		callCtx, cancel := context.WithTimeout(ctx, t.s.o.CallTimeout)
		status, err := rt.Status(callCtx)
		cancel()
		if err == nil {
			t.set(func(v *view) { v.phase, v.message, v.answered = Running, "", true })
			return status.GetRunning()
		}
		select {
		case <-rt.Done():
			return false
		case <-ctx.Done():
			return false
		case <-ready:
			ready = nil
		case <-time.After(pause):
		}
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
			t.logger().Warn("the topics of the instance could not be prepared; starting it nevertheless", zap.Error(err))
		}
	}
	if err := ctx.Err(); err != nil { // a runtime that is made is started, or stopped: it may hold something
		return nil, err
	}
	rt, err := o.Factory.New(runtime.Instance{Spec: sr.spec, PackageFile: sr.packageFile, TransformFile: sr.transformFile,
		FunctionID: uuid.NewString(), FunctionVersion: uuid.NewString(), TransformFunctionID: uuid.NewString(), Restarts: sr.launches})
	if err != nil {
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
