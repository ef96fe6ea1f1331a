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

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// Classes of the connectors that scripts/pulsar.sh fetches.
const (
	printSink       = "org.apache.pulsar.io.datagenerator.DataGeneratorPrintSink"
	batchSource     = "org.apache.pulsar.io.batchdatagenerator.BatchDataGeneratorSource"
	batchPushSource = "org.apache.pulsar.io.batchdatagenerator.BatchDataGeneratorPushSource"
	cronTriggerer   = "org.apache.pulsar.io.batchdiscovery.CronTriggerer"
	immediately     = "org.apache.pulsar.io.batchdiscovery.ImmediateTriggerer"
)

// TestConnectors runs connectors of the Pulsar project under one worker, whose directories of built-ins fill while it runs.
func TestConnectors(t *testing.T) {
	e := requireEnv(t)
	if os.Getenv("PULSAR_TEST_CONNECTORS") == "" {
		t.Skip("PULSAR_TEST_CONNECTORS is not set: no directory with the connectors that scripts/pulsar.sh fetches")
	}
	nars := t.TempDir()
	w := newWorker(t, e, workerOptions{overrides: map[string]any{"narExtractionDirectory": nars}})
	w.install(t, "data-generator")
	w.start()
	w.awaitReady(60 * time.Second)

	t.Run("catalogue", func(t *testing.T) { catalogueChanges(t, w.of(t)) })
	t.Run("running", func(t *testing.T) {
		for _, c := range []struct {
			name string
			test func(*testing.T, *worker)
		}{
			{"generator to printer", generatorToPrinter}, // the longest
			{"transform", transformedSink}, {"batch source with cron", batchWithCron}, {"batch source from URL", batchFromURL},
			{"file source", fileSource}, {"http sink", httpSink}, {"built-in function", builtinFunction},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel() // as many at once as there are processors: a JVM needs one to start
				c.test(t, w.of(t))
			})
		}
	})
	unpacked, err := filepath.Glob(filepath.Join(nars, "*", "*data-generator*"))
	require.NoError(t, err)
	require.NotEmpty(t, unpacked, "instances unpack connectors in narExtractionDirectory")
	downloads := filepath.Join(w.dir, "download", "public")
	require.Eventually(t, func() bool { _, err := os.Stat(downloads); return os.IsNotExist(err) }, 30*time.Second, 100*time.Millisecond, "downloads are left")
}

// catalogueChanges adds archives under the running worker.
func catalogueChanges(t *testing.T, w *worker) {
	listed := func(path string) string {
		status, body := w.get("/admin/v3/" + path)
		require.Equal(t, http.StatusOK, status)
		return string(body)
	}
	require.Contains(t, listed("sinks/builtinsinks"), `"data-generator"`)
	builtins := listed("functions/builtins")
	require.Equal(t, 1, strings.Count(builtins, `"name"`), "there is no such directory yet: %s", builtins)
	require.Contains(t, builtins, `"name":"transform"`)
	require.Contains(t, w.adminFails("sources", "create", "--source-type", "file", "--name", "early", "--destination-topic-name", "x"), "Invalid source type 'file'")

	w.install(t, "file", "http", "batch-data-generator")
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "connectors", "broken.nar"), []byte("no archive"), 0o600))
	require.NotContains(t, listed("sources/builtinsources"), `"file"`, "the list changes by a reload only")
	w.admin("sources", "reload")
	sources, sinks := w.admin("sources", "available-sources"), w.admin("sinks", "available-sinks")
	for name, in := range map[string]struct{ source, sink bool }{
		"Test data generator source": {true, true}, "Test batch data generator source": {true, true},
		"Reads data from local filesystem": {true, false}, "Writes data to an HTTP server": {false, true},
	} {
		require.Equal(t, in.source, strings.Contains(sources, name), "%s in %s", name, sources)
		require.Equal(t, in.sink, strings.Contains(sinks, name), "%s in %s", name, sinks)
	}
	require.NoError(t, os.Remove(filepath.Join(w.dir, "connectors", "broken.nar")))
	w.admin("sinks", "reload")

	installFunction(t, w, "exclaim", javaExample("ExclamationFunction"))
	installFunction(t, w, "record", javaExample("RecordFunction"))
	w.admin("functions", "reload")
	functions := w.admin("functions", "available-functions")
	require.Contains(t, functions, "exclaim")
	require.Contains(t, functions, "record")

	for path, want := range map[string]string{
		"sources/builtinsources/data-generator": `[{"fieldName":"sleepBetweenMessages","typeName":"long","attributes":` +
			`{"defaultValue":"50","help":"How long to sleep between emitting messages","required":"true","sensitive":"false"}}]`,
		"sinks/builtinsinks/http": `[{"fieldName":"url","typeName":"java.lang.String","attributes":` +
			`{"defaultValue":"http://localhost","help":"The URL of the HTTP server","required":"false","sensitive":"false"}},` +
			`{"fieldName":"headers","typeName":"java.util.Map<java.lang.String, java.lang.String>","attributes":` +
			`{"defaultValue":"","help":"The list of default headers added to each request","required":"false","sensitive":"false"}}]`,
	} {
		status, body := w.get("/admin/v3/" + path + "/configdefinition")
		require.Equal(t, http.StatusOK, status, "%s", body)
		require.JSONEq(t, want, string(body))
	}
	for _, path := range []string{"sinks/builtinsinks/data-generator", "sources/builtinsources/http", "sinks/builtinsinks/unheard-of"} {
		status, body := w.get("/admin/v3/" + path + "/configdefinition")
		require.Equal(t, http.StatusNotFound, status, "%s: %s", path, body)
	}
}

