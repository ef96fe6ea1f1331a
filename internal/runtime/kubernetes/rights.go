package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Right is what the worker's service account should be allowed.
type Right struct {
	Verb, Group, Resource, Namespace string
	// Needed: no function runs without it.
	Needed bool
	// Without says what happens without it.
	Without string
}

// rights are those that deploy/kubernetes/role.yaml grants, as far as these options use them.
func (o Options) rights() []Right {
	var out []Right
	add := func(group, resource, namespace string, needed bool, without string, verbs ...string) {
		for _, verb := range verbs {
			out = append(out, Right{verb, group, resource, namespace, needed, without})
		}
	}
	namespace := o.JobNamespace
	if o.Customize != nil {
		namespace = o.namespaceOf(*o.Customize)
	}
	for _, r := range []struct{ group, resource string }{{"apps", "statefulsets"}, {"", "services"}} {
		add(r.group, r.resource, namespace, true, "functions are not started or not deleted", "get", "create", "delete")
		add(r.group, r.resource, namespace, false, "changed functions are deleted and created anew", "update")
		add(r.group, r.resource, namespace, false, "repairs take up to five minutes, and what deleted functions left behind stays", "list", "watch")
	}
	add("", "pods", namespace, false, "functions status does not say why an instance does not answer", "list")
	if o.Budget.wanted() {
		add("policy", "poddisruptionbudgets", namespace, false, "functions have no disruption budget, or it is not repaired", "get", "create", "update", "list", "watch")
	}
	if o.Credentials != nil && o.Credentials.Provider == SecretToken {
		add("", "secrets", namespace, true, "functions are refused at submission, and tokens of deleted functions stay", "create", "update", "delete")
	}
	if o.ConfigMap.Name != "" {
		add("", "configmaps", o.ConfigMap.Namespace, false, "changeConfigMap has no effect", "get")
	}
	return out
}

// MissingRights asks the API server for each right that the options use, and says how many these are.
func (f *Factory) MissingRights(ctx context.Context) (missing []Right, asked int, err error) {
	rights := f.o.rights()
	if f.o.WorkerImage == "" && f.o.WorkerPod != nil {
		namespace, _, err := f.o.WorkerPod()
		if err != nil {
			return nil, 0, err
		}
		own := Right{Verb: "list", Resource: "pods", Namespace: namespace, Needed: f.o.NativeDownload,
			Without: "the image of this worker is not found, unless goWorker.kubernetes.workerImage names it"}
		if !slices.ContainsFunc(rights, func(r Right) bool {
			return r.Verb == own.Verb && r.Resource == own.Resource && r.Namespace == namespace
		}) {
			rights = append(rights, own)
		}
	}
	for _, r := range rights {
		allowed, err := request(ctx, f.o.RequestTimeout, action{"create", authorizationv1.GroupName, "selfsubjectaccessreviews", r.Namespace, r.Resource}, func(ctx context.Context) (bool, error) {
			return f.clients.Objects.Allowed(ctx, authorizationv1.ResourceAttributes{Namespace: r.Namespace, Verb: r.Verb, Group: r.Group, Resource: r.Resource})
		})
		if err != nil {
			return nil, 0, err
		}
		if !allowed {
			missing = append(missing, r)
		}
	}
	return missing, len(rights), nil
}

// Allowed asks with a SelfSubjectAccessReview, which every authenticated caller may do.
func (t typed) Allowed(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	question := authorizationv1.SelfSubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	body, err := json.Marshal(question)
	if err != nil {
		return false, err
	}
	data, err := t.core.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
		SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return false, err
	}
	var answer authorizationv1.SelfSubjectAccessReview
	if err := json.Unmarshal(data, &answer); err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	return answer.Status.Allowed, nil
}
