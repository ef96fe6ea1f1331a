package packages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// FileStore keeps packages in a directory; for a cluster it must be one that all workers share. Each package is one
// file, named after a hash of the key: the bytes, then their description as JSON, its length and a mark.
type FileStore struct{ dir string }

const (
	fileMark   = "PFWPKG1\n"
	tailLength = 4 + len(fileMark)
	tempSuffix = ".tmp"
	// staleTemp is the age at which a temporary file surely belongs to a dead upload.
	staleTemp = 24 * time.Hour
)

// NewFileStore makes a store in dir, which is created if missing; old remains of broken uploads are removed.
func NewFileStore(dir string) (*FileStore, error) {
	abs, err := filepath.Abs(dir)
	if err != nil || dir == "" {
		return nil, fmt.Errorf("package directory %q is not valid", dir)
	}
	if err := os.MkdirAll(abs, 0o750); err != nil {
		return nil, fmt.Errorf("creating the package directory: %w", err)
	}
	temps, _ := filepath.Glob(filepath.Join(abs, "*"+tempSuffix)) // the pattern is well formed
	for _, temp := range temps {
		if st, err := os.Stat(temp); err == nil && time.Since(st.ModTime()) > staleTemp {
			_ = os.Remove(temp) // another worker may have been faster
		}
	}
	return &FileStore{dir: abs}, nil
}

// NewKey implements Store.
func (s *FileStore) NewKey(_ Kind, tenant, namespace, name, fileName string) string {
	return pathKey(tenant, namespace, name, fileName)
}

func (s *FileStore) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:])+".pkg")
}

// Put implements Store: a temporary file, forced to disk, then renamed.
func (s *FileStore) Put(ctx context.Context, key string, body io.Reader, info Info) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if info.Created.IsZero() {
		info.Created = time.Now().UTC().Truncate(time.Millisecond)
	}
	temp := filepath.Join(s.dir, uuid.NewString()+tempSuffix)
	err := writeFile(temp, 0o640, func(f *os.File) error { return writePackageFile(ctx, f, key, body, info) })
	if err == nil {
		err = os.Rename(temp, s.file(key))
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	return nil
}

func writePackageFile(ctx context.Context, f *os.File, key string, body io.Reader, info Info) error {
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, sum), contextReader{ctx, body})
	if err != nil {
		return err
	}
	info.Size = size
	text, err := json.Marshal(notes{Key: key, Info: info, SHA256: hex.EncodeToString(sum.Sum(nil))})
	if err != nil {
		return err
	}
	if len(text) > maxNotes {
		return errors.New("description and properties are too long")
	}
	text = binary.BigEndian.AppendUint32(text, uint32(len(text)))
	_, err = f.Write(append(text, fileMark...))
	return err
}

// Get implements Store.
func (s *FileStore) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	f, n, err := s.open(key)
	if err != nil {
		return nil, Info{}, fmt.Errorf("opening package %s: %w", key, err)
	}
	return &fileBody{Reader: contextReader{ctx, io.LimitReader(f, n.Info.Size)}, file: f, key: key, sum: sha256.New(), want: n.SHA256}, n.Info, nil
}

// open opens a package file, positioned at its beginning.
func (s *FileStore) open(key string) (*os.File, notes, error) {
	if err := checkKey(key); err != nil {
		return nil, notes{}, err
	}
	f, err := os.Open(s.file(key))
	if errors.Is(err, os.ErrNotExist) {
		return nil, notes{}, ErrNotFound
	}
	if err != nil {
		return nil, notes{}, err
	}
	n, err := readTail(f)
	if err == nil && n.Key != key {
		err = fmt.Errorf("%w: its file belongs to package %.100q", ErrCorrupt, n.Key)
	}
	if err != nil {
		f.Close()
		return nil, notes{}, err
	}
	return f, n, nil
}

func readTail(f *os.File) (notes, error) {
	st, err := f.Stat()
	if err != nil {
		return notes{}, err
	}
	damaged := fmt.Errorf("%w: its file is cut off", ErrCorrupt)
	end := st.Size() - int64(tailLength)
	if end < 0 {
		return notes{}, damaged
	}
	tail := make([]byte, tailLength)
	if _, err := f.ReadAt(tail, end); err != nil {
		return notes{}, err
	}
	length := int64(binary.BigEndian.Uint32(tail))
	if !bytes.Equal(tail[4:], []byte(fileMark)) || length > maxNotes || length > end {
		return notes{}, damaged
	}
	text := make([]byte, length)
	if _, err := f.ReadAt(text, end-length); err != nil {
		return notes{}, err
	}
	var n notes
	if json.Unmarshal(text, &n) != nil || n.Info.Size != end-length {
		return notes{}, damaged
	}
	return n, nil
}

// fileBody checks the checksum at the end.
type fileBody struct {
	io.Reader
	file *os.File
	key  string
	sum  hash.Hash
	want string
}

func (b *fileBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(b.sum.Sum(nil)) != b.want {
		return n, fmt.Errorf("reading package %s: %w: its checksum is wrong", b.key, ErrCorrupt)
	}
	return n, err
}

func (b *fileBody) Close() error { return b.file.Close() }

// Delete implements Store.
func (s *FileStore) Delete(_ context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := os.Remove(s.file(key)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("deleting package %s: %w", key, err)
	}
	return nil
}

// Stat implements Store.
func (s *FileStore) Stat(_ context.Context, key string) (Info, error) {
	f, n, err := s.open(key)
	if err != nil {
		return Info{}, fmt.Errorf("looking for package %s: %w", key, err)
	}
	return n.Info, f.Close()
}

// writeFile creates a file, fills it, and forces it to disk.
func writeFile(path string, mode os.FileMode, write func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir forces a rename to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil // some network file systems cannot
	}
	return errors.Join(err, d.Close())
}

// contextReader ends with its context.
type contextReader struct {
	ctx  context.Context
	next io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.next.Read(p)
}
