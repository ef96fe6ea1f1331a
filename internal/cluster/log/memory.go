package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// Fault is what goes wrong with one append.
type Fault int

const (
	// LostAck: the record is written, the confirmation is lost.
	LostAck Fault = iota + 1
	// LostSend: the record is not written, and the writer cannot know.
	LostSend
	// Refuse: the record is refused (ErrRejected).
	Refuse
)

// ErrUnreachable is the answer of a Memory log to those it is cut off from.
var ErrUnreachable = errors.New("the log cannot be reached")

// Memory is a deterministic log in memory, for tests and simulations. Names of readers and writers begin with the
// worker's id, so a worker is cut off by the prefix "id-".
type Memory struct {
	mu      sync.Mutex
	entries []Entry
	next    int64
	writer  *memoryWriter // the exclusive one
	grown   chan struct{}
	faults  []Fault
	delay   time.Duration
	cut     map[string]bool
}

// NewMemory makes an empty log.
func NewMemory() *Memory { return &Memory{grown: make(chan struct{}), cut: map[string]bool{}} }

// Fence takes the log away from its writer, as a broker does that another producer has persuaded.
func (m *Memory) Fence() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writer = nil
}

// FailNext makes the next appended records fail, one fault each.
func (m *Memory) FailNext(faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, faults...)
}

// Delay makes readers get every entry (and writers every confirmation) so much later.
func (m *Memory) Delay(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = d
}

// Cut makes the log unreachable for all whose name begins with prefix, until Heal. Their writer is gone, as with a
// broker that has noticed.
func (m *Memory) Cut(prefix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[prefix] = true
	if m.writer != nil && strings.HasPrefix(m.writer.name, prefix) {
		m.writer = nil
	}
	m.wake()
}

// Heal ends Cut.
func (m *Memory) Heal(prefix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cut, prefix)
}

// Compact drops what a later record with the same key replaces, and tombstones. Records without a key stay.
func (m *Memory) Compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	latest := map[string]int{}
	for i, e := range m.entries {
		latest[e.Key] = i
	}
	kept := []Entry{}
	for i, e := range m.entries {
		if e.Key == "" || (latest[e.Key] == i && !e.Tombstone()) {
			kept = append(kept, e)
		}
	}
	m.entries = kept
}

// Writer is the name of the exclusive writer, "" when there is none.
func (m *Memory) Writer() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writer == nil {
		return ""
	}
	return m.writer.name
}

// Entries is a copy of everything the log holds.
func (m *Memory) Entries() []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Entry(nil), m.entries...)
}

func (m *Memory) isCut(name string) bool {
	for prefix := range m.cut {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (m *Memory) wake() {
	close(m.grown)
	m.grown = make(chan struct{})
}

// OpenWriter implements Log.
func (m *Memory) OpenWriter(_ context.Context, name string) (Writer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isCut(name) {
		return nil, fmt.Errorf("opening writer %s: %w", name, ErrUnreachable)
	}
	if m.writer != nil {
		return nil, fmt.Errorf("opening writer %s: %s: %w", name, m.writer.name, ErrBusy)
	}
	m.writer = &memoryWriter{log: m, name: name}
	return m.writer, nil
}

// OpenReader implements Log.
func (m *Memory) OpenReader(_ context.Context, name string, after ID) (Reader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isCut(name) {
		return nil, fmt.Errorf("opening reader %s: %w", name, ErrUnreachable)
	}
	return &memoryReader{log: m, name: name, after: after, closed: make(chan struct{})}, nil
}

type memoryWriter struct {
	log  *Memory
	name string
}

func (w *memoryWriter) Append(ctx context.Context, records ...Record) ([]ID, error) {
	ids := make([]ID, len(records))
	var unknown, refused error
	for i, r := range records {
		id, err := w.append(r)
		ids[i] = id
		switch {
		case errors.Is(err, ErrRejected):
			refused = err
		case err != nil && unknown == nil:
			unknown = err
		}
	}
	w.log.mu.Lock()
	delay := w.log.delay
	w.log.mu.Unlock()
	if delay > 0 {
		if sleep(ctx, delay); ctx.Err() != nil {
			return make([]ID, len(records)), ctx.Err()
		}
	}
	if unknown != nil {
		return ids, unknown
	}
	return ids, refused
}

func (w *memoryWriter) append(r Record) (ID, error) {
	m := w.log
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isCut(w.name) {
		return None, ErrUnreachable
	}
	if m.writer != w {
		return None, ErrFenced
	}
	var fault Fault
	if len(m.faults) > 0 {
		fault, m.faults = m.faults[0], m.faults[1:]
	}
	switch fault {
	case Refuse:
		return None, ErrRejected
	case LostSend:
		return None, errors.New("injected: the record was lost")
	}
	if len(r.Payload) == 0 {
		r.Payload = []byte{0} // what a reader of a Pulsar topic sees
	}
	r.Payload, r.Properties = bytes.Clone(r.Payload), maps.Clone(r.Properties)
	e := Entry{ID: ID{Ledger: 1, Entry: m.next, Batch: -1}, Record: r}
	m.next++
	m.entries = append(m.entries, e)
	m.wake()
	if fault == LostAck {
		return None, errors.New("injected: the confirmation was lost")
	}
	return e.ID, nil
}

// Lost is never closed: here the loss of a connection shows at the next Append.
func (w *memoryWriter) Lost() <-chan struct{} { return nil }

func (w *memoryWriter) Close() {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if w.log.writer == w {
		w.log.writer = nil
	}
}

type memoryReader struct {
	log    *Memory
	name   string
	after  ID
	once   sync.Once
	closed chan struct{}
}

func (r *memoryReader) Next(ctx context.Context) (Entry, error) {
	for {
		r.log.mu.Lock()
		cut, delay, grown := r.log.isCut(r.name), r.log.delay, r.log.grown
		next, found := Entry{}, false
		for i := len(r.log.entries) - 1; i >= 0 && r.log.entries[i].ID.Compare(r.after) > 0; i-- {
			next, found = r.log.entries[i], true
		}
		r.log.mu.Unlock()
		if cut {
			return Entry{}, ErrUnreachable
		}
		if found {
			if delay > 0 {
				sleep(ctx, delay)
			}
			if ctx.Err() != nil {
				return Entry{}, ctx.Err()
			}
			r.after = next.ID
			return next, nil
		}
		select {
		case <-grown:
		case <-r.closed:
			return Entry{}, errors.New("the reader is closed")
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
}

func (r *memoryReader) Last(context.Context) (ID, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.log.isCut(r.name) {
		return None, ErrUnreachable
	}
	if n := len(r.log.entries); n > 0 {
		return r.log.entries[n-1].ID, nil
	}
	return None, nil
}

// Interrupted never receives: a reader that is cut off ends with an error.
func (r *memoryReader) Interrupted() <-chan struct{} { return nil }

func (r *memoryReader) Close() { r.once.Do(func() { close(r.closed) }) }
