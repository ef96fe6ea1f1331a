package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// simulated are the objects of client-go's own simulation of an API server.
type simulated struct{ api *fake.Clientset }

func (s simulated) StatefulSets(namespace string) Resource[*appsv1.StatefulSet] {
	return s.api.AppsV1().StatefulSets(namespace)
}

func (s simulated) Services(namespace string) Resource[*corev1.Service] {
	return s.api.CoreV1().Services(namespace)
}

func (s simulated) Secrets(namespace string) Resource[*corev1.Secret] {
	return s.api.CoreV1().Secrets(namespace)
}

func (s simulated) ConfigMaps(namespace string) Resource[*corev1.ConfigMap] {
	return s.api.CoreV1().ConfigMaps(namespace)
}

func (s simulated) PodDisruptionBudgets(namespace string) Resource[*policyv1.PodDisruptionBudget] {
	return s.api.PolicyV1().PodDisruptionBudgets(namespace)
}

// Allowed: the simulation knows no rights.
func (s simulated) Allowed(context.Context, authorizationv1.ResourceAttributes) (bool, error) {
	return true, nil
}

func (s simulated) Pods(namespace string) Lister[*corev1.PodList] {
	return s.api.CoreV1().Pods(namespace)
}

// rig is a factory before a simulated API server.
type rig struct {
	*Factory
	api *fake.Clientset
}

func newRig(t *testing.T, existing ...k8sruntime.Object) rig {
	t.Helper()
	api := fake.NewClientset(existing...)
	o := recordedOptions(t)
	o.Log, o.Resync, o.CallTimeout = zaptest.NewLogger(t), 50*time.Millisecond, 100*time.Millisecond
	f, err := New(o, Clients{Objects: simulated{api}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close(context.Background())) })
	return rig{f, api}
}

func instanceOf(meta *pb.FunctionMetaData) runtime.Instance {
	return runtime.Instance{Spec: &pb.Instance{FunctionMetaData: meta, InstanceId: -1}}
}

func metaOf(name, pkg string) *pb.FunctionMetaData {
	return &pb.FunctionMetaData{FunctionDetails: named("public", "default", name), PackageLocation: &pb.PackageLocationMetaData{PackagePath: pkg, OriginalFileName: "p.jar"}}
}

func (r rig) start(t *testing.T, meta *pb.FunctionMetaData) runtime.Runtime {
	t.Helper()
	run, err := r.New(instanceOf(meta))
	require.NoError(t, err)
	require.NoError(t, run.Start(t.Context()))
	return run
}

func (r rig) set(t *testing.T, name string) *appsv1.StatefulSet {
	t.Helper()
	set, err := r.api.AppsV1().StatefulSets("default").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return set
}

func (r rig) gone(t *testing.T, name string) bool {
	t.Helper()
	_, errSet := r.api.AppsV1().StatefulSets("default").Get(t.Context(), name, metav1.GetOptions{})
	_, errService := r.api.CoreV1().Services("default").Get(t.Context(), name, metav1.GetOptions{})
	return apierrors.IsNotFound(errSet) && apierrors.IsNotFound(errService)
}

// writes are the verbs that changed something.
func (r rig) writes() []string {
	var out []string
	for _, a := range r.api.Actions() {
		if a.GetVerb() != "get" && a.GetVerb() != "list" {
			out = append(out, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	return out
}

func TestLifeOfAFunction(t *testing.T) {
	r := newRig(t)
	run := r.start(t, metaOf("f", "p1"))
	require.Equal(t, []string{"create services", "create statefulsets"}, r.writes())
	require.NoError(t, func() error { _, err := run.Status(t.Context()); return err }())
	require.Error(t, run.Start(t.Context()), "a second start")

	// The next worker finds it as it should be and writes nothing.
	run.(runtime.Detacher).Detach()
	<-run.Done()
	require.True(t, run.Exit().Asked)
	r.api.ClearActions()
	again := r.start(t, metaOf("f", "p1"))
	require.Empty(t, r.writes())

	// A new package changes it in place.
	again.(runtime.Detacher).Detach()
	before := *commandOf(&r.set(t, "pf-public-default-f").Spec.Template)
	changed := r.start(t, metaOf("f", "p2"))
	require.Equal(t, []string{"update statefulsets"}, r.writes())
	require.NotEqual(t, before, *commandOf(&r.set(t, "pf-public-default-f").Spec.Template))

	require.NoError(t, changed.Stop(t.Context()))
	require.True(t, r.gone(t, "pf-public-default-f"))
	require.NoError(t, changed.Stop(t.Context()), "a second stop")
}

// TestAdoptsWhatAJavaWorkerMade: the recorded objects stay as they are, pods are not restarted; a later change is made.
func TestAdoptsWhatAJavaWorkerMade(t *testing.T) {
	for name, recorded := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			set, service := recorded.StatefulSet, recorded.Service
			command := &set.Spec.Template.Spec.Containers[0].Command[2]
			*command = uuidHoles.ReplaceAllString(*command, "0e2b3f6c-8d1c-4f57-9c1e-2f6f5d2a3b4c")
			service.Spec.ClusterIP = corev1.ClusterIPNone
			r := newRig(t, &set, &service)
			meta := recordedFunction(t, recorded)
			run := r.start(t, meta)
			require.Equal(t, []string{"update statefulsets"}, r.writes(), "only the mark of the adoption")
			require.Equal(t, set.Spec.Template, r.set(t, set.Name).Spec.Template)

			run.(runtime.Detacher).Detach()
			r.api.ClearActions()
			run = r.start(t, meta)
			require.Empty(t, r.writes())

			run.(runtime.Detacher).Detach()
			meta = proto.CloneOf(meta) // the factory reads the one that it was given
			meta.PackageLocation.PackagePath = "another"
			r.start(t, meta)
			got := r.set(t, set.Name)
			require.NotEqual(t, set.Spec.Template, got.Spec.Template)
			require.NotContains(t, got.Annotations, adoptedAs)
		})
	}
}

