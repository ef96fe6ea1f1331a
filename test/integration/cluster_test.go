package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fastFailover shortens the failure detection, so that a test need not wait for minutes.
func fastFailover() map[string]any {
	return map[string]any{"failureCheckFreqMs": 1000, "rescheduleTimeoutMs": 3000, "workerListProbeIntervalSec": 1}
}

func with(base map[string]any, more map[string]any) map[string]any {
	for k, v := range more {
		base[k] = v
	}
	return base
}

// leaderID asks any worker who leads.
func leaderID(base string) string {
	var leader struct {
		WorkerID string `json:"workerId"`
	}
	if status, body := request(http.MethodGet, base+"/admin/v2/worker/cluster/leader", "", nil); status == http.StatusOK {
		_ = json.Unmarshal(body, &leader)
	}
	return leader.WorkerID
}

func leaderReady(base string) bool {
	status, _ := request(http.MethodGet, base+"/admin/v2/worker/cluster/leader/ready", "", nil)
	return status == http.StatusOK
}

// assignments of all workers: worker id to instances of the functions whose name contains the text.
func assignments(base, text string) map[string][]string {
	var all map[string][]string
	if status, body := request(http.MethodGet, base+"/admin/v2/worker/assignments", "", nil); status != http.StatusOK || json.Unmarshal(body, &all) != nil {
		return nil
	}
	mine := map[string][]string{}
	for worker, instances := range all {
		for _, i := range instances {
			if strings.Contains(i, text) {
				mine[worker] = append(mine[worker], i)
			}
		}
	}
	return mine
}

func instancesOn(base, text, worker string) int { return len(assignments(base, text)[worker]) }

// createGo submits the Go example, which starts in no time, through the REST API that pulsar-admin uses.
func createGo(t *testing.T, w *worker, binary, name, in, out string, parallelism int) {
	t.Helper()
	w.admin("functions", "create", "--name", name, "--go", binary, "--inputs", in, "--output", out, "--subs-position", "Earliest", "--parallelism", fmt.Sprint(parallelism))
}

// TestTwoWorkers: functions spread, either answers for the other, a killed leader or owner is replaced, rebalance and
// drain do what the API says, and a worker that comes back takes part again.
func TestTwoWorkers(t *testing.T) {
	e := requireEnv(t)
	binary := buildGoExample(t)
	namespace := "public/" + unique("functions")
	a := startWorker(t, e, workerOptions{namespace: namespace, overrides: fastFailover()})
	b := startWorker(t, e, workerOptions{namespace: namespace, overrides: fastFailover()})
	workers := map[string]*worker{a.id: a, b.id: b}
	require.Eventually(t, func() bool { return leaderReady(a.url) || leaderReady(b.url) }, 30*time.Second, 50*time.Millisecond)
	leader := func() *worker { return workers[leaderID(a.url)] }
	follower := func() *worker {
		for id, w := range workers {
			if id != leaderID(a.url) {
				return w
			}
		}
		return nil
	}

	name, in, out := unique("two"), topic("two-in"), topic("two-out")
	outputs := subscribe(t, e, out)
	createGo(t, follower(), binary, name, in, out, 4) // a follower forwards to the leader
	for _, w := range workers {
		w.awaitRunning(name, 4, 30*time.Second)
		require.Equal(t, 2, instancesOn(w.url, name, a.id), "round robin spreads the instances: %v", assignments(w.url, name))
		require.Contains(t, w.admin("functions", "status", "--name", name), a.id)
		for i := range 4 {
			require.Contains(t, w.admin("functions", "stats", "--name", name, "--instance-id", fmt.Sprint(i)), "receivedTotal")
		}
	}
	send(t, e, in, "spread")
	require.Equal(t, "spread!", string(outputs.next(20*time.Second).Payload()))
	require.Contains(t, follower().admin("functions", "restart", "--name", name), "Restarted")
	follower().awaitRunning(name, 4, 30*time.Second)

	// A killed leader: the other leads and takes its instances.
	killed := leader()
	other := follower()
	killed.kill()
	start := time.Now()
	require.Eventually(t, func() bool { return leaderReady(other.url) }, 30*time.Second, 50*time.Millisecond, "the survivor leads")
	t.Logf("the survivor led after %s", time.Since(start))
	other.awaitRunning(name, 4, 60*time.Second)
	require.Equal(t, 4, instancesOn(other.url, name, other.id))
	t.Logf("all instances ran on the survivor after %s", time.Since(start))
	require.Len(t, children(t, name), 4, "each instance runs once")

	// It comes back and a rebalance gives it half.
	killed.start()
	killed.awaitReady(30 * time.Second)
	require.Eventually(t, func() bool { return leaderReady(a.url) || leaderReady(b.url) }, 30*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		_, _, err := killed.tryAdmin("functions-worker", "rebalance")
		return err == nil
	}, 30*time.Second, time.Second)
	require.Eventually(t, func() bool { return instancesOn(other.url, name, killed.id) == 2 }, 20*time.Second, 100*time.Millisecond, "rebalance moves half: %v", assignments(other.url, name))
	killed.awaitRunning(name, 4, 30*time.Second)
	require.Eventually(t, func() bool { return len(children(t, name)) == 4 }, 20*time.Second, 100*time.Millisecond)

	// Drain the follower: all goes to the leader.
	drained := follower()
	status, body := request(http.MethodPut, drained.url+"/admin/v2/worker/drain", "application/json", nil)
	require.Equal(t, http.StatusNoContent, status, "%s", body)
	require.Eventually(t, func() bool {
		_, body := drained.get("/admin/v2/worker/drain")
		return strings.Contains(string(body), `"SUCCESS"`) && instancesOn(leader().url, name, drained.id) == 0
	}, 30*time.Second, 100*time.Millisecond, "drain: %v", assignments(drained.url, name))
	leader().awaitRunning(name, 4, 30*time.Second)
	status, body = request(http.MethodPut, drained.url+"/admin/v2/worker/drain", "application/json", nil)
	require.Contains(t, []int{http.StatusBadRequest, http.StatusPreconditionFailed}, status, "a drained worker cannot be drained again: %s", body)
}

