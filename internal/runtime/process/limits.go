package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limitsFlag makes this worker's program limit itself and then become another program. Limits have to be there before the
// function's first instruction, and another user's process cannot be limited from outside without CAP_SYS_RESOURCE.
const limitsFlag = "-exec-with-limits"

// confined begins the limits of a process that may never get more rights.
const confined = "confined,"

// self is this worker's program. The kernel finds it without going through directories, which may be closed to the other user.
const self = "/proc/self/exe"

// limit makes cmd start through this program where there is something to limit. Core files, which hold what the process knew,
// are off then as well.
func (i Isolation) limit(cmd *exec.Cmd) error {
	limits := i.limits()
	if len(limits) == 0 && i.User == "" {
		return nil
	}
	if cmd.Err != nil {
		return launchError(cmd.Args[0], cmd.Err)
	}
	if _, err := exec.LookPath(cmd.Path); err != nil {
		return launchError(cmd.Args[0], err)
	}
	words := []string{strconv.Itoa(unix.RLIMIT_CORE) + "=0"}
	for _, l := range limits {
		words = append(words, fmt.Sprintf("%d=%d", l.resource, l.value))
	}
	text := strings.Join(words, ",")
	if i.User != "" {
		text = confined + text
	}
	cmd.Args = append([]string{self, limitsFlag, text, cmd.Path}, cmd.Args...)
	cmd.Path = self
	return nil
}

// ExecWithLimits is for the beginning of main: it returns at once unless this process is to become a limited one, or to end those
// of its user, and then never.
func ExecWithLimits() {
	if len(os.Args) == 3 && os.Args[1] == endFlag {
		if err := endOwnUser(os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "Error: cannot end the processes of user %s: %v\n", os.Args[2], err)
			os.Exit(126)
		}
		os.Exit(0)
	}
	if len(os.Args) < 5 || os.Args[1] != limitsFlag {
		return
	}
	err := become(os.Args[2], os.Args[3], os.Args[4:], os.Environ())
	fmt.Fprintf(os.Stderr, "Error: cannot run %s with limits: %v\n", os.Args[3], err)
	os.Exit(126)
}

// become limits this process and makes it the program. Between the limit of its memory and the new program it must not allocate:
// a Go program reserves more addresses than a function may have, and the runtime ends a process that gets no memory. So
// everything is made ready before, no collection starts, and the calls go to the kernel directly. The soft limit of open files
// stays where Go's start has raised it.
func become(limits, path string, args, env []string) error {
	runtime.LockOSThread() // rights are a thread's until it executes
	limits, isConfined := strings.CutPrefix(limits, confined)
	parsed, err := parseLimits(limits)
	if err != nil {
		return err
	}
	program, err := unix.BytePtrFromString(path)
	if err != nil {
		return fmt.Errorf("the program's path: %w", err)
	}
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return fmt.Errorf("the arguments: %w", err)
	}
	envv, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return fmt.Errorf("the environment: %w", err)
	}
	if isConfined {
		if err := confine(); err != nil {
			return err
		}
	}
	debug.SetGCPercent(-1)
	runtime.GC() // ends one that runs
	var errno syscall.Errno
	for i := range parsed {
		l := &parsed[i]
		_, _, errno = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(l.resource), uintptr(unsafe.Pointer(&l.limit)), 0, 0, 0)
		if errno != 0 {
			return fmt.Errorf("the limit %d=%d: %w", l.resource, l.limit.Max, errno)
		}
	}
	_, _, errno = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(program)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	return errno
}

type parsedLimit struct {
	resource int
	limit    unix.Rlimit
}

// parseLimits reads what limit wrote, "resource=value,…".
func parseLimits(text string) ([]parsedLimit, error) {
	var limits []parsedLimit
	for word := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(word, "=")
		resource, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("the limit %q: %w", word, err)
		}
		value, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the limit %q: %w", word, err)
		}
		limits = append(limits, parsedLimit{resource, unix.Rlimit{Cur: value, Max: value}})
	}
	return limits, nil
}

// keepDescriptors makes the descriptors that this process itself was started with end here: what it opens is marked anyway.
func keepDescriptors() {
	if unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
