package integration

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// scenarioJar has the functions of testdata/semantics.
var scenarioJar = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "semantics")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	sources, err := filepath.Glob("testdata/semantics/*.java")
	if err != nil {
		return nil, err
	}
	args := append([]string{"-proc:none", "-cp", filepath.Join(os.Getenv("PULSAR_HOME"), "lib", "*"), "-d", dir}, sources...)
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("javac (of a JDK): %w: %s", err, out)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	if err := z.AddFS(os.DirFS(dir)); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return jar.Bytes(), nil
})

// engine is one of the two that are compared.
type engine struct {
	t    *testing.T
	w    *worker
	java bool
	name string // of the function
}

// semantics is one scenario. It runs on both engines at the same time; what a consumer sees must be what is wanted, and so
// the same.
type semantics struct {
	builtin, class string // the function in Go and in Java
	examples       bool   // the class is one of the distribution's
	process        bool   // the Go engine too runs in a process of its own
	instances      int    // default 1
	schemas        bool   // the function makes the schemas of its topics; otherwise they are texts before it starts
	config         string // members of the function's configuration; TOPIC-x is the topic x of this run, MARKER a file
	play           func(r *play)
}

// play is a scenario on one engine. Topics are named by short names, "in" and "out" first.
type play struct {
	engine
	marker string
	prefix string // of topics: textSchema looks at it
	out    *output
}

func (r *play) topic(short string) string { return r.prefix + r.name + "-" + short }

