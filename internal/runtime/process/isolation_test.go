package process

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// publicDirectory can be entered by every user, unlike those of testing.
func publicDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isolation-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// publicProgram is a copy of the test binary that every user may run and only this one may change.
func publicProgram(t *testing.T, dir string) string {
	t.Helper()
	own, err := os.Executable()
	require.NoError(t, err)
	data, err := os.ReadFile(own)
	require.NoError(t, err)
	program := filepath.Join(dir, "function")
	require.NoError(t, os.WriteFile(program, data, 0o755))
	return program
}

func reportOf(t *testing.T, path string) report {
	t.Helper()
	var r report
	eventually(t, "no report", func() bool {
		data, err := os.ReadFile(path)
		return err == nil && json.Unmarshal(data, &r) == nil
	})
	return r
}

// TestFunctionsRunAsUsersOfTheirOwn: with a range each function has a user, sees nothing of the worker's and of the others', and can
// change neither its package nor, by links among its logs, files of the worker.
func TestFunctionsRunAsUsersOfTheirOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start processes as other users")
	}
	dir := publicDirectory(t)
	program := publicProgram(t, dir)
	tokens := filepath.Join(dir, "tokens")
	require.NoError(t, os.Mkdir(tokens, 0o711))
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("of the worker"), 0o600))
	f := closing(t, newFactory(t, func(o *Options) {
		o.LogDirectory = filepath.Join(dir, "logs")
		o.Isolation = Isolation{User: "61000-61009", WorkDirectory: filepath.Join(dir, "work"), MaxMemory: 4 << 30, MaxProcesses: 500, MaxOpenFiles: 512}
		o.Auth = &Auth{Plugin: "p", Params: "file://" + secret}
		o.FunctionAuth = func(meta *pb.FunctionMetaData, own Auth) (Auth, error) {
			path := filepath.Join(tokens, meta.GetFunctionDetails().GetName())
			own.Params = "file://" + path
			return own, os.WriteFile(path, []byte("token of "+meta.GetFunctionDetails().GetName()), 0o600)
		}
	}))
	users := map[int]bool{}
	for _, name := range []string{"one", "two"} {
		reported := filepath.Join(f.o.LogDirectory, "functions", "t", "n", name, "report")
		log := filepath.Join(f.o.LogDirectory, "functions", "t", "n", name, name+"-0.log")
		in := instanceOf(program, behaviour{Report: reported, Overwrite: program})
		in.Spec.FunctionMetaData.FunctionDetails.Name = name
		r := startRun(t, f, in)
		got := reportOf(t, reported)
		require.GreaterOrEqual(t, got.UID, 61000)
		require.LessOrEqual(t, got.UID, 61009)
		require.Equal(t, got.UID, got.GID)
		require.Empty(t, got.Groups)
		require.False(t, users[got.UID], "every function has its own user")
		users[got.UID] = true
		require.True(t, got.HomeWritable)
		require.Equal(t, f.o.Isolation.WorkDirectory, filepath.Dir(got.Home))
		info, err := os.Stat(got.Home)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		require.False(t, got.Overwrote, "the package is read-only")
		require.Equal(t, "token of "+name, got.Token)
		require.Equal(t, []uint64{4 << 30, 500, 512, 0}, []uint64{got.Memory, got.Processes, got.Files, got.Core})
		require.NoError(t, r.Stop(t.Context()))
		info, err = os.Stat(log)
		require.NoError(t, err)
		require.NotZero(t, info.Size(), "the output is logged")
	}

	// A function that puts a link to a file of the worker where its log is.
	log := filepath.Join(f.o.LogDirectory, "functions", "t", "n", "one", "one-0.log")
	again := filepath.Join(f.o.LogDirectory, "functions", "t", "n", "one", "report2")
	in := instanceOf(program, behaviour{Report: again, Overwrite: secret, Plant: log})
	in.Spec.FunctionMetaData.FunctionDetails.Name = "one"
	r := startRun(t, f, in)
	require.False(t, reportOf(t, again).Overwrote)
	require.NoError(t, r.Stop(t.Context()))
	target, err := os.Readlink(log)
	require.NoError(t, err)
	require.Equal(t, secret, target)
	next, err := f.New(in)
	require.NoError(t, err)
	require.Error(t, next.Start(t.Context()), "the link is not followed")
	require.Empty(t, readEnd(log, 0, 1000), "nor read for the status")
	data, err := os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, "of the worker", string(data))
	info, err := os.Stat(secret)
	require.NoError(t, err)
	require.Zero(t, info.Sys().(*syscall.Stat_t).Uid)
}

// TestChildrenInheritNoDescriptors: whatever the worker has open, a child has the three standard ones and what it opens itself.
func TestChildrenInheritNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	held, err := os.Create(filepath.Join(dir, "held"))
	require.NoError(t, err)
	defer held.Close()
	inherited, err := syscall.Dup(int(held.Fd())) // stays open in children, as what the worker itself was started with
	require.NoError(t, err)
	defer syscall.Close(inherited)
	f := closing(t, newFactory(t, nil))
	startRun(t, f, goInstance(t, behaviour{Report: filepath.Join(dir, "report"), Overwrite: dir + "/none"}))
	got := reportOf(t, filepath.Join(dir, "report"))
	require.GreaterOrEqual(t, len(got.Descriptors), 3)
	require.Equal(t, "0 /dev/null", got.Descriptors[0])
	for _, d := range got.Descriptors {
		require.NotContains(t, d, held.Name())
	}
}

