package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/instance"
)

// Topics are what a Topic store needs of a broker.
type Topics interface {
	// Exists says whether there is such a topic; Create makes one, and is content with one that is there.
	Exists(ctx context.Context, topic string) (bool, error)
	Create(ctx context.Context, topic string) error
	// Delete removes a topic, whoever uses it; nil when there is none.
	Delete(ctx context.Context, topic string) error
	// Compact asks for a compaction.
	Compact(ctx context.Context, topic string) error
	// Log opens a topic.
	Log(topic string) log.Log
}

// TopicOptions are what a Topic store is made of.
type TopicOptions struct {
	Topics Topics
	// Namespace holds the topics: pulsarFunctionsNamespace.
	Namespace string
	// Name tells this process from the others.
	Name string
	// Timeout bounds one operation; 15 s when 0.
	Timeout time.Duration
	// Idle closes what belongs to a function whose state nobody asks for; 1 min when 0.
	Idle time.Duration
	// CompactEvery is the number of writes of this process after which a topic is compacted; 5,000 when 0.
	CompactEvery int
	// MaxTable bounds keys and values of one function together, in bytes; 64 MiB when 0.
	MaxTable int
	Log      *zap.Logger // nil: nothing is logged
}

// Limits of a Topic store.
const (
	maxTopicValue = 1 << 20
	maxTopicKey   = 5 << 10
)

// How long this process keeps others from writing: for writerIdle after its last write, and no longer than writerHold.
const (
	writerIdle = 50 * time.Millisecond
	writerHold = time.Second
	busyPause  = 20 * time.Millisecond
)

// Topic is a Store in Pulsar topics.
type Topic struct {
	opts TopicOptions

	mu     sync.Mutex
	tables map[string]*table
	closed bool
	runs   sync.WaitGroup
}

var _ Store = (*Topic)(nil)

// NewTopic makes a store; it uses no network.
func NewTopic(o TopicOptions) *Topic {
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.Idle <= 0 {
		o.Idle = time.Minute
	}
	if o.CompactEvery <= 0 {
		o.CompactEvery = 5000
	}
	if o.MaxTable <= 0 {
		o.MaxTable = 64 << 20
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Topic{opts: o, tables: map[string]*table{}}
}

// Close ends all readers and writers.
func (s *Topic) Close() error {
	s.mu.Lock()
	s.closed = true
	tables := s.tables
	s.tables = map[string]*table{}
	s.mu.Unlock()
	for _, t := range tables {
		t.end()
	}
	s.runs.Wait()
	return nil
}

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

// topicName keeps the name readable, and different functions apart.
func (s *Topic) topicName(tenant, namespace, name string) string {
	full := tenant + "/" + namespace + "/" + name
	sum := sha256.Sum256([]byte(full))
	readable := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, full)
	if len(readable) > 100 {
		readable = readable[:100]
	}
	return "persistent://" + s.opts.Namespace + "/state-" + readable + "-" + hex.EncodeToString(sum[:6])
}

// open finds the table of a function, and begins to read its topic when nobody has; create: also where there is none.
func (s *Topic) open(ctx context.Context, topic string, create bool) (*table, error) {
	s.mu.Lock()
	if t := s.tables[topic]; t != nil {
		t.idle.Reset(s.opts.Idle)
		s.mu.Unlock()
		return t, nil
	}
	s.mu.Unlock()
	exists, err := s.opts.Topics.Exists(ctx, topic)
	switch {
	case err != nil:
		return nil, err
	case !exists && !create:
		return nil, ErrNoTable
	case !exists:
		if err := s.opts.Topics.Create(ctx, topic); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the state store is closed")
	}
	if t := s.tables[topic]; t != nil {
		return t, nil
	}
	t := s.newTable(topic)
	s.tables[topic] = t
	return t, nil
}

func (s *Topic) newTable(topic string) *table {
	t := &table{store: s, topic: topic, log: s.opts.Topics.Log(topic), turn: make(chan struct{}, 1), values: map[string]value{}, last: map[string]bool{}}
	t.turn <- struct{}{}
	run, stop := context.WithCancel(context.Background())
	t.run, t.stop = run, stop
	t.follower = log.NewFollower(t.log, s.name("reader"), t.apply, s.opts.Log)
	t.follower.Reviewed(t.retain)
	t.idle = time.AfterFunc(s.opts.Idle, func() { s.evict(t) })
	s.runs.Go(func() { t.follower.Run(run) })
	return t
}

func (s *Topic) name(role string) string {
	return s.opts.Name + "-state-" + role + "-" + uuid.NewString()[:8]
}

