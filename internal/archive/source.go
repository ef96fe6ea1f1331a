package archive

import (
	"fmt"
	"io"
)

// source is random access to the bytes of a zip: a file, a stored entry of one, or a compressed entry that is
// inflated again for each range.
type source interface {
	Size() int64
	// Range gives n bytes from off; the reader ends early when the source does.
	Range(off, n int64) (io.Reader, error)
}

type fileSource struct {
	r    io.ReaderAt
	size int64
}

func (s fileSource) Size() int64 { return s.size }

func (s fileSource) Range(off, n int64) (io.Reader, error) {
	return io.NewSectionReader(s.r, off, n), nil
}

// storedSource is an uncompressed entry inside another source.
type storedSource struct {
	parent    source
	off, size int64
}

func (s storedSource) Size() int64 { return s.size }

func (s storedSource) Range(off, n int64) (io.Reader, error) {
	if off < 0 || off > s.size {
		return nil, io.ErrUnexpectedEOF
	}
	return s.parent.Range(s.off+off, min(n, s.size-off))
}

// inflatedSource is a compressed entry. A range costs inflating everything before it, which for the few classes
// that validation asks for is cheaper than a temporary file and needs no room.
type inflatedSource struct {
	open    func() (io.Reader, error)
	size    int64
	tail    []byte // the last bytes, only while the central directory is read
	tailOff int64
}

func (s *inflatedSource) Size() int64 { return s.size }

func (s *inflatedSource) Range(off, n int64) (io.Reader, error) {
	if off < 0 || off > s.size {
		return nil, io.ErrUnexpectedEOF
	}
	n = min(n, s.size-off)
	if s.tail != nil && off >= s.tailOff {
		return io.NewSectionReader(bytesAt(s.tail), off-s.tailOff, n), nil
	}
	r, err := s.open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		return nil, fmt.Errorf("inflate up to byte %d: %w", off, err)
	}
	return io.LimitReader(r, n), nil
}

// keepTail inflates the entry once and keeps its end, where a zip has its directory.
func (s *inflatedSource) keepTail() error {
	off := max(0, s.size-indexTailSize)
	r, err := s.Range(off, s.size-off)
	if err != nil {
		return err
	}
	tail := make([]byte, s.size-off)
	if _, err := io.ReadFull(r, tail); err != nil {
		return fmt.Errorf("inflate the last %d bytes: %w", len(tail), err)
	}
	s.tail, s.tailOff = tail, off
	return nil
}

func (s *inflatedSource) dropTail() { s.tail = nil }

type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
