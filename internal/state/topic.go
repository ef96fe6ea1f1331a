package state

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
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

// Properties of a message: version of the value, id of the operation, and whether it is a counter.
const (
	propertyVersion   = "version"
	propertyOperation = "operation"
	propertyCounter   = "counter"
	// markValue begins every payload, so that an empty value is no tombstone.
	markValue = 1
)

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

func (s *Topic) compact(topic string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	defer cancel()
	if err := s.opts.Topics.Compact(ctx, topic); err != nil {
		s.opts.Log.Info("the state's topic is not compacted now", zap.String("topic", topic), zap.Error(err))
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