func TestStartAgainstWhatExists(t *testing.T) {
	want, err := recordedOptions(t).build(metaOf("f", "p"))
	require.NoError(t, err)
	tests := map[string]struct {
		change    func(*appsv1.StatefulSet, *corev1.Service)
		wantWrite []string
		wantError string
	}{
		"the same":        {},
		"edited replicas": {change: func(s *appsv1.StatefulSet, _ *corev1.Service) { *s.Spec.Replicas = 7 }, wantWrite: []string{"update statefulsets"}},
		"edited image":    {change: func(s *appsv1.StatefulSet, _ *corev1.Service) { s.Spec.Template.Spec.Containers[0].Image = "x" }, wantWrite: []string{"update statefulsets"}},
		"added container": {change: func(s *appsv1.StatefulSet, _ *corev1.Service) {
			s.Spec.Template.Spec.Containers = append(s.Spec.Template.Spec.Containers, corev1.Container{Name: "c"})
		}, wantWrite: []string{"update statefulsets"}},
		"lost label":           {change: func(s *appsv1.StatefulSet, _ *corev1.Service) { delete(s.Labels, "component") }, wantWrite: []string{"update statefulsets"}},
		"a label of others":    {change: func(s *appsv1.StatefulSet, v *corev1.Service) { s.Labels["team"] = "x"; v.Labels["team"] = "x" }},
		"another selector":     {change: func(s *appsv1.StatefulSet, _ *corev1.Service) { s.Spec.Selector.MatchLabels["a"] = "b" }, wantWrite: []string{"delete statefulsets", "create statefulsets"}},
		"edited port":          {change: func(_ *appsv1.StatefulSet, v *corev1.Service) { v.Spec.Ports[0].Port = 1 }, wantWrite: []string{"update services"}},
		"a Service with an IP": {change: func(_ *appsv1.StatefulSet, v *corev1.Service) { v.Spec.ClusterIP = "10.0.0.1" }, wantWrite: []string{"delete services", "create services"}},
		"of another function":  {change: func(s *appsv1.StatefulSet, _ *corev1.Service) { s.Labels["tenant"] = "other" }, wantError: "belongs to the function other/default/f"},
		"service of another":   {change: func(_ *appsv1.StatefulSet, v *corev1.Service) { v.Labels["name"] = "other" }, wantError: "belongs to the function public/default/other"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set, service := want.set.DeepCopy(), want.service.DeepCopy()
			if tt.change != nil {
				tt.change(set, service)
			}
			r := newRig(t, set, service)
			run, err := r.New(instanceOf(metaOf("f", "p")))
			require.NoError(t, err)
			if err = run.Start(t.Context()); tt.wantError != "" {
				require.ErrorContains(t, err, tt.wantError)
				require.NoError(t, run.Stop(t.Context()), "what failed to start deletes nothing")
				require.Empty(t, r.writes())
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.wantWrite, r.writes())
		})
	}
}

func TestPassingFailuresAreRetried(t *testing.T) {
	resource := schema.GroupResource{Group: "apps", Resource: "statefulsets"}
	for name, failure := range map[string]error{
		"429":         apierrors.NewTooManyRequests("slow down", 0),
		"500":         apierrors.NewInternalError(context.DeadlineExceeded),
		"503":         apierrors.NewServiceUnavailable("away"),
		"504":         apierrors.NewTimeoutError("too slow", 0),
		"410":         apierrors.NewGone("gone"),
		"conflict":    apierrors.NewConflict(resource, "x", nil),
		"no answer":   &http.ProtocolError{ErrorString: "reset"},
		"made before": apierrors.NewAlreadyExists(resource, "x"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			left := 2
			r.api.PrependReactor("create", "*", func(clienttesting.Action) (bool, k8sruntime.Object, error) {
				left--
				return left >= 0, nil, failure
			})
			r.start(t, metaOf("f", "p"))
		})
	}
}

