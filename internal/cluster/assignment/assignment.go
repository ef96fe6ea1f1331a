// Package assignment is the table of which worker runs which instance, and the form its changes have in the
// assignments topic (coordination contract, sections 6.3 and 7). It does no I/O: the entries of the topic are applied
// in order.
package assignment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Change puts an instance on a worker, or takes it away when Assignment is nil.
type Change struct {
	Key        string // tenant/namespace/name:id
	Assignment *pb.Assignment
}

// Encode makes the record of a change.
func Encode(c Change) (rlog.Record, error) {
	if c.Assignment == nil {
		return rlog.Record{Key: c.Key}, nil
	}
	payload, err := proto.Marshal(c.Assignment)
	if err != nil {
		return rlog.Record{}, fmt.Errorf("encoding the assignment of %s: %w", c.Key, err)
	}
	return rlog.Record{Key: c.Key, Payload: payload}, nil
}

// Decode reads an entry. An error means that the entry is to be passed over.
func Decode(e rlog.Entry) (Change, error) {
	if e.Tombstone() {
		return Change{Key: e.Key}, nil
	}
	var a pb.Assignment
	if err := proto.Unmarshal(e.Payload, &a); err != nil {
		return Change{}, fmt.Errorf("assignment entry %s (%s) is no assignment: %w", e.ID, e.Key, err)
	}
	if a.GetInstance().GetFunctionMetaData().GetFunctionDetails() == nil || a.GetWorkerId() == "" {
		return Change{}, fmt.Errorf("assignment entry %s (%s) names no instance or no worker", e.ID, e.Key)
	}
	return Change{Key: pb.InstanceKey(a.GetInstance()), Assignment: &a}, nil
}

// Table holds the assignments of the whole cluster. What it returns is shared and must not be modified; the maps are
// the caller's. It is safe for concurrent use.
type Table struct {
	mu         sync.RWMutex
	byKey      map[string]*pb.Assignment
	byFunction map[string]map[string]*pb.Assignment // tenant/namespace/name → instance key
}

// NewTable makes an empty table.
func NewTable() *Table {
	return &Table{byKey: map[string]*pb.Assignment{}, byFunction: map[string]map[string]*pb.Assignment{}}
}

// Apply takes a change in. It returns the workers whose assignments changed: none when nothing did, two when an
// instance moved.
func (t *Table) Apply(c Change) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.byKey[c.Key]
	if old == nil && c.Assignment == nil || old != nil && c.Assignment != nil && proto.Equal(old, c.Assignment) {
		return nil
	}
	function := functionOf(c.Key)
	var touched []string
	if old != nil {
		touched = append(touched, old.GetWorkerId())
	}
	if c.Assignment == nil {
		delete(t.byKey, c.Key)
		delete(t.byFunction[function], c.Key)
		if len(t.byFunction[function]) == 0 {
			delete(t.byFunction, function)
		}
		return touched
	}
	t.byKey[c.Key] = c.Assignment
	if t.byFunction[function] == nil {
		t.byFunction[function] = map[string]*pb.Assignment{}
	}
	t.byFunction[function][c.Key] = c.Assignment
	if worker := c.Assignment.GetWorkerId(); !slices.Contains(touched, worker) {
		touched = append(touched, worker)
	}
	return touched
}

// Retain drops every assignment whose key is not alive and returns the workers that had them.
func (t *Table) Retain(alive func(key string) bool) []string {
	var touched []string
	for key := range t.All() {
		if !alive(key) {
			touched = append(touched, t.Apply(Change{Key: key})...)
		}
	}
	return touched
}

// functionOf cuts the instance id off an instance key.
func functionOf(key string) string {
	if i := strings.LastIndexByte(key, ':'); i >= 0 {
		return key[:i]
	}
	return key
}

// All is every assignment by instance key.
func (t *Table) All() map[string]*pb.Assignment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.byKey)
}

// ByWorker is every assignment by worker and instance key.
func (t *Table) ByWorker() map[string]map[string]*pb.Assignment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	workers := map[string]map[string]*pb.Assignment{}
	for key, a := range t.byKey {
		if workers[a.GetWorkerId()] == nil {
			workers[a.GetWorkerId()] = map[string]*pb.Assignment{}
		}
		workers[a.GetWorkerId()][key] = a
	}
	return workers
}

// Of is the instances of one worker by key.
func (t *Table) Of(worker string) map[string]*pb.Instance {
	t.mu.RLock()
	defer t.mu.RUnlock()
	own := map[string]*pb.Instance{}
	for key, a := range t.byKey {
		if a.GetWorkerId() == worker {
			own[key] = a.GetInstance()
		}
	}
	return own
}

// Function is the assignments of one function, by instance id.
func (t *Table) Function(name string) []*pb.Assignment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	found := slices.Collect(maps.Values(t.byFunction[name]))
	slices.SortFunc(found, func(a, b *pb.Assignment) int {
		return int(a.GetInstance().GetInstanceId() - b.GetInstance().GetInstanceId())
	})
	return found
}
