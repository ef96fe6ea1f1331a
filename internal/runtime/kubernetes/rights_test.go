package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"

	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// documented reads the rules that deploy/kubernetes tells people to grant.
func documented(t *testing.T, file string) []rbacv1.PolicyRule {
	t.Helper()
	data, err := os.ReadFile("../../../deploy/kubernetes/" + file)
	require.NoError(t, err)
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		var role rbacv1.Role
		if err := decoder.Decode(&role); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		if len(role.Rules) > 0 {
			return role.Rules
		}
	}
	t.Fatalf("%s has no rules", file)
	return nil
}

func TestBothRolesGrantTheSame(t *testing.T) {
	require.Equal(t, documented(t, "role.yaml"), documented(t, "cluster-role.yaml"))
}

// grant gives the user the documented rights in the test's namespace, without one of them; "" = all. It returns when the
// API server acts by it.
func (c cluster) grant(t *testing.T, user, withoutVerb, withoutResource string) {
	t.Helper()
	var rules []rbacv1.PolicyRule
	for _, r := range documented(t, "role.yaml") {
		if slices.Contains(r.Resources, withoutResource) {
			r.Verbs = slices.DeleteFunc(slices.Clone(r.Verbs), func(v string) bool { return v == withoutVerb })
		}
		if len(r.Verbs) > 0 {
			rules = append(rules, r)
		}
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}
	roles := c.api.RbacV1().Roles(c.namespace)
	_, err := roles.Update(t.Context(), role, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = roles.Create(t.Context(), role, metav1.CreateOptions{})
	}
	require.NoError(t, err)
	for _, rule := range documented(t, "role.yaml") {
		for _, verb := range rule.Verbs {
			require.Eventually(t, func() bool {
				review, err := c.api.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
					Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: c.namespace, Verb: verb, Group: rule.APIGroups[0], Resource: rule.Resources[0]}}}, metav1.CreateOptions{})
				require.NoError(t, err)
				return review.Status.Allowed == (verb != withoutVerb || rule.Resources[0] != withoutResource)
			}, 10*time.Second, 20*time.Millisecond)
		}
	}
}

// as is the configuration of a user with the documented rights in the test's namespace only.
func (c cluster) as(t *testing.T, user string) *rest.Config {
	t.Helper()
	_, err := c.api.RbacV1().RoleBindings(c.namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	c.grant(t, user, "", "")
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	return config
}

// holds says which of the function's objects there are.
func (c cluster) holds(t *testing.T, name string) (set, service bool) {
	t.Helper()
	_, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, ignoreMissing(err))
	_, errService := c.api.CoreV1().Services(c.namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, ignoreMissing(errService))
	return err == nil, errService == nil
}

// TestRealMissingRights takes each documented right away in turn: the message names it, nothing is left half-made, and all
// is well once it is granted. So none of them is superfluous.
func TestRealMissingRights(t *testing.T) {
	c := realCluster(t)
	const user, name = "worker", "pf-public-default-f"
	f := c.factory(t, c.as(t, user), func(o *Options) {
		o.Budget.MaxUnavailable = "1"
		o.Credentials, o.ConfigMap = &Credentials{Provider: SecretToken}, ConfigMap{c.namespace, "no-such-map"}
	})
	nothing := func(t *testing.T) {
		set, service := c.holds(t, name)
		require.False(t, set || service, "something is left: StatefulSet %t, Service %t", set, service)
	}
	heals := func(t *testing.T) {
		c.grant(t, user, "", "")
		run := begin(t, f, "f", "another")
		set, service := c.holds(t, name)
		require.True(t, set && service)
		require.NoError(t, run.Stop(t.Context()))
		nothing(t)
	}
	missing := map[string]func(t *testing.T) error{}
	start := func(t *testing.T) error {
		run, err := f.New(instanceOf(metaOf("f", "p")))
		require.NoError(t, err)
		err = run.Start(t.Context())
		require.NoError(t, run.Stop(t.Context()), "what did not start has nothing to delete")
		nothing(t)
		return err
	}
	stop := func(t *testing.T) error { return begin(t, f, "f", "p").Stop(t.Context()) }
	mark := func(t *testing.T) error { // goes on without the right
		begin(t, f, "f", "p").(runtime.Detacher).Detach()
		begin(t, f, "f", "another").(runtime.Detacher).Detach()
		return nil
	}
	watch := func(t *testing.T) error {
		r := newReconciler(f)
		defer func() { require.NoError(t, r.close(t.Context())) }()
		return r.mayWatch(c.namespace)
	}
	for _, resource := range []string{"statefulsets", "services"} {
		missing["get "+resource], missing["create "+resource], missing["delete "+resource] = start, start, stop
		missing["update "+resource], missing["list "+resource], missing["watch "+resource] = mark, watch, watch
	}
	details := metaOf("f", "p").FunctionDetails
	missing["list pods"] = func(t *testing.T) error {
		run := begin(t, f, "f", "p")
		_, err := run.(runtime.Multi).StatusOf(t.Context(), 0)
		require.NoError(t, run.Stop(t.Context()), "it deletes nevertheless")
		return err
	}
	budget := func(t *testing.T) error {
		run := begin(t, f, "f", "p").(*run)
		first, err := run.wanted()
		require.NoError(t, err)
		second, err := run.wanted()
		require.NoError(t, err)
		second.budget.Spec.MaxUnavailable.IntVal++
		err = errors.Join(f.applyBudget(t.Context(), first), f.applyBudget(t.Context(), second))
		require.NoError(t, run.Stop(t.Context()), "it runs and ends nevertheless")
		return err
	}
	for _, verb := range []string{"get", "create", "update"} {
		missing[verb+" poddisruptionbudgets"] = budget
	}
	missing["list poddisruptionbudgets"], missing["watch poddisruptionbudgets"] = watch, watch
	missing["create secrets"] = func(t *testing.T) error { return f.PutToken(t.Context(), details, "ab1cd", "token", false) }
	missing["update secrets"] = func(t *testing.T) error {
		require.NoError(t, f.PutToken(t.Context(), details, "ab2cd", "token", false))
		return f.PutToken(t.Context(), details, "ab2cd", "token", true)
	}
	missing["delete secrets"] = func(t *testing.T) error { return f.RemoveToken(t.Context(), "", "ab2cd") }
	missing["get configmaps"] = func(t *testing.T) error {
		_, err := f.readSettings(t.Context())
		return err
	}
	for _, rule := range documented(t, "role.yaml") {
		for _, verb := range rule.Verbs {
			what := verb + " " + rule.Resources[0]
			t.Run(what, func(t *testing.T) {
				c.grant(t, user, verb, rule.Resources[0])
				require.Contains(t, missing, what, "a documented right that nothing needs")
				if err := missing[what](t); verb != "update" || rule.Resources[0] == "secrets" || rule.Resources[0] == "poddisruptionbudgets" {
					require.ErrorContains(t, err, fmt.Sprintf("the verb %q on %s", verb, rule.Resources[0]))
				}
				heals(t)
			})
		}
	}
}

