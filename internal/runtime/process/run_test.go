package process

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
	"github.com/functions-worker/functions-worker/pkg/runtime/runtimetest"
)

func newFactory(t *testing.T, change func(*Options)) *Factory {
	o := Options{WorkerID: "w-" + strings.ReplaceAll(t.Name(), "/", "-"), PulsarServiceURL: "pulsar://localhost:1", LogDirectory: t.TempDir(), StopGrace: 2 * time.Second}
	if change != nil {
		change(&o)
	}
	f, err := New(o)
	require.NoError(t, err)
	return f
}

func closing(t *testing.T, f *Factory) *Factory {
	t.Cleanup(func() { require.NoError(t, f.Close(context.Background())) })
	return f
}

func startRun(t *testing.T, f *Factory, in runtime.Instance) *run {
	r, err := f.New(in)
	require.NoError(t, err)
	require.NoError(t, r.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, r.Stop(context.Background())) })
	return r.(*run)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 20*time.Second, 10*time.Millisecond, what)
}

func answers(r *run) func() bool {
	return func() bool { _, err := r.Status(context.Background()); return err == nil }
}

func pidOf(r *run) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pid
}

func alive(pid int) bool { return processIdentity(pid) != "" }

func pidIn(t *testing.T, file string) int {
	var pid int
	eventually(t, file+" was not written", func() bool {
		data, err := os.ReadFile(file)
		pid, _ = strconv.Atoi(string(data))
		return err == nil && pid > 0
	})
	return pid
}

func TestContract(t *testing.T) {
	runtimetest.Run(t, runtimetest.Harness{
		Factory: func(t *testing.T) runtime.Factory { return newFactory(t, nil) },
		Healthy: func(t *testing.T) runtime.Instance { return goInstance(t, behaviour{}) },
		Crashing: func(t *testing.T) (runtime.Instance, string) {
			return goInstance(t, behaviour{Crash: "panic: no such topic"}), "panic: no such topic"
		},
		Broken:     func(*testing.T) runtime.Instance { return instanceOf("/does/not/exist", behaviour{}) },
		Stubborn:   func(t *testing.T) runtime.Instance { return goInstance(t, behaviour{IgnoreTerm: true}) },
		Refused:    &pb.FunctionDetails{Runtime: 9},
		WantMetric: "pulsar_function_received_total 7",
	})
}

