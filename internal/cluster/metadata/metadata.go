// Package metadata is the table of all registered functions and the form its changes have in the metadata topic
// (coordination contract, section 3). It does no I/O: whoever reads the topic applies its entries in order, and every
// worker that has read as far has the same table.
package metadata

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Change is one accepted registration, update or deletion.
type Change struct {
	Delete  bool
	Key     string // tenant/namespace/name
	Version uint64
	Meta    *pb.FunctionMetaData // nil for a deletion read from a compacted topic
}

// ChangeOf makes the change that a write asks for. It refers to meta, which must not be modified afterwards.
func ChangeOf(meta *pb.FunctionMetaData, deletion bool) Change {
	return Change{Delete: deletion, Key: pb.FullyQualifiedName(meta.GetFunctionDetails()), Version: meta.GetVersion(), Meta: meta}
}

// Codec is one of the two forms of the topic; all workers of a cluster must use the same.
type Codec struct {
	// Compacted: useCompactedMetadataTopic. The messages are then keyed and hold the metadata itself.
	Compacted bool
	// WorkerID is recorded as the writer in the default form.
	WorkerID string
	// RequestID makes the request ids of the default form.
	RequestID func() string
}

// versionProperty is written in both forms and read for deletions in the compacted one.
const versionProperty = "version"

// Encode makes the record of a change.
func (c Codec) Encode(change Change) (rlog.Record, error) {
	r := rlog.Record{Properties: map[string]string{versionProperty: strconv.FormatUint(change.Version, 10)}}
	var message proto.Message = change.Meta
	if c.Compacted {
		r.Key = change.Key
		if change.Delete {
			return r, nil
		}
	} else {
		request := &pb.ServiceRequest{ServiceRequestType: pb.ServiceRequest_UPDATE, FunctionMetaData: change.Meta,
			WorkerId: c.WorkerID, RequestId: c.RequestID()}
		if change.Delete {
			request.ServiceRequestType = pb.ServiceRequest_DELETE
		}
		message = request
	}
	var err error
	if r.Payload, err = proto.Marshal(message); err != nil {
		return rlog.Record{}, fmt.Errorf("encoding the metadata of %s: %w", change.Key, err)
	}
	return r, nil
}

// Decode reads an entry. An error means that the entry is to be passed over, as every worker does.
func (c Codec) Decode(e rlog.Entry) (Change, error) {
	if c.Compacted {
		return decodeKeyed(e)
	}
	var request pb.ServiceRequest
	if err := proto.Unmarshal(e.Payload, &request); err != nil {
		return Change{}, fmt.Errorf("metadata entry %s is no service request: %w", e.ID, err)
	}
	change := ChangeOf(request.GetFunctionMetaData(), request.GetServiceRequestType() == pb.ServiceRequest_DELETE)
	switch request.GetServiceRequestType() {
	case pb.ServiceRequest_UPDATE, pb.ServiceRequest_DELETE:
		return change, checkKey(e, change.Key)
	default:
		return Change{}, fmt.Errorf("metadata entry %s has the unknown request type %v", e.ID, request.GetServiceRequestType())
	}
}

func decodeKeyed(e rlog.Entry) (Change, error) {
	if e.Tombstone() {
		version, err := strconv.ParseInt(e.Properties[versionProperty], 10, 64)
		if err != nil {
			return Change{}, fmt.Errorf("deletion of %s at %s has no usable version: %w", e.Key, e.ID, err)
		}
		return Change{Delete: true, Key: e.Key, Version: uint64(version)}, checkKey(e, e.Key)
	}
	var meta pb.FunctionMetaData
	if err := proto.Unmarshal(e.Payload, &meta); err != nil {
		return Change{}, fmt.Errorf("metadata entry %s (%s) is no function metadata: %w", e.ID, e.Key, err)
	}
	change := ChangeOf(&meta, false)
	return change, checkKey(e, change.Key)
}

var errNoName = errors.New("it names no function")

func checkKey(e rlog.Entry, key string) error {
	if !named(key) {
		return fmt.Errorf("metadata entry %s (%q): %w", e.ID, key, errNoName)
	}
	return nil
}

func named(key string) bool {
	parts := strings.Split(key, "/")
	return len(parts) == 3 && !slices.Contains(parts, "")
}

// Named says whether the change names a function; readers pass others over.
func (c Change) Named() bool { return named(c.Key) }

// Table holds the functions. What it returns is shared and must not be modified. It is safe for concurrent use.
type Table struct {
	mu        sync.RWMutex
	functions map[string]*pb.FunctionMetaData
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{functions: map[string]*pb.FunctionMetaData{}} }

// Outdated says whether a change is not newer than what is known. Versions are compared as Java does, signed. For an
// unknown function any version is new.
func (t *Table) Outdated(c Change) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.outdated(c)
}

func (t *Table) outdated(c Change) bool {
	known, ok := t.functions[c.Key]
	return ok && int64(known.GetVersion()) >= int64(c.Version)
}

// Apply takes a change in and says whether it changed anything.
func (t *Table) Apply(c Change) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outdated(c) {
		return false
	}
	if c.Delete {
		_, known := t.functions[c.Key]
		delete(t.functions, c.Key)
		return known
	}
	t.functions[c.Key] = c.Meta
	return true
}

// Retain drops every function whose key is not alive and tells how many.
func (t *Table) Retain(alive func(key string) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.functions)
	maps.DeleteFunc(t.functions, func(key string, _ *pb.FunctionMetaData) bool { return !alive(key) })
	return before - len(t.functions)
}

// Get finds one function by tenant/namespace/name.
func (t *Table) Get(key string) (*pb.FunctionMetaData, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	meta, ok := t.functions[key]
	return meta, ok
}

// Len is the number of functions.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.functions)
}

// All lists the functions whose key begins with prefix ("": all; "tenant/namespace/": those of a namespace), by name.
func (t *Table) All(prefix string) []*pb.FunctionMetaData {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var found []*pb.FunctionMetaData
	for _, key := range slices.Sorted(maps.Keys(t.functions)) {
		if strings.HasPrefix(key, prefix) {
			found = append(found, t.functions[key])
		}
	}
	return found
}