// generatorToPrinter runs a built-in source and an uploaded sink through all commands of pulsar-admin.
func generatorToPrinter(t *testing.T, w *worker) {
	people := topic("bytes-people")
	outputs := subscribe(t, w.env, people)
	source := w.create("sources", "generator", "--source-type", "data-generator", "--destination-topic-name", people, "--source-config", `{"sleepBetweenMessages":20}`)
	sink := w.create("sinks", "printer", "--archive", connector("data-generator"), "--classname", printSink, "--inputs", people, "--subs-position", "Earliest")

	var person struct {
		FirstName string `json:"firstName"`
		Email     string `json:"email"`
	}
	require.NoError(t, json.Unmarshal(outputs.next(firstAnswer).Payload(), &person))
	require.NotEmpty(t, person.FirstName)
	require.Contains(t, person.Email, "@")
	w.awaitLog(sink, "RECV: Person(", firstAnswer)
	w.awaitConnector("sources", source, 1, func(s connectorStatus) bool { return s.Received > 0 && s.Written > 0 })
	w.awaitConnector("sinks", sink, 1, func(s connectorStatus) bool { return s.Read > 0 && s.WrittenToSink > 0 })
	require.Contains(t, w.admin("sources", "status", "--name", source), `"numWritten"`)
	require.Contains(t, w.admin("sinks", "status", "--name", sink, "--instance-id", "0"), `"numWrittenToSink"`)
	require.Contains(t, w.admin("sources", "list"), source)
	require.Contains(t, w.admin("sinks", "list"), sink)
	require.NotContains(t, w.admin("sinks", "list"), source)

	config := w.config3("sources", source)
	require.Equal(t, "builtin://data-generator", config["archive"])
	require.Equal(t, people, config["topicName"])
	require.Equal(t, map[string]any{"sleepBetweenMessages": 20.0}, config["configs"])
	config = w.config3("sinks", sink)
	require.Equal(t, printSink, config["className"])
	require.Contains(t, config["inputSpecs"], people)
	require.Contains(t, w.adminFails("sinks", "get", "--name", source), "doesn't exist")

	w.lifeCycle("sinks", sink, "--timeout-ms", "40000")
	require.Equal(t, []string{"public/default/" + sink}, w.functionSubscriptions(people))

	w.remove("sinks", sink)
	require.Eventually(t, func() bool { return len(w.functionSubscriptions(people)) == 0 }, 30*time.Second, 200*time.Millisecond, "the subscription of a deleted sink")
	w.remove("sources", source)
	require.Contains(t, w.adminFails("sources", "get", "--name", source), "doesn't exist")
}

