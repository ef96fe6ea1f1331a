package podrunner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// container is one run of a container: `unshare` on this machine, the container's first process below it.
type container struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// layers is run inside new mount, process, IPC and host name namespaces. It puts the container's file system together, says
// that it is ready to be left alone, and becomes the container's command.
const layers = `set -e
mount --make-rprivate /
hostname "$POD"
mount -t tmpfs -o mode=0755 tmpfs "$WORK"
lay() { # lower, upper layer's name, place
  mkdir -p "$WORK/$2.upper" "$WORK/$2.work" "$3"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$WORK/$2.upper,workdir=$WORK/$2.work" "$3"
}
root=$WORK/root
lay "$IMAGE" image "$root"
mkdir -p "$root/proc" "$root/dev" "$root/etc" "$root/tmp"
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
n=0
while read -r kind from to; do
  case $kind in
  layer) n=$((n+1)); lay "$from" "mount$n" "$root$to" ;;
  file) mkdir -p "$(dirname "$root$to")"; [ -e "$root$to" ] || : >"$root$to"; mount --bind "$from" "$root$to" ;;
  bind) mkdir -p "$root$to"; mount --bind "$from" "$root$to" ;;
  readonly) mkdir -p "$root$to"; mount --bind "$from" "$root$to"; mount -o remount,ro,bind "$root$to" ;;
  esac
done <"$MOUNTS"
[ "$READONLYROOT" = false ] || mount -o remount,ro "$root"
exec env -i "${VARS[@]}" "$(command -v chroot)" --userspec="$IDS" --groups="$GROUPS_" "$root" "$@"
`

// start launches a container of the pod.
func (p *pod) start(ctx context.Context, spec *corev1.Container) (*container, error) {
	image, known := p.runner.opts.Images[spec.Image]
	if !known {
		return nil, fmt.Errorf("image %s is not known to the pod runner", spec.Image)
	}
	env, err := p.environment(ctx, spec, image)
	if err != nil {
		return nil, err
	}
	command := slices.Concat(expandAll(spec.Command, env), expandAll(spec.Args, env))
	if len(command) == 0 {
		return nil, errors.New("the image's own command is not known: the pod has to give one")
	}
	dir := filepath.Join(p.dir, spec.Name)
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, err
	}
	mounts := filepath.Join(dir, "mounts")
	table, err := p.mountTable(spec, image)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(mounts, []byte(table), 0o600); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.runner.LogFile(p.spec.Name, spec.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	workingDir := spec.WorkingDir
	if workingDir == "" {
		workingDir = image.WorkingDir
	}
	// bash, for the array; the working directory is set inside, where it exists
	script := "VARS=(" + quoteAll(env.list()) + ")\n" + layers
	args := []string{"netns", "exec", p.net.name, "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "bash", "-c", script, "pod"}
	args = append(args, "/bin/sh", "-c", `cd "$0" && exec "$@"`, "/"+strings.TrimPrefix(workingDir, "/"))
	cmd := exec.Command("ip", append(args, command...)...)
	ids, groups := p.identity(spec, image)
	readOnly := spec.SecurityContext != nil && spec.SecurityContext.ReadOnlyRootFilesystem != nil && *spec.SecurityContext.ReadOnlyRootFilesystem
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "POD=" + p.spec.Name, "WORK=" + work, "IMAGE=" + image.Root, "MOUNTS=" + mounts,
		"IDS=" + ids, "GROUPS_=" + groups, "READONLYROOT=" + strconv.FormatBool(readOnly)}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &container{cmd: cmd, done: make(chan struct{})}
	p.runner.running.Go(func() {
		_ = cmd.Wait() // its outcome is in ProcessState
		close(c.done)
	})
	return c, nil
}

// identity is what chroot takes: uid:gid and more groups.
func (p *pod) identity(spec *corev1.Container, image Image) (ids, groups string) {
	uid, gid := image.UID, image.GID
	var more []string
	if s := p.spec.Spec.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			uid = *s.RunAsUser
		}
		if s.RunAsGroup != nil {
			gid = *s.RunAsGroup
		}
		if s.FSGroup != nil {
			more = append(more, strconv.FormatInt(*s.FSGroup, 10))
		}
	}
	if s := spec.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			uid = *s.RunAsUser
		}
		if s.RunAsGroup != nil {
			gid = *s.RunAsGroup
		}
	}
	more = append(more, strconv.FormatInt(gid, 10))
	return fmt.Sprintf("%d:%d", uid, gid), strings.Join(more, ",")
}

// first is the process id of the container's own first process as this machine sees it: the child of unshare.
func (c *container) first() (int, error) {
	for range 100 {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.cmd.Process.Pid, c.cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		if fields := strings.Fields(string(data)); len(fields) > 0 {
			return strconv.Atoi(fields[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, errors.New("the container has no process")
}

func (c *container) signal(s syscall.Signal) error {
	pid, err := c.first()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, s)
}

func (c *container) kill() { _ = c.cmd.Process.Kill() }

// exitCode is that of the first process, as a kubelet tells it; 128 and the signal when one ended it.
func (c *container) exitCode() int {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

func quoteAll(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "' ")
	}
	return b.String()
}
