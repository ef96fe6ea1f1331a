package integration

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stateURL is the table service beside the tests' broker.
func stateURL(t *testing.T) string {
	url := os.Getenv("PULSAR_TEST_STATE_URL")
	if url == "" {
		t.Skip("needs BookKeeper's table service: run scripts/test.sh integration")
	}
	return url
}

// stateValue is what `functions querystate` prints; bytes are an array of numbers there.
type stateValue struct {
	Key         string          `json:"key"`
	StringValue *string         `json:"stringValue"`
	ByteValue   json.RawMessage `json:"byteValue"`
	NumberValue *int64          `json:"numberValue"`
	Version     *int64          `json:"version"`
}

// querystate asks through pulsar-admin for a key that exists.
func (w *worker) querystate(name, key string) stateValue {
	w.t.Helper()
	out := w.admin("functions", "querystate", "--name", name, "--key", key)
	var v stateValue
	require.NoError(w.t, json.Unmarshal([]byte(out), &v), out)
	require.Equal(w.t, key, v.Key)
	require.NotNil(w.t, v.Version, out)
	return v
}

// count is the number that the worker answers for a key, 0 before there is one.
func (w *worker) count(name, key string) int64 {
	var v stateValue
	code, body := w.get("/admin/v3/functions/public/default/" + name + "/state/" + key)
	if code != http.StatusOK || json.Unmarshal(body, &v) != nil || v.NumberValue == nil {
		return 0
	}
	return *v.NumberValue
}

// TestStateOfAFunction: a Java function counts words in the table service, and pulsar-admin reads and writes beside it.
func TestStateOfAFunction(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{overrides: map[string]any{"stateStorageServiceUrl": stateURL(t)}})
	x := example{name: "state-word-count", submit: []string{"--jar", e.examplesJar(), "--classname", javaExample("WordCountFunction")}, noOutput: true}
	r := deploy(t, w, x)
	w.awaitRunning(r.name, 1, 120*time.Second)
	require.Contains(t, w.adminFails("functions", "querystate", "--name", r.name, "--key", "nosuch"), "key 'nosuch' doesn't exist.")

	send(t, e, r.in, "one two two", "three two")
	require.Eventually(t, func() bool { return w.count(r.name, "two") == 3 && w.count(r.name, "three") == 1 }, 60*time.Second, 100*time.Millisecond)
	two := w.querystate(r.name, "two")
	require.EqualValues(t, 3, *two.NumberValue)
	require.Nil(t, two.StringValue)
	require.Positive(t, *two.Version)

	w.admin("functions", "putstate", "--name", r.name, "--state", `{"key":"greeting","stringValue":"hello"}`)
	greeting := w.querystate(r.name, "greeting")
	require.Equal(t, "hello", *greeting.StringValue)
	require.Nil(t, greeting.NumberValue)
	w.admin("functions", "putstate", "--name", r.name, "--state", `{"key":"limit","numberValue":1234}`)
	require.EqualValues(t, 1234, *w.querystate(r.name, "limit").NumberValue)
	require.Contains(t, w.adminFails("functions", "putstate", "--name", r.name, "--state", `{"key":"two","stringValue":"no counter"}`), "counter")
	code, body := w.get("/admin/v3/functions/public/default/nosuch/state/k")
	require.Equal(t, http.StatusNotFound, code)
	require.Contains(t, string(body), "'nosuch' is not found")

	w.admin("functions", "delete", "--name", r.name)
	require.Eventually(t, func() bool { return len(children(t, r.name)) == 0 }, 30*time.Second, 100*time.Millisecond)
	again := append([]string{"functions", "create", "--tenant", "public", "--namespace", "default", "--name", r.name, "--inputs", topic("state-in")}, x.submit...)
	w.admin(again...)
	_, body = w.get("/admin/v3/functions/public/default/" + r.name + "/state/two")
	require.Contains(t, string(body), "key 'two' doesn't exist.", "the state of the deleted function is left")
	w.admin("functions", "delete", "--name", r.name)
}

// TestStateOfAPythonFunction: its client is another one, its tables are the same.
func TestStateOfAPythonFunction(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{overrides: map[string]any{"stateStorageServiceUrl": stateURL(t)}})
	file := filepath.Join(t.TempDir(), "counting.py")
	require.NoError(t, os.WriteFile(file, []byte(`from pulsar import Function

class Counting(Function):
    def process(self, input, context):
        context.incr_counter(input, 2)
        context.put_state("last", input)
`), 0o600))
	r := deploy(t, w, example{name: "state-python", submit: []string{"--py", file, "--classname", "counting.Counting"}, noOutput: true})
	w.awaitRunning(r.name, 1, 120*time.Second)
	send(t, e, r.in, "a", "b", "a")
	require.Eventually(t, func() bool { return w.count(r.name, "a") == 4 && w.count(r.name, "b") == 2 }, 60*time.Second, 100*time.Millisecond)
	require.Equal(t, "a", *w.querystate(r.name, "last").StringValue)
	w.admin("functions", "delete", "--name", r.name)
}

// TestStateServiceAway: requests for state fail with a reason and in bounded time; everything else goes on.
func TestStateServiceAway(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{overrides: map[string]any{"stateStorageServiceUrl": "bk://127.0.0.1:1"}})
	name := unique("stateless")
	args := append([]string{"functions", "create", "--tenant", "public", "--namespace", "default", "--name", name, "--inputs", topic("away-in")},
		"--go", buildGoExample(t))
	w.admin(args...)
	started := time.Now()
	code, body := w.get("/admin/v3/functions/public/default/" + name + "/state/k")
	require.Equal(t, http.StatusInternalServerError, code)
	require.Contains(t, string(body), "connection refused")
	require.Less(t, time.Since(started), 25*time.Second)
	started = time.Now()
	w.admin("functions", "delete", "--name", name)
	require.Less(t, time.Since(started), 25*time.Second)
	require.True(t, strings.Contains(w.logs(), "the state of a deleted function could not be removed"), w.tail(20))
}
