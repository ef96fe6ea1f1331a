package integration

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// example is one function of the distribution, how it is submitted, and what must come of its input.
type example struct {
	name   string
	submit []string // arguments of `functions create` beyond the common ones
	send   []string
	want   []string // on the output topic
	// noOutput leaves the output topic out of the submission.
	noOutput bool
	// check replaces the comparison of outputs.
	check func(t *testing.T, r running)
}

// running is a submitted example with its topics.
type running struct {
	w                       *worker
	name, in, out, logTopic string
	outputs                 *output
}

func bytesOfLong(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }

func javaExamples(e env) []example {
	java := func(class string, more ...string) []string {
		return append([]string{"--jar", e.examplesJar(), "--classname", javaExample(class), "--runtime-flags=" + quickJVM}, more...)
	}
	return []example{
		{name: "exclamation", submit: java("ExclamationFunction"), send: []string{"a", "b", "c"}, want: []string{"a!", "b!", "c!"}},
		{name: "user-config", submit: java("UserConfigFunction", "--user-config", `{"WhatToWrite":"as configured"}`), send: []string{"x"}, want: []string{"as configured"}},
		{name: "window", submit: java("CommaWindowFunction", "--window-length-count", "3"), send: []string{"a", "b", "c"}, want: []string{"a,b,c"}},
		{name: "void", submit: java("VoidFunction"), send: []string{"x"}, noOutput: true, check: processes(1, 0)},
		{name: "context", submit: java("ContextFunction"), send: []string{"x", "y"}, noOutput: true, check: processes(2, 0)},
		{name: "word-count", submit: java("WordCountFunction"), send: []string{"one two"}, noOutput: true, check: processes(0, 1)}, // no state store: a user error
		{name: "logging", submit: java("LoggingFunction"), send: []string{"x"}, want: []string{"x!"}, check: logs("x")},
		{name: "bytes-serde", submit: java("CustomObjectFunction",
			"--output-serde-classname", javaExample("serde.CustomObjectSerde")), send: []string{bytesOfLong(23)}, want: []string{bytesOfLong(123)}},
	}
}

func pythonExamples(e env) []example {
	python := func(file, class string, more ...string) []string {
		return append([]string{"--py", e.pythonExample(file), "--classname", strings.TrimSuffix(file, ".py") + "." + class}, more...)
	}
	return []example{
		{name: "py-exclamation", submit: python("exclamation_function.py", "ExclamationFunction"), send: []string{"a", "b"}, want: []string{"a!", "b!"}},
		{name: "py-native", submit: []string{"--py", e.pythonExample("native_exclamation_function.py"), "--classname", "native_exclamation_function"}, send: []string{"n"}, want: []string{"n!"}},
		{name: "py-config", submit: python("config_based_append_function.py", "ConfigBasedAppendFunction", "--user-config", `{"config-key":"?"}`), send: []string{"really"}, want: []string{"really?"}},
		{name: "py-logging", submit: python("logging_function.py", "LoggingFunction"), send: []string{"z"}, want: []string{"z!"}, check: logs("z-log")},
		{name: "py-void", submit: python("void_function.py", "VoidFunction"), send: []string{"x"}, noOutput: true, check: processes(1, 0)},
		{name: "py-user-error", submit: python("user_exception.py", "UserException"), send: []string{"x"}, noOutput: true, check: processes(0, 1)},
	}
}

// processes expects these counts in `functions stats` of pulsar-admin.
func processes(ok, failed int64) func(*testing.T, running) {
	return func(t *testing.T, r running) {
		var s struct {
			Received int64 `json:"receivedTotal"`
			OK       int64 `json:"processedSuccessfullyTotal"`
			Failed   int64 `json:"userExceptionsTotal"`
		}
		require.Eventually(t, func() bool {
			code, body := r.w.get("/admin/v3/functions/public/default/" + r.name + "/stats")
			return code == http.StatusOK && json.Unmarshal(body, &s) == nil && s.OK >= ok && s.Failed >= failed
		}, 60*time.Second, 200*time.Millisecond, "stats of %s: %+v", r.name, &s)
		require.NoError(t, json.Unmarshal([]byte(r.w.admin("functions", "stats", "--name", r.name)), &s))
		require.GreaterOrEqual(t, s.Received, ok+failed)
		require.Equal(t, ok, s.OK)
	}
}

