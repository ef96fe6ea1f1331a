package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// endTime is how long the processes of a user may take to end after SIGKILL: only those that wait for a device take longer.
	endTime = 2 * time.Second
	// endFlag makes this program end all processes of the user that it runs as.
	endFlag = "-end-processes-of"
)

// endProcesses ends everything that runs as one of the users, whatever session, parent or environment it has, and tells what is
// left, process id → user. A look at the processes may miss those that fork faster: for one user they are ended in one step as well.
func endProcesses(first, last uint32) map[int]uint32 {
	deadline := time.Now().Add(endTime)
	pause := time.Millisecond
	quiet := 0 // looks in a row that found nothing
	for round := 0; ; round++ {
		atOnce := first == last && endAtOnce(first, deadline) == nil
		left := processesOf(first, last)
		if len(left) == 0 {
			if quiet++; atOnce || quiet > 1 {
				return nil
			}
		} else {
			quiet = 0
		}
		if round > 0 && time.Now().After(deadline) {
			return left
		}
		users := map[uint32]bool{}
		for pid, uid := range left {
			users[uid] = true
			kill(pid, first, last)
		}
		if first != last {
			for uid := range users {
				_ = endAtOnce(uid, deadline)
			}
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

func kill(pid int, first, last uint32) {
	p, err := os.FindProcess(pid) // holds the process, so that its number cannot pass to another
	if err != nil {
		return
	}
	if _, ok := userOf(pid, first, last); ok {
		_ = p.Signal(syscall.SIGKILL)
	}
	_ = p.Release()
}

// processesOf finds what runs as one of the users. /proc decides: nothing that a function may change does.
func processesOf(first, last uint32) map[int]uint32 {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	found := map[int]uint32{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if uid, ok := userOf(pid, first, last); ok {
			found[pid] = uid
		}
	}
	return found
}

// userOf gives the user first…last that a living process has as any of its four user ids.
func userOf(pid int, first, last uint32) (uint32, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	var found uint32
	var ok, zombie bool
	threads := 0
	for line := range bytes.SplitSeq(status, []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(value)
		switch string(name) {
		case "State":
			zombie = len(fields) > 0 && (fields[0][0] == 'Z' || fields[0][0] == 'X')
		case "Threads":
			threads, _ = strconv.Atoi(string(bytes.Join(fields, nil)))
		case "Uid":
			i := slices.IndexFunc(fields, func(f []byte) bool {
				uid, err := strconv.ParseUint(string(f), 10, 32)
				found = uint32(uid)
				return err == nil && found >= first && found <= last
			})
			ok = i >= 0
		}
	}
	return found, ok && (!zombie || threads > 1) // a process whose first thread has ended is a zombie, and runs on
}

// endAtOnce ends all processes of a user in one step, which no fork can get past: only a process of that user can do that.
func endAtOnce(uid uint32, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, endFlag, strconv.FormatUint(uint64(uid), 10))
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Setpgid: true}
	return cmd.Run()
}

// endOwnUser is what endAtOnce starts. It makes sure that it may reach this user's processes and no others.
func endOwnUser(text string) error {
	runtime.LockOSThread()
	uid, err := strconv.ParseUint(text, 10, 31)
	if err != nil || uid == 0 {
		return fmt.Errorf("%q is no user whose processes may be ended", text)
	}
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if r, e, s := unix.Getresuid(); r != int(uid) || e != int(uid) || s != int(uid) {
		return fmt.Errorf("this process runs as user %d (%d, %d), not as %d", r, e, s, uid)
	}
	if err := unix.Kill(-1, syscall.SIGKILL); !errors.Is(err, unix.ESRCH) { // there may be none
		return err
	}
	return nil
}
