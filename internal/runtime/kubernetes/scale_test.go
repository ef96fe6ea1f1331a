package kubernetes

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

func TestPodsDoNotDependOnTheirNumber(t *testing.T) {
	o := recordedOptions(t)
	two := metaOf("f", "p")
	two.FunctionDetails.Parallelism = 2
	one, err := o.build(metaOf("f", "p"))
	require.NoError(t, err)
	other, err := o.build(two)
	require.NoError(t, err)
	require.NotEqual(t, one.set.Spec.Template, other.set.Spec.Template, "as with a Java worker")

	o.ExternalReplicas = true
	one, err = o.build(metaOf("f", "p"))
	require.NoError(t, err)
	other, err = o.build(two)
	require.NoError(t, err)
	require.Equal(t, one.set.Spec.Template, other.set.Spec.Template)
	require.EqualValues(t, 2, *other.set.Spec.Replicas)
	require.EqualValues(t, 2, two.FunctionDetails.Parallelism, "the function itself is not changed")
}

func TestWhoMayScaleAFunction(t *testing.T) {
	for name, tt := range map[string]struct {
		worker     bool
		customizer bool
		options    string
		want       bool
	}{
		"nobody by default": {}, "the worker's word": {worker: true, want: true},
		"a function opts in":             {customizer: true, options: `{"externalReplicas": true}`, want: true},
		"a function opts out":            {worker: true, customizer: true, options: `{"externalReplicas": false}`},
		"options without the customizer": {options: `{"externalReplicas": true}`},
	} {
		o := recordedOptions(t)
		o.ExternalReplicas = tt.worker
		if tt.customizer {
			o.Customize = &Customization{}
		}
		meta := metaOf("f", "p")
		meta.FunctionDetails.CustomRuntimeOptions = tt.options
		got, err := o.build(meta)
		require.NoError(t, err)
		require.Equal(t, tt.want, got.external, name)
	}
}

// registry is where the workers of a cluster keep a function.
type registry struct {
	mu   sync.Mutex
	meta *pb.FunctionMetaData
}

func (r *registry) rescale(_ context.Context, meta *pb.FunctionMetaData, n int32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.meta.Version == meta.Version {
		r.meta = withParallelism(r.meta, n)
	}
	return nil
}

func (r *registry) now() *pb.FunctionMetaData {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.meta
}

func withParallelism(meta *pb.FunctionMetaData, n int32) *pb.FunctionMetaData {
	meta = withoutParallelism(meta)
	meta.FunctionDetails.Parallelism = n
	meta.Version++
	return meta
}

// TestRealScaledByOthers: what others set becomes the function's parallelism, survives a change of the worker and a stop, and gives
// way to an update; no pod is replaced for any of it. Without the option it is repaired.
func TestRealScaledByOthers(t *testing.T) {
	c := realCluster(t)
	sets := c.api.AppsV1().StatefulSets(c.namespace)
	const name = "pf-public-default-f"
	get := func() *appsv1.StatefulSet {
		set, err := sets.Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		return set
	}
	scale := func(n int32) { // as an autoscaler does, by the subresource
		require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			s, err := sets.GetScale(t.Context(), name, metav1.GetOptions{})
			if err == nil {
				s.Spec.Replicas = n
				_, err = sets.UpdateScale(t.Context(), name, s, metav1.UpdateOptions{})
			}
			return err
		}))
	}
	known := &registry{meta: metaOf("f", "p")}
	worker := func() *Factory {
		return c.factory(t, c.config, func(o *Options) { o.ExternalReplicas, o.Rescale = true, known.rescale })
	}
	start := func(f *Factory) runtime.Runtime {
		run, err := f.New(instanceOf(known.now()))
		require.NoError(t, err)
		require.NoError(t, run.Start(t.Context()))
		return run
	}
	eventually := func(what string, is func() bool) {
		t.Helper()
		require.Eventually(t, is, 20*time.Second, 20*time.Millisecond, what)
	}
	run := start(worker())
	template := get().Spec.Template
	scale(3)
	eventually("the new number is kept", func() bool { return known.now().FunctionDetails.Parallelism == 3 })
	run.(runtime.Detacher).Detach() // as the supervisor does when the metadata has changed
	run = start(worker())
	eventually("the mark follows", func() bool { return get().Annotations[parallelismMark] == "3" })
	require.EqualValues(t, 3, *get().Spec.Replicas)
	_, err := run.(runtime.Multi).StatusOf(t.Context(), 2)
	require.NotContains(t, err.Error(), "Invalid InstanceId")

	run.(runtime.Detacher).Detach()
	scale(4) // while no worker has it
	run = start(worker())
	require.EqualValues(t, 4, *get().Spec.Replicas)
	eventually("the new number is kept", func() bool { return known.now().FunctionDetails.Parallelism == 4 })

	require.NoError(t, run.Stop(t.Context()))
	run = start(worker())
	require.EqualValues(t, 4, *get().Spec.Replicas, "the last number")
	run.(runtime.Detacher).Detach()

	known.meta = withParallelism(known.meta, 2) // functions update --parallelism 2
	run = start(worker())
	require.EqualValues(t, 2, *get().Spec.Replicas)
	require.Equal(t, template, get().Spec.Template, "no pod was replaced")
	scale(0)
	require.Never(t, func() bool { return *get().Spec.Replicas != 0 || known.now().FunctionDetails.Parallelism != 2 }, 2*time.Second, 50*time.Millisecond,
		"zero is let be, but not kept")
	run.(runtime.Detacher).Detach()

	f := c.factory(t, c.config) // without the option
	run, err = f.New(instanceOf(known.now()))
	require.NoError(t, err)
	require.NoError(t, run.Start(t.Context()))
	require.EqualValues(t, 2, *get().Spec.Replicas)
	scale(5)
	eventually("it is repaired", func() bool { return *get().Spec.Replicas == 2 })
	require.NoError(t, run.Stop(t.Context()))
}
