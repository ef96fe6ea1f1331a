package instance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"golang.org/x/sync/singleflight"
)

const (
	producerIdle = 5 * time.Minute // a producer that was not used for so long is closed
	maxProducers = 10000
)

// producers opens one producer per topic on demand and closes those that are idle.
type producers struct {
	client   Client
	template Output

	opening singleflight.Group
	mu      sync.Mutex
	open    map[string]*cachedProducer
	closed  bool
}

type cachedProducer struct {
	Producer
	pending  int // sends that are not confirmed
	lastUsed time.Time
}

var errProducersClosed = errors.New("the instance is stopping")

func newProducers(client Client, template Output) *producers {
	return &producers{client: client, template: template, open: map[string]*cachedProducer{}}
}

func (p *producers) send(ctx context.Context, topic string, msg *pulsar.ProducerMessage, done func(pulsar.MessageID, error)) {
	producer, err := p.acquire(ctx, topic)
	if err != nil {
		done(nil, err)
		return
	}
	producer.Send(ctx, msg, func(id pulsar.MessageID, err error) {
		p.release(producer)
		done(id, err)
	})
}

// acquire finds or opens the producer of a topic and marks it as in use.
func (p *producers) acquire(ctx context.Context, topic string) (*cachedProducer, error) {
	if producer, err := p.cached(topic); producer != nil || err != nil {
		return producer, err
	}
	opened := p.opening.DoChan(topic, func() (any, error) { return nil, p.openTopic(topic) })
	select {
	case result := <-opened:
		if result.Err != nil {
			return nil, result.Err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	producer, err := p.cached(topic)
	if producer == nil && err == nil {
		err = errors.New("the producer was closed again before its first use")
	}
	return producer, err
}

func (p *producers) cached(topic string) (*cachedProducer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errProducersClosed
	}
	producer := p.open[topic]
	if producer != nil {
		producer.pending++
		producer.lastUsed = time.Now()
	}
	return producer, nil
}

// openTopic does not take the caller's context: others may wait for the same producer.
func (p *producers) openTopic(topic string) error {
	p.mu.Lock()
	_, there := p.open[topic]
	full := len(p.open) >= maxProducers
	p.mu.Unlock()
	if there {
		return nil
	}
	if full {
		return errors.New("too many topics are being published to")
	}
	out := p.template
	if out.Topic != topic {
		out.SchemaType = "" // it describes the output topic alone
	}
	out.Topic = topic
	producer, err := p.client.Producer(context.Background(), out)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go producer.Close() // nobody waits for it: the client is closed next
		return errProducersClosed
	}
	p.open[topic] = &cachedProducer{Producer: producer, lastUsed: time.Now()}
	return nil
}

func (p *producers) release(producer *cachedProducer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	producer.pending--
}

// closeIdle closes the producers that were last used before then; the output topic's stays.
func (p *producers) closeIdle(then time.Time) {
	var idle []*cachedProducer
	p.mu.Lock()
	for topic, producer := range p.open {
		if topic != p.template.Topic && producer.pending == 0 && producer.lastUsed.Before(then) {
			delete(p.open, topic)
			idle = append(idle, producer)
		}
	}
	p.mu.Unlock()
	for _, producer := range idle {
		producer.Close()
	}
}

func (p *producers) all() []*cachedProducer {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*cachedProducer, 0, len(p.open))
	for _, producer := range p.open {
		list = append(list, producer)
	}
	return list
}

// flush waits until everything sent so far is confirmed or refused, or ctx ends.
func (p *producers) flush(ctx context.Context) error {
	var errs []error
	for _, producer := range p.all() {
		errs = append(errs, producer.Flush(ctx))
	}
	return errors.Join(errs...)
}

func (p *producers) close() {
	list := p.all()
	p.mu.Lock()
	p.closed = true
	p.open = map[string]*cachedProducer{}
	p.mu.Unlock()
	for _, producer := range list {
		producer.Close()
	}
}
