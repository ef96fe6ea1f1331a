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

// TestCompiledInConnectors goes from a compiled-in source over a topic to a compiled-in sink with the distribution's
// pulsar-admin, as goroutines of the worker and as child processes of it.
func TestCompiledInConnectors(t *testing.T) {
	for kind, overrides := range map[string]map[string]any{"thread": thread(), "process": nil} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := startOwnWorker(t, overrides)
			listed(t, w)
			x := newPipe(t, w)
			x.flows(t)
			x.fails(t)
			x.changes(t)
			w.remove("sinks", x.sink)
			require.Eventually(t, func() bool { return len(w.functionSubscriptions(x.topic)) == 0 }, 30*time.Second, 200*time.Millisecond, "the subscription of a deleted sink")
			w.remove("sources", x.source)
			require.Contains(t, w.adminFails("sources", "get", "--name", x.source), "doesn't exist")
			refused(t, w, x)
		})
	}
}

func listed(t *testing.T, w *worker) {
	sources, sinks := w.admin("sources", "available-sources"), w.admin("sinks", "available-sinks")
	require.Contains(t, sources, "Reads the lines of a file.")
	require.NotContains(t, sources, "appender")
	require.Contains(t, sinks, "appender")
	require.NotContains(t, sinks, "Reads the")
	code, body := w.get("/admin/v3/sources/builtinsources/lines/configdefinition")
	require.Equal(t, http.StatusOK, code, string(body))
	require.JSONEq(t, `[{"fieldName":"file","typeName":"java.lang.String","attributes":{"defaultValue":"","help":"The file to read line by line.","required":"true","sensitive":"false"}},
		{"fieldName":"skip","typeName":"long","attributes":{"defaultValue":"0","help":"How many lines to leave out.","required":"false","sensitive":"false"}}]`, string(body))
	code, _ = w.get("/admin/v3/sinks/builtinsinks/lines/configdefinition")
	require.Equal(t, http.StatusNotFound, code)
	_, builtins := w.get("/admin/v3/functions/builtins")
	require.NotContains(t, string(builtins), "appender", "it is no function")
}

// pipe is a source and a sink with a topic between them.
type pipe struct {
	w                     *worker
	source, sink          string
	topic, dead, from, to string
}

func newPipe(t *testing.T, w *worker) *pipe {
	dir := t.TempDir()
	x := &pipe{w: w, topic: topic("bytes-lines"), dead: topic("bytes-dead"), from: filepath.Join(dir, "from"), to: filepath.Join(dir, "to")}
	require.NoError(t, os.WriteFile(x.from, []byte("one\ntwo\nthree\n"), 0o600))
	x.sink = w.create("sinks", "appender", "--archive", "builtin://appender", "--inputs", x.topic, "--subs-position", "Earliest",
		"--sink-config", fmt.Sprintf(`{"file":%q}`, x.to), "--max-redeliver-count", "1", "--dead-letter-topic", x.dead, "--negative-ack-redelivery-delay-ms", "100")
	x.source = w.create("sources", "lines", "--archive", "builtin://lines", "--destination-topic-name", x.topic, "--source-config", fmt.Sprintf(`{"file":%q}`, x.from))
	return x
}

// written waits until the sink has written lines.
func (x *pipe) written(t *testing.T, want ...string) {
	t.Helper()
	var got string
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(x.to)
		got = string(data)
		return err == nil && got == strings.Join(want, "\n")+"\n"
	}, 30*time.Second, 50*time.Millisecond, "%v: %s", want, &got)
}

