package kubernetes

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Budget says how many pods of a function may be evicted at the same time, for example when nodes are drained: a number, or a
// percentage such as 50%. At most one of the two is set; with none there is no PodDisruptionBudget.
type Budget struct{ MaxUnavailable, MinAvailable string }

func (b Budget) wanted() bool { return b.MaxUnavailable != "" || b.MinAvailable != "" }

// Check says what is wrong with it.
func (b Budget) Check() error {
	if b.MaxUnavailable != "" && b.MinAvailable != "" {
		return fmt.Errorf("maxUnavailable and minAvailable exclude each other")
	}
	for name, text := range map[string]string{"maxUnavailable": b.MaxUnavailable, "minAvailable": b.MinAvailable} {
		if text == "" {
			continue
		}
		digits, percent := strings.CutSuffix(text, "%")
		if n, err := strconv.ParseUint(digits, 10, 31); err != nil || percent && n > 100 {
			return fmt.Errorf("%s %q is neither a number of pods nor a percentage up to 100%%", name, text)
		}
	}
	return nil
}

func (o Options) budget(about metav1.ObjectMeta, selector map[string]string) *policyv1.PodDisruptionBudget {
	if !o.Budget.wanted() {
		return nil
	}
	value := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		v := intstr.Parse(text)
		return &v
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: *about.DeepCopy(),
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: selector},
			MaxUnavailable: value(o.Budget.MaxUnavailable), MinAvailable: value(o.Budget.MinAvailable)},
	}
}

// applyBudget makes the cluster hold the wanted PodDisruptionBudget. It belongs to the StatefulSet, so that Kubernetes removes it
// with that, whoever deletes it.
func (f *Factory) applyBudget(ctx context.Context, want objects) error {
	if want.budget == nil {
		return nil
	}
	set, err := request(ctx, f.o.RequestTimeout, action{"get", "apps", "statefulsets", want.namespace, want.name}, func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return f.clients.Objects.StatefulSets(want.namespace).Get(ctx, want.name, metav1.GetOptions{})
	})
	if err != nil {
		return err
	}
	budget := want.budget.DeepCopy()
	budget.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set.Name, UID: set.UID}}
	api, a := f.clients.Objects.PodDisruptionBudgets(want.namespace), action{"", "policy", "poddisruptionbudgets", want.namespace, want.name}
	live, err := request(ctx, f.o.RequestTimeout, a.to("get"), func(ctx context.Context) (*policyv1.PodDisruptionBudget, error) {
		return api.Get(ctx, want.name, metav1.GetOptions{})
	})
	switch {
	case apierrors.IsNotFound(err):
		_, err = request(ctx, f.o.RequestTimeout, a.to("create"), func(ctx context.Context) (*policyv1.PodDisruptionBudget, error) {
			return api.Create(ctx, budget, metav1.CreateOptions{FieldManager: f.manager})
		})
		return err
	case err != nil:
		return err
	case sameBudget(budget, live):
		return nil
	}
	if whose, other := otherFunction(budget.Labels, live.Labels); other || live.Labels["component"] == "" {
		return taken("PodDisruptionBudget", want, whose)
	}
	next := live.DeepCopy()
	next.Labels, next.Annotations = merged(live.Labels, budget.Labels), merged(live.Annotations, budget.Annotations)
	next.OwnerReferences, next.Spec = budget.OwnerReferences, budget.Spec
	_, err = request(ctx, f.o.RequestTimeout, a.to("update"), func(ctx context.Context) (*policyv1.PodDisruptionBudget, error) {
		return api.Update(ctx, next, metav1.UpdateOptions{FieldManager: f.manager})
	})
	return err
}

func sameBudget(want, live *policyv1.PodDisruptionBudget) bool {
	return equality.Semantic.DeepEqual(want.Spec, live.Spec) && equality.Semantic.DeepEqual(want.OwnerReferences, live.OwnerReferences) &&
		has(live.Labels, want.Labels) && has(live.Annotations, want.Annotations) && live.DeletionTimestamp == nil
}
