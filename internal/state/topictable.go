package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/cluster/log"
)

// value is what a key holds.
type value struct {
	data    []byte
	counter bool
	version int64
}

func (v value) number() int64 { return int64(binary.BigEndian.Uint64(v.data)) }

// table is the state of one function, as far as this process has read it.
type table struct {
	store    *Topic
	topic    string
	log      log.Log
	follower *log.Follower
	run      context.Context // ends when the table is forgotten
	stop     context.CancelFunc
	idle     *time.Timer

	turn chan struct{} // of one element: who has it may write, and opens and closes the writer

	writer  log.Writer  // nil: this process does not hold the topic
	since   time.Time   // when it was opened
	letGo   *time.Timer // closes it
	written int

	mu     sync.Mutex // of what the follower fills
	values map[string]value
	bytes  int
	last   map[string]bool // the operations of this process that were seen in the topic, while it asks for them
}

// end waits for the operation under way, and closes everything.
func (t *table) end() {
	<-t.turn
	t.idle.Stop()
	t.closeWriter()
	t.stop()
	t.turn <- struct{}{}
}

func (t *table) take(ctx context.Context) error {
	select {
	case <-t.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for other operations on the same state: %w", ctx.Err())
	}
}

// apply takes in one message of the topic.
func (t *table) apply(e log.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id := e.Properties[propertyOperation]; id != "" {
		if _, asked := t.last[id]; asked {
			t.last[id] = true
		}
	}
	if old, ok := t.values[e.Key]; ok {
		t.bytes -= len(e.Key) + len(old.data)
		delete(t.values, e.Key)
	}
	if e.Tombstone() || e.Payload[0] != markValue {
		return
	}
	v := value{data: e.Payload[1:], counter: e.Properties[propertyCounter] == "true"}
	v.version, _ = strconv.ParseInt(e.Properties[propertyVersion], 10, 64)
	if v.counter && len(v.data) != 8 {
		return // nobody writes such a message; reading it as a number would fail
	}
	t.values[e.Key] = v
	t.bytes += len(e.Key) + len(v.data)
}

// retain drops the keys whose deletion was compacted away before this process saw it.
func (t *table) retain(alive func(key string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, v := range t.values {
		if !alive(key) {
			t.bytes -= len(key) + len(v.data)
			delete(t.values, key)
		}
	}
}

func (t *table) get(key string) (value, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[key]
	return v, ok
}

// errForgotten: the table was closed meanwhile, because the function was deleted or the store is being closed.
var errForgotten = errors.New("the state was removed or closed meanwhile")

// catchUp reads the topic to its end.
func (t *table) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.run, func() { cancel(errForgotten) })()
	err := t.follower.CatchUp(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errForgotten) {
		return cause
	}
	return err
}

// change is what an operation wants to write.
type change struct {
	data    []byte // nil: delete
	counter bool
}

// decide says what to write, given what the key holds; write false: nothing.
type decide func(old value, ok bool) (c change, write bool, err error)

func (t *table) update(ctx context.Context, key string, decide decide) (value, error) {
	operation := uuid.NewString()
	t.mu.Lock()
	t.last[operation] = false
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.last, operation)
		t.mu.Unlock()
	}()
	for {
		if t.run.Err() != nil {
			return value{}, errForgotten
		}
		if err := t.hold(ctx); err != nil {
			return value{}, err
		}
		t.mu.Lock()
		done := t.last[operation]
		t.mu.Unlock()
		if done { // an earlier attempt was stored after all
			v, _ := t.get(key)
			return v, nil
		}
		old, ok := t.get(key)
		c, write, err := decide(old, ok)
		if err != nil || !write {
			return old, err
		}
		v, err := t.write(ctx, key, operation, old, ok, c)
		if err == nil || errors.Is(err, ErrLimit) {
			return v, err
		}
		t.store.opts.Log.Debug("a write to the state will be tried again", zap.String("topic", t.topic), zap.Error(err))
		t.closeWriter()
		if err := pause(ctx); err != nil {
			return value{}, err
		}
	}
}

// write appends one message and waits until this process has read it.
func (t *table) write(ctx context.Context, key, operation string, old value, ok bool, c change) (value, error) {
	r := log.Record{Key: key, Properties: map[string]string{propertyOperation: operation}}
	v := value{data: c.data, counter: c.counter}
	if c.data != nil {
		if ok {
			v.version = old.version + 1
		}
		r.Payload = append([]byte{markValue}, c.data...)
		r.Properties[propertyVersion] = strconv.FormatInt(v.version, 10)
		r.Properties[propertyCounter] = strconv.FormatBool(c.counter)
		t.mu.Lock()
		after := t.bytes + len(key) + len(c.data)
		t.mu.Unlock()
		if ok {
			after -= len(key) + len(old.data)
		}
		if after > t.store.opts.MaxTable {
			return value{}, fmt.Errorf("%w: the function's state would have %d bytes, and at most %d are possible", ErrLimit, after, t.store.opts.MaxTable)
		}
	}
	ids, err := t.writer.Append(ctx, r)
	switch {
	case errors.Is(err, log.ErrRejected):
		return value{}, fmt.Errorf("%w: %w", ErrLimit, err)
	case err != nil:
		return value{}, err
	}
	t.written++
	return v, t.follower.Appended(ctx, ids[0], r)
}

// hold makes this process the only writer, with everything read that was written before.
func (t *table) hold(ctx context.Context) error {
	if t.writer != nil {
		select {
		case <-t.writer.Lost():
			t.closeWriter()
		default:
			if time.Since(t.since) < writerHold {
				t.letGo.Reset(writerIdle)
				return nil
			}
			t.closeWriter() // let others in
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	for {
		w, err := t.log.OpenWriter(ctx, t.store.name("writer"))
		if err == nil {
			t.writer, t.since = w, time.Now()
			break
		}
		if !errors.Is(err, log.ErrBusy) && ctx.Err() == nil {
			t.store.opts.Log.Debug("the state's topic cannot be opened for writing yet", zap.String("topic", t.topic), zap.Error(err))
		}
		if pauseErr := pause(ctx); pauseErr != nil {
			return fmt.Errorf("becoming the only writer: %w; the last attempt: %w", pauseErr, err)
		}
	}
	t.letGo = time.AfterFunc(writerIdle, t.release)
	if err := t.catchUp(ctx); err != nil {
		t.closeWriter()
		return err
	}
	return nil
}

// release lets the topic go when nothing is being written.
func (t *table) release() {
	select {
	case <-t.turn:
		t.closeWriter()
		t.turn <- struct{}{}
	default: // an operation is under way: it sets the timer again, or its successor does
		t.letGo.Reset(writerIdle)
	}
}

// closeWriter needs the turn.
func (t *table) closeWriter() {
	if t.writer == nil {
		return
	}
	t.letGo.Stop()
	t.writer.Close()
	t.writer = nil
	if t.written >= t.store.opts.CompactEvery {
		t.written = 0
		t.store.runs.Go(func() { t.store.compact(t.topic) })
	}
}

// pause waits a moment that differs from process to process.
func pause(ctx context.Context) error {
	timer := time.NewTimer(busyPause/2 + rand.N(busyPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
