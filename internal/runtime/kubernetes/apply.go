package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apply makes the cluster hold exactly the wanted objects. It is safe to repeat, and several workers may do it at once.
func (f *Factory) apply(ctx context.Context, want objects) error {
	for attempt := 0; ; attempt++ {
		err := f.applyService(ctx, want)
		if err == nil {
			err = f.applySet(ctx, want)
		}
		// Something changed between two requests: look again.
		if again := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err); !again || attempt == maxAttempts {
			return err
		}
		if err := sleep(ctx, firstPause<<min(attempt, 5)); err != nil {
			return err
		}
	}
}

func (f *Factory) applyService(ctx context.Context, want objects) error {
	api, a := f.clients.Objects.CoreV1().Services(want.namespace), action{"", "", "services", want.namespace, want.name}
	live, err := request(ctx, f.o.RequestTimeout, a.to("get"), func(ctx context.Context) (*corev1.Service, error) {
		return api.Get(ctx, want.name, metav1.GetOptions{})
	})
	create := func() error {
		_, err := request(ctx, f.o.RequestTimeout, a.to("create"), func(ctx context.Context) (*corev1.Service, error) {
			return api.Create(ctx, want.service, metav1.CreateOptions{})
		})
		return err
	}
	switch {
	case apierrors.IsNotFound(err):
		return create()
	case err != nil:
		return err
	}
	if whose, other := otherFunction(want.service.Labels, live.Labels); other {
		return taken("Service", want, whose)
	}
	if live.DeletionTimestamp != nil {
		if err := f.awaitGone(ctx, "the Service "+want.name, func(ctx context.Context) (bool, error) { return f.serviceGone(ctx, want.namespace, want.name) }); err != nil {
			return err
		}
		return create()
	}
	switch compareService(want.service, live) {
	case same:
		return nil
	case change:
		next := live.DeepCopy()
		next.Labels, next.Annotations = merged(live.Labels, want.service.Labels), merged(live.Annotations, want.service.Annotations)
		next.Spec.Selector, next.Spec.Ports = want.service.Spec.Selector, want.service.Spec.Ports
		_, err = request(ctx, f.o.RequestTimeout, a.to("update"), func(ctx context.Context) (*corev1.Service, error) {
			return api.Update(ctx, next, metav1.UpdateOptions{})
		})
		if !isForbidden(err) {
			return err
		}
		f.o.Log.Warn("the Service is replaced because it may not be updated", zap.Error(err))
	}
	if err := f.deleteService(ctx, want.namespace, want.name); err != nil {
		return err
	}
	return create()
}

func (f *Factory) applySet(ctx context.Context, want objects) error {
	api, a := f.clients.Objects.AppsV1().StatefulSets(want.namespace), action{"", "apps", "statefulsets", want.namespace, want.name}
	live, err := request(ctx, f.o.RequestTimeout, a.to("get"), func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return api.Get(ctx, want.name, metav1.GetOptions{})
	})
	create := func() error {
		made, err := request(ctx, f.o.RequestTimeout, a.to("create"), func(ctx context.Context) (*appsv1.StatefulSet, error) {
			return api.Create(ctx, want.set, metav1.CreateOptions{})
		})
		if err == nil {
			f.settled.set(made, want)
		}
		return err
	}
	switch {
	case apierrors.IsNotFound(err):
		return create()
	case err != nil:
		return err
	}
	if whose, other := otherFunction(want.set.Labels, live.Labels); other {
		return taken("StatefulSet", want, whose)
	}
	if live.DeletionTimestamp != nil {
		// The owner before us deleted it: it goes away with its pods, and then there is room.
		if err := f.awaitGone(ctx, "the StatefulSet "+want.name, func(ctx context.Context) (bool, error) { return f.setGone(ctx, want.namespace, want.name) }); err != nil {
			return err
		}
		return create()
	}
	diff := compareSet(want.set, live, want.version)
	if diff == change && f.settled.is(live, want) {
		diff = same // what differs was changed by an admission plug-in of the cluster when we wrote it
	}
	switch diff {
	case same:
		return nil
	case adopt, change:
		next := live.DeepCopy()
		if diff == adopt {
			next.Annotations = merged(live.Annotations, map[string]string{adoptedAs: want.version})
		} else {
			next.Labels, next.Annotations = merged(live.Labels, want.set.Labels), merged(live.Annotations, want.set.Annotations)
			maps.DeleteFunc(next.Annotations, func(k, _ string) bool { return k == adoptedAs })
			next.Spec.Replicas, next.Spec.Template = want.set.Spec.Replicas, want.set.Spec.Template
		}
		updated, err := request(ctx, f.o.RequestTimeout, a.to("update"), func(ctx context.Context) (*appsv1.StatefulSet, error) {
			return api.Update(ctx, next, metav1.UpdateOptions{})
		})
		switch {
		case err == nil && diff == change:
			f.settled.set(updated, want)
			f.o.Log.Info("updated a StatefulSet in place", zap.String("statefulset", want.namespace+"/"+want.name))
			return nil
		case err == nil:
			f.o.Log.Info("adopted a StatefulSet of another worker", zap.String("statefulset", want.namespace+"/"+want.name))
			return nil
		case !isForbidden(err):
			return err
		case diff == adopt:
			return nil // without the mark it is adopted just as well
		}
		f.o.Log.Warn("the StatefulSet is replaced because it may not be updated", zap.Error(err))
	}
	if err := f.deleteSet(ctx, want.namespace, want.name); err != nil {
		return err
	}
	return create()
}

func taken(kind string, want objects, whose string) error {
	return fmt.Errorf("the %s %s/%s belongs to the function %s, whose name becomes the same in Kubernetes; rename one of the two", kind, want.namespace, want.name, whose)
}

func isForbidden(err error) bool {
	var f *Forbidden
	return errors.As(err, &f)
}

func (a action) to(verb string) action {
	a.verb = verb
	return a
}

// awaitGone waits until an object that is being deleted has gone.
func (f *Factory) awaitGone(ctx context.Context, what string, gone func(context.Context) (bool, error)) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		yes, err := gone(ctx)
		if yes || err != nil {
			return err
		}
		if sleep(ctx, pause) != nil {
			return fmt.Errorf("%s is still being deleted: %w", what, ctx.Err())
		}
	}
}
