package authz

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/functions-worker/functions-worker/internal/broker"
)

// maxKept bounds a cache; callers choose the names that are asked for.
const maxKept = 4096

// cache keeps answers for a short time. The zero answer stands for absence, and is kept a shorter time: users make a
// tenant and deploy at once. Failures are not kept.
type cache[T any] struct {
	ask                   func(context.Context, string) (T, error)
	keep, absent, timeout time.Duration
	now                   func() time.Time
	flight                singleflight.Group

	mu      sync.Mutex
	entries map[string]entry[T]
}

type entry[T any] struct {
	value T
	until time.Time
}

func newCache[T any](o Options, ask func(context.Context, string) (T, error)) *cache[T] {
	return &cache[T]{ask: ask, keep: o.Keep, absent: o.Keep / 5, timeout: o.Timeout, now: o.Now, entries: map[string]entry[T]{}}
}

func (c *cache[T]) get(ctx context.Context, name string) (T, error) {
	var none T
	c.mu.Lock()
	e, ok := c.entries[name]
	c.mu.Unlock()
	if ok && c.now().Before(e.until) {
		return e.value, nil
	}
	// The question outlives the caller who happens to ask first: others may wait for the answer.
	answer := c.flight.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		keep := c.keep
		value, err := c.ask(ctx, name)
		if broker.IsNotFound(err) {
			value, err, keep = none, nil, c.absent
		}
		if err != nil {
			return none, err
		}
		c.put(name, entry[T]{value, c.now().Add(keep)})
		return value, nil
	})
	select {
	case r := <-answer:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (c *cache[T]) put(name string, e entry[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxKept {
		clear(c.entries)
	}
	c.entries[name] = e
}