func TestForbiddenNamesTheRight(t *testing.T) {
	r := newRig(t)
	denied := true
	r.api.PrependReactor("create", "statefulsets", func(clienttesting.Action) (bool, k8sruntime.Object, error) {
		return denied, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "statefulsets"}, "x", errors.New(`User "w" cannot create resource "statefulsets" in API group "apps" in the namespace "default"`))
	})
	run, err := r.New(instanceOf(metaOf("f", "p")))
	require.NoError(t, err)
	err = run.Start(t.Context())
	require.ErrorContains(t, err, `grant its service account the verb "create" on statefulsets (apiGroups: [apps])`)
	require.NoError(t, run.Stop(t.Context()))
	denied = false
	r.start(t, metaOf("f", "p"))
}

func TestCredentialsThatAreNotAccepted(t *testing.T) {
	r := newRig(t)
	r.api.PrependReactor("get", "services", func(clienttesting.Action) (bool, k8sruntime.Object, error) {
		return true, nil, apierrors.NewUnauthorized("Unauthorized")
	})
	run, err := r.New(instanceOf(metaOf("f", "p")))
	require.NoError(t, err)
	require.ErrorContains(t, run.Start(t.Context()), "get services default/pf-public-default-f: the API server does not accept the worker's credentials")
}

// TestRefusedByAPolicy: what a quota or a webhook refuses is no missing right: a function that runs is not replaced for it, and nothing
// stays half-made.
func TestRefusedByAPolicy(t *testing.T) {
	for _, why := range []string{"exceeded quota: q, requested: count/statefulsets.apps=1, used: count/statefulsets.apps=3, limited: count/statefulsets.apps=3",
		`admission webhook "validation.gatekeeper.sh" denied the request: no images from there`} {
		r := newRig(t)
		refusal := apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "statefulsets"}, "pf-public-default-f", errors.New(why))
		refused := ""
		for _, verb := range []string{"create", "update"} {
			r.api.PrependReactor(verb, "statefulsets", func(clienttesting.Action) (bool, k8sruntime.Object, error) {
				return refused == verb, nil, refusal
			})
		}
		refused = "create"
		run, err := r.New(instanceOf(metaOf("f", "p")))
		require.NoError(t, err)
		err = run.Start(t.Context())
		require.ErrorContains(t, err, "a quota or policy of the Kubernetes namespace default does not let the worker create statefulsets")
		require.ErrorContains(t, err, why)
		require.NotContains(t, err.Error(), "grant")
		_, err = r.api.CoreV1().Services("default").Get(t.Context(), "pf-public-default-f", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "the Service stays behind")

		refused = ""
		r.start(t, metaOf("f", "p")).(interface{ Detach() }).Detach()
		before := r.set(t, "pf-public-default-f")
		refused = "update"
		run, err = r.New(instanceOf(metaOf("f", "other")))
		require.NoError(t, err)
		require.ErrorContains(t, run.Start(t.Context()), "does not let the worker update statefulsets")
		require.Equal(t, before, r.set(t, "pf-public-default-f"), "the old version goes on")
	}
}

func TestRepairsWhatOthersChange(t *testing.T) {
	r := newRig(t)
	r.start(t, metaOf("f", "p"))
	require.NoError(t, r.api.AppsV1().StatefulSets("default").Delete(t.Context(), "pf-public-default-f", metav1.DeleteOptions{}))
	require.NoError(t, r.api.CoreV1().Services("default").Delete(t.Context(), "pf-public-default-f", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, errSet := r.api.AppsV1().StatefulSets("default").Get(context.Background(), "pf-public-default-f", metav1.GetOptions{})
		_, errService := r.api.CoreV1().Services("default").Get(context.Background(), "pf-public-default-f", metav1.GetOptions{})
		return errSet == nil && errService == nil
	}, 10*time.Second, 10*time.Millisecond)
}

func TestStatusTellsAboutThePod(t *testing.T) {
	r := newRig(t)
	run := r.start(t, metaOf("f", "p"))
	multi := run.(runtime.Multi)
	_, err := multi.StatusOf(t.Context(), 0)
	require.ErrorContains(t, err, "UNAVAILABLE")
	require.ErrorContains(t, err, "there is no pod pf-public-default-f-0")
	_, err = multi.StatusOf(t.Context(), 1)
	require.EqualError(t, err, "Invalid InstanceId")
	require.NoError(t, run.Stop(t.Context()))
	_, err = multi.StatusOf(t.Context(), 0)
	require.EqualError(t, err, "Not alive")
}

func TestDescribePod(t *testing.T) {
	container := func(s corev1.ContainerStatus) corev1.PodStatus {
		s.Name = containerName
		return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{s}}
	}
	for want, status := range map[string]corev1.PodStatus{
		"pod p is Pending: Unschedulable: 0/3 nodes are available": {Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}},
		"pod p is Running: ImagePullBackOff: Back-off pulling image": container(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"}}}),
		"pod p is Running: CrashLoopBackOff; it ended with exit code 137: OOMKilled; 4 restarts": container(corev1.ContainerStatus{RestartCount: 4,
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}),
		"pod p is Unknown": {},
	} {
		require.Equal(t, want, describePod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: status}))
	}
}
