package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/functions-worker/functions-worker/test/standalone"
)

// component is one of those that go the whole way.
type component struct {
	kind, name string
	create     []string
	in, out    string // topics; in "" = a source
	update     []string
	instances  int // after the update
	metric     string
	scaled     bool // by others, at the end
}

// TestWholeLife: one function in Java, one in Python, one in Go, one in WebAssembly, one compiled into the worker, and a connector, each from pulsar-admin through StatefulSet, the
// download from the worker, and a real instance, to messages, status over gRPC, metrics, an update in place or scaling, and deletion.
func TestWholeLife(t *testing.T) {
	l := newLab(t)
	l.own = "goWorker: {kubernetes: {workerImage: " + workerImage + "}}\n"
	topic := l.topic
	components := []*component{
		{kind: "functions", name: "java", in: topic("java-in"), out: topic("java-out"), instances: 1, update: []string{"--user-config", `{"a":"it's $(POD_NAME) new"}`}, metric: "pulsar_function_received_total",
			create: []string{"--jar", filepath.Join(l.home, "examples", "api-examples.jar"), "--classname", "org.apache.pulsar.functions.api.examples.ExclamationFunction"}},
		{kind: "functions", name: "python", in: topic("python-in"), out: topic("python-out"), instances: 2, update: []string{"--parallelism", "2"}, metric: "pulsar_function_received_total",
			create: []string{"--py", filepath.Join(l.home, "examples", "python-examples", "exclamation_function.py"), "--classname", "exclamation_function.ExclamationFunction"}},
		{kind: "functions", name: "golang", in: topic("go-in"), out: topic("go-out"), instances: 2, update: []string{"--parallelism", "2"}, metric: "pulsar_function_received_total",
			create: []string{"--go", l.goFunction("exclamation")}},
		{kind: "functions", name: "module", in: topic("module-in"), out: topic("module-out"), instances: 2, update: []string{"--parallelism", "2"}, metric: "pulsar_function_received_total",
			create: []string{"--go", l.goFunction("module", "GOOS=wasip1", "GOARCH=wasm")}},
		{kind: "functions", name: "compiled-in", in: topic("compiled-in"), out: topic("compiled-out"), instances: 1, metric: "pulsar_function_received_total",
			create: []string{"--jar", "builtin://transform", "--user-config", `{"input":"text","map":"msg + '!'"}`},
			update: []string{"--user-config", `{"input":"text","map":"msg.trim() + '!'"}`}},
		{kind: "sources", name: "generator", out: topic("generated"), instances: 1, update: []string{"--source-config", `{"sleepBetweenMessages":"40"}`}, metric: "pulsar_source_written_total",
			create: []string{"--source-type", "data-generator", "--source-config", `{"sleepBetweenMessages":"50"}`}},
	}
	l.live(components)
}

// TestNativeDownload: an init container of the worker's image fetches the packages of others, and pods are ready when their
// probes say so; others may scale them.
func TestNativeDownload(t *testing.T) {
	l := newLab(t)
	l.own = "goWorker: {kubernetes: {workerImage: " + workerImage + ", nativeDownload: true, readinessProbe: true, livenessProbe: true, externalReplicas: true}}\n"
	l.live([]*component{
		{kind: "functions", name: "python", in: l.topic("python-in"), out: l.topic("python-out"), instances: 1, update: []string{"--user-config", `{"a":"b"}`}, metric: "pulsar_function_received_total",
			create: []string{"--py", filepath.Join(l.home, "examples", "python-examples", "exclamation_function.py"), "--classname", "exclamation_function.ExclamationFunction"}},
		{kind: "functions", name: "golang", scaled: true, in: l.topic("go-in"), out: l.topic("go-out"), instances: 2, update: []string{"--parallelism", "2"}, metric: "pulsar_function_received_total",
			create: []string{"--go", l.goFunction("exclamation")}},
		{kind: "functions", name: "module", in: l.topic("module-in"), out: l.topic("module-out"), instances: 1, update: []string{"--user-config", `{"a":"b"}`}, metric: "pulsar_function_received_total",
			create: []string{"--go", l.goFunction("module", "GOOS=wasip1", "GOARCH=wasm")}},
	})
}

