package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startThreadWorker starts a worker that runs modules in itself, with nothing but a broker beside it.
func startThreadWorker(t *testing.T, e env) *worker {
	t.Helper()
	return startThreadWorkerIn(t, e, "")
}

func startThreadWorkerIn(t *testing.T, e env, namespace string) *worker {
	t.Helper()
	w := startWorker(t, e, workerOptions{namespace: namespace, overrides: map[string]any{
		"functionRuntimeFactoryClassName": "org.apache.pulsar.functions.runtime.thread.ThreadRuntimeFactory", "stateStorageServiceUrl": "",
	}})
	w.awaitLeader(30 * time.Second)
	return w
}

// createModule submits a module as pulsar-admin does, and waits until it runs.
func (w *worker) createModule(file, name string, more ...string) (in, out string) {
	w.t.Helper()
	in, out = "persistent://public/default/bytes-"+name+"-in", "persistent://public/default/bytes-"+name+"-out" // without a schema
	w.admin(append([]string{"functions", "create", "--go", file, "--name", name, "--inputs", in, "--output", out}, more...)...)
	w.awaitRunning(name, 1, 60*time.Second)
	return in, out
}

func exampleModule(t *testing.T, path string) string {
	file, err := filepath.Abs(filepath.Join("../../examples/wasm", path))
	require.NoError(t, err)
	return file
}

// TestModulesInTheWorker: a module in Rust counts in the state, which is in a topic; pulsar-admin sees status, stats and
// state; an update of the configuration keeps the state.
func TestModulesInTheWorker(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	namespace := "public/" + unique("functions")
	w := startThreadWorkerIn(t, e, namespace)
	name := unique("counter")
	in, out := w.createModule(exampleModule(t, "counter-rust/counter.wasm"), name)
	results := subscribe(t, e, out)
	send(t, e, in, "a rose is a rose")
	require.Equal(t, []string{"a=1 rose=1 is=1 a=2 rose=2"}, results.texts(1, 30*time.Second))
	require.EqualValues(t, 2, w.count(name, "rose"))
	require.EqualValues(t, 2, *w.querystate(name, "rose").NumberValue)
	w.admin("functions", "putstate", "--name", name, "--state", `{"key":"note","stringValue":"hello"}`)
	require.Equal(t, "hello", *w.querystate(name, "note").StringValue)
	require.Contains(t, w.admin("functions", "stats", "--name", name), `"processedSuccessfullyTotal" : 1`)

	w.admin("functions", "update", "--name", name, "--custom-runtime-options", `{"wasm":{"timeout":"2s"}}`)
	w.awaitRunning(name, 1, 60*time.Second)
	send(t, e, in, "rose")
	require.Equal(t, []string{"rose=3"}, results.texts(1, 30*time.Second))
	require.Contains(t, w.adminFails("functions", "update", "--name", name, "--custom-runtime-options", `{"wasm":{"timeout":"2h"}}`), "goWorker.wasm.maxTimeout")

	l := left{t, e, namespace}
	require.Len(t, l.topics("state-"), 1)
	w.admin("functions", "delete", "--name", name)
	require.Eventually(t, func() bool { return len(l.topics("state-")) == 0 && len(l.packages()) == 0 }, 60*time.Second, 200*time.Millisecond,
		"the state and the package go with the function: %v", l.topics(""))
}

