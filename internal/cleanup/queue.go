package cleanup

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
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
	retryMax  = 10 * time.Second
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
	producer pulsar.Producer
	consumer pulsar.Consumer // of the one goroutine that receives
	name     string
	lost     atomic.Bool // the broker has made another consumer the active one in between
}

// NewPulsar is a queue in a topic with one failover subscription. Nothing is done before it is used.
func NewPulsar(o PulsarOptions) Queue {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &pulsarQueue{PulsarOptions: o, turn: make(chan struct{}, 1), name: o.Worker + "-cleaner"}
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

// writer is the shared producer, made at first use. One that is closed late harms nobody, since many may write.
func (q *pulsarQueue) writer(ctx context.Context) (pulsar.Producer, error) {
	if err := q.take(ctx); err != nil {
		return nil, err
	}
	defer func() { <-q.turn }()
	if q.producer != nil {
		return q.producer, nil
	}
	if err := q.ensure(ctx); err != nil {
		return nil, err
	}
	p, err := await(ctx, func() (pulsar.Producer, error) {
		return q.Client.CreateProducer(pulsar.ProducerOptions{
			Topic: q.Topic, DisableBatching: true, DisableBlockIfQueueFull: true, SendTimeout: stepTimeout, BackOffPolicyFunc: rlog.Backoff,
		})
	}, pulsar.Producer.Close)
	q.producer = p
	return p, err
}

func (q *pulsarQueue) Put(ctx context.Context, data []byte) error {
	p, err := q.writer(ctx)
	if err != nil {
		return fmt.Errorf("opening the topic of clean-ups: %w", err)
	}
	sent := make(chan error, 2) // the callback runs on the connection's goroutine and must not block
	p.SendAsync(ctx, &pulsar.ProducerMessage{Payload: data}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		select {
		case sent <- err:
		default:
		}
	})
	select {
	case err = <-sent:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("writing to the topic of clean-ups: %w", err)
	}
	return nil
}

func (q *pulsarQueue) Receive(ctx context.Context) (Item, error) {
	for pause := time.Second; q.consumer == nil; pause = min(2*pause, retryMax) {
		err := q.subscribe(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		q.Log.Warn("the topic of clean-ups cannot be read yet, will try again", zap.String("topic", q.Topic), zap.Duration("in", pause), zap.Error(err))
		sleep(ctx, pause)
	}
	m, err := q.consumer.Receive(ctx)
	if err != nil {
		return nil, err
	}
	return pulsarItem{m, q.consumer}, nil
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
	q.consumer, err = await(ctx, func() (pulsar.Consumer, error) {
		return q.Client.Subscribe(pulsar.ConsumerOptions{
			Topic: q.Topic, SubscriptionName: subscription, Type: pulsar.Failover, Name: q.name, EventListener: q,
			SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest, ReceiverQueueSize: readAhead,
			// What is done must be known before a crash: it is not to be done again.
			AckWithResponse: true, AckGroupingOptions: &pulsar.AckGroupingOptions{MaxSize: 1},
			NackRedeliveryDelay: time.Second, BackOffPolicyFunc: rlog.Backoff,
		})
	}, pulsar.Consumer.Close)
	return err
}

// BecameActive implements the client's listener.
func (q *pulsarQueue) BecameActive(pulsar.Consumer, string, int32) {}

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
	if q.producer != nil {
		q.producer.Close()
	}
	if q.consumer != nil {
		q.consumer.Close()
	}
}

type pulsarItem struct {
	message  pulsar.Message
	consumer pulsar.Consumer
}

func (i pulsarItem) Data() []byte { return i.message.Payload() }
func (i pulsarItem) Done() error  { return i.consumer.AckID(i.message.ID()) }
func (i pulsarItem) Return()      { i.consumer.NackID(i.message.ID()) }

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
