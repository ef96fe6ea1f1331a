package goroutine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/instancelog"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

const tailBytes = 4 << 10 // kept of the log of a run for its status

// run is one instance, from launch to end.
type run struct {
	f   *Factory
	in  runtime.Instance
	pkg instance.Package
	key string
	log *zap.Logger // the worker's

	done  chan struct{} // closed by finish, after exit was written
	ready chan struct{} // closed when its inputs are open
	exit  runtime.Exit

	mu      sync.Mutex
	started bool
	asked   bool
	stop    context.CancelFunc
	engine  *instance.Engine // nil before the launch
	file    *instancelog.File
	tail    *instancelog.Ring
	release func() // of the client
}

var _ runtime.Runtime = (*run)(nil)

func newRun(f *Factory, in runtime.Instance, pkg instance.Package) *run {
	return &run{f: f, in: in, pkg: pkg, key: key(in), log: f.o.Log.With(zap.String("instance", key(in))),
		done: make(chan struct{}), ready: make(chan struct{})}
}

var (
	errNotRunning = errors.New("Not alive") //nolint:staticcheck // the Java worker's text
	errStarting   = errors.New("the instance is opening its topics")
	errUsed       = errors.New("a run can be started only once")
)

// Start loads the program and lets it run; it returns before the topics are open.
func (r *run) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.asked {
		return errUsed
	}
	r.started = true
	if err := r.launch(ctx); err != nil {
		r.free()
		r.exit = runtime.Exit{Time: time.Now(), Reason: err.Error()}
		close(r.done)
		return err
	}
	return nil
}

// launch is called with the lock held.
func (r *run) launch(ctx context.Context) error {
	d := r.pkg.Details
	id := strconv.Itoa(int(r.in.Spec.GetInstanceId()))
	path := filepath.Join(r.f.o.LogDirectory, "functions", pb.FullyQualifiedName(d), d.GetName()+"-"+id+".log")
	var err error
	if r.file, err = instancelog.Open(path, instancelog.Limit, nil); err != nil {
		return err
	}
	r.tail = instancelog.NewRing(tailBytes)
	own := r.logger()
	r.pkg.Log = own
	cfg, client, lookup, err := r.config()
	if err != nil {
		return err
	}
	program, err := load(ctx, r.f.o.Programs, r.pkg)
	if err != nil {
		return fmt.Errorf("loading the function: %w", err)
	}
	schemas := instance.SchemasOf(program)
	schemas.Lookup = lookup
	opts := instance.Options{
		Config: cfg, Program: program, Client: instance.NewPulsarClient(client, schemas, own).WithKeys(instance.NewKeyFiles(r.f.o.EncryptionKeys, d)), Log: own,
		Hostname: r.f.o.Hostname, MaxConcurrency: r.f.o.MaxPendingAsyncRequests,
		HandlerGrace: r.f.o.StopGrace / 2, FlushGrace: r.f.o.StopGrace / 4, LeaveGrace: r.f.o.StopGrace / 8,
	}
	if open := r.f.o.State; open != nil {
		opts.State = open(d.GetTenant(), d.GetNamespace(), d.GetName())
	}
	engine, err := instance.New(opts)
	if err != nil {
		closeProgram(program)
		return err
	}
	running, stop := context.WithCancel(context.Background())
	r.engine, r.stop = engine, stop
	r.f.pending.Add(1)
	go func() {
		defer r.f.pending.Done()
		r.work(running, engine, program)
	}()
	r.log.Info("instance started in this process", zap.String("log", path))
	return nil
}

// load lets a start end with its context, whatever the code of the function does while it is loaded.
func load(ctx context.Context, programs *instance.Programs, pkg instance.Package) (instance.Program, error) {
	type loaded struct {
		program instance.Program
		err     error
	}
	ready := make(chan loaded, 1)
	go func() {
		l := loaded{}
		defer func() {
			if v := recover(); v != nil {
				l = loaded{err: fmt.Errorf("panic: %v", v)}
			}
			ready <- l
		}()
		l.program, l.err = programs.Load(ctx, pkg)
	}()
	select {
	case l := <-ready:
		return l.program, l.err
	case <-ctx.Done():
		go func() { // whatever comes of it later is thrown away
			if l := <-ready; l.err == nil {
				closeProgram(l.program)
			}
		}()
		return nil, ctx.Err()
	}
}

func closeProgram(p instance.Program) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.Close(ctx) // it has nothing to lose
}

