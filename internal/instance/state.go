package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// StateValue is what a function keeps under one key.
type StateValue struct {
	Value []byte
	// Number is set for counters only; Value holds its eight bytes then.
	Number *int64
	// Version changes with every change of the value.
	Version int64
}

// NoVersion is the version of a key without a value.
const NoVersion int64 = -1

var (
	// ErrStateChanged: compare-and-set found another version than the one given.
	ErrStateChanged = errors.New("the value was changed meanwhile")
	// ErrStateDisabled: the worker has no state store.
	ErrStateDisabled = errors.New("state is not enabled")
)

// State holds the values of one function, shared by all its instances. It is safe for concurrent use; every call ends
// within a time limit of the store's own, or with ctx.
type State interface {
	// Get returns nil when the key has no value.
	Get(ctx context.Context, key string) (*StateValue, error)
	// Put stores a value; nil deletes it, as in Java.
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

// OpenState gives the state of one function. It does not use the network.
type OpenState func(tenant, namespace, name string) State

// noState answers in a function that has no store; the text is Java's.
type noState struct{ err error }

func newNoState(d *pb.FunctionDetails) State {
	return noState{stateDisabled{pb.FullyQualifiedName(d)}}
}

type stateDisabled struct{ fqfn string }

func (e stateDisabled) Error() string        { return fmt.Sprintf("State %s is not enabled.", e.fqfn) }
func (e stateDisabled) Is(target error) bool { return target == ErrStateDisabled }

func (n noState) Get(context.Context, string) (*StateValue, error)        { return nil, n.err }
func (n noState) Put(context.Context, string, []byte) error               { return n.err }
func (n noState) Delete(context.Context, string) error                    { return n.err }
func (n noState) Increment(context.Context, string, int64) (int64, error) { return 0, n.err }
func (n noState) Counter(context.Context, string) (int64, error)          { return 0, n.err }
func (n noState) CompareAndSet(context.Context, string, int64, []byte) (int64, error) {
	return 0, n.err
}
