package function

import (
	"context"
	"errors"
)

// StateValue is what a function keeps under one key.
type StateValue struct {
	// Value is the content; of a counter its eight bytes, the highest first.
	Value []byte
	// Number is set for counters only.
	Number *int64
	// Version changes with every change of the value.
	Version int64
}

// NoVersion is the version of a key without a value.
const NoVersion int64 = -1

var (
	// ErrStateChanged: CompareAndSet found another version than the one given.
	ErrStateChanged = errors.New("the value was changed meanwhile")
	// ErrStateDisabled: the worker has no state store. Test with errors.Is.
	ErrStateDisabled = errors.New("state is not enabled")
)

// State holds the values of a function, shared by all its instances and kept over restarts and updates. It is safe for
// concurrent use; every call ends within a time limit of the store's own, or with ctx.
type State interface {
	// Get returns nil when the key has no value.
	Get(ctx context.Context, key string) (*StateValue, error)
	// Put stores a value; nil deletes it.
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value or a counter; nil when there is none.
	Delete(ctx context.Context, key string) error
	// Increment adds to a counter, which begins at 0, and returns what it is then.
	Increment(ctx context.Context, key string, amount int64) (int64, error)
	// Counter returns a counter; 0 when there is none.
	Counter(ctx context.Context, key string) (int64, error)
	// CompareAndSet stores the value if the key still has this version (NoVersion: still has no value), and returns the
	// new version. Otherwise the error is ErrStateChanged.
	CompareAndSet(ctx context.Context, key string, version int64, value []byte) (int64, error)
}