func (x *pipe) flows(t *testing.T) {
	x.written(t, "1:one", "2:two", "3:three")
	x.w.awaitConnector("sources", x.source, 1, func(s connectorStatus) bool { return s.Received == 3 && s.Written == 3 })
	x.w.awaitConnector("sinks", x.sink, 1, func(s connectorStatus) bool { return s.Read == 3 && s.WrittenToSink == 3 })
	require.Contains(t, x.w.admin("sources", "status", "--name", x.source), `"numWritten"`)
	m := subscribe(t, x.w.env, x.topic).next(20 * time.Second)
	require.Equal(t, "1 one lines", m.Key()+" "+string(m.Payload())+" "+m.Properties()["from"])
	config := x.w.config3("sinks", x.sink)
	require.Equal(t, "builtin://appender", config["archive"])
	require.Equal(t, "appender", config["className"])
	require.Equal(t, map[string]any{"file": x.to}, config["configs"])
	config = x.w.config3("sources", x.source)
	require.Equal(t, "builtin://lines", config["archive"])
	require.Equal(t, x.topic, config["topicName"])
	var page string
	require.Eventually(t, func() bool {
		_, body := x.w.get("/metrics")
		page = string(body)
		return strings.Contains(page, x.sink) && strings.Contains(page, x.source)
	}, 30*time.Second, 200*time.Millisecond)
	require.Regexp(t, `pulsar_sink_written_total\{[^}]*name="`+x.sink+`"[^}]*\} 3`, page)
	require.Regexp(t, `pulsar_source_written_total\{[^}]*name="`+x.source+`"[^}]*\} 3`, page)
	require.Regexp(t, `pulsar_source_user_metric__sum\{[^}]*metric="length"[^}]*name="`+x.source+`"[^}]*\} 11`, page)
}

// fails: a line that the sink refuses comes again, and then is a dead letter; the next ones are not held up.
func (x *pipe) fails(t *testing.T) {
	dead := subscribe(t, x.w.env, x.dead)
	send(t, x.w.env, x.topic, "bad one", "four")
	x.written(t, "1:one", "2:two", "3:three", ":four")
	require.Equal(t, []string{"bad one"}, dead.texts(1, 30*time.Second))
	var status struct {
		Instances []struct {
			Status struct {
				NumSinkExceptions    int
				LatestSinkExceptions []struct{ ExceptionString string }
				NumSystemExceptions  int
			}
		}
	}
	_, body := x.w.get("/admin/v3/sinks/public/default/" + x.sink + "/status")
	require.NoError(t, json.Unmarshal(body, &status))
	require.NotEmpty(t, status.Instances, string(body))
	require.Equal(t, 2, status.Instances[0].Status.NumSinkExceptions, string(body))
	require.Contains(t, status.Instances[0].Status.LatestSinkExceptions[0].ExceptionString, "this line is bad")
	require.Zero(t, status.Instances[0].Status.NumSystemExceptions)
}

// changes stops, updates and starts: a stopped sink keeps its place, a batch is written when the sink is closed.
func (x *pipe) changes(t *testing.T) {
	w := x.w
	require.Contains(t, w.admin("sinks", "stop", "--name", x.sink), "Stopped successfully")
	w.awaitConnector("sinks", x.sink, 0, nil)
	update := []string{"sinks", "update", "--name", x.sink, "--sink-config", fmt.Sprintf(`{"file":%q,"batch":2}`, x.to)}
	require.Contains(t, w.admin(update...), "Updated successfully")
	require.Contains(t, w.adminFails(update...), "Update contains no change")
	send(t, w.env, x.topic, "five", "six", "seven")
	require.Contains(t, w.admin("sinks", "start", "--name", x.sink), "Started successfully")
	all := []string{"1:one", "2:two", "3:three", ":four", ":five", ":six"}
	x.written(t, all...)
	w.awaitConnector("sinks", x.sink, 1, func(s connectorStatus) bool { return s.Read == 3 && s.WrittenToSink == 2 })
	require.Contains(t, w.admin("sinks", "restart", "--name", x.sink), "Restarted successfully")
	x.written(t, append(all, ":seven")...)
	w.awaitConnector("sinks", x.sink, 1, func(s connectorStatus) bool { return s.Read == 0 })

	second := filepath.Join(filepath.Dir(x.from), "second")
	require.NoError(t, os.WriteFile(second, []byte("seven and a half\neight\n"), 0o600))
	require.Contains(t, w.admin("sources", "update", "--name", x.source, "--source-config", fmt.Sprintf(`{"file":%q}`, second)), "Updated successfully")
	x.written(t, append(all, ":seven", "1:seven and a half", "2:eight")...)
}