// TestAnUpdateThatDoesNotStart: the version before goes on, and the status says so, until a version comes that starts.
func TestAnUpdateThatDoesNotStart(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startThreadWorker(t, e)
	name := unique("rollback")
	in, out := w.createModule(exampleModule(t, "exclamation-c/exclamation.wasm"), name, "--user-config", `{"suffix":"1"}`)
	results := subscribe(t, e, out)
	send(t, e, in, "a")
	require.Equal(t, []string{"a1"}, results.texts(1, 30*time.Second))

	w.admin("functions", "update", "--name", name, "--user-config", `{"suffix":"2"}`, "--custom-runtime-options", `{"wasm":{"memoryPages":1}}`)
	require.Eventually(t, func() bool {
		s := w.status(name)
		return s.NumRunning == 1 && strings.Contains(s.Instances[0].Status.Error, "version 0 runs instead, until the function is updated or restarted")
	}, 60*time.Second, 100*time.Millisecond, "%+v", w.status(name))
	require.Contains(t, w.status(name).Instances[0].Status.Error, "customRuntimeOptions: wasm.maxMemory")
	require.Contains(t, w.logs(), "an update is rolled back")
	send(t, e, in, "b")
	require.Equal(t, []string{"b1"}, results.texts(1, 30*time.Second))

	w.admin("functions", "update", "--name", name, "--custom-runtime-options", `{"wasm":{"memoryPages":20}}`)
	require.Eventually(t, func() bool { s := w.status(name); return s.NumRunning == 1 && s.Instances[0].Status.Error == "" }, 60*time.Second, 100*time.Millisecond)
	send(t, e, in, "c")
	require.Equal(t, []string{"c2"}, results.texts(1, 30*time.Second))
}

