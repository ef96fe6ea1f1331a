package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Isolation keeps functions apart from the worker and from each other, as far as users and limits of the system can. The zero
// value changes nothing.
type Isolation struct {
	// User runs the instances: a name, a numeric id, or a range first-last of ids, of which every function gets its own. The
	// group of a name is its primary group; an id is its own group.
	User string
	// WorkDirectory holds a private directory of each function (HOME, TMPDIR, unpacked archives); needed with User.
	WorkDirectory string
	// PackageDirectory is where packages of instances are downloaded to: each function's are closed to the others' users. "" leaves
	// packages as they are.
	PackageDirectory string
	// MaxMemory bounds the writable private memory of each process, in bytes (RLIMIT_DATA).
	MaxMemory uint64
	// MaxProcesses bounds processes and threads of one function's user (RLIMIT_NPROC); needs User.
	MaxProcesses uint64
	// MaxOpenFiles bounds the descriptors of each process (RLIMIT_NOFILE).
	MaxOpenFiles uint64
}

const rightsRemedy = "run the worker as root (or with CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_KILL and CAP_DAC_OVERRIDE), or remove the key"

// check finds out at start whether the system lets this worker do what is asked for.
func (i Isolation) check(a *accounts) error {
	if i.MaxProcesses > 0 && a == nil {
		return errors.New("goWorker.functionMaxProcesses counts the processes of a user, the worker's own too: it needs goWorker.functionUser")
	}
	for _, limit := range i.limits() {
		var now unix.Rlimit
		if err := unix.Getrlimit(limit.resource, &now); err != nil {
			return fmt.Errorf("%s: reading the limit of this process: %w", limit.key, err)
		}
		if limit.value > now.Max && os.Geteuid() != 0 {
			return fmt.Errorf("%s: %d is above the hard limit of this process, %d, and only root may raise it; lower the key, or raise the limit of the worker (ulimit -H, LimitNOFILE= and the like)", limit.key, limit.value, now.Max)
		}
	}
	if a == nil {
		return nil
	}
	if i.WorkDirectory == "" {
		return errors.New("goWorker.functionUser: no working directory for functions is given")
	}
	probe := exec.Command("true")
	if err := i.limit(probe); err != nil {
		return err
	}
	probe.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.first, Gid: max(a.gid, 1)}}
	if err := probe.Run(); err != nil && !errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("goWorker.functionUser: this worker cannot run a program as user %d: %w; %s", a.first, err, rightsRemedy)
	}
	return nil
}

// prepare makes the directory of the private ones, once nothing of an earlier life runs any more.
func (i Isolation) prepare(a *accounts) error {
	if a == nil {
		return nil
	}
	err := os.RemoveAll(i.WorkDirectory) // of an earlier life, when users belonged to other functions
	if err == nil {
		err = os.MkdirAll(filepath.Dir(i.WorkDirectory), 0o755)
	}
	if err == nil {
		err = os.Mkdir(i.WorkDirectory, 0o711) // fails if somebody else was faster
	}
	if err != nil {
		return fmt.Errorf("goWorker.functionUser: making the directory for functions: %w", err)
	}
	f, err := os.CreateTemp(i.WorkDirectory, "probe-")
	if err != nil {
		return fmt.Errorf("goWorker.functionUser: the directory for functions: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chown(int(a.first), int(max(a.gid, 1))); err != nil {
		return fmt.Errorf("goWorker.functionUser: this worker cannot give files to user %d: %w; %s", a.first, err, rightsRemedy)
	}
	return nil
}

type limit struct {
	key      string
	resource int
	value    uint64
}

func (i Isolation) limits() []limit {
	var all []limit
	for _, l := range []limit{
		{"goWorker.functionMaxMemory", unix.RLIMIT_DATA, i.MaxMemory},
		{"goWorker.functionMaxProcesses", unix.RLIMIT_NPROC, i.MaxProcesses},
		{"goWorker.functionMaxOpenFiles", unix.RLIMIT_NOFILE, i.MaxOpenFiles},
	} {
		if l.value > 0 {
			all = append(all, l)
		}
	}
	return all
}

func (i Isolation) homePath(function string) string {
	sum := sha256.Sum256([]byte(function))
	return filepath.Join(i.WorkDirectory, hex.EncodeToString(sum[:16]))
}

// home makes the private directory of a function.
func (i Isolation) home(function string, owner account) (string, error) {
	directory := i.homePath(function)
	err := os.Mkdir(directory, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("making the directory of a function: %w", err)
	}
	if err := give(directory, owner, 0); err != nil { // the directory above is the worker's: nobody else can have put it there
		return "", fmt.Errorf("making the directory of a function: %w", err)
	}
	return directory, nil
}

// give makes one file or directory another user's, with a mode if that is not 0. Symbolic links and files with other names are refused: the name may
// have been put there by a function to get hold of a file of the worker.
func give(path string, owner account, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := plainFile(f, true); err != nil {
		return err
	}
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	return f.Chown(int(owner.uid), int(owner.gid))
}

// giveLogs lets a function write the logs in its directory, also those of an earlier life under another user. closed keeps
// everybody else out.
func giveLogs(directory string, owner account, closed bool) error {
	var fileMode, directoryMode fs.FileMode
	if closed {
		fileMode, directoryMode = closedLogMode, 0o700
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("the directory for the logs of an instance: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			_ = give(filepath.Join(directory, e.Name()), owner, fileMode) // one that was tampered with stays the worker's
		}
	}
	if err := give(directory, owner, directoryMode); err != nil {
		return fmt.Errorf("giving the directory for its logs to an instance: %w", err)
	}
	return nil
}

// plainFile refuses what is no regular file with one name (or a directory, where allowed).
func plainFile(f *os.File, directory bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR && directory:
		return nil
	case kind != unix.S_IFREG:
		return fmt.Errorf("%s is not a regular file", f.Name())
	case st.Nlink > 1:
		return fmt.Errorf("%s has another name as well", f.Name())
	}
	return nil
}

// Modes of logs: as with Java workers, and where every function has a user.
const (
	openLogMode   = 0o644
	closedLogMode = 0o640
)

// openPlain opens a log in a directory that a function may write to: whatever it put there, no other file is touched.
func openPlain(path string, flags int) (*os.File, error) { return openLog(path, flags, openLogMode) }

// openClosed is openPlain for logs that other users must not read.
func openClosed(path string, flags int) (*os.File, error) { return openLog(path, flags, closedLogMode) }

func openLog(path string, flags int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	if err := plainFile(f, false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
