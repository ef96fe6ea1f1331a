package integration

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// left is what the broker still has of functions.
type left struct {
	t         *testing.T
	env       env
	namespace string // of the workers
}

// subscriptions are those of a topic of public/default.
func (l left) subscriptions(topic string) []string {
	l.t.Helper()
	var names []string
	l.ask("/admin/v2/persistent/"+strings.TrimPrefix(topic, "persistent://")+"/subscriptions", &names)
	return names
}

// packages are the topics that hold packages.
func (l left) packages() []string { return l.topics("package-") }

// topics are those of the workers whose names begin so.
func (l left) topics(prefix string) []string {
	l.t.Helper()
	var topics []string
	l.ask("/admin/v2/persistent/"+l.namespace, &topics)
	return slices.DeleteFunc(topics, func(topic string) bool {
		return !strings.HasPrefix(topic, "persistent://"+l.namespace+"/"+prefix)
	})
}

func (l left) ask(path string, answer any) {
	l.t.Helper()
	code, body := request(http.MethodGet, l.env.webURL+path, "", nil)
	require.Equal(l.t, http.StatusOK, code, "%s: %s", path, body)
	require.NoError(l.t, json.Unmarshal(body, answer))
}

// await waits until neither the subscription nor a package topic is there.
func (l left) await(topic, subscription string) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		return !slices.Contains(l.subscriptions(topic), subscription) && len(l.packages()) == 0
	}, 60*time.Second, 200*time.Millisecond, "subscriptions of %s: %v, packages: %v", topic, l.subscriptions(topic), l.packages())
}

// goFunction registers a function in Go and returns its name, its input topic, and its subscription.
func goFunction(t *testing.T, w *worker, binary string) (name, in, subscription string) {
	t.Helper()
	name, in = unique("cleanup"), topic("cleanup-in")
	w.admin("functions", "create", "--tenant", "public", "--namespace", "default", "--name", name,
		"--inputs", in, "--output", topic("cleanup-out"), "--go", binary)
	return name, in, "public/default/" + name
}

// deleteNow deletes over HTTP, so that something can be done right after the answer.
func (w *worker) deleteNow(name string) {
	w.t.Helper()
	code, body := request(http.MethodDelete, w.url+"/admin/v3/functions/public/default/"+name, "", nil)
	require.Equal(w.t, http.StatusNoContent, code, "%s", body)
}

func TestCleanup(t *testing.T) {
	e := requireEnv(t)
	binary := buildGoExample(t)
	namespace := "public/" + unique("functions")
	l := left{t, e, namespace}
	w := startWorker(t, e, workerOptions{namespace: namespace})
	w.awaitLeader(30 * time.Second)

	t.Run("a stopped function", func(t *testing.T) {
		name, in, sub := goFunction(t, w, binary)
		w.awaitRunning(name, 1, 60*time.Second)
		require.Contains(t, l.subscriptions(in), sub)
		require.Len(t, l.packages(), 1)
		w.admin("functions", "stop", "--fqfn", "public/default/"+name)
		w.deleteNow(name)
		l.await(in, sub)
	})
	t.Run("an update with another package", func(t *testing.T) {
		name, in, sub := goFunction(t, w, binary)
		w.awaitRunning(name, 1, 60*time.Second)
		before := l.packages()
		require.Len(t, before, 1)
		w.admin("functions", "update", "--tenant", "public", "--namespace", "default", "--name", name, "--go", binary)
		require.Eventually(t, func() bool {
			now := l.packages()
			return len(now) == 1 && now[0] != before[0]
		}, 60*time.Second, 200*time.Millisecond, "packages before %v, now %v", before, l.packages())
		w.awaitRunning(name, 1, 60*time.Second)
		require.Contains(t, l.subscriptions(in), sub)
		w.deleteNow(name)
		l.await(in, sub)
	})
	t.Run("a function that is there again", func(t *testing.T) {
		name, in, sub := goFunction(t, w, binary)
		w.awaitRunning(name, 1, 60*time.Second)
		w.deleteNow(name)
		w.admin("functions", "create", "--tenant", "public", "--namespace", "default", "--name", name,
			"--inputs", in, "--output", topic("cleanup-out"), "--go", binary)
		w.awaitRunning(name, 1, 60*time.Second)
		require.Eventually(t, func() bool { return len(l.packages()) == 1 }, 30*time.Second, 200*time.Millisecond, "%v", l.packages())
		require.Contains(t, l.subscriptions(in), sub)
		w.deleteNow(name)
		l.await(in, sub)
	})
	t.Run("the worker is killed right after the answer", func(t *testing.T) {
		name, in, sub := goFunction(t, w, binary)
		w.awaitRunning(name, 1, 60*time.Second)
		w.deleteNow(name)
		w.kill()
		require.Len(t, l.packages(), 1, "the clean-up was faster than the kill: nothing is shown by this")
		w.start()
		w.awaitReady(60 * time.Second)
		l.await(in, sub)
	})
}

// TestCleanupByAnotherWorker: the worker that was asked dies, and does not come back.
func TestCleanupByAnotherWorker(t *testing.T) {
	e := requireEnv(t)
	binary := buildGoExample(t)
	namespace := "public/" + unique("functions")
	l := left{t, e, namespace}
	first := startWorker(t, e, workerOptions{namespace: namespace})
	second := startWorker(t, e, workerOptions{namespace: namespace})
	first.awaitLeader(30 * time.Second)
	name, in, sub := goFunction(t, first, binary)
	first.awaitRunning(name, 1, 60*time.Second)
	first.deleteNow(name)
	first.kill()
	// an instance of the dead worker stays assigned to it until the leader misses it
	require.Eventually(t, func() bool {
		return !slices.Contains(l.subscriptions(in), sub) && len(l.packages()) == 0
	}, 3*time.Minute, time.Second, "the other worker did not clean up")
	require.False(t, second.ended())
}
