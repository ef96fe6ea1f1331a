// Package integration drives the built worker as its users do: with the distribution's pulsar-admin against a real
// broker, with real function instances. scripts/test.sh starts the broker and sets the environment.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/functions-worker/functions-worker/test/pulsaradmin"
	"github.com/functions-worker/functions-worker/test/standalone"
)

// env is what scripts/test.sh prepares.
type env struct {
	serviceURL, webURL string
	pulsarHome         string
	brokerDir          string
	venv               string
	worker             string
}

func requireEnv(t *testing.T) env {
	t.Helper()
	e := env{
		serviceURL: os.Getenv("PULSAR_TEST_SERVICE_URL"), webURL: os.Getenv("PULSAR_TEST_WEB_URL"),
		pulsarHome: os.Getenv("PULSAR_HOME"), brokerDir: os.Getenv("PULSAR_TEST_BROKER"),
		venv: os.Getenv("PULSAR_TEST_VENV"), worker: os.Getenv("FUNCTIONS_WORKER_BIN"),
	}
	if e.serviceURL == "" || e.webURL == "" || e.pulsarHome == "" || e.worker == "" {
		t.Skip("needs a broker, the Pulsar distribution and the built worker: run scripts/test.sh integration")
	}
	return e
}

func unique(prefix string) string { return fmt.Sprintf("%s-%06x", prefix, rand.IntN(1<<24)) }

// worker is one running worker process.
type worker struct {
	t      *testing.T
	env    env
	id     string
	port   int
	url    string
	dir    string
	config string
	cmd    *exec.Cmd
	exited chan struct{}
	log    *os.File
	extra  []string
}

// workerOptions change the configuration of a test's worker.
type workerOptions struct {
	id        string // default: unique
	namespace string // functions namespace, default: unique (a cluster of its own)
	overrides map[string]any
	environ   []string // added to the environment, NAME=value
}

// newWorker writes the configuration of a worker and does not start it.
func newWorker(t *testing.T, e env, o workerOptions) *worker {
	t.Helper()
	w := &worker{t: t, env: e, id: o.id, dir: t.TempDir(), extra: o.environ}
	if w.id == "" {
		w.id = unique("w")
	}
	if o.namespace == "" {
		o.namespace = "public/" + unique("functions")
	}
	w.port = standalone.FreePort(t)
	w.url = fmt.Sprintf("http://localhost:%d", w.port)
	config := map[string]any{
		"workerId": w.id, "workerHostname": "localhost", "workerPort": w.port,
		"pulsarServiceUrl": e.serviceURL, "pulsarWebServiceUrl": e.webURL,
		"pulsarFunctionsNamespace": o.namespace, "pulsarFunctionsCluster": "standalone",
		"functionMetadataTopicName": "metadata", "clusterCoordinationTopicName": "coordinate", "functionAssignmentTopicName": "assignments",
		"schedulerClassName":              "org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler",
		"functionRuntimeFactoryClassName": "org.apache.pulsar.functions.runtime.process.ProcessRuntimeFactory",
		"functionRuntimeFactoryConfigs":   map[string]any{"logDirectory": filepath.Join(w.dir, "logs")},
		"downloadDirectory":               filepath.Join(w.dir, "download"),
		"connectorsDirectory":             filepath.Join(w.dir, "connectors"),
		"functionsDirectory":              filepath.Join(w.dir, "functions"),
		"failureCheckFreqMs":              30000, "rescheduleTimeoutMs": 60000, "rebalanceCheckFreqSec": -1,
		"initialBrokerReconnectMaxRetries": 60, "instanceLivenessCheckFreqMs": 30000, "topicCompactionFrequencySec": 1800,
	}
	for k, v := range o.overrides {
		config[k] = v
	}
	data, err := yaml.Marshal(config)
	require.NoError(t, err)
	w.config = filepath.Join(w.dir, "functions_worker.yml")
	require.NoError(t, os.WriteFile(w.config, data, 0o600))
	return w
}

// startWorker starts a worker and waits until it serves.
func startWorker(t *testing.T, e env, o workerOptions) *worker {
	t.Helper()
	w := newWorker(t, e, o)
	w.start()
	w.awaitReady(60 * time.Second)
	return w
}

