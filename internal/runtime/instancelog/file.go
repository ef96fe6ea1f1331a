//lint:file-ignore ST1005 one error has the text of the Java worker, which clients know

// Package instancelog writes the log files of instances, which have one place and form whatever runs the instance.
package instancelog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

const (
	// Limit is the size in bytes at which a log file is rotated, like the log of the Python instance.
	Limit  = 10 << 20
	copies = 5
)

// File appends to a file and renames it to .1 … .5 when it has grown too large. A failing disk loses lines and never
// blocks the instance. It is safe for concurrent use.
type File struct {
	path     string
	limit    int64
	openFile func(path string, flags int) (*os.File, error)

	mu      sync.Mutex
	file    *os.File
	written int64
}

// Open makes the directory and opens the file. openFile is for directories that others may write to; nil: os.OpenFile.
func Open(path string, limit int64, openFile func(path string, flags int) (*os.File, error)) (*File, error) {
	if openFile == nil {
		openFile = func(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0o644) }
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("Log folder creation error: %w", err)
	}
	f := &File{path: path, limit: limit, openFile: openFile}
	return f, f.open()
}

func (f *File) open() error {
	file, err := f.openFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("opening the log file of an instance: %w", err)
	}
	f.file, f.written = file, 0
	if info, err := file.Stat(); err == nil {
		f.written = info.Size()
	}
	return nil
}

// Write never fails.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.written+int64(len(p)) > f.limit && f.written > 0 && f.file != nil {
		f.rotate()
	}
	if f.file != nil {
		n, _ := f.file.Write(p)
		f.written += int64(n)
	}
	return len(p), nil
}

// Sync does nothing: lines are in the system's hands when Write returns.
func (f *File) Sync() error { return nil }

func (f *File) rotate() {
	f.close()
	for i := copies - 1; i >= 1; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", f.path, i), fmt.Sprintf("%s.%d", f.path, i+1))
	}
	_ = os.Rename(f.path, f.path+".1")
	_ = f.open()
}

// Close closes the file; what is written later is lost.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.close()
}

func (f *File) close() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}

// Ring keeps the last bytes written to it. It is safe for concurrent use.
type Ring struct {
	mu   sync.Mutex
	buf  []byte
	size int
}

// NewRing keeps size bytes.
func NewRing(size int) *Ring { return &Ring{size: size} }

func (r *Ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, p...)
	if over := len(r.buf) - r.size; over > 0 {
		r.buf = append(r.buf[:0], r.buf[over:]...)
	}
	return len(p), nil
}

// Sync does nothing.
func (r *Ring) Sync() error { return nil }

func (r *Ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.buf)
}