func TestExitTellsStatusSignalAndOutput(t *testing.T) {
	f := closing(t, newFactory(t, nil))
	r := startRun(t, f, goInstance(t, behaviour{Crash: "panic: no such topic"}))
	<-r.Done()
	require.Equal(t, "the process exited with status 3: panic: no such topic", r.Exit().Reason)
	require.Equal(t, "instance is up\npanic: no such topic", r.Exit().Tail)
	log, err := os.ReadFile(filepath.Join(f.o.LogDirectory, "functions/t/n/f/f-0.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "panic: no such topic")

	r = startRun(t, f, goInstance(t, behaviour{}))
	eventually(t, "no answer", answers(r))
	require.NoError(t, syscall.Kill(pidOf(r), syscall.SIGKILL))
	<-r.Done()
	require.Contains(t, r.Exit().Reason, "the process was ended by signal SIGKILL")
	require.False(t, r.Exit().Asked)
}

func TestCredentialsDoNotReachTheStatus(t *testing.T) {
	f := closing(t, newFactory(t, func(o *Options) { o.Auth = &Auth{Plugin: "P", Params: "token:s3cr3t"} }))
	r := startRun(t, f, goInstance(t, behaviour{Crash: "panic: my arguments are token:s3cr3t and s3cr3t"}))
	<-r.Done()
	require.NotContains(t, r.Exit().Tail+r.Exit().Reason, "s3cr3t")
	require.Contains(t, r.Exit().Tail, "my arguments are <redacted> and <redacted>")
}

func TestLaunchErrorsReadLikeJava(t *testing.T) {
	f := closing(t, newFactory(t, nil))
	notExecutable := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(notExecutable, []byte("x"), 0o644))
	tests := map[string]string{
		"/does/not/exist": `Cannot run program "/does/not/exist": error=2, No such file or directory`,
		notExecutable:     `error=13, Permission denied`,
	}
	for program, want := range tests {
		r, err := f.New(instanceOf(program, behaviour{}))
		require.NoError(t, err)
		require.ErrorContains(t, r.Start(context.Background()), want)
		<-r.Done()
		require.Contains(t, r.Exit().Reason, want)
	}
	require.Empty(t, f.ports.taken, "the ports of failed launches are free again")
}

func TestErrorsOfCallsHaveTheFormOfGrpcJava(t *testing.T) {
	f := closing(t, newFactory(t, func(o *Options) { o.CallTimeout = 200 * time.Millisecond }))
	sleeper := filepath.Join(t.TempDir(), "sleeper")
	require.NoError(t, os.WriteFile(sleeper, []byte("#!/bin/sh\nexec sleep 100\n"), 0o755))
	r := startRun(t, f, instanceOf(sleeper, behaviour{}))
	_, err := r.Status(context.Background())
	require.EqualError(t, err, "UNAVAILABLE: io exception")
	require.NoError(t, r.Stop(context.Background()))
	require.Equal(t, "the process was ended by signal SIGTERM", r.Exit().Reason)

	r = startRun(t, f, goInstance(t, behaviour{Hang: true, HangScrape: true}))
	eventually(t, "no time-out", func() bool {
		_, err = r.Status(context.Background())
		return err != nil && strings.HasPrefix(err.Error(), "DEADLINE_EXCEEDED: ")
	})
	eventually(t, "the instance never came up", func() bool { _, err := r.Metrics(context.Background()); return err == nil })
	begun := time.Now()
	require.Error(t, r.Scrape(context.Background(), &bytes.Buffer{}))
	require.Less(t, time.Since(begun), 5*time.Second)
}

func TestStopEndsTheWholeGroupAndWhatLeftIt(t *testing.T) {
	dir := t.TempDir()
	f := closing(t, newFactory(t, nil))
	r := startRun(t, f, goInstance(t, behaviour{Descendant: dir + "/d", Sibling: dir + "/s"}))
	d, s, pid := pidIn(t, dir+"/d"), pidIn(t, dir+"/s"), pidOf(r)
	require.True(t, alive(d) && alive(s) && alive(pid))
	require.NoError(t, r.Stop(context.Background()))
	for name, p := range map[string]int{"instance": pid, "child in the group": s, "child in another session": d} {
		eventually(t, name+" is still there", func() bool { return !alive(p) })
	}
}

func TestCrashEndsTheGroupToo(t *testing.T) {
	dir := t.TempDir()
	f := closing(t, newFactory(t, nil))
	r := startRun(t, f, goInstance(t, behaviour{Sibling: dir + "/s", Crash: "boom"}))
	select {
	case <-r.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a child that holds the pipe kept the run alive")
	}
	s := pidIn(t, dir+"/s")
	eventually(t, "the child is still there", func() bool { return !alive(s) })
}

// TestKilledWorkerLeavesNothing: the instance and its group die with the worker at once, and the next life of the same
// worker finds what had moved to another session.
func TestKilledWorkerLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	worker := exec.Command(program)
	worker.Env = append(os.Environ(), "WORKER_LIFE="+dir)
	worker.Stderr = os.Stderr
	require.NoError(t, worker.Start())
	instance, sibling, descendant := pidIn(t, dir+"/instance"), pidIn(t, dir+"/sibling"), pidIn(t, dir+"/descendant")
	require.True(t, alive(instance))

	// Another worker, and this worker while it lives, must not touch them.
	closing(t, newFactory(t, nil))
	other, err := New(Options{WorkerID: "killed-worker", PulsarServiceURL: "pulsar://localhost:1"})
	require.NoError(t, err)
	require.NoError(t, other.Close(context.Background()))
	require.True(t, alive(instance) && alive(descendant))

	require.NoError(t, worker.Process.Kill())
	_ = worker.Wait()
	eventually(t, "the instance outlived its worker", func() bool { return !alive(instance) })
	next, err := New(Options{WorkerID: "killed-worker", PulsarServiceURL: "pulsar://localhost:1"})
	require.NoError(t, err)
	defer func() { require.NoError(t, next.Close(context.Background())) }()
	eventually(t, "a descendant outlived the worker", func() bool { return !alive(sibling) && !alive(descendant) })
}