// evict forgets a table that nobody has asked for.
func (s *Topic) evict(t *table) {
	s.mu.Lock()
	if s.tables[t.topic] == t {
		delete(s.tables, t.topic)
	}
	s.mu.Unlock()
	t.end()
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

// Properties of a message: version of the value, id of the operation, and whether it is a counter.
const (
	propertyVersion   = "version"
	propertyOperation = "operation"
	propertyCounter   = "counter"
	// markValue begins every payload, so that an empty value is no tombstone.
	markValue = 1
)

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

// read gives what the key holds after everything that was written before the call, by whomever.
func (s *Topic) read(ctx context.Context, tenant, namespace, name, key string) (value, error) {
	if err := checkTopicKey(key); err != nil {
		return value{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	t, err := s.open(ctx, s.topicName(tenant, namespace, name), false)
	if err == nil {
		err = t.catchUp(ctx)
	}
	if err != nil {
		return value{}, s.failed(err, "reading the state", tenant, namespace, name)
	}
	v, ok := t.get(key)
	if !ok {
		return value{}, ErrNoKey
	}
	return v, nil
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

// update lets decide see what the key holds, and writes what it says, with nobody else writing in between.
func (s *Topic) update(ctx context.Context, tenant, namespace, name, key string, create bool, decide decide) (value, error) {
	if err := checkTopicKey(key); err != nil {
		return value{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	t, err := s.open(ctx, s.topicName(tenant, namespace, name), create)
	if err != nil {
		return value{}, s.failed(err, "writing the state", tenant, namespace, name)
	}
	if err := t.take(ctx); err != nil {
		return value{}, s.failed(err, "writing the state", tenant, namespace, name)
	}
	v, err := t.update(ctx, key, decide)
	t.turn <- struct{}{}
	return v, s.failed(err, "writing the state", tenant, namespace, name)
}

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

func (s *Topic) compact(topic string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	defer cancel()
	if err := s.opts.Topics.Compact(ctx, topic); err != nil {
		s.opts.Log.Info("the state's topic is not compacted now", zap.String("topic", topic), zap.Error(err))
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

func (s *Topic) failed(err error, doing, tenant, namespace, name string) error {
	for _, plain := range []error{nil, ErrNoKey, ErrNoTable, instance.ErrStateChanged} {
		if errors.Is(err, plain) {
			return err
		}
	}
	return fmt.Errorf("%s of %s/%s/%s: %w", doing, tenant, namespace, name, err)
}

func checkTopicKey(key string) error {
	switch {
	case key == "":
		return errors.New("a key of a function's state cannot be empty")
	case len(key) > maxTopicKey:
		return fmt.Errorf("%w: the key has %d bytes, and at most %d are possible", ErrLimit, len(key), maxTopicKey)
	}
	return nil
}

// Get implements Store.
func (s *Topic) Get(ctx context.Context, tenant, namespace, name, key string) (data []byte, number *int64, version int64, err error) {
	v, err := s.read(ctx, tenant, namespace, name, key)
	if err != nil {
		return nil, nil, 0, err
	}
	if v.counter {
		n := v.number()
		number = &n
	}
	return append([]byte{}, v.data...), number, v.version, nil
}

// Put implements Store.
func (s *Topic) Put(ctx context.Context, tenant, namespace, name, key string, data []byte) error {
	if err := checkTopicValue(data); err != nil {
		return err
	}
	_, err := s.update(ctx, tenant, namespace, name, key, true, func(old value, ok bool) (change, bool, error) {
		if ok && old.counter {
			return change{}, false, ErrCounter
		}
		return change{data: append([]byte{}, data...)}, true, nil
	})
	return err
}

func checkTopicValue(data []byte) error {
	if len(data) > maxTopicValue {
		return fmt.Errorf("%w: the value has %d bytes, and at most %d are possible", ErrLimit, len(data), maxTopicValue)
	}
	return nil
}

// Delete implements Store.
func (s *Topic) Delete(ctx context.Context, tenant, namespace, name, key string) error {
	_, err := s.update(ctx, tenant, namespace, name, key, false, func(_ value, ok bool) (change, bool, error) { return change{}, ok, nil })
	if errors.Is(err, ErrNoTable) {
		return nil
	}
	return err
}

// Increment implements Store.
func (s *Topic) Increment(ctx context.Context, tenant, namespace, name, key string, amount int64) (int64, error) {
	v, err := s.update(ctx, tenant, namespace, name, key, true, func(old value, ok bool) (change, bool, error) {
		var total int64
		switch {
		case ok && !old.counter:
			return change{}, false, ErrNoCounter
		case ok:
			total = old.number()
		}
		if amount > 0 && total > math.MaxInt64-amount || amount < 0 && total < math.MinInt64-amount {
			return change{}, false, fmt.Errorf("%w: the counter would go past 64 bits", ErrLimit)
		}
		return change{data: binary.BigEndian.AppendUint64(nil, uint64(total+amount)), counter: true}, true, nil
	})
	if err != nil {
		return 0, err
	}
	return v.number(), nil
}

// CompareAndSet implements Store.
func (s *Topic) CompareAndSet(ctx context.Context, tenant, namespace, name, key string, version int64, data []byte) (int64, error) {
	if err := checkTopicValue(data); err != nil {
		return 0, err
	}
	v, err := s.update(ctx, tenant, namespace, name, key, true, func(old value, ok bool) (change, bool, error) {
		switch {
		case ok && old.counter:
			return change{}, false, ErrCounter
		case ok && old.version != version, !ok && version != instance.NoVersion:
			return change{}, false, instance.ErrStateChanged
		}
		return change{data: append([]byte{}, data...)}, true, nil
	})
	return v.version, err
}

// Cleanup implements Store.
func (s *Topic) Cleanup(ctx context.Context, tenant, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	topic := s.topicName(tenant, namespace, name)
	s.mu.Lock()
	t := s.tables[topic]
	s.mu.Unlock()
	if t != nil {
		s.evict(t)
	}
	if err := s.opts.Topics.Delete(ctx, topic); err != nil {
		return s.failed(err, "removing the state", tenant, namespace, name)
	}
	return nil
}
