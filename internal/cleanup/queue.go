package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
)

// Queue is the durable list of entries. One receiver at a time gets all that are not done; when it ends, the next one
// gets them again.
type Queue interface {
	// Put writes an entry and waits until it is durable.
	Put(ctx context.Context, data []byte) error
	// Receive gives the next entry; it waits for the queue to be reachable, and for this worker to be the receiver.
	Receive(ctx context.Context) (Item, error)
	// Receiving says whether what was received is still this worker's to do. After false it is given back.
	Receiving(ctx context.Context) (bool, error)
	// Close ends it.
	Close()
}

// Item is one received entry.
type Item interface {
	Data() []byte
	// Done takes it off the queue.
	Done() error
	// Return gives it back, to be received again by whoever it is meant for.
	Return()
}

const (
	subscription = "cleaner"
	// stepTimeout bounds one exchange with the broker.
	stepTimeout = 10 * time.Second
	// readAhead is how many entries wait in the client.
	readAhead = 100
	retryMin  = 100 * time.Millisecond
	retryMax  = 10 * time.Second
	// idleCheck is how long a silent consumer is trusted. One that the broker does not list so many times in a row is
	// replaced; before that it may be reconnecting, and closing it then could bring it back to life.
	idleCheck       = 2 * time.Minute
	missesUntilAnew = 2
	// firstCheck is when a consumer is first looked at that has become the active one and stays silent.
	firstCheck = 5 * time.Second
)

// QueueAdmin is the part of the broker's admin API that the queue needs; *broker.Admin has it.
type QueueAdmin interface {
	CreateTopic(ctx context.Context, topic string) error
	CreateSubscription(ctx context.Context, topic, subscription string, position broker.Position) error
	TopicStats(ctx context.Context, topic string) (*broker.TopicStats, error)
}

// PulsarOptions of a queue in a topic.
type PulsarOptions struct {
	Client pulsar.Client
	Admin  QueueAdmin
	Topic  string // persistent://tenant/namespace/name, not partitioned
	Worker string // the worker's id
	Log    *zap.Logger
}

type pulsarQueue struct {
	PulsarOptions
	turn     chan struct{} // capacity 1: the right to make topic and producer
	ensured  bool
	writer   *writer
	consumer pulsar.Consumer // of the one goroutine that receives
	name     string
	held     *held         // what the consumer has given
	idle     time.Duration // idleCheck
	glance   time.Duration // firstCheck
	anew     time.Time     // of the last subscription that replaced another one
	lost     atomic.Bool   // the broker has made another consumer the active one in between
	// activated: the broker has made this consumer the active one, and it has not been looked at since.
	activated atomic.Bool
}

// NewPulsar is a queue in a topic with one failover subscription. Nothing is done before it is used.
func NewPulsar(o PulsarOptions) Queue {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &pulsarQueue{PulsarOptions: o, turn: make(chan struct{}, 1), name: o.Worker + "-cleaner", idle: idleCheck, glance: firstCheck}
}

