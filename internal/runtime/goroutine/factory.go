package goroutine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Factory makes runs of compiled-in functions and WebAssembly modules, and has the rest made by another factory.
type Factory struct {
	o         Options
	clients   *clients
	leftovers atomic.Int64

	mu      sync.Mutex
	told    map[string]bool // functions that run as processes and have been named in the log
	pending sync.WaitGroup  // runs that have not ended
}

var _ runtime.Factory = (*Factory)(nil)

// New checks the options. Nothing is started and no network is used.
func New(o Options) (*Factory, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Factory{o: o, clients: newClients(o.Clients, o.MemoryLimit, o.Log.Named("pulsar")), told: map[string]bool{}}, nil
}

// Kind is "thread".
func (f *Factory) Kind() string { return "thread" }

// ExternallyManaged is false: the goroutines end with the worker.
func (f *Factory) ExternallyManaged() bool { return false }

// Admit refuses what a compiled-in function cannot be configured with, and asks the other factory about the rest.
func (f *Factory) Admit(d *runtime.FunctionDetails) error {
	if b, ok := f.o.Programs.Builtin(d); ok {
		return b.Admit(d, f.o.EncryptionKeys)
	}
	return f.o.Others.Admit(d)
}

// New prepares one run.
func (f *Factory) New(in runtime.Instance) (runtime.Runtime, error) {
	pkg, hosted, err := f.o.Programs.Package(in.Spec.GetFunctionMetaData().GetFunctionDetails(), in.PackageFile)
	if err != nil {
		return nil, err
	}
	if hosted {
		return newRun(f, in, pkg), nil
	}
	other, err := f.o.Others.New(in)
	if err != nil {
		return nil, err
	}
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	why := fmt.Sprintf("runs as a %s: %s cannot run inside this worker", f.o.Others.Kind(), language(d))
	if f.first(pb.FullyQualifiedName(d)) {
		f.o.Log.Info("a function does not run as goroutines", zap.String("function", pb.FullyQualifiedName(d)), zap.String("why", why))
	}
	return elsewhere{other, why}, nil
}

func language(d *pb.FunctionDetails) string {
	switch d.GetRuntime() {
	case pb.FunctionDetails_JAVA:
		return "Java code"
	case pb.FunctionDetails_PYTHON:
		return "Python code"
	default:
		return "a native binary"
	}
}

// first is true the first time it is asked about a function.
func (f *Factory) first(fqfn string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told[fqfn] {
		return false
	}
	f.told[fqfn] = true
	return true
}

// Leftovers is the number of goroutines whose function did not return when its instance was stopped.
func (f *Factory) Leftovers() int64 { return f.leftovers.Load() }

// Close waits for the runs and closes the other factory. What functions have left behind is not waited for.
func (f *Factory) Close(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.pending.Wait()
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("waiting for the instances in this process: %w", ctx.Err())
	}
	if otherErr := f.o.Others.Close(ctx); err == nil {
		err = otherErr
	}
	return err
}

// elsewhere is a run of the other factory, whose status says that it is one.
type elsewhere struct {
	runtime.Runtime
	why string
}

func (e elsewhere) Status(ctx context.Context) (*runtime.FunctionStatus, error) {
	status, err := e.Runtime.Status(ctx)
	if err == nil && status.GetFailureException() == "" {
		status.FailureException = e.why
	}
	return status, err
}

// Ports are those of the other run, if it has some.
func (e elsewhere) Ports() (control, metrics int) {
	if p, ok := e.Runtime.(interface{ Ports() (control, metrics int) }); ok {
		return p.Ports()
	}
	return 0, 0
}

// key names an instance in its client's choice and in logs.
func key(in runtime.Instance) string { return strings.TrimSpace(pb.InstanceKey(in.Spec)) }
