package state

import (
	"context"
	"errors"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// Opener gives functions that run in this process their state in a store.
func Opener(store Store) instance.OpenState {
	return func(tenant, namespace, name string) instance.State {
		return opened{store, tenant, namespace, name}
	}
}

// opened is the state of one function.
type opened struct {
	store                   Store
	tenant, namespace, name string
}

func (o opened) Get(ctx context.Context, key string) (*instance.StateValue, error) {
	data, number, version, err := o.store.Get(ctx, o.tenant, o.namespace, o.name, key)
	switch {
	case errors.Is(err, ErrNoTable), errors.Is(err, ErrNoKey):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &instance.StateValue{Value: data, Number: number, Version: version}, nil
}

func (o opened) Put(ctx context.Context, key string, value []byte) error {
	if value == nil {
		return o.Delete(ctx, key)
	}
	return o.store.Put(ctx, o.tenant, o.namespace, o.name, key, value)
}

func (o opened) Delete(ctx context.Context, key string) error {
	return o.store.Delete(ctx, o.tenant, o.namespace, o.name, key)
}

func (o opened) Increment(ctx context.Context, key string, amount int64) (int64, error) {
	return o.store.Increment(ctx, o.tenant, o.namespace, o.name, key, amount)
}

func (o opened) Counter(ctx context.Context, key string) (int64, error) {
	v, err := o.Get(ctx, key)
	switch {
	case err != nil || v == nil:
		return 0, err
	case v.Number == nil:
		return 0, ErrNoCounter
	}
	return *v.Number, nil
}

func (o opened) CompareAndSet(ctx context.Context, key string, version int64, value []byte) (int64, error) {
	return o.store.CompareAndSet(ctx, o.tenant, o.namespace, o.name, key, version, value)
}