// logs expects a message on the log topic that contains the text.
func logs(text string) func(*testing.T, running) {
	return func(t *testing.T, r running) {
		log := subscribe(t, r.w.env, r.logTopic)
		deadline := time.Now().Add(60 * time.Second)
		for {
			if strings.Contains(string(log.next(time.Until(deadline)).Payload()), text) {
				return
			}
		}
	}
}

// triggers expects this answer of `functions trigger`.
func triggers(value, want string) func(*testing.T, running) {
	return func(t *testing.T, r running) {
		require.Contains(t, r.w.admin("functions", "trigger", "--name", r.name, "--trigger-value", value), want)
	}
}

// deploy submits an example through pulsar-admin.
func deploy(t *testing.T, w *worker, x example) running {
	t.Helper()
	r := running{w: w, name: unique(x.name), in: topic(x.name + "-in")}
	// Instances report that they run before they have subscribed, so they start at the earliest message.
	args := append([]string{"functions", "create", "--tenant", "public", "--namespace", "default", "--name", r.name, "--subs-position", "Earliest"}, x.submit...)
	if x.name == "bytes-serde" {
		args = append(args, "--custom-serde-inputs", `{"`+r.in+`":"`+javaExample("serde.CustomObjectSerde")+`"}`)
	} else {
		args = append(args, "--inputs", r.in)
	}
	if !x.noOutput {
		r.out = topic(x.name + "-out")
		r.outputs = subscribe(t, w.env, r.out)
		args = append(args, "--output", r.out)
	}
	if strings.Contains(x.name, "logging") {
		r.logTopic = topic("bytes-" + x.name + "-log")
		args = append(args, "--log-topic", r.logTopic)
	}
	require.Contains(t, w.admin(args...), "Created successfully")
	return r
}

// runExamples deploys a few at a time, feeds them and compares.
func runExamples(t *testing.T, w *worker, examples []example) {
	for _, x := range examples {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			w := *w // failures belong to this subtest
			w.t = t
			r := deploy(t, &w, x)
			w.awaitRunning(r.name, 1, 120*time.Second)
			send(t, w.env, r.in, x.send...)
			if x.want != nil {
				require.Equal(t, x.want, r.outputs.texts(len(x.want), 60*time.Second))
				processes(int64(len(x.send)), 0)(t, r)
			}
			if x.check != nil {
				x.check(t, r)
			}
			w.admin("functions", "delete", "--name", r.name)
			require.Eventually(t, func() bool { return len(children(t, r.name)) == 0 }, 30*time.Second, 100*time.Millisecond, "a process of %s is left", r.name)
		})
	}
}

func TestJavaExamples(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{})
	t.Run("all", func(t *testing.T) { runExamples(t, w, javaExamples(e)) })
}

func TestPythonExamples(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{})
	t.Run("all", func(t *testing.T) { runExamples(t, w, pythonExamples(e)) })
}

// buildGoExample builds the example of the Go SDK once per test run.
func buildGoExample(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "exclamation")
	cmd := exec.Command("go", "build", "-o", binary, "../../examples/go/exclamation")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

func TestGoExample(t *testing.T) {
	e := requireEnv(t)
	binary := buildGoExample(t)
	w := startWorker(t, e, workerOptions{})
	t.Run("all", func(t *testing.T) {
		runExamples(t, w, []example{
			{name: "go-exclamation", submit: []string{"--go", binary}, send: []string{"a", "b"}, want: []string{"a!", "b!"}},
			{name: "go-trigger", submit: []string{"--go", binary}, send: []string{"q"}, want: []string{"q!"}, check: triggers("r", "r!")},
			{name: "go-logging", submit: []string{"--go", binary}, send: []string{"q"}, want: []string{"q!"}, check: logs("q")},
		})
	})
}

// children lists the instance processes of a function; its name is unique to the test.
func children(t *testing.T, function string) []process {
	t.Helper()
	var instances []process
	for _, p := range processesWith(t, function) {
		if !strings.Contains(p.command, "pulsar-admin") && !strings.Contains(p.command, "PulsarAdminTool") {
			instances = append(instances, p)
		}
	}
	return instances
}
