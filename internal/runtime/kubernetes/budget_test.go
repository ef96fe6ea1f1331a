package kubernetes

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/pkg/runtime"
)

func TestBudgetIsChecked(t *testing.T) {
	for _, good := range []Budget{{}, {MaxUnavailable: "0"}, {MinAvailable: "3"}, {MaxUnavailable: "100%"}} {
		require.NoError(t, good.Check())
	}
	for want, bad := range map[string]Budget{"exclude each other": {"1", "1"}, `maxUnavailable "-1"`: {MaxUnavailable: "-1"}, `minAvailable "101%"`: {MinAvailable: "101%"},
		`maxUnavailable "some"`: {MaxUnavailable: "some"}, `maxUnavailable "3000000000"`: {MaxUnavailable: "3000000000"}} {
		require.ErrorContains(t, bad.Check(), want)
		o := recordedOptions(t)
		o.Budget = bad
		_, err := New(o, Clients{})
		require.ErrorContains(t, err, "disruptionBudget: ")
	}
}

// TestRealBudget: it is made, changed by the next worker's configuration, repaired, and goes with the function.
func TestRealBudget(t *testing.T) {
	c := realCluster(t)
	budgets := c.api.PolicyV1().PodDisruptionBudgets(c.namespace)
	const name = "pf-public-default-f"
	is := func(most, least string) func() bool {
		return func() bool {
			b, err := budgets.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || b.DeletionTimestamp != nil || len(b.OwnerReferences) != 1 || b.Spec.Selector.MatchLabels["name"] != "f" {
				return false
			}
			if b.Spec.MaxUnavailable != nil {
				return least == "" && b.Spec.MaxUnavailable.String() == most
			}
			return b.Spec.MinAvailable != nil && b.Spec.MinAvailable.String() == least
		}
	}
	eventually := func(is func() bool) {
		t.Helper()
		require.Eventually(t, is, 20*time.Second, 50*time.Millisecond)
	}
	f := c.factory(t, c.config, func(o *Options) { o.Budget.MaxUnavailable = "1" })
	run := begin(t, f, "f", "p")
	eventually(is("1", ""))
	run.(runtime.Detacher).Detach()

	f = c.factory(t, c.config, func(o *Options) { o.Budget.MinAvailable = "50%" })
	run = begin(t, f, "f", "p")
	eventually(is("", "50%"))

	require.NoError(t, budgets.Delete(t.Context(), name, metav1.DeleteOptions{}))
	eventually(is("", "50%"))
	edited, err := budgets.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	edited.Spec.MinAvailable.StrVal, edited.OwnerReferences = "99%", nil
	_, err = budgets.Update(t.Context(), edited, metav1.UpdateOptions{})
	require.NoError(t, err)
	eventually(is("", "50%"))
	require.NoError(t, c.api.AppsV1().StatefulSets(c.namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
	eventually(func() bool { // it belongs to the new one
		set, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), name, metav1.GetOptions{})
		b, errBudget := budgets.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && errBudget == nil && len(b.OwnerReferences) == 1 && b.OwnerReferences[0].UID == set.UID && b.DeletionTimestamp == nil
	})

	require.NoError(t, run.Stop(t.Context()))
	eventually(func() bool {
		_, err := budgets.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
