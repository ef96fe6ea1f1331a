//lint:file-ignore ST1005 some errors have the text of the Java worker, which clients know

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/instancelog"
	"github.com/functions-worker/functions-worker/internal/runtime/instancerpc"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// run is one child process, from launch to end.
type run struct {
	f    *Factory
	in   runtime.Instance
	auth *Auth
	key  string
	log  *zap.Logger

	done chan struct{} // closed by finish, after exit was written
	exit runtime.Exit

	mu      sync.Mutex
	started bool // Start was called
	asked   bool // Stop was called
	pid     int  // 0 before the launch
	ctl     *control
	held    []*heldPort
	owner   *account // nil: the worker's own user
}

var _ runtime.Runtime = (*run)(nil)

func newRun(f *Factory, in runtime.Instance, auth *Auth) *run {
	key := pb.InstanceKey(in.Spec)
	return &run{f: f, in: in, auth: auth, key: key, log: f.o.Log.With(zap.String("instance", key)), done: make(chan struct{})}
}

var (
	errNotRunning = errors.New("Not alive")
	errUsed       = errors.New("a run can be started only once")
)

// Start launches the child and the goroutines that watch it.
func (r *run) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.asked {
		return errUsed
	}
	r.started = true
	if err := r.launch(ctx); err != nil {
		r.release()
		r.exit = runtime.Exit{Time: time.Now(), Reason: err.Error()}
		close(r.done)
		return err
	}
	return nil
}

func (r *run) launch(ctx context.Context) error {
	if err := r.reservePorts(); err != nil {
		return err
	}
	p := ports{r.held[0].number, r.held[1].number}
	options, err := r.isolate()
	if err != nil {
		return err
	}
	c, err := options.buildCommand(r.in, p, r.auth)
	if err != nil {
		return err
	}
	openFile := openPlain
	if r.f.users.separate() {
		openFile = openClosed
	}
	out, err := instancelog.Open(c.outputFile, instancelog.Limit, openFile)
	if err != nil {
		return err
	}
	if r.ctl, err = dialControl(p, r.f.o.CallTimeout); err != nil {
		out.Close()
		return err
	}
	if r.owner != nil {
		if err := giveLogs(filepath.Dir(c.outputFile), *r.owner, r.f.users.separate()); err != nil {
			out.Close()
			return err
		}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		out.Close()
		return fmt.Errorf("making the pipe for an instance's output: %w", err)
	}
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Stdout, cmd.Stderr = writer, writer // files, so that the child writes to the pipe itself; stdin is /dev/null
	cmd.Env = environ(options, r.marker())
	if err := options.Isolation.limit(cmd); err != nil {
		_, _ = reader.Close(), writer.Close()
		out.Close()
		return err
	}
	logStart := fileSize(c.ownLog)
	for _, h := range r.held {
		h.let() // the child binds these ports now
	}
	err = r.f.spawn.start(ctx, cmd, r.owner)
	_ = writer.Close()
	if err != nil {
		_ = reader.Close()
		out.Close()
		return launchError(c.args[0], err)
	}
	r.pid = cmd.Process.Pid
	r.log.Info("instance process started", zap.Int("pid", r.pid), zap.Int("port", p.control), zap.Int("metricsPort", p.metrics),
		zap.String("output", c.outputFile), zap.String("command", redact(c.args)))

	tail := instancelog.NewRing(tailBytes)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.MultiWriter(tail, out), reader)
		out.Close()
	}()
	if r.f.o.HealthCheckInterval >= time.Second {
		go r.checkHealth(r.ctl)
	}
	go r.wait(cmd, func() string {
		select {
		case <-drained:
		case <-time.After(time.Second): // a process that escaped the group may hold the pipe open
		}
		_ = reader.Close()
		<-drained
		return tail.String() + "\n" + readEnd(c.ownLog, logStart, 4*tailBytes)
	})
	return nil
}

func (r *run) function() string {
	return pb.FullyQualifiedName(r.in.Spec.GetFunctionMetaData().GetFunctionDetails())
}