// TestMemoryLimitEndsAProcess: the limit holds.
func TestMemoryLimitEndsAProcess(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3")
	}
	cmd := exec.Command(python, "-c", "bytearray(512<<20); print('had it')")
	require.NoError(t, Isolation{MaxMemory: 256 << 20}.limit(cmd))
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "MemoryError")
}

func TestIsolationIsRefusedAtStart(t *testing.T) {
	for name, tc := range map[string]struct {
		isolation Isolation
		want      string
	}{
		"unknown user":            {Isolation{User: "no-such-user"}, "goWorker.functionUser"},
		"backward range":          {Isolation{User: "30000-20000"}, "no range of user ids"},
		"root":                    {Isolation{User: "0"}, "must not run as root"},
		"root by name":            {Isolation{User: "root"}, "must not run as root"},
		"range with root":         {Isolation{User: "0-10"}, "must not run as root"},
		"processes without user":  {Isolation{MaxProcesses: 10}, "needs goWorker.functionUser"},
		"user without directory":  {Isolation{User: "61000"}, "no working directory"},
		"directory cannot be had": {Isolation{User: "61000", WorkDirectory: "/proc/none/x"}, "making the directory for functions"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{WorkerID: "w", PulsarServiceURL: "pulsar://localhost:1", Isolation: tc.isolation})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// TestIsolationWithoutRights asks a process that is not root.
func TestIsolationWithoutRights(t *testing.T) {
	if os.Getenv("ISOLATION_PROBE") != "" {
		_, err := New(Options{WorkerID: "w", PulsarServiceURL: "pulsar://localhost:1", Isolation: Isolation{User: "61000", WorkDirectory: os.Getenv("ISOLATION_PROBE")}})
		require.ErrorContains(t, err, "goWorker.functionUser: this worker cannot run a program as user 61000")
		require.ErrorContains(t, err, "CAP_SETUID")
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may become another user")
	}
	dir := publicDirectory(t)
	cmd := exec.Command(publicProgram(t, dir), "-test.run", "^TestIsolationWithoutRights$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "ISOLATION_PROBE="+filepath.Join(dir, "work"), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 61001, Gid: 61001}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "PASS")
}

func TestAccounts(t *testing.T) {
	a, err := newAccounts("70000-70001")
	require.NoError(t, err)
	one, err := a.take("t/n/one")
	require.NoError(t, err)
	two, err := a.take("t/n/two")
	require.NoError(t, err)
	require.NotEqual(t, one, two)
	same, err := a.take("t/n/one")
	require.NoError(t, err)
	require.Equal(t, one, same, "instances of one function share its user")
	_, err = a.take("t/n/three")
	require.ErrorContains(t, err, "name a larger range")
	a.release("t/n/one")
	_, err = a.take("t/n/three")
	require.ErrorContains(t, err, "name a larger range", "one instance still runs")
	a.release("t/n/one")
	three, err := a.take("t/n/three")
	require.NoError(t, err)
	require.Equal(t, one, three)

	single, err := newAccounts("70000")
	require.NoError(t, err)
	for _, name := range []string{"a", "b"} {
		owner, err := single.take(name)
		require.NoError(t, err)
		require.Equal(t, account{70000, 70000}, owner)
	}
}

// TestSecretsProvidersByLanguage: each language has a class of its own; Go takes secrets from its configuration.
func TestSecretsProvidersByLanguage(t *testing.T) {
	o := recordedOptions()
	o.SecretsProvider, o.PythonSecretsProvider, o.SecretsProviderConfig = "java.Class", "python.Class", map[string]any{"path": "/secrets"}
	for language, want := range map[pb.FunctionDetails_Runtime]string{pb.FunctionDetails_JAVA: "java.Class", pb.FunctionDetails_PYTHON: "python.Class", pb.FunctionDetails_GO: ""} {
		d := function(language)
		c, err := o.buildCommand(testInstance(d), ports{1, 2}, nil)
		require.NoError(t, err)
		i := slices.Index(c.args, "--secrets_provider")
		if want == "" {
			require.Equal(t, -1, i)
			continue
		}
		require.Equal(t, want, c.args[i+1])
		require.Contains(t, strings.Join(c.args, " "), `--secrets_provider_config '{"path":"/secrets"}'`)
	}
}

// TestCVE_2025_30677_NoCredentialsInLogs: neither the log of the worker nor the reason of an end, which status shows, holds what a function was
// given in confidence.
func TestCVE_2025_30677_NoCredentialsInLogs(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	f := closing(t, newFactory(t, func(o *Options) {
		o.Log, o.Auth = zap.New(core), &Auth{Plugin: "p", Params: "token:hush-token"}
	}))
	in := goInstance(t, behaviour{Crash: "panic: hush-token was not accepted"})
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	d.SecretsMap, d.Sink = `{"password":"hush-secret"}`, &pb.SinkSpec{Configs: `{"password":"hush-config"}`}
	r := startRun(t, f, in)
	<-r.Done()
	require.Contains(t, r.Exit().Reason, "was not accepted")
	text := r.Exit().Reason + r.Exit().Tail
	for _, e := range logs.All() {
		text += e.Message + fmt.Sprint(e.ContextMap())
	}
	require.Contains(t, text, "instance process started")
	require.NotContains(t, text, "hush")
}
