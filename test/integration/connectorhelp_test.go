package integration

import (
	"archive/zip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// firstAnswer is how long the first message through an instance may take: a JVM starts, unpacks a connector and connects.
const firstAnswer = 120 * time.Second

// connector is the archive of a connector that scripts/pulsar.sh fetched.
func connector(name string) string {
	return filepath.Join(os.Getenv("PULSAR_TEST_CONNECTORS"), "pulsar-io-"+name+"-4.0.8.nar")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, data, 0o600))
}

// install puts connectors into the worker's directory.
func (w *worker) install(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		copyFile(t, connector(name), filepath.Join(w.dir, "connectors", name+".nar"))
	}
}

// installFunction makes an archive of a built-in function out of the distribution's examples.
func installFunction(t *testing.T, w *worker, name, class string) {
	t.Helper()
	file := filepath.Join(w.dir, "functions", name+".nar")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	out, err := os.Create(file)
	require.NoError(t, err)
	defer out.Close()
	nar := zip.NewWriter(out)
	add := func(entry string, content []byte) {
		part, err := nar.Create(entry)
		require.NoError(t, err)
		_, err = part.Write(content)
		require.NoError(t, err)
	}
	examples, err := os.ReadFile(w.env.examplesJar())
	require.NoError(t, err)
	add("META-INF/MANIFEST.MF", []byte("Manifest-Version: 1.0\nNar-Id: "+name+"\n"))
	add("META-INF/services/pulsar-io.yaml", []byte("name: "+name+"\ndescription: an example\nfunctionClass: "+class+"\n"))
	add("META-INF/bundled-dependencies/", nil)
	add("META-INF/bundled-dependencies/api-examples.jar", examples)
	require.NoError(t, nar.Close())
}

// of is the worker for a subtest: failures belong to that.
func (w *worker) of(t *testing.T) *worker {
	c := *w
	c.t = t
	return &c
}

// quickJVM are options of Java instances that halve the processor time that they need to start.
const quickJVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

// create submits a component whose JVM needs little and returns its name.
func (w *worker) create(kind, prefix string, args ...string) string {
	w.t.Helper()
	name := unique(prefix)
	all := append([]string{kind, "create", "--tenant", "public", "--namespace", "default", "--name", name, "--ram", "268435456",
		"--runtime-flags=" + quickJVM}, args...)
	require.Contains(w.t, w.admin(all...), "Created successfully")
	w.t.Cleanup(func() {
		if w.t.Failed() {
			log, _ := os.ReadFile(w.instanceLog(name))
			w.t.Logf("last of the log of %s:\n%s", name, log[max(0, len(log)-6000):])
		}
	})
	return name
}

// remove deletes a component and waits for the end of its process.
func (w *worker) remove(kind, name string) {
	w.t.Helper()
	require.Contains(w.t, strings.ToLower(w.admin(kind, "delete", "--name", name)), "delete")
	require.Eventually(w.t, func() bool { return len(children(w.t, name)) == 0 }, 30*time.Second, 100*time.Millisecond, "a process of %s is left", name)
}

// config3 is what `get` prints.
func (w *worker) config3(kind, name string) map[string]any {
	w.t.Helper()
	var config map[string]any
	require.NoError(w.t, json.Unmarshal([]byte(w.admin(kind, "get", "--name", name)), &config))
	return config
}

// connectorStatus is what the instances of a sink or source count, the sum of all.
type connectorStatus struct {
	Received      int64 `json:"numReceivedFromSource"`
	Written       int64 `json:"numWritten"`
	Read          int64 `json:"numReadFromPulsar"`
	WrittenToSink int64 `json:"numWrittenToSink"`
}

// awaitConnector waits until n instances run and the first one's counts satisfy the test's wish.
func (w *worker) awaitConnector(kind, name string, n int, wish func(connectorStatus) bool) {
	w.t.Helper()
	var body []byte
	require.Eventually(w.t, func() bool {
		var all struct {
			NumRunning int `json:"numRunning"`
			Instances  []struct {
				Status connectorStatus `json:"status"`
			} `json:"instances"`
		}
		var status int
		status, body = w.get("/admin/v3/" + kind + "/public/default/" + name + "/status")
		if status != http.StatusOK || json.Unmarshal(body, &all) != nil || all.NumRunning != n {
			return false
		}
		return wish == nil || (len(all.Instances) > 0 && wish(all.Instances[0].Status))
	}, firstAnswer, 200*time.Millisecond, "%s %s: %s", kind, name, &body)
}

func (w *worker) instanceLog(name string) string {
	return filepath.Join(w.dir, "logs", "functions", "public", "default", name, name+"-0.log")
}

// awaitLog waits for a text in the log of the component's first instance.
func (w *worker) awaitLog(name, text string, limit time.Duration) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		data, _ := os.ReadFile(w.instanceLog(name))
		return strings.Contains(string(data), text)
	}, limit, 200*time.Millisecond, "%q in the log of %s", text, name)
}

// topics lists the topics of public/default.
func (w *worker) topics() []string {
	return w.fromBroker("/admin/v2/persistent/public/default")
}

func (w *worker) subscriptions(topic string) []string {
	return w.fromBroker("/admin/v2/" + strings.Replace(topic, "://", "/", 1) + "/subscriptions")
}

// functionSubscriptions are those that components made by default.
func (w *worker) functionSubscriptions(topic string) []string {
	return slices.DeleteFunc(w.subscriptions(topic), func(s string) bool { return !strings.Contains(s, "/") })
}

func (w *worker) fromBroker(path string) []string {
	w.t.Helper()
	status, body := request(http.MethodGet, w.env.webURL+path, "", nil)
	require.Equal(w.t, http.StatusOK, status, "%s: %s", path, body)
	var list []string
	require.NoError(w.t, json.Unmarshal(body, &list))
	return list
}

func contains(list []string, text string) bool { return slices.Contains(list, text) }

// sendValue publishes values with their schema.
func sendValue(t *testing.T, e env, topic string, schema pulsar.Schema, values ...any) {
	t.Helper()
	p, err := pulsarClient(t, e).CreateProducer(pulsar.ProducerOptions{Topic: topic, Schema: schema}) // without batching the client forgets the schema version
	require.NoError(t, err)
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, v := range values {
		_, err := p.Send(ctx, &pulsar.ProducerMessage{Value: v})
		require.NoError(t, err)
	}
}

// post is one request that the test's HTTP server got.
type post struct {
	header http.Header
	body   string
}

// posts starts an HTTP server that tells what it gets.
func posts(t *testing.T) (<-chan post, string) {
	t.Helper()
	got := make(chan post, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- post{r.Header, string(body)}
	}))
	t.Cleanup(server.Close)
	return got, server.URL
}

func await(t *testing.T, posts <-chan post, limit time.Duration) post {
	t.Helper()
	select {
	case p := <-posts:
		return p
	case <-time.After(limit):
		require.FailNow(t, "no request in "+limit.String())
		return post{}
	}
}