// TestOneSourceInThreeBuilds: the example in Go gives the same outcome as a module, compiled into a worker and as a native program; and
// so does the one in C.
func TestOneSourceInThreeBuilds(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	file := filepath.Join(t.TempDir(), "exclamation.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "../../examples/go/exclamation")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	build, err := cmd.CombinedOutput()
	require.NoError(t, err, string(build))
	w := startThreadWorker(t, e)
	for language, module := range map[string]string{"go": file, "c": exampleModule(t, "exclamation-c/exclamation.wasm")} {
		name := unique("exclamation-" + language)
		in, out := w.createModule(module, name, "--user-config", `{"suffix":"?!"}`)
		results := subscribe(t, e, out)
		send(t, e, in, "hello", "world")
		require.Equal(t, []string{"hello?!", "world?!"}, results.texts(2, 60*time.Second), language)
		w.admin("functions", "delete", "--name", name)
	}
	own := startOwnWorker(t, thread())
	for build, create := range map[string]func(name string){
		"native": func(name string) {
			own.admin("functions", "create", "--go", buildGoExample(t), "--name", name, "--inputs", named(name+"-in"), "--output", named(name+"-out"), "--user-config", `{"suffix":"?!"}`)
		},
		"compiled": func(name string) { own.submitBuiltin("exclaim", name, `,"userConfig":{"suffix":"?!"}`) },
	} {
		name := unique("exclamation-" + build)
		create(name)
		own.awaitRunning(name, 1, 60*time.Second)
		results := subscribe(t, e, named(name+"-out"))
		send(t, e, named(name+"-in"), "hello", "world")
		require.Equal(t, []string{"hello?!", "world?!"}, results.texts(2, 60*time.Second), build)
	}
}

// TestModulesThatAreRefused: what cannot run is refused when it is submitted, with the reason.
func TestModulesThatAreRefused(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startThreadWorker(t, e)
	file := filepath.Join(t.TempDir(), "empty.wasm")
	require.NoError(t, os.WriteFile(file, []byte("\x00asm\x01\x00\x00\x00"), 0o600))
	refused := func(file string, more ...string) string {
		return w.adminFails(append([]string{"functions", "create", "--go", file, "--name", unique("refused"), "--inputs", topic("in")}, more...)...)
	}
	require.Contains(t, refused(file), "the export pulsar_handle is missing")
	require.Contains(t, refused(exampleModule(t, "exclamation-c/exclamation.wasm"), "--custom-runtime-options", `{"wasm":{"maxMemory":"8GiB"}}`), "goWorker.wasm.maxMemory")
}

// TestAModuleThatTraps: each message fails by itself; the worker and its other functions go on.
func TestAModuleThatTraps(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startThreadWorker(t, e)
	hostile, err := filepath.Abs("../../internal/wasm/testdata/hostile.wasm")
	require.NoError(t, err)
	bad, good := unique("trap"), unique("good")
	in, out := w.createModule(hostile, bad, "--custom-runtime-options", `{"wasm":{"timeout":"200ms"}}`)
	goodIn, goodOut := w.createModule(exampleModule(t, "exclamation-c/exclamation.wasm"), good)
	results, goodResults := subscribe(t, e, out), subscribe(t, e, goodOut)
	send(t, e, in, "loop", "alloc", "trap", "yes")
	send(t, e, goodIn, "hello")
	require.Equal(t, []string{"hello!"}, goodResults.texts(1, 30*time.Second))
	require.Equal(t, []string{"yes"}, results.texts(1, 90*time.Second), "the message after three bad ones")
	status := w.status(bad)
	require.EqualValues(t, 1, status.NumRunning)
	require.Contains(t, w.admin("functions", "status", "--name", bad), "ran longer than 200ms and was stopped")
}

// TestRetriesOfAModule: a message that a module refuses comes again as often as the function says, and is a dead letter then; the stored
// package is known for a module when the function is updated without it.
func TestRetriesOfAModule(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startThreadWorker(t, e)
	hostile, err := filepath.Abs("../../internal/wasm/testdata/hostile.wasm")
	require.NoError(t, err)
	name, dead := unique("retries"), topic("bytes-dead")
	in, out := w.createModule(hostile, name, "--max-message-retries", "1", "--dead-letter-topic", dead, "--timeout-ms", "1000")
	results, letters := subscribe(t, e, out), subscribe(t, e, dead)
	send(t, e, in, "fail", "yes")
	require.Equal(t, []string{"yes"}, results.texts(1, 30*time.Second))
	require.Equal(t, []string{"fail"}, letters.texts(1, 30*time.Second))
	require.EqualValues(t, 2, w.status(name).Instances[0].Status.NumUserExceptions, "the first time and a second one")
	require.Contains(t, w.admin("functions", "update", "--name", name, "--max-message-retries", "2"), "Updated successfully")
	require.Contains(t, w.admin("functions", "update", "--name", name, "--go", exampleModule(t, "exclamation-c/exclamation.wasm")), "Updated successfully")
	send(t, e, in, "new")
	require.Equal(t, []string{"new!"}, results.texts(1, 30*time.Second), "of another module, with the same subscription")
	refused := w.adminFails("functions", "create", "--name", unique("native"), "--go", goProgram(t), "--inputs", in, "--max-message-retries", "1")
	require.Contains(t, refused, "Message retries not yet supported in Go function")
}

// goProgram is a file that begins as a native program does.
func goProgram(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(file, []byte("\x7fELF and more"), 0o600))
	return file
}

// TestTransform: a function without code, and an expression that is refused at submission.
func TestTransform(t *testing.T) {
	t.Parallel()
	e := requireEnv(t)
	w := startThreadWorker(t, e)
	name := unique("transform")
	in, out := "persistent://public/default/bytes-"+name+"-in", "persistent://public/default/bytes-"+name+"-out"
	w.admin("functions", "create", "--jar", "builtin://transform", "--name", name, "--inputs", in, "--output", out,
		"--user-config", `{"filter":"msg.qty > 2","map":"{'total': msg.qty * msg.price}"}`)
	w.awaitRunning(name, 1, 60*time.Second)
	results := subscribe(t, e, out)
	send(t, e, in, `{"qty":1,"price":5}`, `{"qty":3,"price":5}`)
	require.Equal(t, []string{`{"total":15}`}, results.texts(1, 30*time.Second))
	require.Contains(t, w.adminFails("functions", "create", "--jar", "builtin://transform", "--name", unique("bad"), "--inputs", topic("in"),
		"--user-config", `{"filter":"msg.qty >"}`), "user config filter")
}