func refused(t *testing.T, w *worker, x *pipe) {
	source := []string{"sources", "create", "--name", unique("no"), "--destination-topic-name", x.topic, "--archive"}
	sink := []string{"sinks", "create", "--name", unique("no"), "--inputs", x.topic, "--archive"}
	module := filepath.Join(t.TempDir(), "m.nar")
	require.NoError(t, os.WriteFile(module, []byte("\x00asm\x01\x00\x00\x00"), 0o600))
	for want, args := range map[string][]string{
		`unknown field "fille"`:    append(source, "builtin://lines", "--source-config", `{"fille":"x"}`),
		"file is missing":          append(source, "builtin://lines"),
		"is not a source":          append(source, "builtin://appender"),
		"is not a sink":            append(sink, "builtin://lines"),
		"Invalid source type 'no'": append(source[:len(source)-1:len(source)-1], "--source-type", "no"),
		"cannot run inside a sink": append(sink, "builtin://appender", "--sink-config", `{"file":"x"}`, "--transform-function", "builtin://transform"),
		"can only be a function":   append(sink, module),
	} {
		require.Contains(t, w.adminFails(args...), want, "%v", args)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	name := w.create("sources", "gone", "--archive", "builtin://lines", "--destination-topic-name", x.topic, "--source-config", fmt.Sprintf(`{"file":%q}`, gone))
	require.Eventually(t, func() bool {
		_, body := w.get("/admin/v3/sources/public/default/" + name + "/status")
		return strings.Contains(string(body), "opening the source: opening the file: open "+gone)
	}, 30*time.Second, 100*time.Millisecond)
	require.NoError(t, os.WriteFile(gone, nil, 0o600))
	w.awaitConnector("sources", name, 1, nil) // it starts again by itself
	w.remove("sources", name)
}

// TestACompiledInSourceEffectivelyOnce: a source that begins again at the start, as one does after a crash, writes
// nothing twice.
func TestACompiledInSourceEffectivelyOnce(t *testing.T) {
	t.Parallel()
	w := startOwnWorker(t, thread())
	namespace, file := "public/"+unique("source-once"), filepath.Join(t.TempDir(), "lines")
	admin := w.env.webURL + "/admin/v2/namespaces/" + namespace
	code, body := request("PUT", admin, "application/json", strings.NewReader("{}"))
	require.Equal(t, http.StatusNoContent, code, string(body))
	code, body = request("POST", admin+"/deduplication", "application/json", strings.NewReader("true"))
	require.Equal(t, http.StatusNoContent, code, string(body))
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "%d\n", i)
	}
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	out := "persistent://" + namespace + "/bytes"
	name := w.create("sources", "once", "--archive", "builtin://lines", "--destination-topic-name", out, "--processing-guarantees", "EFFECTIVELY_ONCE",
		"--source-config", fmt.Sprintf(`{"file":%q,"skip":0}`, file))
	w.awaitConnector("sources", name, 1, func(s connectorStatus) bool { return s.Written == 500 })
	require.NoError(t, os.WriteFile(file, []byte(lines.String()+"end\n"), 0o600))
	require.Contains(t, w.admin("sources", "restart", "--name", name), "Restarted successfully")
	consumer, err := pulsarClient(t, w.env).Subscribe(pulsar.ConsumerOptions{Topic: out, SubscriptionName: "test", SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest})
	require.NoError(t, err)
	t.Cleanup(consumer.Close)
	got := &output{t: t, consumer: consumer}
	for i := range 500 {
		require.Equal(t, fmt.Sprint(i), string(got.next(30*time.Second).Payload()))
	}
	require.Equal(t, "end", string(got.next(30*time.Second).Payload()))
}
