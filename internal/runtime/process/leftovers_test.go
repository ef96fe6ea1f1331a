package process

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// ownRange is a range of users that no other run of these tests has.
func ownRange(t *testing.T) (text string, first uint32) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may start processes as other users")
	}
	first = 100_000 + uint32(os.Getpid()%100_000)*20
	t.Cleanup(func() { require.Empty(t, endProcesses(first, first+19)) })
	return fmt.Sprintf("%d-%d", first, first+19), first
}

// detach is a function that starts a process in a session of its own, without environment and parent, which writes its process
// id to a file and stays, and then waits.
func detach(t *testing.T, dir, name string) (program, pidFile string) {
	t.Helper()
	pidFile = filepath.Join(dir, "pids", name)
	require.NoError(t, os.MkdirAll(filepath.Dir(pidFile), 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(pidFile), 0o777))
	inner := filepath.Join(dir, name+"-inner")
	require.NoError(t, os.WriteFile(inner, []byte("#!/bin/sh\nexec >/dev/null 2>&1\n(printf %s $$ > "+pidFile+".tmp; mv "+pidFile+".tmp "+pidFile+")\nexec sleep 600\n"), 0o755))
	program = filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n(setsid env -i "+inner+" &)\nexec sleep 600\n"), 0o755))
	return program, pidFile
}

func isolated(users, dir string) func(*Options) {
	return func(o *Options) {
		o.LogDirectory = filepath.Join(dir, "logs")
		o.Isolation = Isolation{User: users, WorkDirectory: filepath.Join(dir, "work"), PackageDirectory: filepath.Join(dir, "packages")}
	}
}

// TestNothingOfAFunctionOutlivesItsStop: not what left its session, its parent and its environment either.
func TestNothingOfAFunctionOutlivesItsStop(t *testing.T) {
	users, first := ownRange(t)
	dir := publicDirectory(t)
	f := closing(t, newFactory(t, isolated(users, dir)))
	program, pidFile := detach(t, dir, "function")
	r := startRun(t, f, instanceOf(program, behaviour{}))
	pid := pidIn(t, pidFile)
	uid, ok := userOf(pid, first, first+19)
	require.True(t, ok)
	require.NoError(t, r.Stop(t.Context()))
	require.False(t, alive(pid), "the detached process still runs as user %d", uid)
}

// TestForksDoNotOutrunTheEnd: a process that is replaced by its child all the time has no number to be found by.
func TestForksDoNotOutrunTheEnd(t *testing.T) {
	users, first := ownRange(t)
	dir := publicDirectory(t)
	f := closing(t, newFactory(t, isolated(users, dir)))
	links, program := filepath.Join(dir, "links"), filepath.Join(dir, "function")
	require.NoError(t, os.WriteFile(links, []byte("#!/bin/sh\nexec >/dev/null 2>&1\nsetsid env -i "+links+" &\n"), 0o755))
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\nfor i in 1 2 3; do "+links+" & done\nexec sleep 600\n"), 0o755))
	r := startRun(t, f, instanceOf(program, behaviour{}))
	eventually(t, "no chain", func() bool { return len(processesOf(first, first+19)) > 1 })
	require.NoError(t, r.Stop(t.Context()))
	for range 20 {
		require.Empty(t, processesOf(first, first+19))
	}
}

// TestNothingOfAFunctionOutlivesTheWorker: after SIGKILL of the worker its next life ends what is left before any function starts.
func TestNothingOfAFunctionOutlivesTheWorker(t *testing.T) {
	users, _ := ownRange(t)
	dir := publicDirectory(t)
	program, pidFile := detach(t, dir, "function")
	own, err := os.Executable()
	require.NoError(t, err)
	worker := exec.Command(own)
	worker.Env = append(os.Environ(), "WORKER_LIFE="+dir, "WORKER_USERS="+users, "WORKER_PROGRAM="+program)
	require.NoError(t, worker.Start())
	pid := pidIn(t, pidFile)
	_, err = New(Options{WorkerID: "another", PulsarServiceURL: "pulsar://localhost:1", Isolation: Isolation{User: users, WorkDirectory: filepath.Join(dir, "other")}})
	require.ErrorContains(t, err, "another worker of this host uses the users")
	require.True(t, alive(pid), "the processes of a worker that lives are not touched")
	require.NoError(t, worker.Process.Kill())
	_ = worker.Wait()
	require.True(t, alive(pid), "this test has something to end")
	closing(t, newFactory(t, isolated(users, dir)))
	require.False(t, alive(pid))
}

