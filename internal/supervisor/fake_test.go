package supervisor

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// fakeCluster assigns what the test says.
type fakeCluster struct {
	mu      sync.Mutex
	own     map[string]*pb.Instance
	gone    map[string]bool
	goneErr error
	asked   int
	changed chan struct{}
}

func newCluster() *fakeCluster {
	return &fakeCluster{own: map[string]*pb.Instance{}, gone: map[string]bool{}, changed: make(chan struct{}, 1)}
}

func (c *fakeCluster) Own() map[string]*pb.Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.own)
}

func (c *fakeCluster) Changed() <-chan struct{} { return c.changed }

func (c *fakeCluster) GoneForGood(_ context.Context, fqfn string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.gone[fqfn], c.goneErr
}

// set changes the cluster and signals.
func (c *fakeCluster) set(change func(*fakeCluster)) {
	c.mu.Lock()
	change(c)
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *fakeCluster) assign(specs ...*pb.Instance) {
	c.set(func(c *fakeCluster) {
		for _, s := range specs {
			c.own[pb.InstanceKey(s)] = s
		}
	})
}

func (c *fakeCluster) unassign(key string) { c.set(func(c *fakeCluster) { delete(c.own, key) }) }

// fakeFactory makes runs that the test ends; plan decides about the n-th run of an instance.
type fakeFactory struct {
	mu       sync.Mutex
	runs     map[string][]*fakeRun
	plan     func(key string, n int) fakePlan
	byConfig map[string]fakePlan // goes before plan, by the user config of the version
	external bool
	newErr   error
}

type fakePlan struct {
	startErr  error
	startTime time.Duration
	answers   time.Duration // from launch to first answer; negative: never
	dies      time.Duration // from launch; 0: never
	stopTime  time.Duration
	scrape    time.Duration
	notAlive  bool
	immortal  bool
}

func newFakeFactory() *fakeFactory {
	return &fakeFactory{runs: map[string][]*fakeRun{}, plan: func(string, int) fakePlan { return fakePlan{} }}
}

func (f *fakeFactory) Kind() string                         { return "fake" }
func (f *fakeFactory) ExternallyManaged() bool              { return f.external }
func (f *fakeFactory) Admit(*runtime.FunctionDetails) error { return nil }
func (f *fakeFactory) Close(context.Context) error          { return nil }

func (f *fakeFactory) New(in runtime.Instance) (runtime.Runtime, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.newErr != nil {
		return nil, f.newErr
	}
	key := pb.InstanceKey(in.Spec)
	r := &fakeRun{in: in, plan: f.plan(key, len(f.runs[key])), done: make(chan struct{})}
	if plan, ok := f.byConfig[in.Spec.GetFunctionMetaData().GetFunctionDetails().GetUserConfig()]; ok {
		r.plan = plan
	}
	f.runs[key] = append(f.runs[key], r)
	if f.external {
		return &externalRun{fakeRun: r}, nil
	}
	return r, nil
}

// configs are the user configs of the versions that runs were made of.
func (f *fakeFactory) configs(key string) (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.runs[key] {
		list = append(list, r.in.Spec.GetFunctionMetaData().GetFunctionDetails().GetUserConfig())
	}
	return list
}

func (f *fakeFactory) count(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.runs[key])
}

func (f *fakeFactory) run(key string, n int) *fakeRun {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs[key][n]
}

// alive counts the runs of an instance that are launched and have not ended.
func (f *fakeFactory) alive(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.runs[key] {
		r.mu.Lock()
		if !r.launched.IsZero() && !r.over {
			n++
		}
		r.mu.Unlock()
	}
	return n
}

type fakeRun struct {
	in       runtime.Instance
	plan     fakePlan
	mu       sync.Mutex
	launched time.Time
	over     bool
	stops    int
	detached bool
	timer    *time.Timer
	exit     runtime.Exit
	done     chan struct{}
}

func (r *fakeRun) Start(ctx context.Context) error {
	sleep(ctx, r.plan.startTime)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.plan.startErr != nil {
		return r.plan.startErr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.launched = time.Now()
	if r.plan.dies > 0 {
		r.timer = time.AfterFunc(r.plan.dies, func() {
			r.end(runtime.Exit{Time: time.Now(), Reason: "the process exited with status 1", Tail: "boom"})
		})
	}
	return nil
}

func (r *fakeRun) end(e runtime.Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over, r.exit = true, e
		if r.timer != nil {
			r.timer.Stop()
		}
		close(r.done)
	}
}

