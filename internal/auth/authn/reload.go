package authn

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// reloadEvery is how often a key or password file is looked at, at most.
const reloadEvery = 5 * time.Second

// reloaded is a value made of a file, made anew when the file changes. A file that cannot be used leaves the old value.
type reloaded[T any] struct {
	source source
	parse  func([]byte) (T, error)
	what   string
	now    func() time.Time
	log    *zap.Logger

	value atomic.Pointer[T]
	mu    sync.Mutex // held while looking at the file
	next  time.Time
	bytes []byte
}

func newReloaded[T any](s source, what string, o Options, parse func([]byte) (T, error)) (*reloaded[T], error) {
	r := &reloaded[T]{source: s, parse: parse, what: what, now: o.Now, log: o.Log}
	data, err := s.read()
	if err != nil {
		return nil, err
	}
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	r.value.Store(&v)
	r.bytes, r.next = data, r.now().Add(reloadEvery)
	return r, nil
}

// get is the current value. Whoever finds that it is time looks at the file; nobody else waits for that.
func (r *reloaded[T]) get() T {
	if r.source.path != "" && r.mu.TryLock() {
		r.refresh()
		r.mu.Unlock()
	}
	return *r.value.Load()
}

func (r *reloaded[T]) refresh() {
	now := r.now()
	if now.Before(r.next) {
		return
	}
	r.next = now.Add(reloadEvery)
	data, err := r.source.read()
	if err != nil {
		r.log.Warn("a file cannot be read again; what it held before stays in use", zap.String("file", r.source.path), zap.Error(err))
		return
	}
	if bytes.Equal(data, r.bytes) {
		return
	}
	v, err := r.parse(data)
	if err != nil {
		r.log.Warn("a file changed and cannot be used; what it held before stays in use", zap.String("file", r.source.path), zap.Error(err))
		return
	}
	r.value.Store(&v)
	r.bytes = data
	r.log.Info("a file changed and is in use now", zap.String("what", r.what), zap.String("file", r.source.path))
}
