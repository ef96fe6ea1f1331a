package check

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/config"
)

func TestRightsInKubernetes(t *testing.T) {
	w := &config.Worker{}
	w.Computed.Runtime = config.RuntimeKubernetes
	ask := func(missing []Right, err error) []Finding {
		return checkKubernetes(t.Context(), w, Probes{Kubernetes: func(context.Context) ([]Right, int, error) { return missing, 16, err }})
	}
	require.Equal(t, []Finding{{Severity: OK, Key: "Kubernetes", What: "the API server grants all 16 rights that the worker uses"}}, ask(nil, nil))
	refused := ask(nil, errors.New("connection refused"))
	require.Len(t, refused, 1)
	require.Equal(t, Fail, refused[0].Severity)
	require.Contains(t, refused[0].What, "connection refused")

	got := ask([]Right{
		{"create", "apps", "statefulsets", "jobs", true, "nothing starts"},
		{"update", "apps", "statefulsets", "jobs", false, "made anew"},
		{"delete", "apps", "statefulsets", "jobs", true, "nothing starts"},
		{"list", "", "pods", "jobs", false, "no reasons"},
	}, nil)
	require.Equal(t, []Finding{
		{Fail, "Kubernetes", "the worker may not create, delete statefulsets in the namespace jobs: nothing starts",
			`apply deploy/kubernetes/role.yaml in the namespace jobs, or add to its Role: {apiGroups: ["apps"], resources: [statefulsets], verbs: [create, delete]}`},
		{Warn, "Kubernetes", "the worker may not update statefulsets in the namespace jobs: made anew",
			`apply deploy/kubernetes/role.yaml in the namespace jobs, or add to its Role: {apiGroups: ["apps"], resources: [statefulsets], verbs: [update]}`},
		{Warn, "Kubernetes", "the worker may not list pods in the namespace jobs: no reasons",
			`apply deploy/kubernetes/role.yaml in the namespace jobs, or add to its Role: {apiGroups: [""], resources: [pods], verbs: [list]}`},
	}, got)

	w.Computed.Runtime = config.RuntimeProcess
	require.Empty(t, ask(nil, nil), "functions do not run there")
}
