package kubernetes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
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
	config.QPS, config.Burst, config.WarningHandler = 200, 400, rest.NoWarnings{}
	c := cluster{config: config, namespace: fmt.Sprintf("test-%d", rand.Uint32())}
	c.api = clientset.NewForConfigOrDie(config)
	_, err = c.api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.api.CoreV1().Namespaces().Delete(context.Background(), c.namespace, metav1.DeleteOptions{})
	})
	return c
}

func (c cluster) factory(t *testing.T, config *rest.Config, change ...func(*Options)) *Factory {
	t.Helper()
	o := recordedOptions(t)
	o.JobNamespace, o.Resync = c.namespace, time.Second
	for _, do := range change {
		do(&o)
	}
	meta, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	objects, err := newTyped(config)
	require.NoError(t, err)
	f, err := New(o, Clients{Objects: objects, Metadata: meta})
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

// TestRealManyFunctions: 300 functions are created and deleted, each within 20 s; nothing is missing, nothing is left. A busy
// machine gets three attempts.
func TestRealManyFunctions(t *testing.T) {
	c := realCluster(t)
	f := c.factory(t, c.config)
	const functions, limit = 300, 20 * time.Second
	var created, deleted time.Duration
	for range 3 {
		created, deleted = c.createAndDelete(t, f, functions)
		t.Logf("%d functions: created in %s, deleted in %s", functions, created.Round(time.Millisecond), deleted.Round(time.Millisecond))
		if created <= limit && deleted <= limit {
			return
		}
	}
	t.Errorf("creating took %s, deleting %s; each may take %s", created, deleted, limit)
}

func (c cluster) createAndDelete(t *testing.T, f *Factory, functions int) (created, deleted time.Duration) {
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
	count := func() (sets, services, pods int) {
		s, err := c.api.AppsV1().StatefulSets(c.namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		v, err := c.api.CoreV1().Services(c.namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		p, err := c.api.CoreV1().Pods(c.namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		return len(s.Items), len(v.Items), len(p.Items)
	}
	before := heap()
	created = each(func(i int) (err error) {
		if runs[i], err = f.New(instanceOf(metaOf(fmt.Sprintf("f%d", i), "p"))); err == nil {
			err = runs[i].Start(t.Context())
		}
		return err
	})
	sets, services, _ := count()
	require.Equal(t, []int{functions, functions}, []int{sets, services})
	// Five thousand functions, each of which costs what one of these does, and 50 MB for the rest of the worker.
	perFunction := (heap() - before) / int64(functions)
	t.Logf("%d bytes for each function", perFunction)
	require.Less(t, 5000*perFunction, int64(200<<20))
	deleted = each(func(i int) error { return runs[i].Stop(t.Context()) })
	sets, services, _ = count()
	require.Equal(t, []int{0, 0}, []int{sets, services})
	ended := time.Now()
	require.Eventually(t, func() bool { _, _, pods := count(); return pods == 0 }, time.Minute, 100*time.Millisecond)
	return created, deleted + time.Since(ended)
}

// heap is what the program holds on to.
func heap() int64 {
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