// config is what a worker tells an instance, and the client with the function's credentials.
func (r *run) config() (*instance.Config, pulsar.Client, instance.SchemaLookup, error) {
	meta := r.in.Spec.GetFunctionMetaData()
	towards := r.f.o.Broker
	if r.f.o.FunctionAuth != nil {
		var err error
		if towards, err = r.f.o.FunctionAuth(meta, towards); err != nil {
			return nil, nil, nil, fmt.Errorf("preparing the credentials of %s: %w", pb.FullyQualifiedName(r.pkg.Details), err)
		}
	}
	client, release, err := r.f.clients.acquire(towards, r.key)
	if err != nil {
		return nil, nil, nil, err
	}
	r.release = release
	return &instance.Config{
		Details: r.pkg.Details, InstanceID: int(r.in.Spec.GetInstanceId()), FunctionID: r.in.FunctionID, FunctionVersion: r.in.FunctionVersion,
		ClusterName: r.f.o.ClusterName, ServiceURL: towards.ServiceURL, WebServiceURL: towards.WebServiceURL,
	}, client, instance.AdminSchemas(towards), nil
}

// logger writes to the instance's file and keeps the end of it.
func (r *run) logger() *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime, encoding.EncodeLevel = zapcore.ISO8601TimeEncoder, zapcore.CapitalLevelEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.NewMultiWriteSyncer(r.file, r.tail), zapcore.InfoLevel))
}

// work runs the engine to its end.
func (r *run) work(ctx context.Context, engine *instance.Engine, program instance.Program) {
	opened := make(chan struct{})
	go func() { // ends with the engine at the latest
		defer close(opened)
		select {
		case <-engine.Started():
			close(r.ready)
		case <-engine.Finished():
		}
	}()
	err := engine.Run(ctx)
	if errors.Is(err, instance.ErrStuck) {
		r.f.leftovers.Add(1)
		r.log.Error("instance left behind", zap.Error(err))
		go func() { // nobody can wait for it
			<-engine.Finished()
			closeProgram(program)
			r.f.leftovers.Add(-1)
			r.log.Info("a function that was left behind has returned")
		}()
	} else {
		<-opened
		closeProgram(program)
	}
	r.finish(err)
}

func (r *run) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	exit := runtime.Exit{Time: time.Now(), Asked: r.asked, Reason: "the instance was stopped"}
	if err != nil {
		exit.Reason, exit.Tail = err.Error(), r.tail.String()
	}
	if r.asked {
		r.log.Info("instance ended", zap.String("reason", exit.Reason))
	} else {
		r.log.Warn("instance ended by itself", zap.String("reason", exit.Reason))
	}
	r.free()
	r.exit = exit
	close(r.done)
}

// free gives back what the run holds; the caller has the lock.
func (r *run) free() {
	if r.stop != nil {
		r.stop()
	}
	if r.release != nil {
		r.release()
	}
	if r.file != nil {
		r.file.Close()
	}
}

// Stop lets the instance finish what is in flight. A function that does not return is left behind.
func (r *run) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.asked = r.asked || !r.ended()
	if !r.started {
		r.started = true
		r.exit = runtime.Exit{Time: time.Now(), Asked: true, Reason: "stopped before it was started"}
		close(r.done)
	}
	if r.stop != nil {
		r.stop()
	}
	engine := r.engine
	r.mu.Unlock()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		engine.Hurry()
	}
	select {
	case <-r.done:
		return nil
	case <-time.After(r.f.o.StopGrace):
		return fmt.Errorf("instance %s does not end", r.key)
	}
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Done is closed when the run has ended.
func (r *run) Done() <-chan struct{} { return r.done }

// Ready is closed when the instance receives messages.
func (r *run) Ready() <-chan struct{} { return r.ready }

// Exit tells how the run ended.
func (r *run) Exit() runtime.Exit { return r.exit }

// alive is the engine of a run that was launched and has not ended.
func (r *run) alive() (*instance.Engine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine == nil || r.ended() {
		return nil, errNotRunning
	}
	return r.engine, nil
}

// Status gives the counters; a call that lasts too long is named in it.
func (r *run) Status(context.Context) (*runtime.FunctionStatus, error) {
	engine, err := r.alive()
	if err != nil {
		return nil, err
	}
	if !engine.Running() {
		return nil, errStarting
	}
	status := engine.Stats().Status(true)
	status.FailureException = engine.Busy(time.Now(), r.f.o.BusyLimit)
	return status, nil
}

// Metrics gives the counters.
func (r *run) Metrics(context.Context) (*runtime.MetricsData, error) {
	engine, err := r.alive()
	if err != nil {
		return nil, err
	}
	return engine.Stats().Metrics(), nil
}

// Scrape writes the families of the instance.
func (r *run) Scrape(_ context.Context, w io.Writer) error {
	engine, err := r.alive()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(engine.Stats()); err != nil {
		return fmt.Errorf("collecting the metrics of %s: %w", r.key, err)
	}
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("collecting the metrics of %s: %w", r.key, err)
	}
	var page bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&page, family); err != nil {
			return fmt.Errorf("writing the metrics of %s: %w", r.key, err)
		}
	}
	_, err = w.Write(page.Bytes())
	return err
}
