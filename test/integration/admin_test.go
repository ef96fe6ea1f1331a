package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPulsarAdmin runs every functions and functions-worker command of the distribution's pulsar-admin.
func TestPulsarAdmin(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{})
	name, in, out := unique("admin"), topic("admin-in"), topic("admin-out")
	outputs := subscribe(t, e, out)

	require.Contains(t, w.admin("functions", "create", "--name", name, "--jar", e.examplesJar(), "--classname", javaExample("ExclamationFunction"),
		"--inputs", in, "--output", out, "--subs-position", "Earliest"), "Created successfully")
	w.awaitRunning(name, 1, 60*time.Second)

	var config map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.admin("functions", "get", "--name", name)), &config))
	require.Equal(t, name, config["name"])
	require.Equal(t, javaExample("ExclamationFunction"), config["className"])
	require.Contains(t, config["inputSpecs"], in)
	require.Contains(t, w.admin("functions", "list"), name)

	send(t, e, in, "one", "two")
	require.Equal(t, []string{"one!", "two!"}, outputs.texts(2, 30*time.Second))

	require.Contains(t, w.admin("functions", "trigger", "--name", name, "--trigger-value", "pulled"), "pulled!")
	file := filepath.Join(t.TempDir(), "trigger.txt")
	require.NoError(t, os.WriteFile(file, []byte("from a file"), 0o600))
	require.Contains(t, w.admin("functions", "trigger", "--name", name, "--trigger-file", file), "from a file!")

	var status functionStatus
	require.NoError(t, json.Unmarshal([]byte(w.admin("functions", "status", "--name", name)), &status))
	require.Equal(t, 1, status.NumRunning)
	require.Equal(t, w.id, status.Instances[0].Status.WorkerID)
	require.Equal(t, int64(4), status.Instances[0].Status.NumReceived)
	require.Contains(t, w.admin("functions", "status", "--name", name, "--instance-id", "0"), `"running" : true`)
	require.Contains(t, w.admin("functions", "stats", "--name", name), `"receivedTotal" : 4`)
	require.Contains(t, w.admin("functions", "stats", "--name", name, "--instance-id", "0"), `"receivedTotal" : 4`)

	require.Contains(t, w.admin("functions", "update", "--name", name, "--parallelism", "2"), "Updated successfully")
	w.awaitRunning(name, 2, 90*time.Second)
	require.Len(t, children(t, name), 2)
	require.Contains(t, w.adminFails("functions", "update", "--name", name, "--output", out), "Update contains no change")

	require.Contains(t, w.admin("functions", "stop", "--name", name, "--instance-id", "1"), "Stopped successfully")
	w.awaitRunning(name, 1, 30*time.Second)
	require.Contains(t, w.admin("functions", "stop", "--name", name), "Stopped successfully")
	w.awaitRunning(name, 0, 30*time.Second)
	require.Eventually(t, func() bool { return len(children(t, name)) == 0 }, 20*time.Second, 100*time.Millisecond)
	require.Contains(t, w.admin("functions", "start", "--name", name), "Started successfully")
	w.awaitRunning(name, 2, 90*time.Second)

	before := children(t, name)
	require.Contains(t, w.admin("functions", "restart", "--name", name), "Restarted successfully")
	require.Eventually(t, func() bool {
		after := children(t, name)
		return len(after) == 2 && after[0].pid != before[0].pid && after[1].pid != before[1].pid
	}, 60*time.Second, 200*time.Millisecond, "both instances restart")
	w.awaitRunning(name, 2, 60*time.Second)
	require.Contains(t, w.admin("functions", "restart", "--name", name, "--instance-id", "0"), "Restarted successfully")
	w.awaitRunning(name, 2, 60*time.Second)

	t.Run("worker commands", func(t *testing.T) { workerCommands(t, w, name) })
	t.Run("packages", func(t *testing.T) { packageCommands(t, w, name) })

	require.Contains(t, strings.ToLower(w.admin("functions", "delete", "--name", name)), "deleted")
	require.Contains(t, w.adminFails("functions", "get", "--name", name), "doesn't exist")
	require.Eventually(t, func() bool { return len(children(t, name)) == 0 }, 20*time.Second, 100*time.Millisecond)
	downloads := filepath.Join(w.dir, "download", "public")
	require.Eventually(t, func() bool { _, err := os.Stat(downloads); return os.IsNotExist(err) }, 10*time.Second, 50*time.Millisecond, "the downloaded package is removed")
}

func workerCommands(t *testing.T, w *worker, name string) {
	require.Contains(t, w.admin("functions-worker", "get-cluster"), w.id)
	require.Contains(t, w.admin("functions-worker", "get-cluster-leader"), w.id)
	assignments := w.admin("functions-worker", "get-function-assignments")
	require.Contains(t, assignments, "public/default/"+name+":0")
	require.Contains(t, assignments, "public/default/"+name+":1")
	require.Contains(t, w.admin("functions-worker", "function-stats"), "public/default/"+name+":0")
	require.Contains(t, w.admin("functions-worker", "monitoring-metrics"), "jvm_metrics")
	require.Contains(t, w.adminFails("functions-worker", "rebalance"), "Too few workers")

	var metrics []byte
	require.Eventually(t, func() bool { // an instance that has just started may answer slower than goWorker.scrapeTimeout
		_, metrics = w.get("/metrics")
		return strings.Contains(string(metrics), "pulsar_function_received_total")
	}, 30*time.Second, 500*time.Millisecond)
	require.Contains(t, string(metrics), "pulsar_function_worker_is_leader")
}

func packageCommands(t *testing.T, w *worker, name string) {
	dir := t.TempDir()
	want, err := os.ReadFile(w.env.examplesJar())
	require.NoError(t, err)

	byName := filepath.Join(dir, "by-name.jar")
	require.Contains(t, w.admin("functions", "download", "--name", name, "--destination-file", byName), "Downloaded successfully")
	got, err := os.ReadFile(byName)
	require.NoError(t, err)
	require.Equal(t, len(want), len(got))
	require.Equal(t, want, got)

	source, fetched, path := filepath.Join(dir, "source.bin"), filepath.Join(dir, "fetched.bin"), "public/default/"+unique("upload")+"/file.bin"
	content := []byte(strings.Repeat("functions worker ", 300_000)) // several messages' worth
	require.NoError(t, os.WriteFile(source, content, 0o600))
	require.Contains(t, w.admin("functions", "upload", "--source-file", source, "--path", path), "Uploaded successfully")
	require.Contains(t, w.admin("functions", "download", "--path", path, "--destination-file", fetched), "Downloaded successfully")
	got, err = os.ReadFile(fetched)
	require.NoError(t, err)
	require.Equal(t, content, got)
}
