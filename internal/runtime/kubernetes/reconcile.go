package kubernetes

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// reconciler keeps the objects of the started functions as they should be: at every change that it hears of, and now
// and then without one. It watches names and versions only, so that thousands of functions need little memory, and goes
// on without the right to watch.
type reconciler struct {
	f      *Factory
	ctx    context.Context
	cancel context.CancelFunc
	queue  workqueue.TypedRateLimitingInterface[objectKey]
	wg     sync.WaitGroup

	mu         sync.Mutex
	namespaces map[string]bool
}

// repairers is how many functions are looked at at the same time.
const repairers = 8

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
	factory := metadatainformer.NewFilteredSharedInformerFactory(r.f.clients.Metadata, 0, namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = "component,tenant,namespace,name"
	})
	for _, kind := range watched {
		informer := factory.ForResource(kind).Informer()
		_ = informer.SetTransform(trim) // fails after the start only
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			UpdateFunc: func(before, after any) {
				if changed(before, after) {
					r.enqueue(after)
				}
			},
			DeleteFunc: r.enqueue,
		})
	}
	factory.Start(r.ctx.Done())
	<-r.ctx.Done()
	factory.Shutdown()
}

// mayWatch asks with the very requests that an informer makes.
func (r *reconciler) mayWatch(namespace string) error {
	for _, kind := range watched {
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

// trim keeps what tells a change.
func trim(obj any) (any, error) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Generation: m.Generation, DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels}}, nil
}

// changed leaves out updates of a StatefulSet's status. A Service has no generation: every change counts.
func changed(before, after any) bool {
	a, okA := before.(*metav1.PartialObjectMetadata)
	b, okB := after.(*metav1.PartialObjectMetadata)
	if !okA || !okB || b.Generation == 0 {
		return true
	}
	return a.Generation != b.Generation || a.UID != b.UID || (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) || !has(b.Labels, a.Labels)
}

func (r *reconciler) enqueue(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
		key := objectKey{m.Namespace, m.Name}
		if r.f.running(key) != nil {
			r.queue.Add(key)
		}
	}
}

// resync looks at every function now and then, for what was missed.
func (r *reconciler) resync() {
	for sleep(r.ctx, r.f.o.Resync) == nil {
		r.f.mu.Lock()
		keys := make([]objectKey, 0, len(r.f.live))
		for key := range r.f.live {
			keys = append(keys, key)
		}
		r.f.mu.Unlock()
		for i, key := range keys {
			r.queue.AddAfter(key, r.f.o.Resync/2*time.Duration(i)/time.Duration(len(keys))) // not all at once
		}
	}
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
	err := r.f.apply(ctx, one.want)
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
