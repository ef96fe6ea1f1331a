package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/singleflight"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Factory makes one Runtime per function and keeps the objects of those that were started as they should be. Its
// goroutines begin with the first start and end with Close.
type Factory struct {
	o          Options // of the file
	manager    string
	clients    Clients
	settings   settings
	settled    settled
	pods       podCache
	departures departures

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
	if o.Customize != nil {
		if err := o.Customize.check(); err != nil {
			return nil, fmt.Errorf("runtimeCustomizerConfig: %w", err)
		}
	}
	if p := o.Patches; len(p.Pod)+len(p.PodJSON)+len(p.Set)+len(p.SetJSON) > 0 { // what is wrong with it shows at the start, not at the first function
		d := &pb.FunctionDetails{Tenant: "any", Namespace: "any", Name: "any"}
		if _, err := o.build(&pb.FunctionMetaData{FunctionDetails: d}); err != nil {
			return nil, fmt.Errorf("kubernetes runtime: %w", err)
		}
	}
	return &Factory{o: o, manager: o.manager(), clients: clients, settings: settings{now: &o, read: o.ConfigMap.Name == ""},
		live: map[objectKey]*run{}, pods: podCache{group: &singleflight.Group{}}}, nil
}

// Kind is "kubernetes".
func (f *Factory) Kind() string { return "kubernetes" }

// ExternallyManaged is true: pods live on without the worker.
func (f *Factory) ExternallyManaged() bool { return true }

// Admit refuses what cannot run as a StatefulSet (Kubernetes contract, section 7). It asks nobody.
func (f *Factory) Admit(d *runtime.FunctionDetails) error {
	o := f.options()
	custom, err := o.customization(d)
	if err != nil {
		return err
	}
	name := objectName(d, o.jobNameOf(custom))
	if err := admitName(name); err != nil {
		return err
	}
	if len(name) > maxNewName {
		return errNameTooLong
	}
	if err := custom.check(); err != nil {
		return err
	}
	if err := o.Limits.admitResources(d.GetResources()); err != nil {
		return err
	}
	if o.SecretsFromKubernetes {
		if _, err := parseSecrets(d.GetSecretsMap()); err != nil {
			return err
		}
	}
	meta := &pb.FunctionMetaData{FunctionDetails: d}
	if b, ok := o.Programs.Builtin(d); ok {
		if err := b.Admit(d, ""); err != nil { // pods get no directory of keys
			return err
		}
		if !o.hasWorkerImage() {
			return errNoWorkerImage
		}
	}
	// Whatever else is wrong with it shows when its objects are made.
	want, err := o.build(meta)
	if err != nil {
		return err
	}
	return admitContainers(want.set.Spec.Template.Spec.Containers)
}

// New prepares the objects of one function.
func (f *Factory) New(in runtime.Instance) (runtime.Runtime, error) {
	meta, o := in.Spec.GetFunctionMetaData(), f.settings.get()
	want, err := o.build(meta)
	if err != nil {
		return nil, fmt.Errorf("preparing the Kubernetes objects of %s: %w", pb.FullyQualifiedName(meta.GetFunctionDetails()), err)
	}
	r := &run{f: f, meta: meta, done: make(chan struct{})}
	r.wish(o, want)
	return r, nil
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
func (f *Factory) begin(r *run, want objects) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.New("the worker is shutting down")
	}
	f.live[want.place()] = r
	if f.watching == nil {
		f.watching = newReconciler(f)
	}
	f.watching.watch(want.namespace)
	if want.budget != nil || want.external { // functions run without either too
		f.watching.queue.Add(want.place())
	}
	return nil
}

func (f *Factory) end(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := r.where()
	if f.live[key] == r {
		delete(f.live, key)
	}
	f.settled.forget(key)
}

// all gives the started functions by their objects.
func (f *Factory) all() map[objectKey]*run {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.live)
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
	digest     digest // of what was wanted
	generation int64
}

func (s *settled) set(made *appsv1.StatefulSet, want objects) {
	digest, err := digestOf(want.set)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.sets, want.place())
		return
	}
	if s.sets == nil {
		s.sets = map[objectKey]settledSet{}
	}
	s.sets[want.place()] = settledSet{digest, made.Generation}
}

func (s *settled) is(live *appsv1.StatefulSet, want objects) bool {
	digest, err := digestOf(want.set)
	s.mu.Lock()
	defer s.mu.Unlock()
	return err == nil && s.sets[want.place()] == settledSet{digest, live.Generation}
}

func (s *settled) forget(key objectKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sets, key)
}
