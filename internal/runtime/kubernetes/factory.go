package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Factory makes one Runtime per function and keeps the objects of those that were started as they should be. Its
// goroutines begin with the first start and end with Close.
type Factory struct {
	o       Options
	clients Clients
	settled settled
	pods    podCache

	mu       sync.Mutex
	closed   bool
	live     map[objectKey]*run // started and not ended
	watching *reconciler        // nil before the first start
}

var _ runtime.Factory = (*Factory)(nil)

// objectKey names the objects of a function.
type objectKey struct{ namespace, name string }

// New checks the options. No request is made: a worker without rights says so when it first needs them.
func New(o Options, clients Clients) (*Factory, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Factory{o: o, clients: clients, live: map[objectKey]*run{}, pods: podCache{group: &singleflight.Group{}}}, nil
}

// Kind is "kubernetes".
func (f *Factory) Kind() string { return "kubernetes" }

// ExternallyManaged is true: pods live on without the worker.
func (f *Factory) ExternallyManaged() bool { return true }

// Admit refuses what cannot run as a StatefulSet (Kubernetes contract, section 7). It asks nobody.
func (f *Factory) Admit(d *runtime.FunctionDetails) error {
	custom, err := f.o.customization(d)
	if err != nil {
		return err
	}
	if err := admitName(objectName(d, f.o.jobNameOf(custom))); err != nil {
		return err
	}
	if err := f.o.Limits.admitResources(d.GetResources()); err != nil {
		return err
	}
	if f.o.SecretsFromKubernetes {
		if _, err := parseSecrets(d.GetSecretsMap()); err != nil {
			return err
		}
	}
	// Whatever else is wrong with it shows when its objects are made.
	_, err = f.o.build(&pb.FunctionMetaData{FunctionDetails: d})
	return err
}

// New prepares the objects of one function.
func (f *Factory) New(in runtime.Instance) (runtime.Runtime, error) {
	meta := in.Spec.GetFunctionMetaData()
	want, err := f.o.build(meta)
	if err != nil {
		return nil, fmt.Errorf("preparing the Kubernetes objects of %s: %w", pb.FullyQualifiedName(meta.GetFunctionDetails()), err)
	}
	return &run{f: f, want: want, parallelism: meta.GetFunctionDetails().GetParallelism(), done: make(chan struct{})}, nil
}

// Close ends the reconciliation. Pods go on.
func (f *Factory) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	r := f.watching
	f.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.close(ctx)
}

// begin makes r the run whose objects are kept. Two functions never have the same objects: apply refuses the second.
func (f *Factory) begin(r *run) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.New("the worker is shutting down")
	}
	f.live[objectKey{r.want.namespace, r.want.name}] = r
	if f.watching == nil {
		f.watching = newReconciler(f)
	}
	f.watching.watch(r.want.namespace)
	return nil
}

func (f *Factory) end(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := objectKey{r.want.namespace, r.want.name}
	if f.live[key] == r {
		delete(f.live, key)
	}
	f.settled.forget(key)
}

func (f *Factory) running(key objectKey) *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live[key]
}

// settled remembers what the API server made of a StatefulSet that was written: an admission plug-in may change it each
// time, which must not become a fight.
type settled struct {
	mu   sync.Mutex
	sets map[objectKey]settledSet
}

type settledSet struct {
	version    string
	generation int64
}

func (s *settled) set(made *appsv1.StatefulSet, want objects) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		s.sets = map[objectKey]settledSet{}
	}
	s.sets[objectKey{want.namespace, want.name}] = settledSet{want.version, made.Generation}
}

func (s *settled) is(live *appsv1.StatefulSet, want objects) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sets[objectKey{want.namespace, want.name}] == settledSet{want.version, live.Generation}
}

func (s *settled) forget(key objectKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sets, key)
}
