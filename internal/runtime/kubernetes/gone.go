package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// goneKey names an object whose end is waited for.
type goneKey struct {
	resource string
	objectKey
}

// departures tells those who wait that an object has gone, when the watch says so. Hundreds of deletions at once would
// otherwise ask the API server all the time, and slow each other down.
type departures struct {
	mu      sync.Mutex
	heard   map[string]bool // namespaces whose informers are complete
	waiting map[goneKey]map[chan struct{}]bool
}

// wait gives a channel that gets a value when the object goes, and whether its namespace is watched at all.
func (d *departures) wait(key goneKey) expectation {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := make(chan struct{}, 1)
	if d.waiting == nil {
		d.waiting = map[goneKey]map[chan struct{}]bool{}
	}
	if d.waiting[key] == nil {
		d.waiting[key] = map[chan struct{}]bool{}
	}
	d.waiting[key][gone] = true
	return expectation{gone, d.heard[key.namespace], func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if delete(d.waiting[key], gone); len(d.waiting[key]) == 0 {
			delete(d.waiting, key)
		}
	}}
}

func (d *departures) went(key goneKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for gone := range d.waiting[key] {
		select {
		case gone <- struct{}{}:
		default:
		}
	}
}

func (d *departures) hears(namespace string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.heard == nil {
		d.heard = map[string]bool{}
	}
	d.heard[namespace] = true
}

// awaitGone waits until an object that is being deleted has gone. It asks now and then, also where a watch should tell it.
func (f *Factory) awaitGone(ctx context.Context, a action) error {
	w := f.expectGone(a)
	defer w.forget()
	return f.awaitExpected(ctx, a, w)
}

// expectation is made before a deletion, so that the end is not missed.
type expectation struct {
	gone    chan struct{}
	watched bool
	forget  func()
}

func (f *Factory) expectGone(a action) expectation {
	return f.departures.wait(goneKey{a.resource, objectKey{a.namespace, a.name}})
}

func (f *Factory) awaitExpected(ctx context.Context, a action, w expectation) error {
	pause, longest := 50*time.Millisecond, time.Second
	if w.watched {
		pause, longest = 2*time.Second, 4*time.Second
	}
	for ; ; pause = min(2*pause, longest) {
		timer := time.NewTimer(pause)
		select {
		case <-w.gone:
			timer.Stop()
			return nil
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s is still being deleted: %w", a.resource, a.name, ctx.Err())
		}
		_, err := request(ctx, f.o.RequestTimeout, a, func(ctx context.Context) (metav1.Object, error) { return f.look(ctx, a) })
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *Factory) look(ctx context.Context, a action) (metav1.Object, error) {
	if a.resource == "services" {
		return f.clients.Objects.Services(a.namespace).Get(ctx, a.name, metav1.GetOptions{})
	}
	return f.clients.Objects.StatefulSets(a.namespace).Get(ctx, a.name, metav1.GetOptions{})
}