// submit registers the function and waits until it runs.
func (r *play) submit(s semantics) {
	t := r.t
	config := strings.NewReplacer("TOPIC-", r.topic(""), "MARKER", r.marker).Replace(s.config)
	var more map[string]any
	require.NoError(t, json.Unmarshal([]byte("{"+config+"}"), &more), config)
	all := map[string]any{"tenant": "public", "namespace": "default", "name": r.name, "subscriptionPosition": "Earliest", "output": r.topic("out"), "parallelism": max(1, s.instances)}
	if more["inputSpecs"] == nil && more["topicsPattern"] == nil {
		all["inputs"] = []string{r.topic("in")}
	}
	maps.Copy(all, more)
	var jar []byte
	if r.java {
		all["className"] = s.class
		var err error
		if s.examples {
			all["className"] = javaExample(s.class)
			jar, err = os.ReadFile(r.w.env.examplesJar())
		} else {
			jar, err = scenarioJar()
		}
		require.NoError(t, err)
		all["jar"] = "function.jar"
	} else {
		all["jar"] = "builtin://" + s.builtin
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	code, body := r.w.upload(r.name, string(text), jar)
	require.Equal(t, http.StatusNoContent, code, string(body))
	r.w.awaitRunning(r.name, max(1, s.instances), 120*time.Second)
	require.Eventually(t, func() bool { _, consumers := r.subscription(); return consumers == max(1, s.instances) }, 60*time.Second, 100*time.Millisecond,
		"an instance says that it runs before it has subscribed")
}

// upload registers a function, with its package unless that is empty.
func (w *worker) upload(name, config string, pkg []byte) (int, []byte) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="functionConfig"`}, "Content-Type": {"application/json"}})
	require.NoError(w.t, err)
	_, _ = part.Write([]byte(config)) // to memory
	if len(pkg) > 0 {
		part, err = form.CreateFormFile("data", "function.jar")
		require.NoError(w.t, err)
		_, _ = part.Write(pkg)
	}
	require.NoError(w.t, form.Close())
	return request(http.MethodPost, w.url+"/admin/v3/functions/public/default/"+name, form.FormDataContentType(), &body)
}

// send publishes messages one by one; "key=payload" has the key, the property a and an event time.
func (r *play) send(short string, messages ...string) {
	p, err := pulsarClient(r.t, r.w.env).CreateProducer(pulsar.ProducerOptions{Topic: r.topic(short), DisableBatching: true, Schema: textSchema(r.topic(short))})
	require.NoError(r.t, err)
	defer p.Close()
	for _, text := range messages {
		m := &pulsar.ProducerMessage{Payload: []byte(text)}
		if key, payload, ok := strings.Cut(text, "="); ok {
			m = &pulsar.ProducerMessage{Payload: []byte(payload), Key: key, Properties: map[string]string{"a": "of " + key}, EventTime: time.UnixMilli(1_700_000_000_000)}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err := p.Send(ctx, m)
		cancel()
		require.NoError(r.t, err)
	}
}

// seen is what a consumer sees of a message: payload, key, properties, whether it has an event time, and the input it names.
func (r *play) seen(m pulsar.Message) string {
	text := string(m.Payload())
	if m.Key() != "" {
		text = m.Key() + "=" + text
	}
	for _, name := range slices.Sorted(maps.Keys(m.Properties())) {
		switch value := m.Properties()[name]; {
		case name == "__pfn_input_topic__":
			text += " from " + strings.TrimPrefix(value, r.topic(""))
		case strings.ToUpper(name) == name, strings.HasPrefix(name, "__pfn"): // what dead letters have, and the id
		default:
			text += " " + name + ":" + value
		}
	}
	if !m.EventTime().IsZero() && m.EventTime().UnixMilli() > 0 {
		text += " at " + m.EventTime().UTC().Format(time.DateOnly)
	}
	return text
}

// expect reads messages of a topic until all that are wanted have come, in any order, and nothing else.
func (r *play) expect(short string, want ...string) {
	r.t.Helper()
	require.ElementsMatch(r.t, want, r.read(short, len(want)), "%s, Java: %v", short, r.java)
}

// expectAtLeast is expect for messages that may come more than once.
func (r *play) expectAtLeast(short string, want ...string) {
	r.t.Helper()
	missing := map[string]bool{}
	for _, m := range want {
		missing[m] = true
	}
	for len(missing) > 0 {
		got := r.read(short, 1)[0]
		require.Contains(r.t, want, got, "Java: %v", r.java)
		delete(missing, got)
	}
}

// expectInOrder is expect for a topic with an order.
func (r *play) expectInOrder(short string, want ...string) {
	r.t.Helper()
	require.Equal(r.t, want, r.read(short, len(want)), "%s, Java: %v", short, r.java)
}

func (r *play) read(short string, n int) (got []string) {
	r.t.Helper()
	from := r.out
	if short != "out" {
		from = subscribe(r.t, r.w.env, r.topic(short))
	}
	deadline := time.Now().Add(120 * time.Second) // a JVM may have to start
	for len(got) < n {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		m, err := from.consumer.Receive(ctx)
		cancel()
		require.NoError(r.t, err, "%s, Java: %v: only %q", short, r.java, got)
		_ = from.consumer.Ack(m)
		got = append(got, r.seen(m))
	}
	return got
}

// quiet expects no message on the output for a while.
func (r *play) quiet(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	m, err := r.out.consumer.Receive(ctx)
	if err == nil {
		require.Fail(r.t, "one message too many", "%s, Java: %v", r.seen(m), r.java)
	}
}

// subscription is the type of the function's subscription and its number of consumers.
func (r *play) subscription() (kind string, consumers int) {
	var stats struct {
		Subscriptions map[string]struct {
			Type      string
			Consumers []json.RawMessage
		}
	}
	code, body := request(http.MethodGet, r.w.env.webURL+"/admin/v2/"+strings.Replace(r.topic("in"), "://", "/", 1)+"/stats", "", nil)
	if code == http.StatusNotFound {
		return "none", 0 // the topic is not there yet
	}
	require.Equal(r.t, http.StatusOK, code, string(body))
	require.NoError(r.t, json.Unmarshal(body, &stats))
	s := stats.Subscriptions["public/default/"+r.name]
	return s.Type, len(s.Consumers)
}

// schema is what the registry has for a topic: its type and the names of its fields.
func (r *play) schema(short string) string {
	code, body := request(http.MethodGet, r.w.env.webURL+"/admin/v2/schemas/public/default/"+filepath.Base(r.topic(short))+"/schema", "", nil)
	require.Equal(r.t, http.StatusOK, code, string(body))
	var s struct{ Type, Data string }
	require.NoError(r.t, json.Unmarshal(body, &s))
	var record struct{ Fields []struct{ Name string } }
	if s.Data != "" {
		require.NoError(r.t, json.Unmarshal([]byte(s.Data), &record))
	}
	for _, f := range record.Fields {
		s.Type += " " + f.Name
	}
	return s.Type
}

// crash lets the function begin a message and then kills the process that it runs in.
func (r *play) crash() {
	require.Eventually(r.t, func() bool { _, err := os.Stat(r.marker); return err == nil }, 60*time.Second, 50*time.Millisecond, "Java: %v", r.java)
	time.Sleep(time.Second) // clients send acknowledgements a while after the call
	processes := children(r.t, r.name)
	require.NotEmpty(r.t, processes)
	for _, p := range processes {
		require.NoError(r.t, syscall.Kill(p.pid, syscall.SIGKILL))
	}
}

func inProcess(s semantics) semantics {
	s.process = true
	return s
}

func scenarios() map[string]semantics {
	scenario := func(config string, f func(*play)) semantics {
		return semantics{builtin: "scenario", class: "Scenario", config: config, play: f}
	}
	crashing := func(config string, f func(*play)) semantics {
		return inProcess(scenario(config+`"userConfig":{"marker":"MARKER"}`, f))
	}
	comma := func(config string, f func(*play)) semantics {
		return semantics{builtin: "comma", class: "CommaWindowFunction", examples: true, config: `"windowConfig":{` + config + `}`, play: f}
	}
	keyOrder := scenario(`"retainKeyOrdering":true`, playKeyOrder)
	keyOrder.instances = 2
	order := scenario(`"retainOrdering":true,"forwardSourceMessageProperty":false,"outputSchemaType":"STRING"`, playOrder)
	order.schemas = true
	return map[string]semantics{
		"at least once": scenario(`"inputSpecs":{"TOPIC-in":{},"TOPIC-second":{"schemaType":"STRING"},"TOPIC-many-.*":{"regexPattern":true}},
			"timeoutMs":5000,"maxMessageRetries":2,"deadLetterTopic":"TOPIC-dead","logTopic":"TOPIC-log",
			"userConfig":{"side":"TOPIC-side","word":"w"}`, playAtLeastOnce),
		"at most once, errors": scenario(`"processingGuarantees":"ATMOST_ONCE","autoAck":true`, func(r *play) {
			r.send("in", "a", "fail", "flaky", "b")
			r.expectInOrder("out", "a! from in", "b! from in")
			require.Eventually(r.t, func() bool { return r.w.status(r.name).Instances[0].Status.NumUserExceptions == 2 }, 30*time.Second, 100*time.Millisecond)
			r.quiet(2 * time.Second)
		}),
		"at least once, a crash": crashing(``, func(r *play) {
			r.send("in", "a", "block", "b")
			r.expect("out", "a! from in")
			r.crash()
			r.expectAtLeast("out", "block done from in", "b! from in")
		}),
		"at most once, a crash": crashing(`"processingGuarantees":"ATMOST_ONCE","autoAck":true,`, func(r *play) {
			r.send("in", "a", "block", "b")
			r.expect("out", "a! from in")
			r.crash()
			r.expect("out", "b! from in")
			r.quiet(2 * time.Second)
		}),
		"retain ordering":     order,
		"retain key ordering": keyOrder,
		"JSON": {builtin: "move", class: "Move", schemas: true, config: `"inputSpecs":{"TOPIC-in":{"schemaType":"JSON"}},"outputSchemaType":"JSON"`, play: func(r *play) {
			r.send("in", `{"x":1,"name":"p"}`, `{"x":5,"name":"q"}`)
			for i, m := range r.read("out", 2) {
				payload, _, _ := strings.Cut(m, " from")
				require.JSONEq(r.t, []string{`{"x":2,"name":"p"}`, `{"x":6,"name":"q"}`}[i], payload)
			}
			require.Equal(r.t, "JSON name x", sortedWords(r.schema("out")))
		}},
		"windows, count, tumbling": comma(`"windowLengthCount":3`, func(r *play) {
			r.send("in", "a", "k=b", "c", "d", "e", "f", "g")
			r.expectInOrder("out", "a,b,c", "d,e,f")
			r.quiet(time.Second)
		}),
		"windows, count, sliding": inProcess(comma(`"windowLengthCount":3,"slidingIntervalCount":2`, func(r *play) {
			r.send("in", "a", "b", "c", "d", "e", "f", "g")
			r.expectInOrder("out", "a,b", "b,c,d", "d,e,f")
			r.quiet(time.Second)
		})),
		"windows, time, tumbling": comma(`"windowLengthDurationMs":1000`, playTimedWindows),
	}
}

func playAtLeastOnce(r *play) {
	r.send("in", "a", "k=b", "none", "l=facts", "fail", "flaky", "log hello", "publish aside")
	r.send("second", "c")
	r.send("many-1", "d")
	r.send("many-2", "e")
	r.expectAtLeast("out", "a! from in", "k=b! from in a:of k", "l=key l, property of l, event time 1700000000000, config w from in a:of l",
		"flaky done from in", "c! from second", "d! from many-1", "e! from many-2")
	r.expectAtLeast("dead", "fail")
	r.expectAtLeast("side", "k=aside p:v")
	log := subscribe(r.t, r.w.env, r.topic("log"))
	for deadline := time.Now().Add(30 * time.Second); ; {
		m := log.next(time.Until(deadline))
		if string(m.Payload()) == "hello" {
			require.Equal(r.t, map[string]string{"loglevel": "INFO", "instance": "0", "fqn": "public/default/" + r.name}, m.Properties())
			break
		}
	}
	kind, consumers := r.subscription()
	require.Equal(r.t, "Shared 1", fmt.Sprint(kind, " ", consumers))
}

func playOrder(r *play) {
	var in, want []string
	for i := range 200 {
		in, want = append(in, fmt.Sprintf("k=%d", i)), append(want, fmt.Sprintf("k=%d! from in", i))
	}
	r.send("in", in...)
	r.expectInOrder("out", want...)
	require.Equal(r.t, "STRING", r.schema("out"))
	kind, consumers := r.subscription()
	require.Equal(r.t, "Failover 1", fmt.Sprint(kind, " ", consumers))
}

func playKeyOrder(r *play) {
	kind, consumers := r.subscription()
	require.Equal(r.t, "Key_Shared 2", fmt.Sprint(kind, " ", consumers))
	var in []string
	want := map[string][]string{}
	for i := range 200 {
		key := fmt.Sprint("key", i%8)
		in = append(in, fmt.Sprintf("%s=%d", key, i))
		want[key] = append(want[key], fmt.Sprintf("%s=%d! from in a:of %s", key, i, key))
	}
	r.send("in", in...)
	got := map[string][]string{}
	for _, m := range r.read("out", len(in)) {
		key, _, _ := strings.Cut(m, "=")
		got[key] = append(got[key], m)
	}
	require.Equal(r.t, want, got, "Java: %v", r.java)
}

// playTimedWindows: the clocks of two engines are not one, so windows may end elsewhere; what they have together is the input.
func playTimedWindows(r *play) {
	var in []string
	for i := range 12 {
		in = append(in, fmt.Sprint("m", i))
		r.send("in", in[i])
		time.Sleep(200 * time.Millisecond)
	}
	var got []string
	windows := 0
	for ; len(got) < len(in); windows++ {
		got = append(got, strings.Split(r.read("out", 1)[0], ",")...)
	}
	require.Equal(r.t, in, got, "Java: %v", r.java)
	require.Greater(r.t, windows, 1)
	require.Less(r.t, windows, len(in))
	r.quiet(1500 * time.Millisecond)
}

func sortedWords(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// TestSemantics runs the same scenarios on the Java instance and on the engine of this project, against a real broker.
func TestSemantics(t *testing.T) {
	quick := map[string]any{"restartBackoffInitial": "100ms", "restartBackoffMax": "200ms"}
	inside := thread()
	inside["goWorker"] = quick
	threads, processes := startOwnWorker(t, inside), startOwnWorker(t, map[string]any{"goWorker": quick})
	t.Run("all", func(t *testing.T) {
		for name, s := range scenarios() {
			for _, java := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/Java %v", name, java), func(t *testing.T) {
					t.Parallel()
					w := *threads // failures belong to this subtest
					if s.process {
						w = *processes
					}
					w.t = t
					r := &play{engine: engine{t: t, w: &w, java: java, name: unique("semantics")}, marker: filepath.Join(t.TempDir(), "marker")}
					r.prefix = "persistent://public/default/"
					if s.schemas {
						r.prefix += "bytes-"
					}
					if !s.schemas {
						for _, topic := range []string{"in", "second", "many-1", "many-2", "dead", "side", "log"} {
							r.send(topic) // makes topic and schema
						}
						r.out = subscribe(t, w.env, r.topic("out"))
					}
					r.submit(s)
					if s.schemas {
						r.out = subscribe(t, w.env, r.topic("out"))
					}
					s.play(r)
					code, body := request(http.MethodDelete, w.url+"/admin/v3/functions/public/default/"+r.name, "", nil)
					require.Equal(t, http.StatusNoContent, code, string(body))
				})
			}
		}
	})
}