// TestRealTokenRights: which rights on Secrets are missing is known without making one.
func TestRealTokenRights(t *testing.T) {
	c := realCluster(t)
	f := c.factory(t, c.as(t, "worker"), func(o *Options) { o.Credentials = &Credentials{Provider: SecretToken} })
	for _, verb := range []string{"create", "update", "delete"} {
		c.grant(t, "worker", verb, "secrets")
		err := f.MayKeepTokens(t.Context())
		for _, other := range []string{"create", "update", "delete"} {
			if said := fmt.Sprintf("the verb %q on secrets", other); other == verb {
				require.ErrorContains(t, err, said)
			} else {
				require.NotContains(t, err.Error(), said)
			}
		}
	}
	c.grant(t, "worker", "", "")
	require.NoError(t, f.MayKeepTokens(t.Context()))
	secrets, err := c.api.CoreV1().Secrets(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, secrets.Items)
}

// TestRealMissingRightsAreListed: what a check asks for is exactly what the Role grants, and it lists exactly what is taken away.
func TestRealMissingRightsAreListed(t *testing.T) {
	c := realCluster(t)
	const user = "worker"
	f := c.factory(t, c.as(t, user), func(o *Options) {
		o.Budget.MaxUnavailable = "1"
		o.Credentials, o.ConfigMap = &Credentials{Provider: SecretToken}, ConfigMap{c.namespace, "map"}
	})
	var granted, asked []string
	for _, rule := range documented(t, "role.yaml") {
		for _, verb := range rule.Verbs {
			granted = append(granted, verb+" "+rule.APIGroups[0]+"/"+rule.Resources[0])
		}
	}
	for _, r := range f.o.rights() {
		require.Equal(t, c.namespace, r.Namespace)
		asked = append(asked, r.Verb+" "+r.Group+"/"+r.Resource)
	}
	require.ElementsMatch(t, granted, asked)
	missing, n, err := f.MissingRights(t.Context())
	require.NoError(t, err)
	require.Empty(t, missing)
	require.Equal(t, len(granted), n)
	for _, one := range []struct {
		verb, resource string
		needed         bool
	}{{"create", "statefulsets", true}, {"watch", "services", false}, {"get", "configmaps", false}, {"update", "secrets", true}, {"list", "pods", false}} {
		c.grant(t, user, one.verb, one.resource)
		missing, _, err := f.MissingRights(t.Context())
		require.NoError(t, err)
		require.Len(t, missing, 1)
		require.Equal(t, []any{one.verb, one.resource, c.namespace, one.needed}, []any{missing[0].Verb, missing[0].Resource, missing[0].Namespace, missing[0].Needed})
	}
	plain := c.factory(t, c.config)
	require.Len(t, plain.o.rights(), 13, "what is not used is not asked for")
}
