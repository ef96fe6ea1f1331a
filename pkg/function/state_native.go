//go:build !wasip1

package function

import (
	"context"
	"errors"
	"fmt"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// engineState is the engine's state with the errors and types of this package.
type engineState struct{ s instance.State }

func (b engineBackend) state() State { return engineState{b.c.State()} }

func stateError(err error) error {
	switch {
	case errors.Is(err, instance.ErrStateChanged):
		return fmt.Errorf("%w (%w)", ErrStateChanged, err)
	case errors.Is(err, instance.ErrStateDisabled):
		return disabledError{err}
	}
	return err
}

// disabledError keeps the text, which is the one that Java functions know.
type disabledError struct{ error }

func (disabledError) Is(target error) bool { return target == ErrStateDisabled }
func (e disabledError) Unwrap() error      { return e.error }

func (e engineState) Get(ctx context.Context, key string) (*StateValue, error) {
	v, err := e.s.Get(ctx, key)
	return (*StateValue)(v), stateError(err)
}

func (e engineState) Put(ctx context.Context, key string, value []byte) error {
	return stateError(e.s.Put(ctx, key, value))
}

func (e engineState) Delete(ctx context.Context, key string) error {
	return stateError(e.s.Delete(ctx, key))
}

func (e engineState) Increment(ctx context.Context, key string, amount int64) (int64, error) {
	n, err := e.s.Increment(ctx, key, amount)
	return n, stateError(err)
}

func (e engineState) Counter(ctx context.Context, key string) (int64, error) {
	n, err := e.s.Counter(ctx, key)
	return n, stateError(err)
}

func (e engineState) CompareAndSet(ctx context.Context, key string, version int64, value []byte) (int64, error) {
	v, err := e.s.CompareAndSet(ctx, key, version, value)
	return v, stateError(err)
}
