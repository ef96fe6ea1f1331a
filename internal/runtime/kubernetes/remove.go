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
		return f.clients.Objects.AppsV1().StatefulSets(want.namespace).Get(ctx, want.name, metav1.GetOptions{})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil {
		if whose, other := otherFunction(want.set.Labels, set.Labels); other {
			f.o.Log.Warn("not deleted, because it belongs to another function", zap.String("statefulset", want.namespace+"/"+want.name), zap.String("function", whose))
			return nil
		}
		if err := f.deleteSet(ctx, want.namespace, want.name); err != nil {
			return err
		}
		f.awaitPods(ctx, want)
	}
	return f.deleteService(ctx, want.namespace, want.name)
}

func (f *Factory) deleteSet(ctx context.Context, namespace, name string) error {
	grace, foreground := int64(f.o.GracePeriodSeconds), metav1.DeletePropagationForeground
	_, err := request(ctx, f.o.RequestTimeout, action{"delete", "apps", "statefulsets", namespace, name}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, ignoreMissing(f.clients.Objects.AppsV1().StatefulSets(namespace).Delete(ctx, name,
			metav1.DeleteOptions{GracePeriodSeconds: &grace, PropagationPolicy: &foreground}))
	})
	if err != nil {
		return err
	}
	return f.awaitGone(ctx, "the StatefulSet "+name, func(ctx context.Context) (bool, error) { return f.setGone(ctx, namespace, name) })
}

func (f *Factory) deleteService(ctx context.Context, namespace, name string) error {
	// Nothing but endpoints belongs to a Service: waiting for those would only take time.
	grace, background := int64(0), metav1.DeletePropagationBackground
	_, err := request(ctx, f.o.RequestTimeout, action{"delete", "", "services", namespace, name}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, ignoreMissing(f.clients.Objects.CoreV1().Services(namespace).Delete(ctx, name,
			metav1.DeleteOptions{GracePeriodSeconds: &grace, PropagationPolicy: &background}))
	})
	if err != nil {
		return err
	}
	return f.awaitGone(ctx, "the Service "+name, func(ctx context.Context) (bool, error) { return f.serviceGone(ctx, namespace, name) })
}

func (f *Factory) setGone(ctx context.Context, namespace, name string) (bool, error) {
	_, err := request(ctx, f.o.RequestTimeout, action{"get", "apps", "statefulsets", namespace, name}, func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return f.clients.Objects.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	return apierrors.IsNotFound(err), ignoreMissing(err)
}

func (f *Factory) serviceGone(ctx context.Context, namespace, name string) (bool, error) {
	_, err := request(ctx, f.o.RequestTimeout, action{"get", "", "services", namespace, name}, func(ctx context.Context) (*corev1.Service, error) {
		return f.clients.Objects.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	return apierrors.IsNotFound(err), ignoreMissing(err)
}

// awaitPods waits for the pods to go, so that a later start does not run beside them. It is a courtesy: without the
// right to list pods, or when they take too long, the deletion goes on.
func (f *Factory) awaitPods(ctx context.Context, want objects) {
	ctx, cancel := context.WithTimeout(ctx, podsPatience)
	defer cancel()
	err := f.awaitGone(ctx, "a pod of "+want.name, func(ctx context.Context) (bool, error) {
		pods, err := f.listPods(ctx, want)
		return err == nil && len(pods) == 0, err
	})
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
		return f.clients.Objects.CoreV1().Pods(want.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector).String()})
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