func (l *lab) topic(name string) string {
	return "persistent://public/default/" + l.namespace + "-" + name
}

// goFunction builds the example, natively or for what the environment says.
func (l *lab) goFunction(file string, environment ...string) string {
	l.t.Helper()
	file = filepath.Join(l.dir, file)
	args := []string{"build", "-o", file}
	if len(environment) > 0 { // a module is a library, not a program
		args = append(args, "-buildmode=c-shared")
	}
	build := exec.Command("go", append(args, "../../examples/go/exclamation")...)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), environment...)
	out, err := build.CombinedOutput()
	require.NoError(l.t, err, "%s", out)
	return file
}

// live takes all of them the whole way.
func (l *lab) live(components []*component) {
	port := standalone.FreePort(l.t)
	runner := l.runner(port)
	w := l.goWorker("go-1", port, runner.Resolver())
	for _, c := range components {
		args := append([]string{c.kind, "create", "--tenant", "public", "--namespace", "default", "--name", c.name, "--cpu", "0.2", "--ram", "268435456"}, c.create...)
		if c.in == "" {
			args = append(args, "--destination-topic-name", c.out)
		} else {
			args = append(args, "--inputs", c.in, "--output", c.out, "--subs-position", "Earliest")
		}
		require.Contains(l.t, w.admin(args...), "Created successfully")
	}
	for _, c := range components {
		l.t.Run(c.name, func(t *testing.T) {
			of := *l
			of.t = t
			life{&of, &process{l: &of, url: w.url}, c, runner.Address}.run(t)
		})
	}
}

// life is one component on its way.
type life struct {
	*lab
	w       *process
	c       *component
	address func(pod string) string
}

func (f life) set() string { return "pf-public-default-" + f.c.name }

func (f life) run(t *testing.T) {
	set, err := f.api.AppsV1().StatefulSets(f.namespace).Get(t.Context(), f.set(), metav1.GetOptions{})
	require.NoError(t, err)
	f.w.awaitRunning(f.c.kind, f.c.name, 1)
	f.messages(t, "first")
	f.counted(t)
	f.metrics(t)

	args := append([]string{f.c.kind, "update", "--tenant", "public", "--namespace", "default", "--name", f.c.name}, f.c.update...)
	require.Contains(t, f.w.admin(args...), "Updated successfully")
	require.Eventually(t, func() bool { // in place
		now, err := f.api.AppsV1().StatefulSets(f.namespace).Get(t.Context(), f.set(), metav1.GetOptions{})
		return err == nil && now.UID == set.UID && now.Generation > set.Generation && now.Status.UpdatedReplicas == int32(f.c.instances) &&
			now.Status.CurrentRevision == now.Status.UpdateRevision && now.Status.ReadyReplicas == int32(f.c.instances)
	}, 2*time.Minute, 200*time.Millisecond, "the StatefulSet was not updated in place")
	f.w.awaitRunning(f.c.kind, f.c.name, f.c.instances)
	f.messages(t, "second")
	if f.c.scaled {
		f.scale(t)
	}

	require.Contains(t, f.w.admin(f.c.kind, "delete", "--tenant", "public", "--namespace", "default", "--name", f.c.name), "successfully")
	require.Eventually(t, func() bool {
		_, errSet := f.api.AppsV1().StatefulSets(f.namespace).Get(context.Background(), f.set(), metav1.GetOptions{})
		_, errService := f.api.CoreV1().Services(f.namespace).Get(context.Background(), f.set(), metav1.GetOptions{})
		pods, err := f.api.CoreV1().Pods(f.namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "name=" + f.c.name})
		return apierrors.IsNotFound(errSet) && apierrors.IsNotFound(errService) && err == nil && len(pods.Items) == 0 && f.address(f.set()+"-0") == ""
	}, time.Minute, 200*time.Millisecond, "something is left")
}