// start launches the process; the test's end stops it.
func (w *worker) start() {
	w.t.Helper()
	log, err := os.OpenFile(filepath.Join(w.dir, "worker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	w.log = log
	w.cmd = exec.Command(w.env.worker, "-c", w.config)
	w.cmd.Stdout, w.cmd.Stderr = log, log
	w.cmd.Env = append(os.Environ(), "PULSAR_HOME="+w.env.pulsarHome, "PATH="+filepath.Join(w.env.venv, "bin")+":"+os.Getenv("PATH"))
	w.cmd.Env = append(w.cmd.Env, w.extra...)
	require.NoError(w.t, w.cmd.Start())
	exited := make(chan struct{})
	w.exited = exited
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(exited) }(w.cmd)
	w.t.Cleanup(func() {
		w.terminate(20 * time.Second)
		if w.t.Failed() {
			w.t.Logf("last lines of worker %s:\n%s", w.id, w.tail(60))
		}
	})
}

// awaitReady waits until the worker says that it is initialized.
func (w *worker) awaitReady(limit time.Duration) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		select {
		case <-w.exited:
			require.FailNow(w.t, "the worker ended before it was ready", w.tail(40))
		default:
		}
		if status, _ := w.get("/initialized"); status == http.StatusOK {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	require.FailNow(w.t, "the worker was not ready in "+limit.String(), w.tail(40))
}

// awaitLeader waits until some worker that w knows leads and is set up.
func (w *worker) awaitLeader(limit time.Duration) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		status, _ := w.get("/admin/v2/worker/cluster/leader/ready")
		return status == http.StatusOK
	}, limit, 50*time.Millisecond, "worker %s does not lead", w.id)
}

// terminate sends SIGTERM and waits; it tells how long the end took and whether the process ended in time.
func (w *worker) terminate(limit time.Duration) (time.Duration, bool) {
	if w.ended() {
		return 0, true
	}
	start := time.Now()
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.exited:
		return time.Since(start), true
	case <-time.After(limit):
		_ = w.cmd.Process.Kill()
		<-w.exited
		return time.Since(start), false
	}
}

// kill ends the process as a crash would.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	<-w.exited
}

func (w *worker) ended() bool {
	if w.exited == nil {
		return true
	}
	select {
	case <-w.exited:
		return true
	default:
		return false
	}
}

