// Package state keeps and answers the state of functions: the values behind `functions querystate` and `putstate`, and
// what a deleted function leaves behind.
//
// Place in the picture: the API reads and writes through a Store; the instances of functions have clients of their own
// (the Java and Python ones write counters and values directly), so that everything here must agree with theirs on
// table names, table settings and encodings (contract runtime-process-thread.md, section 10).
//
// There are two implementations with one contract test.
//
// BookKeeper is a gRPC client of the table service that runs in bookies (port 4181). It connects when it is first used,
// reconnects by itself, and keeps nothing in memory: a table that somebody deletes and creates anew has another id, and
// a remembered one would write to where nobody reads.
//
// Topic keeps the state of each function in a compacted topic of pulsarFunctionsNamespace, beside the metadata, where
// tenants cannot write: a message per change with the key as its key, a tombstone for a deletion. It needs nothing but a
// broker. Whoever writes is the topic's exclusive producer, opened for that and closed 50 ms after the last write (after
// a second if writes do not end), and has read the topic to its end before the first one. So there is one writer at a
// time, whatever number of workers and instances, each sees all earlier changes, and read-modify-write (counters,
// compare-and-set) is atomic. A writer that dies is let go by the broker. A write without confirmation is looked for,
// by the id of its operation, before it is made again. Reads ask the broker for the end of the topic and read up to there:
// they see every write that was confirmed before. Instances of one process share a table in memory, which is bounded,
// and forgotten after an idle minute. Handing the topic over takes some tens of milliseconds: a function that changes state in
// several workers all the time is better served by BookKeeper.
package state

import (
	"context"
	"errors"
	"strings"
)

// Errors of a Store; test with errors.Is.
var (
	// ErrNoTable: nothing was ever stored for the function.
	ErrNoTable = errors.New("no state of this function")
	// ErrNoKey: the key has no value.
	ErrNoKey = errors.New("no value of this key")
	// ErrLimit: a key or value is larger than the service takes; trying again is of no use.
	ErrLimit = errors.New("over the limit of the state store")
	// ErrCounter: the key holds a counter, which only the function's own increments change; it can be deleted.
	ErrCounter = errors.New("the key holds a counter, which a value cannot replace")
	// ErrNoCounter: the key holds a value, which cannot be incremented; it can be deleted.
	ErrNoCounter = errors.New("the key holds a value and no counter")
)

// Store holds one table of keys and values per function. All methods are safe for concurrent use and end within the
// store's own time limit, whatever the deadline of ctx.
type Store interface {
	// Get returns the value and its version. number is set for counters only, whose value is their eight bytes.
	// Errors: ErrNoTable, ErrNoKey, ErrLimit, or why the service cannot be asked. It creates nothing.
	Get(ctx context.Context, tenant, namespace, name, key string) (value []byte, number *int64, version int64, err error)
	// Put stores a value and creates the function's table when there is none. Errors: ErrLimit, ErrCounter, or why it
	// could not be stored.
	Put(ctx context.Context, tenant, namespace, name, key string, value []byte) error
	// Delete removes a value; nil when there is none.
	Delete(ctx context.Context, tenant, namespace, name, key string) error
	// Increment adds to a counter, which begins at 0, creates the function's table when there is none, and returns the new
	// value. Errors: ErrNoCounter, ErrLimit, or why it is not known whether it was added.
	Increment(ctx context.Context, tenant, namespace, name, key string, amount int64) (int64, error)
	// CompareAndSet stores a value if the key still has this version (instance.NoVersion: no value) and returns the new
	// version. Errors: instance.ErrStateChanged, ErrLimit, ErrCounter, or why it could not be stored.
	CompareAndSet(ctx context.Context, tenant, namespace, name, key string, version int64, value []byte) (int64, error)
	// Cleanup removes the table of a deleted function; nil when there is none.
	Cleanup(ctx context.Context, tenant, namespace, name string) error
}

// tableNamespace is where the tables of a Pulsar namespace are. Every dash becomes an underscore, so that a-b/c and
// a_b/c share one: the instances do it this way.
func tableNamespace(tenant, namespace string) string {
	return strings.ReplaceAll(tenant+"_"+namespace, "-", "_")
}
