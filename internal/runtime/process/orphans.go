package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	// markerVariable names the worker and the instance in the environment of every child and of what it spawns.
	markerVariable = "FUNCTIONS_WORKER_INSTANCE"
	// ownerVariable names the worker process: pid-starttime, and the run: the function id.
	ownerVariable = "FUNCTIONS_WORKER_RUN"
)

// marker is what the environment of a process says about where it belongs.
type marker struct {
	worker, instance string
	owner, run       string // owner is "<pid>-<start time>" of the worker process
}

func (m marker) environ() []string {
	return []string{markerVariable + "=" + m.worker + "/" + m.instance, ownerVariable + "=" + m.owner + "/" + m.run}
}

// ownerAlive says whether the worker process that launched the marked one still runs.
func (m marker) ownerAlive() bool {
	pid, _, _ := strings.Cut(m.owner, "-")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return true // not ours to judge
	}
	return processIdentity(n) == m.owner
}

// processIdentity is "<pid>-<start time>", which no later process can have, or "" when there is no such process.
func processIdentity(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	end := bytes.LastIndexByte(stat, ')') // the command name may hold anything
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return strconv.Itoa(pid) + "-" + fields[19]
}

// sweep kills every marked process of this user or of functions, and of this process namespace, that matches, except this process, and
// tells how many. A function can take its marker off: what runs as a user that only functions have is found without (accounts). It repeats until it finds none, because a process may fork while it looks. Without /proc it does nothing.
func sweep(users *accounts, match func(marker) bool) int {
	killed := 0
	for range 5 {
		n := sweepOnce(users, match)
		if killed += n; n == 0 {
			break
		}
	}
	return killed
}

func sweepOnce(users *accounts, match func(marker) bool) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	killed := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if m, ok := markerOf(pid, namespace, users); !ok || !match(m) {
			continue
		}
		p, err := os.FindProcess(pid) // holds the process, so that its number cannot pass to another
		if err != nil {
			continue
		}
		if m, ok := markerOf(pid, namespace, users); ok && match(m) && p.Signal(syscall.SIGKILL) == nil {
			killed++
		}
		_ = p.Release()
	}
	return killed
}

// markerOf reads the marker of a process that this user or one of the functions' owns.
func markerOf(pid int, namespace string, users *accounts) (marker, bool) {
	dir := fmt.Sprintf("/proc/%d", pid)
	info, err := os.Stat(dir)
	if err != nil {
		return marker{}, false
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Uid) != os.Geteuid() && !users.has(s.Uid) {
		return marker{}, false
	}
	if ns, err := os.Readlink(dir + "/ns/pid"); err != nil || ns != namespace {
		return marker{}, false
	}
	env, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return marker{}, false
	}
	var m marker
	for _, v := range bytes.Split(env, []byte{0}) {
		if s, ok := strings.CutPrefix(string(v), markerVariable+"="); ok {
			m.worker, m.instance, _ = strings.Cut(s, "/")
		}
		if s, ok := strings.CutPrefix(string(v), ownerVariable+"="); ok {
			m.owner, m.run, _ = strings.Cut(s, "/")
		}
	}
	return m, m.instance != "" && m.owner != ""
}
