package kubernetes

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// faulty is an API server that is slow, refuses, fails and breaks connections, before a real one.
type faulty struct {
	proxy  *httputil.ReverseProxy
	calm   atomic.Bool
	faults [4]atomic.Int64
}

func (c cluster) faulty(t *testing.T) (*faulty, *rest.Config) {
	t.Helper()
	target, err := url.Parse(c.config.Host)
	require.NoError(t, err)
	transport, err := rest.TransportFor(c.config)
	require.NoError(t, err)
	f := &faulty{proxy: &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}}}
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	config := rest.CopyConfig(c.config)
	config.Host, config.TLSClientConfig = server.URL, rest.TLSClientConfig{}
	return f, config
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.calm.Load() {
		f.proxy.ServeHTTP(w, r)
		return
	}
	if r.URL.Query().Get("watch") != "" { // ends early, in the middle
		ctx, cancel := context.WithTimeout(r.Context(), rand.N(2*time.Second))
		defer cancel()
		r = r.WithContext(ctx)
	}
	time.Sleep(rand.N(50 * time.Millisecond))
	fault := rand.N(20)
	if fault < len(f.faults) {
		f.faults[fault].Add(1)
	}
	status := func(code int, reason string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
	}
	switch fault {
	case 0:
		status(http.StatusTooManyRequests, "TooManyRequests")
	case 1:
		status(http.StatusInternalServerError, "InternalError")
	case 2: // no answer
		panic(http.ErrAbortHandler)
	case 3: // done, but the answer is lost
		f.proxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		f.proxy.ServeHTTP(w, r)
	}
}

// vandal changes and deletes objects of the functions until ctx ends.
func (c cluster) vandal(ctx context.Context, names []string) {
	sets, services := c.api.AppsV1().StatefulSets(c.namespace), c.api.CoreV1().Services(c.namespace)
	orphan := metav1.DeletePropagationOrphan
	for ctx.Err() == nil {
		name := names[rand.N(len(names))]
		set, err := sets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			continue
		}
		switch rand.N(8) {
		case 0:
			_ = sets.Delete(ctx, name, metav1.DeleteOptions{})
		case 1:
			_ = sets.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &orphan})
		case 2:
			_ = services.Delete(ctx, name, metav1.DeleteOptions{})
		case 3:
			set.Spec.Template.Spec.Containers[0].Image = "edited"
			_, _ = sets.Update(ctx, set, metav1.UpdateOptions{})
		case 4:
			set.Spec.Replicas = new(int32)
			_, _ = sets.Update(ctx, set, metav1.UpdateOptions{})
		case 5:
			set.Labels = map[string]string{"component": "function", "tenant": "public", "namespace": "default", "name": set.Labels["name"]}
			set.Spec.Template.Spec.Containers = append(set.Spec.Template.Spec.Containers, corev1.Container{Name: "more", Image: "x"})
			_, _ = sets.Update(ctx, set, metav1.UpdateOptions{})
		case 6: // another one under the same name, with another selector
			_ = sets.Delete(ctx, name, metav1.DeleteOptions{})
			other := set.DeepCopy()
			other.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: set.Labels}
			other.Spec.Selector.MatchLabels["more"], other.Spec.Template.Labels["more"] = "x", "x"
			_, _ = sets.Create(ctx, other, metav1.CreateOptions{})
		case 7:
			if service, err := services.Get(ctx, name, metav1.GetOptions{}); err == nil {
				service.Spec.Selector, service.Spec.Ports[0].Port = map[string]string{"a": "b"}, 1
				_, _ = services.Update(ctx, service, metav1.UpdateOptions{})
			}
		}
		_ = sleep(ctx, rand.N(30*time.Millisecond))
	}
}

// restartAPIServer ends and starts the API server of a control plane that is the test's own.
func restartAPIServer(t *testing.T) {
	dir := os.Getenv("PULSAR_TEST_KUBERNETES")
	if dir == "" {
		t.Log("PULSAR_TEST_KUBERNETES names no control plane of this test's own: its API server is not restarted")
		return
	}
	out, err := exec.CommandContext(t.Context(), "../../../scripts/kubernetes.sh", "restart-api", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestRealReconcilerUnderFire: objects are deleted, edited and made anew at random while the API server is slow, fails,
// breaks off and is restarted. In the end the cluster holds exactly what it should, and after that nothing.
func TestRealReconcilerUnderFire(t *testing.T) {
	c := realCluster(t)
	faults, config := c.faulty(t)
	f := c.factory(t, config)
	const functions = 15
	var names []string
	runs := make([]*run, functions)
	var starting sync.WaitGroup
	for i := range runs {
		names = append(names, fmt.Sprintf("pf-public-default-f%d", i))
		starting.Go(func() {
			for { // the worker tries again after a failed start
				made, err := f.New(instanceOf(metaOf(fmt.Sprintf("f%d", i), "p")))
				if err != nil {
					t.Error(err)
					return
				}
				if runs[i] = made.(*run); runs[i].Start(t.Context()) == nil {
					return
				}
			}
		})
	}
	starting.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	var vandals sync.WaitGroup
	for range 4 {
		vandals.Go(func() { c.vandal(ctx, names) })
	}
	if sleep(ctx, 2*time.Second) == nil {
		restartAPIServer(t)
	}
	vandals.Wait()
	cancel()

	require.Eventually(t, func() bool { return c.difference(runs) == "" }, 90*time.Second, 250*time.Millisecond)
	for i := range faults.faults {
		require.Positive(t, faults.faults[i].Load(), "fault %d was never injected", i)
	}

	var stopping sync.WaitGroup
	for _, one := range runs {
		stopping.Go(func() {
			one.Stop(t.Context()) //nolint:errcheck // what is left is looked at below
			// The worker tries again, with a runtime made for it.
			for again, _ := f.New(runtime.Instance{Spec: instanceOf(one.meta).Spec}); again.Stop(t.Context()) != nil; again, _ = f.New(instanceOf(one.meta)) {
			}
		})
	}
	stopping.Wait()
	sets, err := c.api.AppsV1().StatefulSets(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	services, err := c.api.CoreV1().Services(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, sets.Items)
	require.Empty(t, services.Items)
}

// difference is the first thing that is not as the runs want it, "" when all is and there is nothing else.
func (c cluster) difference(runs []*run) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	sets, err := c.api.AppsV1().StatefulSets(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	services, err := c.api.CoreV1().Services(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	if len(sets.Items) != len(runs) || len(services.Items) != len(runs) {
		return fmt.Sprintf("%d StatefulSets and %d Services", len(sets.Items), len(services.Items))
	}
	live := map[string]*appsv1.StatefulSet{}
	for i := range sets.Items {
		live[sets.Items[i].Name] = &sets.Items[i]
	}
	liveServices := map[string]*corev1.Service{}
	for i := range services.Items {
		liveServices[services.Items[i].Name] = &services.Items[i]
	}
	for _, one := range runs {
		want, err := one.wanted()
		if err != nil {
			return err.Error()
		}
		set, service := live[want.name], liveServices[want.name]
		switch {
		case set == nil || service == nil:
			return want.name + " is missing"
		case set.DeletionTimestamp != nil || compareSet(want.set, set, want.version) != same:
			return "the StatefulSet " + want.name + " is wrong"
		case service.DeletionTimestamp != nil || compareService(want.service, service) != same:
			return "the Service " + want.name + " is wrong"
		case !strings.Contains(*commandOf(&set.Spec.Template), "--function_version "+want.version):
			return "the command of " + want.name + " is wrong"
		}
	}
	return ""
}