// lifeCycle stops, updates, starts and restarts a component; an update leaves a stopped one stopped.
func (w *worker) lifeCycle(kind, name string, change ...string) {
	w.t.Helper()
	update := append([]string{kind, "update", "--name", name}, change...)
	require.Contains(w.t, w.admin(kind, "stop", "--name", name), "Stopped successfully")
	w.awaitConnector(kind, name, 0, nil)
	require.Contains(w.t, w.admin(update...), "Updated successfully")
	require.Contains(w.t, w.adminFails(update...), "Update contains no change")
	require.Empty(w.t, children(w.t, name))
	require.Contains(w.t, w.admin(kind, "start", "--name", name, "--instance-id", "0"), "Started successfully")
	w.awaitConnector(kind, name, 1, nil)
	before := children(w.t, name)
	require.Len(w.t, before, 1)
	require.Contains(w.t, w.admin(kind, "restart", "--name", name), "Restarted successfully")
	require.Eventually(w.t, func() bool {
		after := children(w.t, name)
		return len(after) == 1 && after[0].pid != before[0].pid
	}, 60*time.Second, 100*time.Millisecond, "%s restarts", name)
	w.awaitConnector(kind, name, 1, nil)
}

// fileSource reads a folder line by line.
func fileSource(t *testing.T, w *worker) {
	folder, lines := t.TempDir(), topic("bytes-lines")
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	write("first.txt", "one\ntwo\n")
	outputs := subscribe(t, w.env, lines)
	config := func(interval int) string {
		return fmt.Sprintf(`{"inputDirectory":%q,"pollingInterval":%d,"fileFilter":".*\\.txt"}`, folder, interval)
	}
	source := w.create("sources", "files", "--source-type", "file", "--destination-topic-name", lines, "--source-config", config(200))
	m := outputs.next(90 * time.Second)
	require.Equal(t, "one", string(m.Payload()))
	require.Equal(t, "first.txt_1", m.Key())
	require.Equal(t, "first.txt", m.Properties()["file.name"])
	require.Equal(t, []string{"two"}, outputs.texts(1, 20*time.Second))
	write("ignored.csv", "not read")
	write("second.txt", "three\n")
	require.Equal(t, []string{"three"}, outputs.texts(1, 20*time.Second))
	require.Eventually(t, func() bool { left, err := os.ReadDir(folder); return err == nil && len(left) == 1 }, 20*time.Second, 50*time.Millisecond, "files that were read")
	w.lifeCycle("sources", source, "--source-config", config(300))
	require.Equal(t, 300.0, w.config3("sources", source)["configs"].(map[string]any)["pollingInterval"])
	write("third.txt", "four\n")
	require.Equal(t, []string{"four"}, outputs.texts(1, firstAnswer))
	w.remove("sources", source)
}

// httpSink posts what it reads, from topics that a pattern names, and leaves its subscription on request.
func httpSink(t *testing.T, w *worker) {
	posts, url := posts(t)
	events := topic("events")
	type event struct {
		Name string `json:"name"`
		Size int    `json:"size"`
	}
	schema := pulsar.NewJSONSchema(`{"type":"record","name":"event","fields":[{"name":"name","type":"string"},{"name":"size","type":"int"}]}`, nil)
	sendValue(t, w.env, events, schema, event{"first", 1}, event{"second", 2})
	file := filepath.Join(t.TempDir(), "sink.yaml") // the only way to say false: the flag has no value
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "cleanupSubscription: false\nconfigs:\n  url: %s\n  headers: {X-Test: as configured}\n", url), 0o600))
	sink := w.create("sinks", "poster", "--sink-type", "http", "--topics-pattern", events+".*", "--subs-position", "Earliest", "--subs-name", "kept",
		"--sink-config-file", file)
	require.JSONEq(t, `{"name":"first","size":1}`, await(t, posts, firstAnswer).body)
	second := await(t, posts, 20*time.Second)
	require.JSONEq(t, `{"name":"second","size":2}`, second.body)
	require.Equal(t, "as configured", second.header.Get("X-Test"))
	require.Equal(t, events, second.header.Get("PulsarTopic"))
	w.remove("sinks", sink)
	time.Sleep(3 * time.Second) // the clean-up of others takes less
	require.Contains(t, w.subscriptions(events), "kept", "cleanupSubscription is false")
}

