package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/functions-worker/functions-worker/internal/broker"
)

// PackageService is the part of the broker's admin API that the broker store needs.
type PackageService interface {
	UploadPackage(ctx context.Context, name broker.PackageName, meta broker.PackageMetadata, fileName string, body io.Reader) error
	DownloadPackage(ctx context.Context, name broker.PackageName) (io.ReadCloser, error)
	DeletePackage(ctx context.Context, name broker.PackageName) error
	PackageMetadata(ctx context.Context, name broker.PackageName) (broker.PackageMetadata, error)
}

// BrokerStore keeps packages in the broker's packages service, where Java workers find them too
// (coordination contract, section 9.4). Its keys are package names, type://tenant/namespace/name@version.
type BrokerStore struct{ service PackageService }

// NewBrokerStore makes a store on the packages service, which must be enabled on the broker.
func NewBrokerStore(service PackageService) *BrokerStore { return &BrokerStore{service: service} }

// parseName reads a key. Keys of other forms (a Java worker's path in BookKeeper) cannot be in this store.
func parseName(key string) (broker.PackageName, error) {
	name, err := broker.ParsePackageName(key)
	if err != nil {
		return name, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return name, nil
}

const (
	propertyFileName = "fileName"
	propertySize     = "size"
)

// NewKey implements Store. Java counts versions with the metadata's version, which begins again at 0 when a function is
// created anew and then meets the old package; a version of its own for each upload meets nothing.
func (s *BrokerStore) NewKey(kind Kind, tenant, namespace, name, _ string) string {
	if kind == AnyKind {
		kind = Function
	}
	return broker.PackageName{Type: string(kind), Tenant: tenant, Namespace: namespace, Name: name, Version: uuid.NewString()}.String()
}

// Put implements Store. An existing version is deleted first, since the service replaces nothing.
func (s *BrokerStore) Put(ctx context.Context, key string, body io.Reader, info Info) error {
	name, err := parseName(key)
	if err != nil {
		return err
	}
	if info.Created.IsZero() {
		info.Created = time.Now()
	}
	meta := broker.PackageMetadata{Description: info.Description, CreateTime: info.Created.UnixMilli(), Properties: map[string]string{}}
	for k, v := range info.Properties {
		meta.Properties[k] = v
	}
	if info.FileName != "" {
		meta.Properties[propertyFileName] = info.FileName
	}
	if info.Size > 0 {
		meta.Properties[propertySize] = strconv.FormatInt(info.Size, 10)
	}
	if err := s.makeRoom(ctx, key); err != nil {
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	guarded := &failureReader{next: body}
	if err := s.service.UploadPackage(ctx, name, meta, info.FileName, guarded); err != nil {
		s.discard(ctx, name)
		if guarded.err != nil {
			return fmt.Errorf("storing package %s: reading the upload: %w", key, guarded.err)
		}
		return fmt.Errorf("storing package %s: %w", key, err)
	}
	return nil
}

// makeRoom deletes an existing version. It looks first: the service still works on a delete after it answered, and would
// take parts of the new package away.
func (s *BrokerStore) makeRoom(ctx context.Context, key string) error {
	_, err := s.Stat(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Delete(ctx, key)
}

// discard removes what a failed upload may have left, as well as it can.
func (s *BrokerStore) discard(ctx context.Context, name broker.PackageName) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	_ = s.service.DeletePackage(ctx, name) // the key was never handed out: nothing refers to what may remain
}

// failureReader remembers why its reader failed.
type failureReader struct {
	next io.Reader
	err  error
}

func (r *failureReader) Read(p []byte) (int, error) {
	n, err := r.next.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// Get implements Store. The size is known only if the uploader noted it.
func (s *BrokerStore) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	info, err := s.Stat(ctx, key) // a missing package may show as a broken stream, so it is asked for first
	if err != nil {
		return nil, Info{}, err
	}
	name, err := parseName(key)
	if err != nil {
		return nil, Info{}, err
	}
	body, err := s.service.DownloadPackage(ctx, name)
	if broker.IsNotFound(err) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, Info{}, fmt.Errorf("opening package %s: %w", key, err)
	}
	if info.Size >= 0 {
		body = &exactBody{ReadCloser: body, key: key, left: info.Size}
	}
	return body, info, nil
}

// exactBody fails when a body is longer or shorter than it should be.
type exactBody struct {
	io.ReadCloser
	key  string
	left int64
}

func (b *exactBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 || err == io.EOF && b.left != 0 {
		return n, fmt.Errorf("reading package %s: %w: it has not the size it was stored with", b.key, ErrCorrupt)
	}
	return n, err
}

// Delete implements Store.
func (s *BrokerStore) Delete(ctx context.Context, key string) error {
	name, err := parseName(key)
	if err != nil {
		return err
	}
	err = s.service.DeletePackage(ctx, name)
	if err == nil || broker.IsNotFound(err) {
		return nil
	}
	// Of a package that does not exist the service says 500.
	if _, statErr := s.Stat(ctx, key); errors.Is(statErr, ErrNotFound) {
		return nil
	}
	return fmt.Errorf("deleting package %s: %w", key, err)
}

// Stat implements Store.
func (s *BrokerStore) Stat(ctx context.Context, key string) (Info, error) {
	name, err := parseName(key)
	if err != nil {
		return Info{}, err
	}
	meta, err := s.service.PackageMetadata(ctx, name)
	if broker.IsNotFound(err) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return Info{}, fmt.Errorf("looking for package %s: %w", key, err)
	}
	info := Info{FileName: meta.Properties[propertyFileName], Size: -1, Created: time.UnixMilli(meta.CreateTime).UTC(),
		Description: meta.Description, Properties: map[string]string{}}
	for k, v := range meta.Properties {
		if k != propertyFileName && k != propertySize {
			info.Properties[k] = v
		}
	}
	if size, err := strconv.ParseInt(meta.Properties[propertySize], 10, 64); err == nil && size >= 0 {
		info.Size = size
	}
	return info, nil
}
