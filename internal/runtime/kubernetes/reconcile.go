package kubernetes

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// reconciler keeps the objects of the started functions as they should be: at every change that it hears of, and now
// and then without one. Of what it watches it remembers names and digests only, so that thousands of functions need little
// memory, and it goes on without the right to watch.
type reconciler struct {
	f      *Factory
	ctx    context.Context
	cancel context.CancelFunc
	queue  workqueue.TypedRateLimitingInterface[objectKey]
	wg     sync.WaitGroup

	mu         sync.Mutex
	namespaces map[string]bool
}

// objectLabels are on all objects of functions, whatever their values.
const objectLabels = "component,tenant,namespace,name"

// repairers is how many functions are looked at at the same time.
const repairers = 8

// budgets are watched where functions have some.
var budgets = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}

var watched = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Version: "v1", Resource: "services"},
}

func newReconciler(f *Factory) *reconciler {
	r := &reconciler{f: f, namespaces: map[string]bool{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[objectKey](500*time.Millisecond, time.Minute))}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for range repairers {
		r.wg.Go(r.repair)
	}
	r.wg.Go(r.resync)
	r.wg.Go(r.followSettings)
	return r
}

func (r *reconciler) close(ctx context.Context) error {
	r.cancel()
	r.queue.ShutDown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kinds are those whose changes are repaired.
func (r *reconciler) kinds() []schema.GroupVersionResource {
	if r.f.o.Budget.wanted() {
		return append(slices.Clone(watched), budgets)
	}
	return watched
}

// watch begins to hear of changes in a namespace, once.
func (r *reconciler) watch(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.namespaces[namespace] || r.ctx.Err() != nil || r.f.clients.Metadata == nil {
		return
	}
	r.namespaces[namespace] = true
	r.wg.Go(func() { r.listen(namespace) })
}

// listen runs the informers of a namespace, once the rights for them are there.
func (r *reconciler) listen(namespace string) {
	for told := false; ; {
		err := r.mayWatch(namespace)
		if err == nil {
			break
		}
		if !told {
			r.f.o.Log.Warn("changes of the Kubernetes objects are noticed late", zap.Duration("within", r.f.o.Resync), zap.Error(err))
			told = true
		}
		if sleep(r.ctx, r.f.o.Resync) != nil {
			return
		}
	}
	var running sync.WaitGroup
	defer running.Wait()
	var complete []<-chan struct{}
	for _, kind := range r.kinds() {
		seen := r.remember(kind, namespace)
		complete = append(complete, seen.complete)
		running.Go(func() { r.reflector(kind, namespace, seen).RunWithContext(r.ctx) })
	}
	for _, c := range complete {
		select {
		case <-c:
		case <-r.ctx.Done():
			return
		}
	}
	r.f.departures.hears(namespace)
}

// remember makes the memory for one kind of objects.
func (r *reconciler) remember(kind schema.GroupVersionResource, namespace string) *seen {
	return newSeen(func(name string) { r.enqueue(objectKey{namespace, name}) }, func(name string) {
		key := objectKey{namespace, name}
		r.f.departures.went(goneKey{kind.Resource, key})
		r.enqueue(key)
	})
}

// reflector tells seen of the objects of one kind. Not an informer, which keeps the objects.
func (r *reconciler) reflector(kind schema.GroupVersionResource, namespace string, seen *seen) *cache.Reflector {
	api := r.f.clients.Metadata.Resource(kind).Namespace(namespace)
	return cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (k8sruntime.Object, error) {
			o.LabelSelector = objectLabels
			return api.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = objectLabels
			return api.Watch(ctx, o)
		},
	}, r.f.clients.Metadata), &metav1.PartialObjectMetadata{}, seen, cache.ReflectorOptions{Name: kind.Resource + " in " + namespace})
}

// mayWatch asks with the very requests that an informer makes.
func (r *reconciler) mayWatch(namespace string) error {
	for _, kind := range r.kinds() {
		_, err := request(r.ctx, r.f.o.RequestTimeout, action{"list", kind.Group, kind.Resource, namespace, ""}, func(ctx context.Context) (any, error) {
			return r.f.clients.Metadata.Resource(kind).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		})
		if err != nil {
			return err
		}
		_, err = request(r.ctx, r.f.o.RequestTimeout, action{"watch", kind.Group, kind.Resource, namespace, ""}, func(ctx context.Context) (any, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			w, err := r.f.clients.Metadata.Resource(kind).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
			if err == nil {
				w.Stop()
			}
			return nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciler) enqueue(key objectKey) {
	if r.f.running(key) != nil {
		r.queue.Add(key)
	}
}

// resync looks at every function now and then, for what was missed.
func (r *reconciler) resync() {
	for sleep(r.ctx, r.f.o.Resync) == nil {
		keys := slices.Collect(maps.Keys(r.f.all()))
		for i, key := range keys {
			r.queue.AddAfter(key, r.f.o.Resync/2*time.Duration(i)/time.Duration(len(keys))) // not all at once
		}
	}
}

// followSettings applies what the ConfigMap says to all functions: their pods are replaced one after the other, where they
// are. A changed place (jobNamespace, jobName) counts for functions that are started from then on.
func (r *reconciler) followSettings() {
	if r.f.o.ConfigMap.Name == "" {
		return
	}
	for sleep(r.ctx, r.f.o.SettingsEvery) == nil {
		if changed, err := r.f.readSettings(r.ctx); err == nil && changed {
			r.rebuild()
		}
	}
}

func (r *reconciler) rebuild() {
	o := r.f.settings.get()
	for key, one := range r.f.all() {
		want, err := o.at(key).build(one.meta)
		if err != nil {
			r.f.o.Log.Warn("changed settings do not fit a function, which goes on as it is", zap.String("object", key.namespace+"/"+key.name), zap.Error(err))
			continue
		}
		one.wish(o, want)
		r.queue.Add(key)
	}
}

// keep makes the objects of a started function what they should be.
func (f *Factory) keep(ctx context.Context, one *run) error {
	want, err := one.wanted()
	if err != nil {
		return err
	}
	if err := f.apply(ctx, want); err != nil {
		return err
	}
	return errors.Join(f.applyBudget(ctx, want), f.observe(ctx, one.meta, want))
}

func (r *reconciler) repair() {
	for {
		key, stopped := r.queue.Get()
		if stopped {
			return
		}
		r.repairOne(key)
		r.queue.Done(key)
	}
}

func (r *reconciler) repairOne(key objectKey) {
	one := r.f.running(key)
	if one == nil {
		r.queue.Forget(key)
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
	defer cancel()
	one.life.Lock() // a stop waits, so that nothing is created after it
	if one.current() != started {
		one.life.Unlock()
		return
	}
	err := r.f.keep(ctx, one)
	one.life.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	one.mu.Lock()
	before := one.trouble
	one.trouble = ""
	if err != nil {
		one.trouble = err.Error()
	}
	one.mu.Unlock()
	if err == nil {
		r.queue.Forget(key)
		return
	}
	if before != err.Error() && !errors.Is(err, context.Canceled) {
		r.f.o.Log.Warn("the objects of a function are not as they should be; trying again", zap.String("object", key.namespace+"/"+key.name), zap.Error(err))
	}
	r.queue.AddRateLimited(key)
}
