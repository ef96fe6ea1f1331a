package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/functions-worker/functions-worker/internal/config"
)

// Right is one in Kubernetes that the worker's service account should have.
type Right struct {
	Verb, Group, Resource, Namespace string
	// Needed: no function runs without it.
	Needed bool
	// Without says what happens without it.
	Without string
}

// checkKubernetes gives one finding for each resource of a namespace and each consequence.
func checkKubernetes(ctx context.Context, w *config.Worker, p Probes) []Finding {
	if w.Computed.Runtime != config.RuntimeKubernetes || p.Kubernetes == nil {
		return nil
	}
	const key = "Kubernetes"
	missing, asked, err := p.Kubernetes(ctx)
	if err != nil {
		return []Finding{fail(key, "correct k8Uri, submittingInsidePod or the kube config, and see whether the API server can be reached from here", "the API server cannot be asked for the worker's rights: %v", err)}
	}
	if len(missing) == 0 {
		return []Finding{ok(key, "the API server grants all %d rights that the worker uses", asked)}
	}
	var findings []Finding
	for len(missing) > 0 {
		first := missing[0]
		var verbs []string
		rest := missing[:0:0]
		for _, m := range missing {
			if m.Group == first.Group && m.Resource == first.Resource && m.Namespace == first.Namespace && m.Without == first.Without {
				verbs = append(verbs, m.Verb)
			} else {
				rest = append(rest, m)
			}
		}
		missing = rest
		list := strings.Join(verbs, ", ")
		what := fmt.Sprintf("the worker may not %s %s in the namespace %s: %s", list, first.Resource, first.Namespace, first.Without)
		remedy := fmt.Sprintf("apply deploy/kubernetes/role.yaml in the namespace %s, or add to its Role: {apiGroups: [%q], resources: [%s], verbs: [%s]}", first.Namespace, first.Group, first.Resource, list)
		finding := warn(key, remedy, "%s", what)
		if first.Needed {
			finding.Severity = Fail
		}
		findings = append(findings, finding)
	}
	return findings
}
