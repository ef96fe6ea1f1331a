package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// podsPatience is how long the pods of a deleted StatefulSet are waited for; they go with it and are nobody's then.
const podsPatience = 10 * time.Second

// remove deletes the objects of a function and returns when they have gone. Objects of another function stay.
func (f *Factory) remove(ctx context.Context, want objects) error {
	set, err := request(ctx, f.o.RequestTimeout, action{"get", "apps", "statefulsets", want.namespace, want.name}, func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return f.clients.Objects.StatefulSets(want.namespace).Get(ctx, want.name, metav1.GetOptions{})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		if whose, other := otherFunction(want.set.Labels, set.Labels); other {
			f.o.Log.Warn("not deleted, because it belongs to another function", zap.String("statefulset", want.namespace+"/"+want.name), zap.String("function", whose))
			return nil
		}
	}
	setGone, err := f.beginDeletion(ctx, action{"delete", "apps", "statefulsets", want.namespace, want.name})
	if err != nil {
		return err
	}
	serviceGone, err := f.beginDeletion(ctx, action{"delete", "", "services", want.namespace, want.name})
	if err != nil {
		return errors.Join(err, setGone(ctx))
	}
	if err := errors.Join(setGone(ctx), serviceGone(ctx)); err != nil {
		return err
	}
	f.awaitPods(ctx, want)
	return nil
}

// deleteSet deletes a StatefulSet and waits until it has gone.
func (f *Factory) deleteSet(ctx context.Context, namespace, name string) error {
	gone, err := f.beginDeletion(ctx, action{"delete", "apps", "statefulsets", namespace, name})
	if err != nil {
		return err
	}
	return gone(ctx)
}

func (f *Factory) deleteService(ctx context.Context, namespace, name string) error {
	gone, err := f.beginDeletion(ctx, action{"delete", "", "services", namespace, name})
	if err != nil {
		return err
	}
	return gone(ctx)
}

// beginDeletion asks for a deletion; the returned function, which is to be called once, waits for it.
func (f *Factory) beginDeletion(ctx context.Context, a action) (gone func(context.Context) error, err error) {
	expected := f.expectGone(a)
	// In the foreground, the garbage collector would look at each object again and again with growing pauses, which takes a
	// minute for hundreds of functions; the pods are waited for all the same.
	grace, background := int64(f.options().GracePeriodSeconds), metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{GracePeriodSeconds: &grace, PropagationPolicy: &background}
	_, err = request(ctx, f.o.RequestTimeout, a, func(ctx context.Context) (struct{}, error) {
		if a.resource == "services" {
			return struct{}{}, f.clients.Objects.Services(a.namespace).Delete(ctx, a.name, options)
		}
		return struct{}{}, f.clients.Objects.StatefulSets(a.namespace).Delete(ctx, a.name, options)
	})
	if err == nil {
		return func(ctx context.Context) error {
			defer expected.forget()
			return f.awaitExpected(ctx, a.to("get"), expected)
		}, nil
	}
	expected.forget()
	if ignoreMissing(err) != nil {
		return nil, err
	}
	return func(context.Context) error { return nil }, nil
}

// awaitPods waits for the pods to go, so that a later start does not run beside them. It is a courtesy: without the
// right to list pods, or when they take too long, the deletion goes on.
func (f *Factory) awaitPods(ctx context.Context, want objects) {
	ctx, cancel := context.WithTimeout(ctx, podsPatience)
	defer cancel()
	var err error
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		var pods []corev1.Pod
		if pods, err = f.listPods(ctx, want); err != nil || len(pods) == 0 {
			break
		}
		if err = sleep(ctx, pause); err != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		f.o.Log.Info("the pods of a deleted function were not seen to end", zap.String("statefulset", want.namespace+"/"+want.name), zap.Error(err))
	}
}

func (f *Factory) listPods(ctx context.Context, want objects) ([]corev1.Pod, error) {
	selector := map[string]string{}
	for _, key := range []string{"tenant", "namespace", "name"} {
		selector[key] = want.set.Spec.Selector.MatchLabels[key]
	}
	list, err := request(ctx, f.o.RequestTimeout, action{"list", "", "pods", want.namespace, want.name}, func(ctx context.Context) (*corev1.PodList, error) {
		return f.clients.Objects.Pods(want.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector).String()})
	})
	if err != nil {
		return nil, fmt.Errorf("looking at the pods: %w", err)
	}
	return list.Items, nil
}

func ignoreMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