// TestUsersWithProcessesAreNotGivenOut: neither at the start, nor after a stop, nor for a function that had the user before.
func TestUsersWithProcessesAreNotGivenOut(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	a, err := newAccounts("70000-70002")
	require.NoError(t, err)
	stuck := map[uint32]int{70000: 41}
	a.log = zap.New(core)
	a.end = func(first, last uint32) map[int]uint32 {
		left := map[int]uint32{}
		for uid, pid := range stuck {
			if uid >= first && uid <= last {
				left[pid] = uid
			}
		}
		return left
	}
	var forgotten []string
	a.forget = func(function string) { forgotten = append(forgotten, function) }
	a.sweep()
	require.Equal(t, 1, logs.Len())
	require.Equal(t, map[string]any{"uid": uint32(70000), "pids": []any{41}}, normal(logs.All()[0].ContextMap()))
	take := func(name string) uint32 {
		t.Helper()
		owner, err := a.take(name)
		require.NoError(t, err)
		return owner.uid
	}
	require.Equal(t, uint32(70001), take("one"))
	stuck[70001] = 42
	a.release("one")
	require.Equal(t, uint32(70002), take("one"), "its own user has processes that cannot be ended")
	require.Equal(t, []string{"one"}, forgotten)
	_, err = a.take("two")
	require.ErrorContains(t, err, "processes that cannot be ended (users [70000 70001])")
	delete(stuck, 70000)
	require.Equal(t, uint32(70000), take("two"), "they are gone")
	_, err = a.take("three")
	require.Error(t, err)
}

func normal(fields map[string]any) map[string]any {
	if uid, ok := fields["uid"].(uint64); ok {
		fields["uid"] = uint32(uid)
	}
	if pids, ok := fields["pids"].([]any); ok {
		for i, p := range pids {
			if n, ok := p.(int64); ok {
				pids[i] = int(n)
			}
		}
	}
	return fields
}

// TestOtherUsersAreNotTouched: what runs as a user beside the range stays.
func TestOtherUsersAreNotTouched(t *testing.T) {
	_, first := ownRange(t)
	start := func(uid uint32) *exec.Cmd {
		cmd := exec.Command("sleep", "600")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	below, in, above := start(first), start(first+1), start(first+2)
	require.Empty(t, endProcesses(first+1, first+1))
	require.False(t, alive(in.Process.Pid))
	require.NoError(t, endAtOnce(first+1, time.Now().Add(endTime)))
	require.True(t, alive(below.Process.Pid))
	require.True(t, alive(above.Process.Pid))
	require.Error(t, endOwnUserAs(t, first+1, first+2), "a helper that runs as another user ends nothing")
	require.True(t, alive(above.Process.Pid))
}

func endOwnUserAs(t *testing.T, runAs, told uint32) error {
	t.Helper()
	cmd := exec.Command(self, endFlag, strconv.Itoa(int(told)))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: runAs, Gid: runAs}}
	return cmd.Run()
}

func TestClaims(t *testing.T) {
	dir := t.TempDir()
	claimOf := func(users string) (*os.File, error) {
		a, err := newAccounts(users)
		require.NoError(t, err)
		return claimIn(dir, a)
	}
	held, err := claimOf("20000-20009")
	require.NoError(t, err)
	for _, users := range []string{"20000-20009", "20009-20020", "10000-20000", "20003-20004", "1-40000"} {
		_, err := claimOf(users)
		require.ErrorContains(t, err, "another worker of this host uses the users 20000-20009", users)
	}
	beside, err := claimOf("20010-20020")
	require.NoError(t, err)
	require.NoError(t, beside.Close())
	require.NoError(t, held.Close())
	again, err := claimOf("20003-20004")
	require.NoError(t, err, "the file of a worker that is gone holds nobody up")
	require.NoError(t, again.Close())
}

