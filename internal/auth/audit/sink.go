package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// OpenSink opens what goWorker.auditLog names: stdout, stderr, or a file that is made with mode 0600 and appended to.
func OpenSink(name string) (Sink, error) {
	switch name {
	case "stdout":
		return &stream{w: os.Stdout}, nil
	case "stderr":
		return &stream{w: os.Stderr}, nil
	}
	f := &file{path: name, now: time.Now}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

type stream struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *stream) Write(line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(line)
	return err
}

func (s *stream) Close() error { return nil }

// file follows its name: after a rotation that moves or removes it the next line begins a new file.
type file struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	f      *os.File
	looked time.Time
	closed bool
}

// lookEvery bounds how long lines still go to a file that was moved away.
const lookEvery = time.Second

var errClosed = errors.New("the audit log is closed")

func (s *file) open() error {
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	s.f, s.looked = f, s.now()
	return nil
}

func (s *file) Write(line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.f != nil && s.now().Sub(s.looked) >= lookEvery && !s.same() {
		_ = s.f.Close()
		s.f = nil
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	if _, err := s.f.Write(line); err != nil { // one write, so that lines of several workers do not mix
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

// same tells whether the name still means the open file.
func (s *file) same() bool {
	s.looked = s.now()
	named, err := os.Stat(s.path)
	if err != nil {
		return false
	}
	open, err := s.f.Stat()
	return err == nil && os.SameFile(named, open)
}

func (s *file) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