func TestEnvironmentOfTheChild(t *testing.T) {
	tests := []struct {
		name       string
		inherited  []string
		extra      string
		wantPython string
	}{
		{name: "no extra directory", inherited: []string{"PYTHONPATH=/mine"}, wantPython: "/mine"},
		{name: "inherited path is kept", inherited: []string{"PYTHONPATH=/mine"}, extra: "/deps", wantPython: "/mine:/deps"},
		{name: "nothing inherited", extra: "/deps", wantPython: "/deps"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "env")
			f := closing(t, newFactory(t, func(o *Options) {
				o.PulsarHome, o.ExtraDependenciesDir, o.Environ = "/pulsar", tt.extra, append([]string{"PATH=/bin", "MY_SECRET=1", "PULSAR_HOME=/other"}, tt.inherited...)
			}))
			r := startRun(t, f, goInstance(t, behaviour{Env: file}))
			eventually(t, "no answer", answers(r))
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var env []string
			require.NoError(t, json.Unmarshal(data, &env))
			require.Contains(t, env, "PYTHONPATH="+tt.wantPython)
			require.Contains(t, env, "PULSAR_HOME=/pulsar")
			require.NotContains(t, env, "PULSAR_HOME=/other")
			require.Contains(t, env, "MY_SECRET=1", "secrets providers read the environment")
			require.Contains(t, env, markerVariable+"="+f.o.WorkerID+"/t/n/f:0")
		})
	}
}

func TestNoInheritedDescriptors(t *testing.T) {
	f := closing(t, newFactory(t, nil))
	secret, err := os.Create(filepath.Join(t.TempDir(), "secret"))
	require.NoError(t, err)
	defer secret.Close()
	script := filepath.Join(t.TempDir(), "fds")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nls -l /proc/$$/fd\n"), 0o755))
	r := startRun(t, f, instanceOf(script, behaviour{}))
	<-r.Done()
	require.NotContains(t, r.Exit().Tail, "secret")
	require.NotContains(t, r.Exit().Tail, "socket")
	require.Contains(t, r.Exit().Tail, "/dev/null")
}

func TestHealthChecksAreSentAndChangeNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "checks")
	f := closing(t, newFactory(t, func(o *Options) { o.HealthCheckInterval = time.Second }))
	r := startRun(t, f, goInstance(t, behaviour{Checks: file, Unhealthy: true}))
	eventually(t, "no health checks", func() bool { return fileSize(file) >= 2 })
	require.True(t, answers(r)(), "a failed health check must not end the instance")
}

func TestPortsAreNeverSharedAndFreshEachTime(t *testing.T) {
	b := newPortBook()
	var held []*heldPort
	for range 200 {
		p, err := b.reserve()
		require.NoError(t, err)
		p.let() // as when the child is about to bind it
		held = append(held, p)
	}
	numbers := make([]int, len(held))
	for i, p := range held {
		numbers[i] = p.number
	}
	slices.Sort(numbers)
	require.Len(t, slices.Compact(numbers), 200)
	for _, p := range held {
		p.free()
	}
	require.Empty(t, b.taken)
}