// TestFilesOfAFunctionAreItsOwn: another function reads neither its logs nor its packages, nor does one that gets the same user later.
func TestFilesOfAFunctionAreItsOwn(t *testing.T) {
	_, first := ownRange(t)
	dir := publicDirectory(t)
	users := fmt.Sprintf("%d-%d", first, first) // one function after another
	old := filepath.Join(dir, "logs", "functions", "t", "n", "old")
	require.NoError(t, os.MkdirAll(old, 0o755))
	f := closing(t, newFactory(t, isolated(users, dir)))
	requireMode(t, old, 0o700, 0)

	instance := filepath.Join(dir, "packages", "t", "n", "one", "0")
	require.NoError(t, os.MkdirAll(filepath.Dir(instance), 0o755))
	require.NoError(t, os.Mkdir(instance, 0o700))
	program := publicProgram(t, instance)
	logs := filepath.Join(dir, "logs", "functions", "t", "n", "one")
	in := instanceOf(program, behaviour{Report: filepath.Join(logs, "report"), Overwrite: program})
	in.Spec.FunctionMetaData.FunctionDetails.Name = "one"
	r := startRun(t, f, in)
	got := reportOf(t, filepath.Join(logs, "report"))
	require.False(t, got.Overwrote, "the package is read-only")
	require.True(t, got.NoNewPrivs)
	requireMode(t, logs, 0o700, first)
	requireMode(t, filepath.Join(logs, "one-0.log"), 0o640, first)
	requireMode(t, instance, 0o750, 0)
	for _, path := range []string{filepath.Join(logs, "one-0.log"), program} {
		require.NoError(t, readAs(first, path), path)
		require.Error(t, readAs(first+1, path), path)
	}
	require.NoError(t, r.Stop(t.Context()))

	two := instanceOf(publicProgram(t, dir), behaviour{})
	two.Spec.FunctionMetaData.FunctionDetails.Name = "two"
	startRun(t, f, two)
	requireMode(t, logs, 0o700, 0)
	requireMode(t, instance, 0o700, 0)
	for _, path := range []string{filepath.Join(logs, "one-0.log"), program, got.Home} {
		require.Error(t, readAs(first, path), "%s is read by the function that has the user now", path)
	}
	require.NoDirExists(t, got.Home)
}

func requireMode(t *testing.T, path string, mode fs.FileMode, uid uint32) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, mode, info.Mode().Perm(), path)
	require.Equal(t, uid, info.Sys().(*syscall.Stat_t).Uid, path)
}

func readAs(uid uint32, path string) error {
	cmd := exec.Command("head", "-c", "1", path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd.Run()
}

// TestCredentialsEndWithTheRun: once for each run, however it ends.
func TestCredentialsEndWithTheRun(t *testing.T) {
	var begun, ended int
	f := closing(t, newFactory(t, func(o *Options) {
		o.Auth = &Auth{Plugin: "P"}
		o.FunctionAuth = func(_ *pb.FunctionMetaData, own Auth) (Auth, error) { begun++; return own, nil }
		o.FunctionAuthEnd = func(*pb.FunctionMetaData) { ended++ }
	}))
	crashing, err := f.New(goInstance(t, behaviour{Crash: "panic"}))
	require.NoError(t, err)
	require.NoError(t, crashing.Start(t.Context()))
	<-crashing.Done()
	require.NoError(t, crashing.Stop(t.Context()))
	broken, err := f.New(instanceOf("/does/not/exist", behaviour{}))
	require.NoError(t, err)
	require.Error(t, broken.Start(t.Context()))
	require.NoError(t, broken.Stop(t.Context()))
	unused, err := f.New(goInstance(t, behaviour{}))
	require.NoError(t, err)
	require.NoError(t, unused.Stop(context.Background()))
	require.Equal(t, []int{3, 3}, []int{begun, ended})
}

// TestSharedUserLeavesOtherProgramsAlone: what runs as a user that functions share is ended by its marker only.
func TestSharedUserLeavesOtherProgramsAlone(t *testing.T) {
	_, first := ownRange(t)
	dir := publicDirectory(t)
	other := exec.Command("sleep", "600")
	other.Dir = "/"
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: first, Gid: first}}
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	f := closing(t, newFactory(t, isolated(strconv.Itoa(int(first)), dir)))
	program := publicProgram(t, dir)
	home := filepath.Join(dir, "pids")
	require.NoError(t, os.Mkdir(home, 0o777))
	require.NoError(t, os.Chmod(home, 0o777))
	r := startRun(t, f, instanceOf(program, behaviour{Descendant: filepath.Join(home, "descendant")}))
	pid := pidIn(t, filepath.Join(home, "descendant"))
	require.NoError(t, r.Stop(t.Context()))
	require.False(t, alive(pid), "it has the marker of the instance")
	require.True(t, alive(other.Process.Pid))
}

// playUser is for playWorker: the options of a worker whose functions have users.
func playUser(dir string, o *Options) (program string) {
	if users := os.Getenv("WORKER_USERS"); users != "" {
		isolated(users, dir)(o)
	}
	return os.Getenv("WORKER_PROGRAM")
}
