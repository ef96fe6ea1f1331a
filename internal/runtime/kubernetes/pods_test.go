package kubernetes

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

var update = flag.Bool("update", false, "write the golden files anew")

// programsOf has a compiled-in function, and a host for modules that is never used here.
func programsOf(t *testing.T) *instance.Programs {
	t.Helper()
	load := func(context.Context, instance.Package) (instance.Program, error) { return nil, nil }
	p, err := instance.NewPrograms(load, instance.Builtin{Name: "transform", Load: load})
	require.NoError(t, err)
	return p
}

// ownOptions are those of a worker that uses its own image.
func ownOptions(t *testing.T) Options {
	o := recordedOptions(t)
	o.Programs, o.WorkerImage, o.WASMLimits = programsOf(t), "functions-worker:1", `{"Memory":67108864}`
	return o
}

func moduleOf(name string) *pb.FunctionMetaData {
	meta := metaOf(name, "key")
	meta.FunctionDetails.Runtime, meta.PackageLocation.OriginalFileName = pb.FunctionDetails_GO, "excl amation.wasm"
	return meta
}

func compiledInOf(name string) *pb.FunctionMetaData {
	meta := metaOf(name, "builtin://transform")
	meta.FunctionDetails.Builtin, meta.PackageLocation.OriginalFileName = "transform", ""
	meta.FunctionDetails.Source = &pb.SourceSpec{InputSpecs: map[string]*pb.ConsumerSpec{"persistent://public/default/in": {}}}
	return meta
}

// podCases are functions and options whose pods a Java worker does not have.
func podCases(t *testing.T) map[string]objects {
	t.Helper()
	native := func(o *Options) { o.NativeDownload = true }
	language := func(r pb.FunctionDetails_Runtime, file string) *pb.FunctionMetaData {
		meta := metaOf("f", "key")
		meta.FunctionDetails.Runtime, meta.PackageLocation.OriginalFileName = r, file
		return meta
	}
	sink := language(pb.FunctionDetails_JAVA, "sink.nar")
	sink.FunctionDetails.ComponentType = pb.FunctionDetails_SINK
	sink.TransformFunctionPackageLocation = &pb.PackageLocationMetaData{PackagePath: "key2", OriginalFileName: "transform.jar"}
	out := map[string]objects{}
	for name, c := range map[string]struct {
		meta   *pb.FunctionMetaData
		change func(*Options)
	}{
		"module":                  {meta: moduleOf("f")},
		"module, native download": {moduleOf("f"), native},
		"compiled in":             {meta: compiledInOf("f")},
		"java, native download":   {language(pb.FunctionDetails_JAVA, "f.jar"), native},
		"go, native download":     {language(pb.FunctionDetails_GO, "f"), native},
		"sink with a transform function, native download": {sink, native},
		"java, probes":            {language(pb.FunctionDetails_JAVA, "f.jar"), func(o *Options) { o.Probes = Probes{true, true} }},
		"compiled in, probes":     {compiledInOf("f"), func(o *Options) { o.Probes = Probes{true, true} }},
		"java, liveness, no port": {language(pb.FunctionDetails_JAVA, "f.jar"), func(o *Options) { o.Probes.Liveness, o.MetricsPort = true, 0 }},
		"python, native download with credentials": {language(pb.FunctionDetails_PYTHON, "f.py"), func(o *Options) {
			o.NativeDownload, o.DownloadDirectory = true, ""
			o.Credentials = &Credentials{Provider: ServiceAccountToken, TrustSecret: "trust", TLS: launch.Auth{UseTLS: true}}
		}},
	} {
		o := ownOptions(t)
		if c.change != nil {
			c.change(&o)
		}
		got, err := o.build(c.meta)
		require.NoError(t, err, name)
		out[name] = got
	}
	return out
}

// TestPodsOfOurOwn compares with testdata/pods.json, which was read by people and is written by go test -update.
func TestPodsOfOurOwn(t *testing.T) {
	const file = "testdata/pods.json"
	got := map[string]appsv1.StatefulSetSpec{}
	for name, o := range podCases(t) {
		got[name] = o.set.Spec
	}
	if *update {
		data, err := json.MarshalIndent(got, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(data, '\n'), 0o644))
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var want map[string]appsv1.StatefulSetSpec
	require.NoError(t, json.Unmarshal(data, &want))
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	for name := range want {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("%s (-golden +built)\n%s", name, diff)
		}
	}
}

// TestRealPodsOfOurOwn: the API server takes them as they are, and under the restricted Pod Security level with the documented patch.
func TestRealPodsOfOurOwn(t *testing.T) {
	c := realCluster(t)
	dry := c.restricted(t)
	patch := documentedPatch(t)
	for name, o := range podCases(t) {
		set, service := o.set.DeepCopy(), o.service.DeepCopy()
		set.Namespace, service.Namespace = c.namespace, c.namespace
		made, err := c.api.AppsV1().StatefulSets(c.namespace).Create(t.Context(), set, dry)
		require.NoError(t, err, name)
		require.Equal(t, same, compareSet(o.set, made, o.version), "%s: what is read back equals what was written", name)
		_, err = c.api.CoreV1().Services(c.namespace).Create(t.Context(), service, dry)
		require.NoError(t, err, name)
		template, err := applyPatch(o.set.Spec.Template, patchStep{merge: patch})
		require.NoError(t, err)
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Name, pod.Spec.ServiceAccountName = "pod", "default" // the plug-in that fills it in is off
		_, err = c.api.CoreV1().Pods(c.namespace).Create(t.Context(), pod, dry)
		require.NoError(t, err, name)
	}
}