// TestDuplicateWorkerID: a second worker with a member's id refuses to start.
func TestDuplicateWorkerID(t *testing.T) {
	e := requireEnv(t)
	namespace := "public/" + unique("functions")
	a := startWorker(t, e, workerOptions{namespace: namespace, id: unique("same")})
	b := newWorker(t, e, workerOptions{namespace: namespace, id: a.id})
	b.start()
	select {
	case <-b.exited:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "a worker with the id of a member stays", b.tail(20))
	}
	require.NotEqual(t, 0, b.cmd.ProcessState.ExitCode())
	require.Contains(t, b.logs(), a.id)
	require.Contains(t, b.logs(), "workerId")
}

// javaWorker starts the distribution's Java worker in the same cluster.
func javaWorker(t *testing.T, e env, namespace string, overrides map[string]any) *worker {
	t.Helper()
	overrides = with(overrides, map[string]any{"initializedDlogMetadata": false, "numFunctionPackageReplicas": 1})
	w := newWorker(t, e, workerOptions{namespace: namespace, overrides: overrides, id: unique("java")})
	broker(t, "java-worker", w.dir, w.config)
	t.Cleanup(func() { broker(t, "stop-java-worker", w.dir) })
	return w
}

// TestMixedCluster: one worker of ours and one Java worker, packages through the broker's packages service.
func TestMixedCluster(t *testing.T) {
	e := requireEnv(t)
	binary := buildGoExample(t)
	namespace := "public/" + unique("functions")
	mixed := func() map[string]any {
		return with(fastFailover(), map[string]any{"functionsWorkerEnablePackageManagement": true})
	}
	ours := startWorker(t, e, workerOptions{namespace: namespace, overrides: mixed()})
	java := javaWorker(t, e, namespace, mixed())
	ready := func() bool { return leaderReady(ours.url) || leaderReady(java.url) }
	require.Eventually(t, ready, 60*time.Second, 100*time.Millisecond)

	name, in, out := unique("mixed"), topic("mixed-in"), topic("mixed-out")
	outputs := subscribe(t, e, out)
	createGo(t, ours, binary, name, in, out, 2)
	viaJava, jin, jout := unique("mixed-java"), topic("mixed-in"), topic("mixed-out")
	javaOutputs := subscribe(t, e, jout)
	java.admin("functions", "create", "--name", viaJava, "--jar", e.examplesJar(), "--classname", javaExample("ExclamationFunction"), "--inputs", jin, "--output", jout, "--subs-position", "Earliest", "--parallelism", "2")
	for _, w := range []*worker{ours, java} {
		w.awaitRunning(name, 2, 90*time.Second)
		w.awaitRunning(viaJava, 2, 90*time.Second)
		require.Len(t, assignments(w.url, name), 2, "both workers run it: %v", assignments(w.url, name))
		require.Len(t, assignments(w.url, viaJava), 2)
		require.Contains(t, w.admin("functions-worker", "get-cluster"), java.id)
		require.Contains(t, w.admin("functions-worker", "get-cluster"), ours.id)
	}
	send(t, e, in, "x")
	require.Equal(t, "x!", string(outputs.next(30*time.Second).Payload()))
	send(t, e, jin, "y")
	require.Equal(t, "y!", string(javaOutputs.next(30*time.Second).Payload()))
	require.Contains(t, java.admin("functions", "update", "--name", name, "--parallelism", "3"), "Updated")
	ours.awaitRunning(name, 3, 60*time.Second)
	require.Contains(t, ours.admin("functions", "stop", "--name", name), "Stopped")
	java.awaitRunning(name, 0, 60*time.Second)
	require.Contains(t, java.admin("functions", "start", "--name", name), "Started")
	ours.awaitRunning(name, 3, 60*time.Second)

	// Each leads in turn: the other is taken away and comes back.
	broker(t, "stop-java-worker", java.dir)
	require.Eventually(t, func() bool { return leaderReady(ours.url) }, 60*time.Second, 100*time.Millisecond, "ours leads")
	ours.awaitRunning(name, 3, 60*time.Second)
	ours.awaitRunning(viaJava, 2, 60*time.Second)
	broker(t, "java-worker", java.dir, java.config)
	_, inTime := ours.terminate(10 * time.Second)
	require.True(t, inTime)
	require.Eventually(t, func() bool { return leaderReady(java.url) }, 90*time.Second, 100*time.Millisecond, "Java leads")
	java.awaitRunning(name, 3, 120*time.Second)
	java.awaitRunning(viaJava, 2, 120*time.Second)
	ours.start()
	ours.awaitReady(60 * time.Second)
	require.Eventually(t, ready, 60*time.Second, 100*time.Millisecond)
	require.Contains(t, ours.admin("functions", "delete", "--name", name), "successfully")
	require.Contains(t, java.admin("functions", "delete", "--name", viaJava), "successfully")
	require.Eventually(t, func() bool { return len(assignments(ours.url, name)) == 0 && len(assignments(java.url, viaJava)) == 0 }, 30*time.Second, 100*time.Millisecond)
	require.Eventually(t, func() bool { return len(children(t, name))+len(children(t, viaJava)) == 0 }, 30*time.Second, 100*time.Millisecond)
}

// TestReadyAndIdle measures what the documentation states: time from start to ready and resident memory when idle.
func TestReadyAndIdle(t *testing.T) {
	e := requireEnv(t)
	w := newWorker(t, e, workerOptions{})
	start := time.Now()
	w.start()
	w.awaitReady(30 * time.Second)
	ready := time.Since(start)
	w.awaitLeader(30 * time.Second)
	led := time.Since(start)
	time.Sleep(3 * time.Second)
	kb := residentKB(t, w.cmd.Process.Pid)
	t.Logf("ready in %s, leading in %s, %d MiB resident", ready, led, kb/1024)
	require.Less(t, ready, 5*time.Second, "start to ready")
	require.Less(t, kb, 120*1024, "resident memory in KiB")
}

func residentKB(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
	require.NoError(t, err)
	for _, line := range strings.Split(string(data), "\n") {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb
		}
	}
	require.FailNow(t, "no VmRSS")
	return 0
}
