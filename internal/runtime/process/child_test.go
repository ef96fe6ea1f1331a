package process

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// TestMain lets the test binary stand in for a Go function (it is started with -instance-conf) and for a worker that
// is about to be killed (WORKER_LIFE in its environment).
func TestMain(m *testing.M) {
	ExecWithLimits()
	if len(os.Args) > 2 && os.Args[1] == "-instance-conf" {
		playInstance(os.Args[2])
	}
	if dir := os.Getenv("WORKER_LIFE"); dir != "" {
		playWorker(dir)
	}
	goleak.VerifyTestMain(m)
}

// behaviour is the user configuration of the instance that the test binary plays.
type behaviour struct {
	Crash      string // print this, exit with status 3
	IgnoreTerm bool
	Hang       bool   // never answer
	HangScrape bool   // never answer the metrics page
	Descendant string // file to write the pid of a child in another session to
	Sibling    string // file to write the pid of a child in the same group to
	Env        string // file to write the environment to
	Unhealthy  bool
	Checks     string // file that grows by one byte per health check
	Report     string // file to write what this process is and may do to
	Overwrite  string // file that it tries to write to, for the report
	Plant      string // symbolic link to put where the log of the worker is, leading to Overwrite
}

// report is what an instance found out about itself.
type report struct {
	UID, GID                       int
	Groups                         []int
	Home                           string
	HomeWritable                   bool
	Overwrote                      bool
	Descriptors                    []string
	Memory, Processes, Files, Core uint64
	Token                          string
	NoNewPrivs                     bool
}

func playReport(b behaviour, params string) {
	if b.Report == "" {
		return
	}
	r := report{UID: os.Getuid(), GID: os.Getgid(), Home: os.Getenv("HOME")}
	r.Groups, _ = os.Getgroups()
	r.HomeWritable = os.WriteFile(r.Home+"/probe", nil, 0o600) == nil
	f, err := os.OpenFile(b.Overwrite, os.O_WRONLY, 0)
	if r.Overwrote = err == nil; r.Overwrote {
		_ = f.Close()
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // not the one that lists
			r.Descriptors = append(r.Descriptors, e.Name()+" "+target)
		}
	}
	get := func(resource int) uint64 {
		var l unix.Rlimit
		_ = unix.Getrlimit(resource, &l)
		return l.Max
	}
	r.Memory, r.Processes, r.Files, r.Core = get(unix.RLIMIT_DATA), get(unix.RLIMIT_NPROC), get(unix.RLIMIT_NOFILE), get(unix.RLIMIT_CORE)
	if path, ok := strings.CutPrefix(params, "file://"); ok {
		token, _ := os.ReadFile(path)
		r.Token = string(token)
	}
	value, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	r.NoNewPrivs = err == nil && value == 1
	if b.Plant != "" {
		_ = os.Remove(b.Plant)
		_ = os.Symlink(b.Overwrite, b.Plant)
	}
	data, _ := json.Marshal(r)
	_ = os.WriteFile(b.Report+".tmp", data, 0o644)
	_ = os.Rename(b.Report+".tmp", b.Report)
}

type playedInstance struct {
	pb.UnimplementedInstanceControlServer
	b behaviour
}

func (p playedInstance) GetFunctionStatus(ctx context.Context, _ *emptypb.Empty) (*pb.FunctionStatus, error) {
	if p.b.Hang {
		<-ctx.Done()
	}
	return &pb.FunctionStatus{Running: true, NumReceived: 7}, nil
}

func (p playedInstance) GetMetrics(context.Context, *emptypb.Empty) (*pb.MetricsData, error) {
	return &pb.MetricsData{ReceivedTotal: 7}, nil
}

func (p playedInstance) HealthCheck(context.Context, *emptypb.Empty) (*pb.HealthCheckResult, error) {
	if p.b.Checks != "" {
		f, _ := os.OpenFile(p.b.Checks, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		_, _ = f.WriteString("x")
		_ = f.Close()
	}
	return &pb.HealthCheckResult{Success: !p.b.Unhealthy}, nil
}

func playInstance(conf string) {
	var c launch.GoInstanceConf
	var b behaviour
	if err := json.Unmarshal([]byte(conf), &c); err != nil {
		fmt.Println("bad configuration:", err)
		os.Exit(2)
	}
	_ = json.Unmarshal([]byte(c.UserConfig), &b)
	fmt.Println("instance is up")
	if b.IgnoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	playReport(b, c.ClientAuthenticationParameters)
	playDescendants(b)
	if b.Env != "" {
		data, _ := json.Marshal(os.Environ())
		_ = os.WriteFile(b.Env, data, 0o644)
	}
	if b.Crash != "" {
		fmt.Fprintln(os.Stderr, b.Crash)
		os.Exit(3)
	}
	l, err := net.Listen("tcp", ":"+strconv.Itoa(c.Port))
	if err != nil {
		fmt.Println("cannot listen:", err)
		os.Exit(4)
	}
	s := grpc.NewServer()
	pb.RegisterInstanceControlServer(s, playedInstance{b: b})
	go func() {
		_ = http.ListenAndServe(":"+strconv.Itoa(c.MetricsPort), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if b.HangScrape {
				<-r.Context().Done()
			}
			fmt.Fprintln(w, "pulsar_function_received_total 7")
		}))
	}()
	_ = s.Serve(l)
}

func playDescendants(b behaviour) {
	spawn := func(file string, attr *syscall.SysProcAttr) {
		if file == "" {
			return
		}
		cmd := exec.Command("sleep", "300")
		cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = attr, os.Stdout, os.Stderr // holds the pipe open
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(5)
		}
		_ = os.WriteFile(file+".tmp", []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
		_ = os.Rename(file+".tmp", file)
	}
	spawn(b.Descendant, &syscall.SysProcAttr{Setsid: true})
	spawn(b.Sibling, nil)
}

func goInstance(t *testing.T, b behaviour) runtime.Instance {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return instanceOf(program, b)
}

func instanceOf(program string, b behaviour) runtime.Instance {
	config, _ := json.Marshal(b)
	return runtime.Instance{FunctionID: "f-id", FunctionVersion: "v-id", PackageFile: program,
		Spec: &pb.Instance{FunctionMetaData: &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{
			Tenant: "t", Namespace: "n", Name: "f", Runtime: pb.FunctionDetails_GO, UserConfig: string(config)}}}}
}

// playWorker starts one instance with descendants and waits to be killed.
func playWorker(dir string) {
	o := Options{WorkerID: "killed-worker", PulsarServiceURL: "pulsar://localhost:1", LogDirectory: dir}
	program := playUser(dir, &o)
	f, err := New(o)
	if err != nil {
		panic(err)
	}
	if program == "" {
		program, _ = os.Executable()
	}
	_ = os.Unsetenv("WORKER_LIFE")
	f.o.Environ = os.Environ()
	r, err := f.New(instanceOf(program, behaviour{Descendant: dir + "/descendant", Sibling: dir + "/sibling"}))
	if err != nil {
		panic(err)
	}
	if err := r.Start(context.Background()); err != nil {
		panic(err)
	}
	pid := pidOf(r.(*run))
	_ = os.WriteFile(dir+"/tmp", []byte(strconv.Itoa(pid)), 0o644)
	_ = os.Rename(dir+"/tmp", dir+"/instance")
	time.Sleep(time.Minute)
	os.Exit(1)
}
