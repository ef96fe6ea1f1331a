//lint:file-ignore ST1005 some errors have the text of the Java worker, which clients know

package process

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

const (
	tailBytes    = 16 << 10 // kept of the output of a run
	tailLines    = 20       // shown in the status
	shownBytes   = 4 << 10
	rotateBytes  = 10 << 20 // like the log of the Python instance
	rotateCopies = 5
)

// ring keeps the last bytes written to it.
type ring struct {
	mu   sync.Mutex
	buf  []byte
	size int
}

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, p...)
	if over := len(r.buf) - r.size; over > 0 {
		r.buf = append(r.buf[:0], r.buf[over:]...)
	}
	return len(p), nil
}

func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.buf)
}

// rotatingFile appends to a file and renames it to .1 … .5 when it has grown too large. A failing disk loses lines and
// never blocks the instance.
type rotatingFile struct {
	path    string
	limit   int64
	file    *os.File
	written int64
}

func openRotating(path string, limit int64) (*rotatingFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("Log folder creation error: %w", err)
	}
	f := &rotatingFile{path: path, limit: limit}
	return f, f.open()
}

func (f *rotatingFile) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log file of an instance: %w", err)
	}
	f.file, f.written = file, 0
	if info, err := file.Stat(); err == nil {
		f.written = info.Size()
	}
	return nil
}

func (f *rotatingFile) Write(p []byte) (int, error) {
	if f.written+int64(len(p)) > f.limit && f.written > 0 {
		f.rotate()
	}
	if f.file != nil {
		n, _ := f.file.Write(p)
		f.written += int64(n)
	}
	return len(p), nil
}

func (f *rotatingFile) rotate() {
	f.Close()
	for i := rotateCopies - 1; i >= 1; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", f.path, i), fmt.Sprintf("%s.%d", f.path, i+1))
	}
	_ = os.Rename(f.path, f.path+".1")
	_ = f.open()
}

func (f *rotatingFile) Close() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}

// fileSize is the size of a file, 0 when there is none.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if path == "" || err != nil {
		return 0
	}
	return info.Size()
}

// readEnd gives the last bytes of what was written to a file beyond the offset from; a smaller file was rotated.
func readEnd(path string, from, limit int64) string {
	f, err := os.Open(path)
	if path == "" || err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	if info.Size() < from {
		from = 0
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(from, info.Size()-limit), limit))
	if err != nil {
		return ""
	}
	return string(b)
}

var (
	// exceptionLine is how Java, Python and Go begin or end the report of a fatal error.
	exceptionLine = regexp.MustCompile(`^(?:Caused by: |Exception in thread "[^"]*" )?((?:[A-Za-z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Exit|Interrupt)(?::.*)?)$|^((?:panic|fatal error|Error): .+)$`)
	timestamped   = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]`)
)

// javaFatal precedes, in the log of a Java instance, the exception that ended the function.
const javaFatal = "Uncaught exception in Java Instance"

// cause finds in the output of a run the one line that tells why it ended, "" when there is none.
func cause(text string) string {
	fatal := strings.LastIndex(text, javaFatal)
	if fatal >= 0 {
		text = text[fatal:]
	}
	found := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if fatal >= 0 && i > 0 && timestamped.MatchString(line) {
			break // what follows is about closing down
		}
		if m := exceptionLine.FindStringSubmatch(line); m != nil {
			found = m[1] + m[2]
		}
	}
	if len(found) > 500 {
		found = found[:500] + "…"
	}
	return strings.ToValidUTF8(found, "\uFFFD")
}

var stackFrame = regexp.MustCompile(`^\s+(at |\.\.\. \d+ (more|common frames))`)

// lastLines shortens output for people: the frames of Java stack traces go, and of the rest the last lines stay.
func lastLines(text string) string {
	var kept []string
	for _, line := range strings.Split(strings.ToValidUTF8(text, "\uFFFD"), "\n") {
		line = strings.TrimRight(strings.ReplaceAll(line, "\x00", ""), " \t\r")
		if line != "" && !stackFrame.MatchString(line) {
			if len(line) > 500 {
				line = strings.ToValidUTF8(line[:500], "") + "…"
			}
			kept = append(kept, line)
		}
	}
	if len(kept) > tailLines {
		kept = kept[len(kept)-tailLines:]
	}
	size := 0
	for i := len(kept) - 1; i >= 0; i-- {
		if size += len(kept[i]) + 1; size > shownBytes {
			kept = kept[i+1:]
			break
		}
	}
	return strings.Join(kept, "\n")
}
