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
	producerIdle   = 5 * time.Minute // a producer that was not used for so long is closed: it holds a megabyte
	producerUnused = time.Second     // the output's, which is opened at the start to find out that it can be
	maxProducers   = 10000
)

// producers opens one producer per topic on demand and closes those that are idle.
type producers struct {
	client   Client
	template Output

	opening singleflight.Group
	mu      sync.Mutex
	open    map[producerKey]*cachedProducer
	closed  bool
}

// producerKey is a topic and, with effectively-once, the partition of the input whose results the producer sends.
type producerKey struct{ topic, partition string }

type cachedProducer struct {
	Producer
	pending  int // sends that are not confirmed
	lastUsed time.Time
}

var errProducersClosed = errors.New("the instance is stopping")

func newProducers(client Client, template Output) *producers {
	return &producers{client: client, template: template, open: map[producerKey]*cachedProducer{}}
}

func (p *producers) send(ctx context.Context, key producerKey, msg *pulsar.ProducerMessage, done func(pulsar.MessageID, error)) {
	producer, err := p.acquire(ctx, key)
	if err != nil {
		done(nil, err)
		return
	}
	producer.Send(ctx, msg, func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		p.release(producer)
		done(id, err)
	})
}

// acquire finds or opens the producer of a topic and marks it as in use.
func (p *producers) acquire(ctx context.Context, key producerKey) (*cachedProducer, error) {
	if producer, err := p.cached(key); producer != nil || err != nil {
		return producer, err
	}
	opened := p.opening.DoChan(key.topic+"\x00"+key.partition, func() (any, error) { return nil, p.openTopic(key) })
	select {
	case result := <-opened:
		if result.Err != nil {
			return nil, result.Err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	producer, err := p.cached(key)
	if producer == nil && err == nil {
		err = errors.New("the producer was closed again before its first use")
	}
	return producer, err
}

func (p *producers) cached(key producerKey) (*cachedProducer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errProducersClosed
	}
	producer := p.open[key]
	if producer != nil {
		producer.pending++
		producer.lastUsed = time.Now()
	}
	return producer, nil
}

// openTopic does not take the caller's context: others may wait for the same producer.
func (p *producers) openTopic(key producerKey) error {
	p.mu.Lock()
	_, there := p.open[key]
	full := len(p.open) >= maxProducers
	p.mu.Unlock()
	if there {
		return nil
	}
	if full {
		return errors.New("too many topics are being published to")
	}
	out := p.template
	if out.Topic != key.topic {
		out.SchemaType = "" // it describes the output topic alone
	}
	out.Topic = key.topic
	if key.partition != "" {
		out.Name = p.template.Properties["id"] + "-" + key.partition
	}
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
	p.open[key] = &cachedProducer{Producer: producer, lastUsed: time.Now()}
	return nil
}

func (p *producers) release(producer *cachedProducer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	producer.pending--
}

// closeIdle closes the producers that were last used before then; those with a name of their own stay.
func (p *producers) closeIdle(then time.Time) {
	var idle []*cachedProducer
	p.mu.Lock()
	for key, producer := range p.open {
		if key.partition == "" && producer.pending == 0 && producer.lastUsed.Before(then) {
			delete(p.open, key)
			idle = append(idle, producer)
		}
	}
	p.mu.Unlock()
	for _, producer := range idle {
		producer.Close()
	}
}

// closePartition closes the producers of a partition; what they have not sent fails.
func (p *producers) closePartition(partition string) {
	var lost []*cachedProducer
	p.mu.Lock()
	for key, producer := range p.open {
		if key.partition == partition {
			delete(p.open, key)
			lost = append(lost, producer)
		}
	}
	p.mu.Unlock()
	for _, producer := range lost {
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
	p.open = map[producerKey]*cachedProducer{}
	p.mu.Unlock()
	for _, producer := range list {
		producer.Close()
	}
}
