//lint:file-ignore ST1005 some errors have the text of the Java worker, which clients know

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"syscall"
)

// spawner launches children from one operating system thread that lives as long as the factory. The kernel sends the
// parent-death signal when the thread that made the child ends, and the Go runtime may end any other thread at will.
type spawner struct {
	requests chan spawnRequest
	quit     chan struct{}
	ended    chan struct{}
}

type spawnRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

var errClosed = errors.New("the process runtime is closed")

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest), quit: make(chan struct{}), ended: make(chan struct{})}
	go s.loop()
	return s
}

func (s *spawner) loop() {
	defer close(s.ended)
	goruntime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for {
		select {
		case r := <-s.requests:
			r.reply <- r.cmd.Start()
		case <-s.quit:
			return
		}
	}
}

// start launches cmd in a process group of its own, to be killed by the kernel when the worker dies.
// owner is the user it runs as, nil for the worker's own.
func (s *spawner) start(ctx context.Context, cmd *exec.Cmd, owner *account) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if owner != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: owner.uid, Gid: owner.gid} // and no other group
	}
	r := spawnRequest{cmd, make(chan error, 1)}
	select {
	case s.requests <- r:
		return <-r.reply // fork and exec take milliseconds
	case <-s.ended:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *spawner) close(ctx context.Context) error {
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// launchError words the failure of a launch as the Java worker does: Cannot run program "python3": error=2, No such file or directory.
func launchError(program string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text := errno.Error()
		return fmt.Errorf("Cannot run program %q: error=%d, %s", program, int(errno), strings.ToUpper(text[:1])+text[1:])
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("Cannot run program %q: error=2, No such file or directory (not found on PATH)", program)
	}
	return fmt.Errorf("Cannot run program %q: %w", program, err)
}
