package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// exclamation submits the Java example with these topics through the REST API's own client.
func exclamation(t *testing.T, w *worker, name, in, out string, more ...string) {
	t.Helper()
	args := []string{"functions", "create", "--name", name, "--jar", w.env.examplesJar(), "--classname", javaExample("ExclamationFunction"), "--inputs", in, "--output", out, "--subs-position", "Earliest", "--runtime-flags=" + quickJVM}
	w.admin(append(args, more...)...)
}

// TestKilledWorker ends the worker as a crash would: its instances die with it, and its successor runs each function once.
func TestKilledWorker(t *testing.T) {
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{})
	goBinary := buildGoExample(t)
	java, golang := unique("killed-java"), unique("killed-go")
	in, out := topic("killed-in"), topic("killed-out")
	outputs := subscribe(t, e, out)
	exclamation(t, w, java, in, out)
	goIn, goOut := topic("killed-go-in"), topic("killed-go-out")
	goOutputs := subscribe(t, e, goOut)
	w.admin("functions", "create", "--name", golang, "--go", goBinary, "--inputs", goIn, "--output", goOut, "--subs-position", "Earliest", "--parallelism", "2")
	w.awaitRunning(java, 1, 60*time.Second)
	w.awaitRunning(golang, 2, 60*time.Second)

	w.kill()
	require.Eventually(t, func() bool { return len(children(t, java))+len(children(t, golang)) == 0 }, 10*time.Second, 50*time.Millisecond, "instances outlive a killed worker")

	w.start()
	w.awaitReady(60 * time.Second)
	w.awaitRunning(java, 1, 90*time.Second)
	w.awaitRunning(golang, 2, 90*time.Second)
	require.Len(t, children(t, java), 1)
	require.Len(t, children(t, golang), 2)
	send(t, e, in, "back")
	send(t, e, goIn, "again")
	require.Equal(t, "back!", string(outputs.next(30*time.Second).Payload()))
	require.Equal(t, "again!", string(goOutputs.next(30*time.Second).Payload()))
}

// TestTerminatedWorker: SIGTERM ends the worker and its instances within 10 s, and the next worker leads at once.
func TestTerminatedWorker(t *testing.T) {
	e := requireEnv(t)
	namespace := "public/" + unique("functions")
	a := startWorker(t, e, workerOptions{namespace: namespace})
	a.awaitLeader(30 * time.Second)
	name := unique("terminated")
	exclamation(t, a, name, topic("term-in"), topic("term-out"))
	a.awaitRunning(name, 1, 60*time.Second)

	took, inTime := a.terminate(10 * time.Second)
	require.True(t, inTime, "SIGTERM took longer than 10 s")
	t.Logf("SIGTERM took %s", took)
	require.Equal(t, 0, a.cmd.ProcessState.ExitCode(), "an orderly stop is a success\n%s", a.tail(20))
	require.Empty(t, children(t, name))

	b := startWorker(t, e, workerOptions{namespace: namespace})
	b.awaitLeader(10 * time.Second)
}

// TestCrashingFunction: a child that dies is restarted, and its status tells why it died.
func TestCrashingFunction(t *testing.T) {
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{})
	script := filepath.Join(t.TempDir(), "crash")
	build := exec.Command("go", "build", "-o", script, "./testdata/crash")
	outcome, err := build.CombinedOutput()
	require.NoError(t, err, "%s", outcome)
	name := unique("crash")
	w.admin("functions", "create", "--name", name, "--go", script, "--inputs", topic("crash-in"))
	require.Eventually(t, func() bool {
		s := w.status(name)
		return len(s.Instances) == 1 && s.Instances[0].Status.NumRestarts >= 2 &&
			!s.Instances[0].Status.Running && strings.Contains(s.Instances[0].Status.Error, "the reason of the crash")
	}, 60*time.Second, 200*time.Millisecond, "the status tells the last lines of a crashed child: %+v", w.status(name))
}

// TestBrokerOutage: a worker that starts before its broker waits for it, and a restart of the broker heals by itself.
func TestBrokerOutage(t *testing.T) {
	e := requireEnv(t)
	require.NotEmpty(t, e.brokerDir)
	w := startWorker(t, e, workerOptions{})
	name, in, out := unique("outage"), topic("outage-in"), topic("outage-out")
	exclamation(t, w, name, in, out)
	w.awaitRunning(name, 1, 60*time.Second)
	late := newWorker(t, e, workerOptions{})

	broker(t, "stop-broker", e.brokerDir)
	late.start()
	require.Eventually(t, func() bool { return strings.Contains(strings.ToLower(late.logs()), "waiting for the broker") }, 20*time.Second, 100*time.Millisecond,
		"a worker without a broker says so:\n%s", late.tail(10))
	require.False(t, late.ended())
	time.Sleep(5 * time.Second)
	broker(t, "resume", e.brokerDir)
	back := time.Now()

	late.awaitReady(60 * time.Second)
	outputs := subscribe(t, e, out)
	send(t, e, in, "after")
	require.Equal(t, "after!", string(outputs.next(60*time.Second).Payload()))
	w.awaitLeader(60*time.Second - time.Since(back))
	second, in2, out2 := unique("outage"), topic("outage-in"), topic("outage-out")
	require.Eventually(t, func() bool {
		_, _, err := w.tryAdmin("functions", "create", "--name", second, "--jar", e.examplesJar(), "--classname", javaExample("ExclamationFunction"), "--inputs", in2, "--output", out2)
		return err == nil
	}, 60*time.Second, time.Second, "functions can be created again")
	t.Logf("recovered %s after the broker was back", time.Since(back))
	w.awaitRunning(second, 1, 60*time.Second)
	require.False(t, w.ended())
}

// broker runs scripts/pulsar.sh.
func broker(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("../../scripts/pulsar.sh", args...).CombinedOutput()
	require.NoError(t, err, "pulsar.sh %s\n%s", strings.Join(args, " "), out)
}

// TestFencedLeader takes the leader's producer away, as a second leader would: the worker steps down and leads again by itself.
func TestFencedLeader(t *testing.T) {
	e := requireEnv(t)
	namespace := "public/" + unique("functions")
	w := startWorker(t, e, workerOptions{namespace: namespace})
	w.awaitLeader(30 * time.Second)

	// Unloading the topic drops the leader's producer; whoever connects first is the exclusive one.
	metadata := "persistent://" + namespace + "/metadata"
	var thief pulsar.Producer
	require.Eventually(t, func() bool {
		for range 3 {
			request("PUT", e.webURL+"/admin/v2/"+strings.Replace(metadata, "://", "/", 1)+"/unload", "", nil)
			p, err := pulsarClient(t, e).CreateProducer(pulsar.ProducerOptions{Topic: metadata, ProducerAccessMode: pulsar.ProducerAccessModeExclusive, DisableBatching: true})
			if err == nil {
				thief = p
				return true
			}
		}
		return false
	}, 60*time.Second, 50*time.Millisecond, "the test takes the exclusive producer")

	require.Eventually(t, func() bool {
		status, _ := w.get("/admin/v2/worker/cluster/leader/ready")
		return status == 503
	}, 30*time.Second, 100*time.Millisecond, "a fenced leader steps down")
	require.False(t, w.ended())
	thief.Close()
	w.awaitLeader(30 * time.Second)
	name := unique("fenced")
	exclamation(t, w, name, topic("fenced-in"), topic("fenced-out"))
	w.awaitRunning(name, 1, 60*time.Second)
}
