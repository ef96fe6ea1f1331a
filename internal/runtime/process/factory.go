package process

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Factory makes process runtimes. It owns the thread that launches the children.
type Factory struct {
	o     Options
	spawn *spawner
	ports *portBook
}

var _ runtime.Factory = (*Factory)(nil)

// New checks the options, kills what an earlier life of this worker left behind, and starts the launching thread;
// Close ends it.
func New(o Options) (*Factory, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if killed := sweep(func(m marker) bool { return m.worker == o.WorkerID && !m.ownerAlive() }); killed > 0 {
		o.Log.Warn("killed processes that an earlier life of this worker left behind", zap.Int("processes", killed))
	}
	return &Factory{o: o, spawn: newSpawner(), ports: newPortBook()}, nil
}

// Kind is "process".
func (f *Factory) Kind() string { return "process" }

// ExternallyManaged is false: the processes end with the worker.
func (f *Factory) ExternallyManaged() bool { return false }

// Admit refuses languages that have no instance program, and configurations that no process can be started with.
func (f *Factory) Admit(d *runtime.FunctionDetails) error {
	switch d.GetRuntime() {
	case pb.FunctionDetails_JAVA, pb.FunctionDetails_PYTHON, pb.FunctionDetails_GO:
	default:
		return unsupportedRuntime(d)
	}
	if n := len(launch.MessageJSON(d, d.GetRuntime() != pb.FunctionDetails_GO)); n > maxArgument-8 {
		return fmt.Errorf("the function's configuration has %d bytes as JSON; an instance process can be given at most %d", n, maxArgument-8)
	}
	return nil
}

// New prepares one run.
func (f *Factory) New(in runtime.Instance) (runtime.Runtime, error) {
	meta := in.Spec.GetFunctionMetaData()
	d := meta.GetFunctionDetails()
	if err := f.Admit(d); err != nil {
		return nil, err
	}
	auth := f.o.Auth
	if auth != nil {
		own := *auth // a copy: the credentials of one function never reach another
		if f.o.FunctionAuth != nil {
			var err error
			if own, err = f.o.FunctionAuth(meta, own); err != nil {
				return nil, fmt.Errorf("preparing the credentials of %s: %w", pb.FullyQualifiedName(d), err)
			}
		}
		auth = &own
	}
	return newRun(f, in, auth), nil
}

// Close ends the launching thread, once all children are gone. A child that still ran would be killed with it.
func (f *Factory) Close(ctx context.Context) error { return f.spawn.close(ctx) }