func (w *worker) tail(lines int) string {
	data, _ := os.ReadFile(filepath.Join(w.dir, "worker.log"))
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

func (w *worker) logs() string {
	data, _ := os.ReadFile(filepath.Join(w.dir, "worker.log"))
	return string(data)
}

// get asks the worker and returns status and body; status 0 means no answer.
func (w *worker) get(path string) (int, []byte) {
	return request(http.MethodGet, w.url+path, "", nil)
}

func request(method, url, contentType string, body io.Reader) (int, []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	return res.StatusCode, data
}

// adminSlots bounds how many JVMs of pulsar-admin run at once.
var adminSlots = make(chan struct{}, 2)

// tryAdmin runs the distribution's pulsar-admin against the worker.
func (w *worker) tryAdmin(args ...string) (stdout, stderr string, err error) {
	adminSlots <- struct{}{}
	defer func() { <-adminSlots }()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	cmd := pulsaradmin.Tool{Home: w.env.pulsarHome}.Command(ctx, append([]string{"--admin-url", w.url}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// admin runs pulsar-admin, which must succeed, and returns its output.
func (w *worker) admin(args ...string) string {
	w.t.Helper()
	out, errs, err := w.tryAdmin(args...)
	require.NoError(w.t, err, "pulsar-admin %s\n%s%s", strings.Join(args, " "), out, errs)
	return out
}

// adminFails runs pulsar-admin, which must fail, and returns what it said.
func (w *worker) adminFails(args ...string) string {
	w.t.Helper()
	out, errs, err := w.tryAdmin(args...)
	require.Error(w.t, err, "pulsar-admin %s\n%s", strings.Join(args, " "), out)
	return out + errs
}

// functionStatus is the JSON of `functions status`.
type functionStatus struct {
	NumInstances int `json:"numInstances"`
	NumRunning   int `json:"numRunning"`
	Instances    []struct {
		InstanceID int `json:"instanceId"`
		Status     struct {
			Running                  bool   `json:"running"`
			Error                    string `json:"error"`
			NumRestarts              int    `json:"numRestarts"`
			NumReceived              int64  `json:"numReceived"`
			NumSuccessfullyProcessed int64  `json:"numSuccessfullyProcessed"`
			NumUserExceptions        int64  `json:"numUserExceptions"`
			WorkerID                 string `json:"workerId"`
		} `json:"status"`
	} `json:"instances"`
}

// status asks the worker directly for the status of public/default/name.
func (w *worker) status(name string) functionStatus {
	var s functionStatus
	code, body := w.get("/admin/v3/functions/public/default/" + name + "/status")
	if code == http.StatusOK {
		_ = json.Unmarshal(body, &s)
	}
	return s
}

// awaitRunning waits until n instances of the function run and answer.
func (w *worker) awaitRunning(name string, n int, limit time.Duration) functionStatus {
	w.t.Helper()
	var last functionStatus
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		if last = w.status(name); last.NumRunning == n {
			return last
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.FailNow(w.t, fmt.Sprintf("function %s: %d of %d instances run after %s", name, last.NumRunning, n, limit), "%+v", last)
	return last
}

var (
	clientOnce sync.Once
	client     pulsar.Client
	clientErr  error
)

// pulsarClient is one client for all tests of the run.
func pulsarClient(t *testing.T, e env) pulsar.Client {
	t.Helper()
	clientOnce.Do(func() {
		client, clientErr = pulsar.NewClient(pulsar.ClientOptions{URL: e.serviceURL, Logger: plog.DefaultNopLogger()})
	})
	require.NoError(t, clientErr)
	return client
}

// topic names a topic of the test, in public/default.
func topic(prefix string) string { return "persistent://public/default/" + unique(prefix) }

// textSchema is what Java functions over strings expect of a topic that is in use already; topics whose name begins with
// "bytes" have none.
func textSchema(topic string) pulsar.Schema {
	if strings.HasPrefix(topic, "persistent://public/default/bytes") {
		return nil
	}
	return pulsar.NewStringSchema(nil)
}

// send publishes messages to a topic.
func send(t *testing.T, e env, topic string, messages ...string) {
	t.Helper()
	p, err := pulsarClient(t, e).CreateProducer(pulsar.ProducerOptions{Topic: topic, DisableBatching: true, Schema: textSchema(topic)})
	require.NoError(t, err)
	defer p.Close()
	for _, m := range messages {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err := p.Send(ctx, &pulsar.ProducerMessage{Payload: []byte(m)})
		cancel()
		require.NoError(t, err)
	}
}

// output subscribes to a topic from its start, so that nothing that comes later is missed.
type output struct {
	t        *testing.T
	consumer pulsar.Consumer
}

func subscribe(t *testing.T, e env, topic string) *output {
	t.Helper()
	c, err := pulsarClient(t, e).Subscribe(pulsar.ConsumerOptions{
		Topic: topic, Schema: textSchema(topic), SubscriptionName: unique("test"), SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Unsubscribe(); c.Close() })
	return &output{t: t, consumer: c}
}

// next returns the next message.
func (o *output) next(limit time.Duration) pulsar.Message {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	m, err := o.consumer.Receive(ctx)
	require.NoError(o.t, err, "no message on %s in %s", o.consumer.Subscription(), limit)
	_ = o.consumer.Ack(m)
	return m
}

// texts returns the next n payloads.
func (o *output) texts(n int, limit time.Duration) []string {
	o.t.Helper()
	deadline := time.Now().Add(limit)
	var all []string
	for len(all) < n {
		all = append(all, string(o.next(time.Until(deadline)).Payload()))
	}
	return all
}

// javaExample is the class of one of the distribution's Java examples.
func javaExample(class string) string { return "org.apache.pulsar.functions.api.examples." + class }

func (e env) examplesJar() string { return filepath.Join(e.pulsarHome, "examples", "api-examples.jar") }

func (e env) pythonExample(file string) string {
	return filepath.Join(e.pulsarHome, "examples", "python-examples", file)
}
