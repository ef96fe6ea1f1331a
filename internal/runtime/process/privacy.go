package process

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A function's logs are in <logs>/functions/<tenant>/<namespace>/<name>, its packages in <downloads>/<tenant>/<namespace>/<name>/<instance>:
// with a user for each function, these two directories are closed to all but the worker and that user.
const (
	logDepth     = 3
	packageDepth = 4
)

// closeDirectories takes all directories of functions from whatever users an earlier life of the worker gave them to.
func (o Options) closeDirectories() error {
	if err := closeBelow(o.functionsLogDirectory(), logDepth, anyName); err != nil {
		return fmt.Errorf("goWorker.functionUser: closing the logs of functions: %w", err)
	}
	if o.Isolation.PackageDirectory == "" {
		return nil
	}
	if err := closeBelow(o.Isolation.PackageDirectory, packageDepth, isInstance); err != nil {
		return fmt.Errorf("goWorker.functionUser: closing the packages of functions: %w", err)
	}
	return nil
}

// closeFunction takes the directories of one function from its user.
func (o Options) closeFunction(function string) error {
	home := o.Isolation.homePath(function)
	if err := os.RemoveAll(home); err != nil {
		return fmt.Errorf("removing the directory %s of a function: %w", home, err)
	}
	if err := closeBelow(filepath.Join(o.functionsLogDirectory(), function), 0, anyName); err != nil {
		return fmt.Errorf("closing the logs of a function: %w", err)
	}
	if o.Isolation.PackageDirectory == "" {
		return nil
	}
	if err := closeBelow(filepath.Join(o.Isolation.PackageDirectory, function), 1, isInstance); err != nil {
		return fmt.Errorf("closing the packages of a function: %w", err)
	}
	return nil
}

func anyName(string) bool { return true }

// isInstance tells the directory of an instance from others: the directory for downloads may be the Pulsar home.
func isInstance(name string) bool {
	n, err := strconv.Atoi(name)
	return err == nil && n >= 0
}

// closeBelow makes the directories at a depth the worker's alone, where last knows their name. Those above are the worker's: no
// function can move them.
func closeBelow(directory string, depth int, last func(name string) bool) error {
	if depth == 0 {
		return own(directory, account{uint32(os.Geteuid()), uint32(os.Getegid())}, 0o700)
	}
	entries, err := os.ReadDir(directory)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && (depth > 1 || last(e.Name())) {
			if err := closeBelow(filepath.Join(directory, e.Name()), depth-1, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// own gives a directory to a user and a group. One that is not there needs nothing.
func own(directory string, owner account, mode fs.FileMode) error {
	f, err := os.OpenFile(directory, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(mode &^ 0o077); err != nil { // closed to the old group before it is open to the new one
		return err
	}
	if err := f.Chown(int(owner.uid), int(owner.gid)); err != nil {
		return err
	}
	return f.Chmod(mode)
}

// givePackages lets a function read what was downloaded for it. What is used in place has the modes that the operator gave it.
func (i Isolation) givePackages(owner account, files ...string) error {
	for _, file := range files {
		inside, err := filepath.Rel(i.PackageDirectory, file)
		if i.PackageDirectory == "" || file == "" || err != nil || !filepath.IsLocal(inside) {
			continue
		}
		parts := strings.Split(inside, string(filepath.Separator))
		if len(parts) <= packageDepth {
			continue
		}
		directory := filepath.Join(append([]string{i.PackageDirectory}, parts[:packageDepth]...)...)
		if err := own(directory, account{uint32(os.Geteuid()), owner.gid}, 0o750); err != nil {
			return fmt.Errorf("giving the package %s to the function's user: %w", file, err)
		}
	}
	return nil
}

// confine keeps this process and what becomes of it from getting more rights by programs: set-user-ID bits and capabilities of
// files have no effect, and what the worker has besides is not inherited. It is for one thread, the one that executes.
func confine() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up inherited capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	return nil
}
