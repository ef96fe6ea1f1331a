// Package state keeps and answers the state of functions: the values behind `functions querystate` and `putstate`, and
// what a deleted function leaves behind.
//
// Place in the picture: the API reads and writes through a Store; the instances of functions have clients of their own
// (the Java and Python ones write counters and values directly), so that everything here must agree with theirs on
// table names, table settings and encodings (contract runtime-process-thread.md, section 10).
//
// The one implementation is BookKeeper, a gRPC client of the table service that runs in bookies (port 4181). It connects
// when it is first used, reconnects by itself, and keeps nothing in memory: a table that somebody deletes and creates
// anew has another id, and a remembered one would write to where nobody reads. NewBookKeeper uses no network; Close ends
// the connection.
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
	// Cleanup removes the table of a deleted function; nil when there is none.
	Cleanup(ctx context.Context, tenant, namespace, name string) error
}

// tableNamespace is where the tables of a Pulsar namespace are. Every dash becomes an underscore, so that a-b/c and
// a_b/c share one: the instances do it this way.
func tableNamespace(tenant, namespace string) string {
	return strings.ReplaceAll(tenant+"_"+namespace, "-", "_")
}
