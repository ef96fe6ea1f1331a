package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apply makes the cluster hold exactly the wanted objects. It is safe to repeat, and several workers may do it at once.
func (f *Factory) apply(ctx context.Context, want objects) error {
	for attempt := 0; ; attempt++ {
		made, err := f.applyService(ctx, want)
		if err == nil {
			if err = f.applySet(ctx, want); hopeless(err) && made != nil {
				f.takeBack(ctx, made)
			}
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

// hopeless says that the same request will fail until somebody changes something.
func hopeless(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

// takeBack removes a Service that was just made for a StatefulSet that cannot be: nothing is left half-made.
func (f *Factory) takeBack(ctx context.Context, made *corev1.Service) {
	err := f.clients.Objects.Services(made.Namespace).Delete(ctx, made.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &made.UID}})
	if ignoreMissing(err) != nil {
		f.o.Log.Warn("a Service stays behind whose StatefulSet could not be made", zap.String("service", made.Namespace+"/"+made.Name), zap.Error(err))
	}
}

// applyService returns the Service if there was none before.
func (f *Factory) applyService(ctx context.Context, want objects) (*corev1.Service, error) {
	api, a := f.clients.Objects.Services(want.namespace), action{"", "", "services", want.namespace, want.name}
	live, err := request(ctx, f.o.RequestTimeout, a.to("get"), func(ctx context.Context) (*corev1.Service, error) {
		return api.Get(ctx, want.name, metav1.GetOptions{})
	})
	create := func() (*corev1.Service, error) {
		return request(ctx, f.o.RequestTimeout, a.to("create"), func(ctx context.Context) (*corev1.Service, error) {
			return api.Create(ctx, want.service, metav1.CreateOptions{FieldManager: f.manager})
		})
	}
	switch {
	case apierrors.IsNotFound(err):
		return create()
	case err != nil:
		return nil, err
	}
	if whose, other := otherFunction(want.service.Labels, live.Labels); other {
		return nil, taken("Service", want, whose)
	}
	if live.DeletionTimestamp != nil {
		if err := f.awaitGone(ctx, action{"get", "", "services", want.namespace, want.name}); err != nil {
			return nil, err
		}
		return create()
	}
	switch compareService(want.service, live) {
	case same:
		return nil, nil
	case change:
		next := live.DeepCopy()
		next.Labels, next.Annotations = merged(live.Labels, want.service.Labels), merged(live.Annotations, want.service.Annotations)
		next.Spec.Selector, next.Spec.Ports = want.service.Spec.Selector, want.service.Spec.Ports
		next.Spec.PublishNotReadyAddresses = want.service.Spec.PublishNotReadyAddresses
		_, err = request(ctx, f.o.RequestTimeout, a.to("update"), func(ctx context.Context) (*corev1.Service, error) {
			return api.Update(ctx, next, metav1.UpdateOptions{FieldManager: f.manager})
		})
		if !isForbidden(err) {
			return nil, err
		}
		f.o.Log.Warn("the Service is replaced because it may not be updated", zap.Error(err))
	}
	if err := f.deleteService(ctx, want.namespace, want.name); err != nil {
		return nil, err
	}
	_, err = create()
	return nil, err
}

func (f *Factory) applySet(ctx context.Context, want objects) error {
	api, a := f.clients.Objects.StatefulSets(want.namespace), action{"", "apps", "statefulsets", want.namespace, want.name}
	live, err := request(ctx, f.o.RequestTimeout, a.to("get"), func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return api.Get(ctx, want.name, metav1.GetOptions{})
	})
	create := func() error {
		made, err := request(ctx, f.o.RequestTimeout, a.to("create"), func(ctx context.Context) (*appsv1.StatefulSet, error) {
			return api.Create(ctx, want.set, metav1.CreateOptions{FieldManager: f.manager})
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
		if err := f.awaitGone(ctx, action{"get", "apps", "statefulsets", want.namespace, want.name}); err != nil {
			return err
		}
		return create()
	}
	want = want.honouring(live)
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
			setChangeable(&next.Spec, want.set.Spec)
		}
		updated, err := request(ctx, f.o.RequestTimeout, a.to("update"), func(ctx context.Context) (*appsv1.StatefulSet, error) {
			return api.Update(ctx, next, metav1.UpdateOptions{FieldManager: f.manager})
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