func TestWhatRunsInTheWorkersImage(t *testing.T) {
	o := ownOptions(t)
	uploaded := compiledInOf("f")
	uploaded.PackageLocation = &pb.PackageLocationMetaData{PackagePath: "key", OriginalFileName: "transform.nar"}
	unknown := compiledInOf("f")
	unknown.FunctionDetails.Builtin, unknown.PackageLocation.PackagePath = "other", "builtin://other"
	connector := moduleOf("f")
	connector.FunctionDetails.ComponentType = pb.FunctionDetails_SINK
	for name, tt := range map[string]struct {
		meta *pb.FunctionMetaData
		want bool
	}{
		"a module": {moduleOf("f"), true}, "a compiled-in function": {compiledInOf("f"), true}, "a jar": {metaOf("f", "p"), false},
		"an archive that was uploaded under the name": {uploaded, false}, "a built-in archive": {unknown, false}, "a connector": {connector, false},
	} {
		require.Equal(t, tt.want, o.hosted(tt.meta), name)
	}

	f, err := New(o, Clients{})
	require.NoError(t, err)
	require.NoError(t, f.HostsPrograms())
	require.NoError(t, f.Admit(compiledInOf("f").FunctionDetails))
	o.WorkerImage = ""
	f, err = New(o, Clients{})
	require.NoError(t, err)
	require.ErrorContains(t, f.HostsPrograms(), "workerImage")
	require.ErrorContains(t, f.Admit(compiledInOf("f").FunctionDetails), "workerImage")
	o.NativeDownload = true
	_, err = New(o, Clients{})
	require.ErrorContains(t, err, "nativeDownload needs")
}

func TestTheWorkersContainer(t *testing.T) {
	of := func(names ...string) (list []corev1.Container) {
		for _, n := range names {
			list = append(list, corev1.Container{Name: n, Image: n + ":1"})
		}
		return list
	}
	for want, list := range map[string][]corev1.Container{"x:1": of("x"), "pulsar-function-worker:1": of("istio-proxy", "pulsar-function-worker"), "functions-worker:1": of("functions-worker", "a", "b")} {
		got, err := imageAmong(list)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := imageAmong(of("a", "b"))
	require.ErrorContains(t, err, "2 containers, of which 0")
}

// TestRealImageOfTheWorkersPod: without a configured image, the first function that needs it gets that of the worker's own pod.
func TestRealImageOfTheWorkersPod(t *testing.T) {
	c := realCluster(t)
	own := "no-such-pod"
	f := c.factory(t, c.config, func(o *Options) {
		o.Programs = programsOf(t)
		o.WorkerPod = func() (string, string, error) { return c.namespace, own, nil }
	})
	module := moduleOf("f")
	run, err := f.New(instanceOf(module))
	require.NoError(t, err)
	err = run.Start(t.Context())
	require.ErrorContains(t, err, "there is no pod "+c.namespace+"/no-such-pod")
	require.ErrorContains(t, err, "goWorker.kubernetes.workerImage")
	require.NoError(t, run.Stop(t.Context()))

	own = "worker-0"
	_, err = c.api.CoreV1().Pods(c.namespace).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: own},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "worker", Image: "mine:7"}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	run, err = f.New(instanceOf(module))
	require.NoError(t, err)
	require.NoError(t, run.Start(t.Context()))
	set, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), "pf-public-default-f", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "mine:7", set.Spec.Template.Spec.Containers[0].Image)
	require.NoError(t, run.Stop(t.Context()))
}

// documentedPatch is the one that docs/kubernetes.md gives for the restricted Pod Security level.
func documentedPatch(t *testing.T) map[string]any {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/kubernetes.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(doc), "<!-- restricted -->\n```yaml\n")
	require.True(t, found)
	text, _, _ := strings.Cut(rest, "```")
	own, _ := patchOf(t, text)["goWorker"].(map[string]any)
	kubernetes, _ := own["kubernetes"].(map[string]any)
	patch, _ := kubernetes["podPatch"].(map[string]any)
	require.NotEmpty(t, patch)
	return patch
}

// restricted puts the namespace under the restricted Pod Security level, and gives the options of a dry run there.
func (c cluster) restricted(t *testing.T) metav1.CreateOptions {
	t.Helper()
	namespace, err := c.api.CoreV1().Namespaces().Get(t.Context(), c.namespace, metav1.GetOptions{})
	require.NoError(t, err)
	namespace.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	_, err = c.api.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{})
	require.NoError(t, err)
	return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
}