// isolate gives the options of this run: with a user of its own the function has a private directory.
func (r *run) isolate() (Options, error) {
	o := r.f.o
	if r.f.users == nil {
		return o, nil
	}
	function := r.function()
	owner, err := r.f.users.take(function)
	if err != nil {
		return o, err
	}
	r.owner = &owner
	if r.auth != nil {
		if err := r.f.giveToken(*r.auth, owner); err != nil {
			return o, fmt.Errorf("giving its token to %s: %w", function, err)
		}
	}
	if r.f.users.separate() {
		if err := o.Isolation.givePackages(owner, r.in.PackageFile, r.in.TransformFile); err != nil {
			return o, err
		}
	}
	home, err := o.Isolation.home(function, owner)
	if err != nil {
		return o, err
	}
	o.NarExtractionDirectory = home
	o.Environ = setVariables(o.Environ, map[string]string{"HOME": home, "TMPDIR": home})
	return o, nil
}

func (r *run) reservePorts() error {
	for range 2 {
		h, err := r.f.ports.reserve()
		if err != nil {
			return err
		}
		r.held = append(r.held, h)
	}
	return nil
}

// environ is the worker's environment with the additions of the process contract, section 3.5, and the marker.
func environ(o Options, m marker) []string {
	set := map[string]string{}
	if o.PulsarHome != "" {
		set["PULSAR_HOME"] = o.PulsarHome
	}
	if seconds := int(o.HealthCheckInterval / time.Second); seconds > 0 {
		set[pb.HealthIntervalVariable] = strconv.Itoa(seconds)
	}
	if o.ExtraDependenciesDir != "" {
		path := o.ExtraDependenciesDir
		for _, v := range o.Environ {
			if inherited, ok := strings.CutPrefix(v, "PYTHONPATH="); ok && inherited != "" {
				path = inherited + ":" + o.ExtraDependenciesDir
			}
		}
		set["PYTHONPATH"] = path
	}
	return append(setVariables(o.Environ, set), m.environ()...)
}

func setVariables(env []string, set map[string]string) []string {
	env = slices.Clone(env)
	for name, value := range set {
		env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		env = append(env, name+"="+value)
	}
	return env
}

func (r *run) marker() marker {
	return marker{worker: r.f.o.WorkerID, instance: r.key, owner: processIdentity(os.Getpid()), run: r.in.FunctionID}
}

// wait reaps the child and everything it left behind, then publishes how the run ended.
func (r *run) wait(cmd *exec.Cmd, output func() string) {
	// First wait without reaping: as long as the child is a zombie its number, and so the group's, cannot be reused.
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, r.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	r.mu.Lock()
	_ = syscall.Kill(-r.pid, syscall.SIGKILL)
	err := cmd.Wait()
	r.pid = 0
	asked := r.asked
	r.mu.Unlock()

	me := r.marker()
	if n := sweep(r.f.users, func(m marker) bool { return m == me }); n > 0 {
		r.log.Warn("killed processes that the instance had left in other process groups", zap.Int("processes", n))
	}
	r.mu.Lock()
	r.releaseUser() // which ends what took its marker off, and may hold the output open
	r.mu.Unlock()
	text := scrub(output(), r.auth)
	exit := runtime.Exit{Time: time.Now(), Asked: asked, Reason: exitReason(cmd.ProcessState, err, asked), Tail: lastLines(text)}
	if why := cause(text); why != "" && !asked {
		exit.Reason += ": " + why // Java instances exit with 0 after a fatal error
	}
	if asked {
		r.log.Info("instance process ended", zap.String("reason", exit.Reason))
	} else {
		r.log.Warn("instance process ended by itself", zap.String("reason", exit.Reason), zap.String("output", exit.Tail))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
	r.exit = exit
	close(r.done)
}

// release frees what the run held; the caller has the lock.
func (r *run) release() {
	for _, h := range r.held {
		h.free()
	}
	r.held = nil
	r.releaseUser()
	if r.auth != nil && r.f.o.FunctionAuth != nil {
		r.f.authEnd(r.in.Spec.GetFunctionMetaData())
	}
	if r.ctl != nil {
		r.ctl.close()
		r.ctl = nil
	}
}

// releaseUser lets go of the function's user; the caller has the lock.
func (r *run) releaseUser() {
	if r.owner != nil {
		r.f.users.release(r.function())
		r.owner = nil
	}
}

func exitReason(s *os.ProcessState, err error, asked bool) string {
	if s == nil {
		return fmt.Sprintf("the process could not be waited for: %v", err)
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		name := unix.SignalName(ws.Signal())
		switch {
		case ws.Signal() == syscall.SIGKILL && asked:
			name += " (it did not stop in time)"
		case ws.Signal() == syscall.SIGKILL:
			name += " (killed; out of memory, if nobody did it by hand)"
		}
		return "the process was ended by signal " + name
	}
	return fmt.Sprintf("the process exited with status %d", s.ExitCode())
}

// Stop sends SIGTERM to the group and SIGKILL after the grace period or when ctx ends.
func (r *run) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.asked = true
	if !r.started {
		r.started = true
		r.release()
		r.exit = runtime.Exit{Time: time.Now(), Asked: true, Reason: "stopped before it was started"}
		close(r.done)
	}
	r.signal(syscall.SIGTERM)
	r.mu.Unlock()
	grace := time.NewTimer(r.f.o.StopGrace)
	defer grace.Stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	case <-grace.C:
		r.log.Warn("instance process did not end within its grace period; killing it", zap.Duration("grace", r.f.o.StopGrace))
	}
	r.mu.Lock()
	r.signal(syscall.SIGKILL)
	r.mu.Unlock()
	select {
	case <-r.done:
		return nil
	case <-time.After(5 * time.Second): // uninterruptible sleep, on a dead disk for example
		return fmt.Errorf("instance %s: the process is still there 5 s after SIGKILL", r.key)
	}
}

