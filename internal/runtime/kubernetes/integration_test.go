package kubernetes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// cluster is a real API server with controllers and a namespace of the test's own (scripts/kubernetes.sh).
type cluster struct {
	config    *rest.Config
	api       clientset.Interface
	namespace string
}

func realCluster(t *testing.T) cluster {
	t.Helper()
	path := os.Getenv("PULSAR_TEST_KUBECONFIG")
	if path == "" {
		t.Skip("PULSAR_TEST_KUBECONFIG is not set: scripts/kubernetes.sh start DIR makes DIR/kubeconfig")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	config.QPS, config.Burst = 200, 400
	c := cluster{config: config, namespace: fmt.Sprintf("test-%d", rand.Uint32())}
	c.api = clientset.NewForConfigOrDie(config)
	_, err = c.api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.api.CoreV1().Namespaces().Delete(context.Background(), c.namespace, metav1.DeleteOptions{})
	})
	return c
}

func (c cluster) factory(t *testing.T, config *rest.Config) *Factory {
	t.Helper()
	o := recordedOptions(t)
	o.JobNamespace, o.Resync = c.namespace, time.Second
	meta, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	f, err := New(o, Clients{Objects: clientset.NewForConfigOrDie(config), Metadata: meta})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close(context.Background())) })
	return f
}

func begin(t *testing.T, f *Factory, name, pkg string) runtime.Runtime {
	t.Helper()
	run, err := f.New(instanceOf(metaOf(name, pkg)))
	require.NoError(t, err)
	require.NoError(t, run.Start(t.Context()))
	return run
}

// TestRealLife: what was written reads back as the same, changes are made in place, and edits of others are repaired.
func TestRealLife(t *testing.T) {
	c := realCluster(t)
	f := c.factory(t, c.config)
	sets := c.api.AppsV1().StatefulSets(c.namespace)
	const name = "pf-public-default-f"
	run := begin(t, f, "f", "p")
	made, err := sets.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)

	run.(runtime.Detacher).Detach()
	run = begin(t, f, "f", "p")
	again, err := sets.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, made.UID, again.UID)
	require.Equal(t, made.Generation, again.Generation, "a second worker finds nothing to change")

	run.(runtime.Detacher).Detach()
	run = begin(t, f, "f", "q")
	changed, err := sets.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, made.UID, changed.UID)
	require.NotEqual(t, made.Spec.Template, changed.Spec.Template)

	require.Eventually(t, func() bool {
		_, err := run.(runtime.Multi).StatusOf(t.Context(), 0)
		return err != nil && err.Error() == "UNAVAILABLE: io exception; pod "+name+"-0 is Pending"
	}, 20*time.Second, 200*time.Millisecond)

	for range 10 {
		live, err := sets.Get(t.Context(), name, metav1.GetOptions{})
		if err == nil {
			live.Spec.Template.Spec.Containers[0].Image, live.Spec.Replicas = "edited", new(int32)
			_, _ = sets.Update(t.Context(), live, metav1.UpdateOptions{})
		}
		if rand.N(2) == 0 {
			_ = sets.Delete(t.Context(), name, metav1.DeleteOptions{})
		}
		if rand.N(2) == 0 {
			_ = c.api.CoreV1().Services(c.namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
		}
		time.Sleep(rand.N(200 * time.Millisecond))
	}
	require.Eventually(t, func() bool {
		live, err := sets.Get(t.Context(), name, metav1.GetOptions{})
		_, errService := c.api.CoreV1().Services(c.namespace).Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && errService == nil && live.DeletionTimestamp == nil && *live.Spec.Replicas == 1 && live.Spec.Template.Spec.Containers[0].Image != "edited"
	}, 20*time.Second, 100*time.Millisecond)

	require.NoError(t, run.Stop(t.Context()))
	left, err := sets.List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, left.Items)
}

// TestManyFunctions: all objects there, then all gone.
func TestManyFunctions(t *testing.T) {
	c := realCluster(t)
	f := c.factory(t, c.config)
	const functions = 300
	runs := make([]runtime.Runtime, functions)
	each := func(do func(i int) error) time.Duration {
		began := time.Now()
		var group errgroup.Group
		for i := range functions {
			group.Go(func() error { return do(i) })
		}
		require.NoError(t, group.Wait())
		return time.Since(began)
	}
	created := each(func(i int) (err error) {
		if runs[i], err = f.New(instanceOf(metaOf(fmt.Sprintf("f%d", i), "p"))); err == nil {
			err = runs[i].Start(t.Context())
		}
		return err
	})
	sets, err := c.api.AppsV1().StatefulSets(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, sets.Items, functions)
	deleted := each(func(i int) error { return runs[i].Stop(t.Context()) })
	sets, err = c.api.AppsV1().StatefulSets(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, sets.Items)
	services, err := c.api.CoreV1().Services(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, services.Items)
	t.Logf("%d functions: created in %s, deleted in %s", functions, created.Round(time.Millisecond), deleted.Round(time.Millisecond))
}

// TestMissingRights takes each verb away in turn: the message names it, and all is well once it is granted.
func TestMissingRights(t *testing.T) {
	c := realCluster(t)
	user := rest.CopyConfig(c.config)
	user.Impersonate = rest.ImpersonationConfig{UserName: "worker"}
	_, err := c.api.RbacV1().RoleBindings(c.namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "worker"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "worker"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "worker"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	roles := c.api.RbacV1().Roles(c.namespace)
	grant := func(without, resource string) {
		var rules []rbacv1.PolicyRule
		for _, r := range []struct{ group, resource string }{{"apps", "statefulsets"}, {"", "services"}, {"", "pods"}} {
			var verbs []string
			for _, v := range []string{"get", "create", "update", "delete", "list", "watch"} {
				if v != without || r.resource != resource {
					verbs = append(verbs, v)
				}
			}
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: verbs})
		}
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "worker"}, Rules: rules}
		_ = roles.Delete(t.Context(), "worker", metav1.DeleteOptions{})
		_, err := roles.Create(t.Context(), role, metav1.CreateOptions{})
		require.NoError(t, err)
		time.Sleep(500 * time.Millisecond) // the API server's authorizer follows
	}
	f := c.factory(t, user)
	for _, resource := range []string{"statefulsets", "services"} {
		for _, verb := range []string{"get", "create"} {
			grant(verb, resource)
			run, err := f.New(instanceOf(metaOf("f", "p")))
			require.NoError(t, err)
			require.ErrorContains(t, run.Start(t.Context()), fmt.Sprintf("the verb %q on %s", verb, resource))
			require.NoError(t, run.Stop(t.Context()))
			grant("", "")
			require.NoError(t, begin(t, f, "f", "p").Stop(t.Context()))
		}
		grant("delete", resource)
		run := begin(t, f, "f", "p")
		require.ErrorContains(t, run.Stop(t.Context()), fmt.Sprintf("the verb %q on %s", "delete", resource))
		grant("update", resource)
		run = begin(t, f, "f", "another")
		run.(runtime.Detacher).Detach()
		grant("", "")
		require.NoError(t, begin(t, f, "f", "another").Stop(t.Context()))
	}
}
