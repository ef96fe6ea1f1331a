package kubernetes

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/test/standalone"
)

// identity tells whether a function's pods were touched.
type identity struct {
	set, pod   string
	generation int64
}

func (l *lab) identity(name string) (id identity, ok bool) {
	set, err := l.api.AppsV1().StatefulSets(l.namespace).Get(context.Background(), "pf-public-default-"+name, metav1.GetOptions{})
	if err != nil {
		return id, false
	}
	pod, err := l.api.CoreV1().Pods(l.namespace).Get(context.Background(), set.Name+"-0", metav1.GetOptions{})
	if err != nil {
		return id, false
	}
	return identity{string(set.UID), string(pod.UID), set.Generation}, true
}

func (l *lab) awaitIdentity(name string) (id identity) {
	l.t.Helper()
	require.Eventually(l.t, func() (ok bool) { id, ok = l.identity(name); return ok }, time.Minute, 100*time.Millisecond, "%s has no pod", name)
	return id
}

func (l *lab) javaWorker(id string, port int) *process {
	l.t.Helper()
	cmd := exec.Command(filepath.Join(l.home, "bin", "pulsar"), "functions-worker")
	cmd.Env = append(os.Environ(), "PULSAR_WORKER_CONF="+l.config(id, port), "PULSAR_MEM=-Xmx512m", "PULSAR_LOG_DIR="+l.dir)
	return l.run(id, port, cmd)
}

// TestHandover: a function that a Java worker created is taken over without touching its pods, and one created here goes the
// other way; then the Java worker deletes both.
func TestHandover(t *testing.T) {
	l := newLab(t)
	create := func(w *process, name string) identity {
		w.admin("functions", "create", "--tenant", "public", "--namespace", "default", "--name", name, "--inputs", "persistent://public/default/"+l.namespace+name,
			"--jar", filepath.Join(l.home, "examples", "api-examples.jar"), "--classname", "org.apache.pulsar.functions.api.examples.ExclamationFunction")
		return l.awaitIdentity(name)
	}
	port := standalone.FreePort(t) // the same for both: it is in the command of the pods
	java := l.javaWorker("worker-1", port)
	fromJava := create(java, "from-java")
	java.stop()

	ours := l.goWorker("worker-1", port, "")
	require.Eventually(t, func() bool { // the mark of the adoption
		set, err := l.api.AppsV1().StatefulSets(l.namespace).Get(t.Context(), "pf-public-default-from-java", metav1.GetOptions{})
		return err == nil && set.Annotations["functions-worker/function-version"] != ""
	}, time.Minute, 100*time.Millisecond, "the function of the Java worker was not adopted")
	require.Equal(t, fromJava, l.awaitIdentity("from-java"))
	fromGo := create(ours, "from-go")
	ours.stop()

	java = l.javaWorker("worker-1", port)
	for _, name := range []string{"from-java", "from-go"} {
		require.Eventually(t, func() bool { return java.status("functions", name).NumInstances == 1 }, time.Minute, 500*time.Millisecond, "the Java worker does not know %s", name)
	}
	require.Equal(t, fromJava, l.awaitIdentity("from-java"))
	require.Equal(t, fromGo, l.awaitIdentity("from-go"))
	for _, name := range []string{"from-java", "from-go"} {
		java.admin("functions", "delete", "--tenant", "public", "--namespace", "default", "--name", name)
		require.Eventually(t, func() bool {
			_, err := l.api.AppsV1().StatefulSets(l.namespace).Get(context.Background(), "pf-public-default-"+name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}, time.Minute, 200*time.Millisecond, "the Java worker does not delete %s", name)
	}
}
