package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// claimsDirectory has a file for each range of users that a worker of this host uses; the worker holds its lock while it lives.
const claimsDirectory = "/run/functions-worker"

// claim makes a range of users this worker's own: it ends whatever runs as one of them. A worker that shares some of them is
// told by the lock of its file. Where claimsDirectory cannot be had the files are in other.
func claim(a *accounts, other string) (*os.File, error) {
	if !a.separate() {
		return nil, nil
	}
	directory := claimsDirectory
	if err := os.MkdirAll(directory, 0o755); err != nil || unix.Access(directory, unix.W_OK) != nil {
		directory = other
	}
	return claimIn(directory, a)
}

const claimPrefix = "users-"

func claimIn(directory string, a *accounts) (*os.File, error) {
	own := fmt.Sprintf("%s%d-%d", claimPrefix, a.first, a.last)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, fmt.Errorf("goWorker.functionUser: the directory for the lock of a range: %w", err)
	}
	// The own lock first: of two workers that start at once, one at least sees the other's.
	f, err := os.OpenFile(filepath.Join(directory, own), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("goWorker.functionUser: the lock of the range: %w", err)
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return nil, inUse(a, own, f.Name(), err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("goWorker.functionUser: the locks of other ranges: %w", err)
	}
	for _, e := range entries {
		if e.Name() == own || !overlaps(a, e.Name()) {
			continue
		}
		path := filepath.Join(directory, e.Name())
		theirs, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err == nil {
			err = lock(theirs)
			_ = theirs.Close()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			_ = f.Close()
			return nil, inUse(a, e.Name(), path, err)
		}
	}
	return f, nil
}

func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func inUse(a *accounts, theirs, path string, err error) error {
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("goWorker.functionUser: the lock %s of a range of users: %w", path, err)
	}
	return fmt.Errorf("goWorker.functionUser: another worker of this host uses the users %s, which are among %d-%d (it holds the lock %s); name a range for each worker",
		strings.TrimPrefix(theirs, claimPrefix), a.first, a.last, path)
}

// overlaps reads the name of a lock file.
func overlaps(a *accounts, name string) bool {
	text, ok := strings.CutPrefix(name, claimPrefix)
	low, high, _ := strings.Cut(text, "-")
	first, err1 := strconv.ParseUint(low, 10, 32)
	last, err2 := strconv.ParseUint(high, 10, 32)
	return ok && errors.Join(err1, err2) == nil && first <= uint64(a.last) && last >= uint64(a.first)
}