// take is the turn; the caller gives it back.
func (q *pulsarQueue) take(ctx context.Context) error {
	select {
	case q.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ensure makes topic and subscription, so that no entry comes before somebody is to read it. The caller has the turn.
func (q *pulsarQueue) ensure(ctx context.Context) error {
	if q.ensured {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := q.Admin.CreateTopic(ctx, q.Topic); err != nil && !broker.IsConflict(err) {
		return err
	}
	if err := q.Admin.CreateSubscription(ctx, q.Topic, subscription, broker.Earliest); err != nil && !broker.IsConflict(err) {
		return err
	}
	q.ensured = true
	return nil
}

// writer is a shared producer until its connection is lost.
type writer struct {
	producer pulsar.Producer
	lost     chan struct{}
	once     sync.Once
}

func (w *writer) lose() { w.once.Do(func() { close(w.lost) }) }

// open gives the current writer, made at first use and after a loss.
func (q *pulsarQueue) open(ctx context.Context) (*writer, error) {
	if err := q.take(ctx); err != nil {
		return nil, err
	}
	defer func() { <-q.turn }()
	if q.writer != nil {
		select {
		case <-q.writer.lost:
			q.writer.producer.Close()
			q.writer, q.ensured = nil, false // perhaps somebody has deleted the topic
		default:
			return q.writer, nil
		}
	}
	if err := q.ensure(ctx); err != nil {
		return nil, err
	}
	w := &writer{lost: make(chan struct{})}
	p, err := await(ctx, func() (pulsar.Producer, error) {
		return q.Client.CreateProducer(pulsar.ProducerOptions{
			Topic: q.Topic, DisableBatching: true, DisableBlockIfQueueFull: true, SendTimeout: stepTimeout,
			// It never reconnects, so that a lost entry is known at once and written by another one. The client asks for the
			// pauses between its attempts when a connection is lost, and then makes none.
			MaxReconnectToBroker: new(uint),
			BackOffPolicyFunc:    func() backoff.Policy { w.lose(); return rlog.Backoff() },
		})
	}, pulsar.Producer.Close)
	if err != nil {
		return nil, err
	}
	w.producer, q.writer = p, w
	return w, nil
}

// Put tries until ctx ends. An entry may be written twice then; it is the same one to the receiver.
func (q *pulsarQueue) Put(ctx context.Context, data []byte) error {
	for {
		err := q.putOnce(ctx, data)
		if err == nil {
			return nil
		}
		if sleep(ctx, retryMin); ctx.Err() != nil || errors.Is(err, pulsar.ErrMessageTooLarge) {
			return fmt.Errorf("writing to the topic of clean-ups: %w", err)
		}
	}
}

func (q *pulsarQueue) putOnce(ctx context.Context, data []byte) error {
	w, err := q.open(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 2) // the callback runs on the connection's goroutine and must not block
	w.producer.SendAsync(ctx, &pulsar.ProducerMessage{Payload: data}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		select {
		case sent <- err:
		default:
		}
	})
	select {
	case err := <-sent:
		if err != nil && ctx.Err() == nil && !errors.Is(err, pulsar.ErrMessageTooLarge) {
			w.lose()
		}
		return err
	case <-w.lost:
		return errors.New("the connection was lost before the confirmation")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *pulsarQueue) Receive(ctx context.Context) (Item, error) {
	missed, stalled := 0, 0
	for silent := time.Duration(0); ; {
		if q.consumer == nil {
			if err := q.connect(ctx); err != nil {
				return nil, err
			}
			missed, stalled, silent = 0, 0, 0
		}
		pause := min(q.idle, q.glance)
		waiting, cancel := context.WithTimeout(ctx, pause)
		m, err := q.consumer.Receive(waiting)
		cancel()
		switch silent += pause; {
		case err == nil:
			q.held.add(m.ID())
			return pulsarItem{m, q.consumer, q.held}, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			missed = missesUntilAnew
		case silent < q.idle && stalled == 0 && !q.activated.Swap(false):
			continue
		default:
			silent = 0
			switch q.look(ctx) {
			case well:
				missed, stalled = 0, 0
			case missing:
				missed, stalled = missed+1, 0
			case stall:
				missed, stalled = 0, stalled+1
			}
		}
		if missed >= missesUntilAnew || stalled >= missesUntilAnew {
			q.anew = time.Now()
			q.Log.Warn("subscribing to the topic of clean-ups anew", zap.Bool("stalled", stalled > 0), zap.Error(err))
			q.consumer.Close()
			q.consumer = nil
			q.forgetTopic()
		}
	}
}

// view is what the broker says about a silent consumer.
type view int

const (
	well    view = iota // nothing is amiss, or the broker cannot be asked
	missing             // it is not listed: a client gives a consumer up, and says nothing, whose topic was deleted
	// stall: it is the active one, and entries wait that it was not given. A broker (4.0.8) forgets to read on when a
	// consumer becomes the active one while its cursor waits at the end of the topic; only the next entry would wake it.
	stall
)

func (q *pulsarQueue) look(ctx context.Context) view {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	stats, err := q.Admin.TopicStats(ctx, q.Topic)
	if err != nil && !broker.IsNotFound(err) {
		return well
	}
	if err != nil || !slices.ContainsFunc(stats.Subscriptions[subscription].Consumers, func(c broker.ConsumerStats) bool { return c.Name == q.name }) {
		return missing
	}
	s := stats.Subscriptions[subscription]
	switch {
	case s.ActiveConsumerName != q.name:
		q.held.clear() // they are given to another worker
	case s.MsgBacklog > q.held.count() && time.Since(q.anew) > q.idle: // a backlog that is counted wrongly does no harm then
		return stall
	}
	return well
}

func (q *pulsarQueue) forgetTopic() {
	q.turn <- struct{}{}
	q.ensured = false
	<-q.turn
}

// connect subscribes, however long it takes until the broker can be reached.
func (q *pulsarQueue) connect(ctx context.Context) error {
	for pause := time.Second; ; pause = min(2*pause, retryMax) {
		err := q.subscribe(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.Log.Warn("the topic of clean-ups cannot be read yet, will try again", zap.String("topic", q.Topic), zap.Duration("in", pause), zap.Error(err))
		sleep(ctx, pause)
	}
}

func (q *pulsarQueue) subscribe(ctx context.Context) error {
	if err := q.take(ctx); err != nil {
		return err
	}
	err := q.ensure(ctx)
	<-q.turn
	if err != nil {
		return err
	}
	c, err := await(ctx, func() (pulsar.Consumer, error) {
		return q.Client.Subscribe(pulsar.ConsumerOptions{
			Topic: q.Topic, SubscriptionName: subscription, Type: pulsar.Failover, Name: q.name, EventListener: q,
			SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest, ReceiverQueueSize: readAhead,
			// What is done must be known before a crash: it is not to be done again.
			AckWithResponse: true, AckGroupingOptions: &pulsar.AckGroupingOptions{MaxSize: 1},
			NackRedeliveryDelay: time.Second, BackOffPolicyFunc: rlog.Backoff,
		})
	}, pulsar.Consumer.Close)
	if err == nil {
		q.consumer, q.held = c, &held{entries: map[entryID]bool{}}
	}
	return err
}

// BecameActive implements the client's listener.
func (q *pulsarQueue) BecameActive(pulsar.Consumer, string, int32) { q.activated.Store(true) }

// BecameInactive implements the client's listener: another worker has been given everything that is not done.
func (q *pulsarQueue) BecameInactive(pulsar.Consumer, string, int32) { q.lost.Store(true) }

// Receiving asks the broker who the active consumer is: after a lost connection nobody tells that another one was it.
func (q *pulsarQueue) Receiving(ctx context.Context) (bool, error) {
	if q.lost.Swap(false) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	stats, err := q.Admin.TopicStats(ctx, q.Topic)
	if err != nil {
		return false, fmt.Errorf("asking who cleans up: %w", err)
	}
	return stats.Subscriptions[subscription].ActiveConsumerName == q.name, nil
}

// Close must not run while Receive does.
func (q *pulsarQueue) Close() {
	q.turn <- struct{}{}
	defer func() { <-q.turn }()
	if q.writer != nil {
		q.writer.producer.Close()
	}
	if q.consumer != nil {
		q.consumer.Close()
	}
}

// held are the entries that a consumer has given and that are neither done nor returned. One that is given again counts once.
type held struct {
	mu      sync.Mutex
	entries map[entryID]bool
}

type entryID struct{ ledger, entry int64 }

func (h *held) add(id pulsar.MessageID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries[entryID{id.LedgerID(), id.EntryID()}] = true
}

func (h *held) remove(id pulsar.MessageID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.entries, entryID{id.LedgerID(), id.EntryID()})
}

func (h *held) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.entries)
}

func (h *held) count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.entries))
}

type pulsarItem struct {
	message  pulsar.Message
	consumer pulsar.Consumer
	held     *held
}

func (i pulsarItem) Data() []byte { return i.message.Payload() }

func (i pulsarItem) Done() error {
	err := i.consumer.AckID(i.message.ID())
	if err == nil {
		i.held.remove(i.message.ID())
	}
	return err
}

func (i pulsarItem) Return() {
	i.held.remove(i.message.ID())
	i.consumer.NackID(i.message.ID())
}

// await runs a call of the client, which takes no context, and discards what comes after ctx has ended.
func await[T any](ctx context.Context, call func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ch := make(chan result)
	go func() { // ends with the call, which the client bounds by its operation timeout
		value, err := call()
		select {
		case ch <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				discard(value)
			}
		}
	}()
	var none T
	select {
	case r := <-ch:
		if r.err != nil {
			return none, r.err
		}
		return r.value, nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
