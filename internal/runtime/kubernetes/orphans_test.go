package kubernetes

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// registered are the functions that a cluster of workers knows.
type registered struct {
	mu  sync.Mutex
	all []*pb.FunctionMetaData
}

func (r *registered) CatchUp(context.Context) error { return nil }

func (r *registered) AllFunctions() []*pb.FunctionMetaData {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

func (r *registered) set(all ...*pb.FunctionMetaData) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = all
}

// TestRealOrphans: what deleted functions left behind goes after the grace period, with its Secret, and nothing else.
func TestRealOrphans(t *testing.T) {
	c := realCluster(t)
	credentials := func(o *Options) { o.Credentials = &Credentials{Provider: SecretToken} }
	f := c.factory(t, c.config, credentials)
	other := c.factory(t, c.config, credentials, func(o *Options) { o.FunctionsNamespace = "another/cluster" })
	java := c.factory(t, c.config, credentials)
	java.manager = "Kubernetes Java Client"
	leave := func(f *Factory, meta *pb.FunctionMetaData) {
		run, err := f.New(instanceOf(meta))
		require.NoError(t, err)
		require.NoError(t, run.Start(t.Context()))
		run.(runtime.Detacher).Detach() // the worker dies
	}
	orphan, kept := withToken(metaOf("orphan", "p"), "ab1cd"), metaOf("kept", "p")
	require.NoError(t, f.PutToken(t.Context(), orphan.FunctionDetails, "ab1cd", "token", false))
	leave(f, orphan)
	leave(f, kept)
	leave(other, metaOf("of-another-cluster", "p"))
	leave(java, metaOf("of-java", "p"))
	adopted := metaOf("adopted", "p")
	leave(java, adopted)
	adopted = proto.CloneOf(adopted)
	adopted.FunctionDetails.Parallelism = 2
	leave(f, adopted)
	running, err := f.New(instanceOf(metaOf("running", "p")))
	require.NoError(t, err)
	require.NoError(t, running.Start(t.Context()))

	sets := func() (names []string) {
		list, err := c.api.AppsV1().StatefulSets(c.namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		for _, s := range list.Items {
			if s.DeletionTimestamp == nil {
				names = append(names, s.Labels["name"])
			}
		}
		return names
	}
	known := &registered{all: []*pb.FunctionMetaData{kept, orphan}}
	inNamespace := func(s *Sweeper) []string { // other tests use the cluster too, and their functions are not known here
		removed, err := s.Sweep(t.Context())
		require.NoError(t, err)
		return removed
	}
	const grace = time.Second
	// A test may not touch what others made: it has rights in its own namespace only.
	f = c.factory(t, c.as(t, "sweeper"), credentials)
	f.live[objectKey{c.namespace, "pf-public-default-running"}] = running.(*run)
	defer delete(f.live, objectKey{c.namespace, "pf-public-default-running"})
	sweeper, reporter := f.NewSweeper(known, Sweep{Grace: grace}), f.NewSweeper(known, Sweep{Report: true})
	all := []string{"orphan", "kept", "of-another-cluster", "of-java", "adopted", "running"}
	require.Empty(t, inNamespace(sweeper), "the first look only takes the time")
	known.set(kept)
	require.Empty(t, inNamespace(sweeper), "just deleted: its owner removes it")
	require.Empty(t, inNamespace(reporter))
	require.ElementsMatch(t, all, sets())
	time.Sleep(grace)
	removed := inNamespace(sweeper)
	require.ElementsMatch(t, []string{"statefulsets " + c.namespace + "/pf-public-default-orphan", "services " + c.namespace + "/pf-public-default-orphan",
		"statefulsets " + c.namespace + "/pf-public-default-adopted", "services " + c.namespace + "/pf-public-default-adopted"}, removed)
	require.Eventually(t, func() bool { return len(sets()) == 4 }, 20*time.Second, 50*time.Millisecond)
	require.ElementsMatch(t, []string{"kept", "of-another-cluster", "of-java", "running"}, sets())
	_, err = c.api.CoreV1().Secrets(c.namespace).Get(t.Context(), "pf-secret-ab1cd", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "the Secret of the orphan")
	require.Empty(t, inNamespace(sweeper))
}