// batchWithCron discovers work every two seconds; its own topic lives as long as it does.
func batchWithCron(t *testing.T, w *worker) {
	people := topic("bytes-batches")
	outputs := subscribe(t, w.env, people)
	source := w.create("sources", "batch", "--source-type", "batch-data-generator", "--destination-topic-name", people, "--batch-source-config",
		`{"discoveryTriggererClassName":"`+cronTriggerer+`","discoveryTriggererConfig":{"__CRON__":"*/2 * * * * ?"}}`)
	require.Len(t, outputs.texts(21, firstAnswer), 21) // ten of each discovery
	intermediate := "persistent://public/default/" + source + "-intermediate"
	require.Equal(t, []string{"BatchSourceExecutor-public/default/" + source}, w.subscriptions(intermediate))

	config := w.config3("sources", source)
	require.Equal(t, batchSource, config["className"])
	require.Equal(t, map[string]any{"discoveryTriggererClassName": cronTriggerer, "discoveryTriggererConfig": map[string]any{"__CRON__": "*/2 * * * * ?"}}, config["batchSourceConfig"])
	require.Contains(t, w.adminFails("sources", "update", "--name", source, "--parallelism", "2"), "cannot be update between regular sources and batchsource")
	require.Contains(t, w.topics(), intermediate)
	w.remove("sources", source)
	require.Eventually(t, func() bool { return !contains(w.topics(), intermediate) }, 40*time.Second, 200*time.Millisecond, "the topic of a deleted batch source")
	require.Contains(t, w.topics(), people)
}

// batchFromURL runs a pushing batch source once, from a file of the connectors directory.
func batchFromURL(t *testing.T, w *worker) {
	require.Contains(t, w.adminFails("sources", "create", "--name", unique("no-trigger"), "--archive", connector("batch-data-generator"), "--classname", batchPushSource,
		"--destination-topic-name", topic("x")), "batch source source config is not specified")
	people := topic("bytes-pushed")
	outputs := subscribe(t, w.env, people)
	source := w.create("sources", "push", "--archive", "file://"+filepath.Join(w.dir, "connectors", "batch-data-generator.nar"), "--classname", batchPushSource,
		"--destination-topic-name", people, "--batch-source-config", `{"discoveryTriggererClassName":"`+immediately+`"}`)
	require.Len(t, outputs.texts(10, firstAnswer), 10)
	w.remove("sources", source)
}

// transformedSink puts a function before a sink: first from a file of the functions directory, then a built-in.
func transformedSink(t *testing.T, w *worker) {
	posts, url := posts(t)
	words := topic("words")
	jar := filepath.Join(w.dir, "functions", "transforms.jar")
	copyFile(t, w.env.examplesJar(), jar)
	create := []string{"--sink-type", "http", "--inputs", words, "--sink-config", fmt.Sprintf(`{"url":%q}`, url), "--subs-position", "Earliest"}
	refused := append([]string{"sinks", "create", "--name", unique("refused"), "--transform-function", "file://" + jar}, create...)
	require.Contains(t, w.adminFails(append(refused, "--transform-function-classname", javaExample("ExclamationFunction"))...), "Sink transform function output must be of type Record")
	require.Contains(t, w.adminFails(append(refused, "--transform-function-classname", "no.such.Class")...), "Function class no.such.Class not found")

	sink := w.create("sinks", "transformed", append(create, "--transform-function", "file://"+jar, "--transform-function-classname", javaExample("RecordFunction"))...)
	send(t, w.env, words, "a")
	require.Equal(t, `"a!"`, await(t, posts, firstAnswer).body)
	require.Equal(t, javaExample("RecordFunction"), w.config3("sinks", sink)["transformFunctionClassName"])

	require.Contains(t, w.admin("sinks", "update", "--name", sink, "--transform-function", "builtin://record"), "Updated successfully")
	require.Equal(t, "builtin://record", w.config3("sinks", sink)["transformFunction"])
	send(t, w.env, words, "b")
	for await(t, posts, firstAnswer).body != `"b!"` { // the sink acknowledges nothing: "a!" comes again
	}
	w.remove("sinks", sink)
}

// builtinFunction runs a function from the functions directory; its class is the one that the archive names.
func builtinFunction(t *testing.T, w *worker) {
	in, out := topic("built-in-in"), topic("built-in-out")
	outputs := subscribe(t, w.env, out)
	name := w.create("functions", "built-in", "--function-type", "exclaim", "--inputs", in, "--output", out, "--subs-position", "Earliest")
	send(t, w.env, in, "x")
	require.Equal(t, []string{"x!"}, outputs.texts(1, firstAnswer))
	require.Equal(t, javaExample("ExclamationFunction"), w.config3("functions", name)["className"])
	require.Contains(t, w.adminFails("functions", "create", "--function-type", "unheard-of", "--name", unique("none"), "--inputs", in), "No Function unheard-of found")
	w.remove("functions", name)
}