func (r *fakeRun) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.stops++
	r.mu.Unlock()
	sleep(ctx, r.plan.stopTime)
	if r.plan.immortal {
		<-ctx.Done()
		return errors.New("the process is still there")
	}
	r.end(runtime.Exit{Time: time.Now(), Asked: true, Reason: "stopped"})
	return nil
}

func (r *fakeRun) Done() <-chan struct{} { return r.done }
func (r *fakeRun) Exit() runtime.Exit    { return r.exit }

func (r *fakeRun) Status(context.Context) (*runtime.FunctionStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.launched.IsZero() || r.plan.answers < 0 || time.Since(r.launched) < r.plan.answers {
		return nil, errors.New("UNAVAILABLE: io exception")
	}
	return &pb.FunctionStatus{Running: !r.plan.notAlive, NumReceived: 5, NumRestarts: 99, InstanceId: "x"}, nil
}

func (r *fakeRun) Metrics(context.Context) (*runtime.MetricsData, error) {
	nan := 0.0
	return &pb.MetricsData{ReceivedTotal: 5, UserMetrics: map[string]float64{"good": 1, "bad": nan / nan}}, nil
}

func (r *fakeRun) Scrape(ctx context.Context, w io.Writer) error {
	sleep(ctx, r.plan.scrape)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err := io.WriteString(w, "m{i=\""+pb.InstanceKey(r.in.Spec)+"\"} 1\r\nlast 2")
	return err
}

// externalRun is kept alive by another system.
type externalRun struct{ *fakeRun }

func (r *externalRun) Detach() {
	r.mu.Lock()
	r.detached = true
	r.mu.Unlock()
	r.end(runtime.Exit{Asked: true, Reason: "detached"})
}

func (r *externalRun) StatusOf(_ context.Context, id int32) (*runtime.FunctionStatus, error) {
	return &pb.FunctionStatus{Running: true, NumReceived: int64(id)}, nil
}

func (r *externalRun) MetricsOf(_ context.Context, id int32) (*runtime.MetricsData, error) {
	return &pb.MetricsData{ReceivedTotal: int64(id)}, nil
}

// fakePackages remembers what is on disk.
type fakePackages struct {
	mu       sync.Mutex
	fetched  []string
	removed  []string
	aside    []string
	err      func(n int) error // of the n-th fetch
	asideErr error
	takes    time.Duration
	path     string
}

func (p *fakePackages) Local(ctx context.Context, d *pb.FunctionDetails, loc *pb.PackageLocationMetaData, _ int32, transform bool) (string, error) {
	sleep(ctx, p.takes)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	name := loc.GetPackagePath()
	if transform {
		name += " (transform)"
	}
	p.fetched = append(p.fetched, d.GetName()+" "+name)
	if p.err != nil {
		if err := p.err(len(p.fetched)); err != nil {
			return "", err
		}
	}
	return p.path, nil
}

func (p *fakePackages) SetAside(d *pb.FunctionDetails, _ int32, file string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aside = append(p.aside, d.GetName())
	return file, p.asideErr
}

func (p *fakePackages) Remove(d *pb.FunctionDetails, _ int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removed = append(p.removed, d.GetName())
	return nil
}

func (p *fakePackages) list() (fetched, removed string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.fetched, ","), strings.Join(p.removed, ",")
}

// fakeCleaner remembers what it was asked.
type fakeCleaner struct {
	mu    sync.Mutex
	calls []string
	takes time.Duration
}

func (c *fakeCleaner) Prepare(_ context.Context, d *pb.FunctionDetails) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, "prepare "+d.GetName())
	return errors.New("not possible")
}

func (c *fakeCleaner) Clean(ctx context.Context, meta *pb.FunctionMetaData) {
	sleep(ctx, c.takes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := meta.GetFunctionDetails().GetName(); ctx.Err() != nil {
		c.calls = append(c.calls, "gave up "+name)
	} else {
		c.calls = append(c.calls, "clean "+name)
	}
}

func (c *fakeCleaner) list() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.calls, ",")
}

// makeInstance builds an assigned instance.
func makeInstance(name string, id int32, change ...func(*pb.Instance)) *pb.Instance {
	i := &pb.Instance{InstanceId: id, FunctionMetaData: &pb.FunctionMetaData{
		FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: name},
		PackageLocation: &pb.PackageLocationMetaData{PackagePath: "pkg"}}}
	for _, c := range change {
		c(i)
	}
	return i
}

func stopped(i *pb.Instance) {
	i.FunctionMetaData.InstanceStates = map[int32]pb.FunctionState{i.InstanceId: pb.FunctionState_STOPPED}
}

func version(v uint64) func(*pb.Instance) {
	return func(i *pb.Instance) { i.FunctionMetaData.Version = v }
}
