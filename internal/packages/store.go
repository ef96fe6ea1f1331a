// Package packages keeps the code of functions and connectors, and brings it to where it runs.
//
// A package travels twice: the REST API puts an upload into a Store and records the key as packagePath in the function's
// metadata; later each worker that was assigned an instance asks the Fetcher, which understands every form of a
// packagePath (URL, built-in, package of the broker's service, key of the store, log of a Java worker), for a local
// file. The three stores pass one contract test: a topic per package, the broker's packages service, a directory.
//
// Bytes are streamed both ways; no package is ever held in memory. Nothing here runs in the background.
package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Kind says what a package is for.
type Kind string

const (
	AnyKind  Kind = "" // not known: the rules of functions and of connectors both count
	Function Kind = "function"
	Sink     Kind = "sink"
	Source   Kind = "source"
)

// KindOf translates a component type.
func KindOf(t pb.FunctionDetails_ComponentType) Kind {
	switch t {
	case pb.FunctionDetails_FUNCTION:
		return Function
	case pb.FunctionDetails_SINK:
		return Sink
	case pb.FunctionDetails_SOURCE:
		return Source
	}
	return AnyKind
}

var (
	// ErrNotFound: there is no (complete) package of that name.
	ErrNotFound = errors.New("package not found")
	// ErrCorrupt: the bytes are not those that were put.
	ErrCorrupt = errors.New("package is damaged")
	// ErrTooLarge: the package exceeds the configured size.
	ErrTooLarge = errors.New("package is too large")
	// ErrBusy: another upload of the same key is under way.
	ErrBusy = errors.New("package is being written by another upload")
	// ErrNotAllowed: the URL policy refuses the package URL.
	ErrNotAllowed = errors.New("package URL is not allowed")
)

// Info describes a package.
type Info struct {
	FileName    string            `json:"fileName,omitempty"`
	Size        int64             `json:"size"` // bytes; -1 when the store does not know
	Created     time.Time         `json:"created"`
	Description string            `json:"description,omitempty"`
	Properties  map[string]string `json:"properties,omitempty"`
}

// Store keeps packages. All methods are safe for concurrent use, and end when their context does.
type Store interface {
	// Put stores body under key, replacing what was there. The package is visible only when it is complete; a failed Put
	// leaves nothing visible behind. info.Size and a zero info.Created are filled in by the store.
	Put(ctx context.Context, key string, body io.Reader, info Info) error
	// Get opens a package; ErrNotFound. Reading it fails with ErrCorrupt instead of io.EOF when the bytes are not those
	// that were put. ctx covers the reading too; the caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, Info, error)
	// Delete removes a package; nil when there is none.
	Delete(ctx context.Context, key string) error
	// Stat describes a package; ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)
	// NewKey makes the unique packagePath of a new upload.
	NewKey(kind Kind, tenant, namespace, name, fileName string) string
}

// Builtins are the archives that are installed on this worker. The catalogue implements it.
type Builtins interface {
	ConnectorFile(name string) (path string, ok bool)
	// A file of "" stands for what is compiled into the worker.
	FunctionFile(name string) (path string, ok bool)
}

// pathKey is the form of key that Java workers give to packages they store themselves (coordination contract, section 9.2).
func pathKey(tenant, namespace, name, fileName string) string {
	return tenant + "/" + namespace + "/" + url.QueryEscape(name) + "/" + uuid.NewString() + "-" + url.QueryEscape(fileName)
}

// maxKey bounds keys, which may come from a REST request.
const maxKey = 4096

func checkKey(key string) error {
	if key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("package path %.100q is not valid", key)
	}
	return nil
}
