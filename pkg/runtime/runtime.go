// Package runtime is the seam between the worker and what runs functions: child processes, goroutines,
// Kubernetes, or an implementation of your own.
//
// A Factory is made once per worker. For every start of an instance it makes a Runtime, which lives for one run:
// it is started once, ends once (by itself or by Stop), and is then thrown away; restarting is the worker's
// business. A Runtime knows nothing of topics, assignments or REST.
package runtime

import (
	"context"
	"io"
	"time"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// The messages that describe a function and what its instances report, for implementations outside this module.
type (
	FunctionDetails  = pb.FunctionDetails
	FunctionMetaData = pb.FunctionMetaData
	InstanceSpec     = pb.Instance
	FunctionStatus   = pb.FunctionStatus
	MetricsData      = pb.MetricsData
)

// Instance is everything a Runtime needs for one run of one instance.
type Instance struct {
	// Spec is the assigned instance: the function's metadata and the instance id (-1: all instances). The rest of the worker
	// reads it too: it must not be modified.
	Spec *InstanceSpec
	// FunctionID, FunctionVersion and TransformFunctionID are fresh UUIDs of this run.
	FunctionID, FunctionVersion, TransformFunctionID string
	// PackageFile is the local file of the package; TransformFile that of a sink's transform function or "".
	// Both are empty when the factory is externally managed.
	PackageFile, TransformFile string
	// Restarts counts the earlier runs under the same assignment.
	Restarts int64
}

// Factory makes runtimes of one kind.
type Factory interface {
	// Kind is the short name: "process", "thread" or "kubernetes".
	Kind() string
	// ExternallyManaged is true when another system keeps the instances alive and survives the worker:
	// the function is assigned as a whole (instance -1) and nothing is downloaded.
	ExternallyManaged() bool
	// Admit refuses a function that this runtime cannot take; the text reaches the submitter.
	Admit(details *FunctionDetails) error
	// New prepares one run. It must not block or start anything.
	New(instance Instance) (Runtime, error)
	// Close releases what the factory holds, after all its runtimes have ended.
	Close(ctx context.Context) error
}

// Runtime is one run of one instance.
type Runtime interface {
	// Start launches the instance and returns once it is launched (not: ready).
	Start(ctx context.Context) error
	// Stop ends it: politely first, by force when ctx ends or after the runtime's own grace period. It returns when
	// nothing of the run is left. Calling it twice, or after the end, is harmless.
	Stop(ctx context.Context) error
	// Done is closed when the run has ended, for whatever reason.
	Done() <-chan struct{}
	// Exit says how it ended; only valid after Done.
	Exit() Exit
	// Status asks the instance (deadline from ctx). An error means that it could not be asked.
	Status(ctx context.Context) (*FunctionStatus, error)
	// Metrics asks the instance for its counters.
	Metrics(ctx context.Context) (*MetricsData, error)
	// Scrape writes the instance's own Prometheus text to w.
	Scrape(ctx context.Context, w io.Writer) error
}

// Exit is how a run ended.
type Exit struct {
	Time time.Time
	// Asked is true when Stop was called before the end.
	Asked bool
	// Reason is one line for people: exit status or signal, or why it could not be launched.
	Reason string
	// Tail holds the last lines of output, bounded, for the function's status and the log.
	Tail string
}

// Detacher is implemented by the runtimes of externally managed factories. Detach lets go of the instance without
// ending it: the worker shuts down, or another worker has taken the function over. Done is closed by it.
type Detacher interface {
	Detach()
}

// Readier is implemented by runtimes that know when an instance is ready to answer, without being asked again and again.
type Readier interface {
	// Ready is closed then; never, if the run ends before.
	Ready() <-chan struct{}
}

// Multi is implemented by a Runtime that stands for all instances of its function (Spec.InstanceId is -1).
type Multi interface {
	StatusOf(ctx context.Context, id int32) (*FunctionStatus, error)
	MetricsOf(ctx context.Context, id int32) (*MetricsData, error)
}