// scale is done by somebody with kubectl, survives a stop, and is done over HTTP.
func (f life) scale(t *testing.T) {
	sets := f.api.AppsV1().StatefulSets(f.namespace)
	require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		s, err := sets.GetScale(t.Context(), f.set(), metav1.GetOptions{})
		if err == nil {
			s.Spec.Replicas = 3
			_, err = sets.UpdateScale(t.Context(), f.set(), s, metav1.UpdateOptions{})
		}
		return err
	}))
	f.w.awaitRunning(f.c.kind, f.c.name, 3)

	path := f.w.url + "/admin/v3/" + f.c.kind + "/public/default/" + f.c.name
	code, body := request(http.MethodPost, path+"/stop")
	require.Equal(t, http.StatusNoContent, code, "%s", body)
	require.Eventually(t, func() bool {
		_, err := sets.Get(context.Background(), f.set(), metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, time.Minute, 200*time.Millisecond, "it is not stopped")
	code, body = request(http.MethodPost, path+"/start")
	require.Equal(t, http.StatusNoContent, code, "%s", body)
	f.w.awaitRunning(f.c.kind, f.c.name, 3)

	path = f.w.url + "/functions-worker/v1/" + f.c.kind + "/public/default/" + f.c.name + "/scale"
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, path, strings.NewReader(`{"parallelism": 1}`))
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(put)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusNoContent, answer.StatusCode)
	f.w.awaitRunning(f.c.kind, f.c.name, 1)
}

// messages go through a function and come back with an exclamation mark; those of a source come by themselves.
func (f life) messages(t *testing.T, text string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	consumer, err := f.client.Subscribe(pulsar.ConsumerOptions{Topic: f.c.out, SubscriptionName: "test", Type: pulsar.Exclusive})
	require.NoError(t, err)
	defer consumer.Close()
	want := map[string]bool{}
	if f.c.in != "" {
		producer, err := f.client.CreateProducer(pulsar.ProducerOptions{Topic: f.c.in, DisableBatching: true})
		require.NoError(t, err)
		defer producer.Close()
		for i := range 4 {
			payload := fmt.Sprintf("%s-%d", text, i)
			_, err := producer.Send(ctx, &pulsar.ProducerMessage{Payload: []byte(payload)})
			require.NoError(t, err)
			want[payload+"!"] = true
		}
	}
	for received := 0; received < 1 || len(want) > 0; received++ {
		m, err := consumer.Receive(ctx)
		require.NoError(t, err, "still missing: %v", want)
		require.NoError(t, consumer.Ack(m))
		delete(want, string(m.Payload()))
	}
}

// counted: the status that the worker asks of the instance over gRPC knows of the messages.
func (f life) counted(t *testing.T) {
	require.Eventually(t, func() bool {
		s := f.w.status(f.c.kind, f.c.name)
		if len(s.Instances) != 1 || !s.Instances[0].Status.Running {
			return false
		}
		return s.Instances[0].Status.NumReceived >= 4 || f.c.in == "" && s.Instances[0].Status.NumWritten > 0
	}, time.Minute, 500*time.Millisecond, "the messages are not counted")
}

// metrics are served by the pod, at the port that its annotations tell Prometheus.
func (f life) metrics(t *testing.T) {
	pod, err := f.api.CoreV1().Pods(f.namespace).Get(t.Context(), f.set()+"-0", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "true", pod.Annotations["prometheus.io/scrape"])
	url := "http://" + f.address(pod.Name) + ":" + pod.Annotations["prometheus.io/port"]
	var body []byte
	require.Eventually(t, func() bool {
		var code int
		code, body = request(http.MethodGet, url+"/metrics")
		return code == http.StatusOK && strings.Contains(string(body), f.c.metric)
	}, time.Minute, 500*time.Millisecond, "%s is not among the metrics at %s", f.c.metric, url)
}