// signal reaches the whole group; the caller has the lock, which keeps the child from being reaped meanwhile.
func (r *run) signal(s syscall.Signal) {
	if r.pid > 0 {
		_ = syscall.Kill(-r.pid, s)
	}
}

// Done is closed when the child and its group are gone.
func (r *run) Done() <-chan struct{} { return r.done }

// Exit tells how the run ended.
func (r *run) Exit() runtime.Exit { return r.exit }

// Ports are those of gRPC and metrics; 0 when the child does not run.
func (r *run) Ports() (control, metrics int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held) < 2 {
		return 0, 0
	}
	return r.held[0].number, r.held[1].number
}

func (r *run) connection() (*control, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctl == nil || r.pid == 0 {
		return nil, errNotRunning
	}
	return r.ctl, nil
}

// Status asks the instance; the error has the form of grpc-java.
func (r *run) Status(ctx context.Context) (*runtime.FunctionStatus, error) {
	c, err := r.connection()
	if err != nil {
		return nil, err
	}
	return instancerpc.Call(ctx, c.timeout, c.client.GetFunctionStatus)
}

// Metrics asks the instance for its counters.
func (r *run) Metrics(ctx context.Context) (*runtime.MetricsData, error) {
	c, err := r.connection()
	if err != nil {
		return nil, err
	}
	return instancerpc.Call(ctx, c.timeout, c.client.GetMetrics)
}

// Scrape copies the instance's metrics page.
func (r *run) Scrape(ctx context.Context, w io.Writer) error {
	c, err := r.connection()
	if err != nil {
		return err
	}
	return c.scrape(ctx, w)
}

// startingTime is how long an instance that has not answered yet counts as starting.
const startingTime = time.Minute

// checkHealth keeps the instance alive: Java and Python instances end themselves after three missed intervals. A check
// that fails changes nothing, as in the Java worker; only the change is logged, and not while an instance starts, which takes
// a Java instance longer than one interval on a busy host.
func (r *run) checkHealth(c *control) {
	ticker := time.NewTicker(r.f.o.HealthCheckInterval)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failing, healthy, starting := false, false, time.Now().Add(startingTime)
	for {
		select {
		case <-r.done:
			return
		case <-ticker.C:
		}
		result, err := instancerpc.Call(ctx, c.timeout, c.client.HealthCheck)
		if err == nil && !result.GetSuccess() {
			err = errors.New("the instance reports that it is not healthy")
		}
		select {
		case <-r.done:
			return
		default:
		}
		switch {
		case err != nil && !healthy && time.Now().Before(starting):
			r.log.Debug("the instance does not answer its health check yet", zap.Error(err))
			continue
		case err != nil && !failing:
			r.log.Warn("health check failed", zap.Error(err))
		case err == nil && failing:
			r.log.Info("health check succeeds again")
		}
		failing, healthy = err != nil, healthy || err == nil
	}
}