func TestOneFunctionsCredentialsNeverReachAnother(t *testing.T) {
	f := closing(t, newFactory(t, func(o *Options) {
		o.Auth = &Auth{Plugin: "P", Params: "worker"}
		o.FunctionAuth = func(m *pb.FunctionMetaData, base Auth) (Auth, error) {
			base.Params = "token:" + m.GetFunctionDetails().GetName()
			return base, nil
		}
	}))
	a, b := goInstance(t, behaviour{}), goInstance(t, behaviour{})
	b.Spec.FunctionMetaData.FunctionDetails.Name = "g"
	ra, err := f.New(a)
	require.NoError(t, err)
	rb, err := f.New(b)
	require.NoError(t, err)
	require.Equal(t, "token:f", ra.(*run).auth.Params)
	require.Equal(t, "token:g", rb.(*run).auth.Params)
	require.Equal(t, "worker", f.o.Auth.Params)
}

func TestCause(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{name: "nothing to tell", text: "instance is up\n", want: ""},
		{name: "the innermost Java exception of the fatal report", text: "2026-11-21T10:50:20 ERROR x - Uncaught exception in Java Instance\njava.lang.RuntimeException: User class must be in class path\n" +
			"\tat a.b\nCaused by: java.lang.ClassNotFoundException: no.such.Function\n2026-11-21T10:50:20 INFO closing\njava.lang.InterruptedException\n", want: "java.lang.ClassNotFoundException: no.such.Function"},
		{name: "before the log exists", text: "Error: Could not find or load main class x\nCaused by: java.lang.ClassNotFoundException: x", want: "java.lang.ClassNotFoundException: x"},
		{name: "out of memory", text: "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space", want: "java.lang.OutOfMemoryError: Java heap space"},
		{name: "Python", text: "Traceback (most recent call last):\n  File \"x\"\nModuleNotFoundError: No module named 'pulsar'\n", want: "ModuleNotFoundError: No module named 'pulsar'"},
		{name: "Go", text: "panic: no such topic\n\ngoroutine 1 [running]:", want: "panic: no such topic"},
		{name: "prose is no exception", text: "An Error: or Exception in the middle", want: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, cause(tt.text)) })
	}
}

func TestLastLines(t *testing.T) {
	many := strings.Repeat("line\n", 100) + "end"
	tests := []struct{ name, text, want string }{
		{name: "nothing", text: "\n\n", want: ""},
		{name: "frames of stack traces go", text: "ERROR java.lang.X: boom\n\tat a.b(C.java:1)\n    ... 3 more\nCaused by: y\n", want: "ERROR java.lang.X: boom\nCaused by: y"},
		{name: "the last twenty stay", text: many, want: strings.Repeat("line\n", 19) + "end"},
		{name: "invalid text", text: "a\xff\x00b\r\n", want: "a\uFFFDb"},
		{name: "a very long line", text: strings.Repeat("x", 600), want: strings.Repeat("x", 500) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, lastLines(tt.text)) })
	}
	require.LessOrEqual(t, len(lastLines(strings.Repeat(strings.Repeat("y", 490)+"\n", 50))), shownBytes)
}

func TestReadEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("old\nnew line\n"), 0o644))
	require.Equal(t, "new line\n", readEnd(path, 4, 100), "only what the run wrote")
	require.Equal(t, "line\n", readEnd(path, 4, 5), "bounded")
	require.Equal(t, "old\nnew line\n", readEnd(path, 1000, 100), "the file was rotated meanwhile")
	require.Empty(t, readEnd(path+"x", 0, 10))
	require.Empty(t, readEnd(filepath.Dir(path), 0, 10))
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{WorkerID: "w"})
	require.ErrorContains(t, err, "pulsarServiceUrl")
	_, err = New(Options{WorkerID: "a/b", PulsarServiceURL: "pulsar://x"})
	require.ErrorContains(t, err, "worker id")
}
