package instance

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// fakeMessage is a message of a fake topic; what it does not override is nil and must not be called.
type fakeMessage struct {
	pulsar.Message
	topic, key string
	payload    []byte
	properties map[string]string
	id         pulsar.MessageID
	event      time.Time
	publish    time.Time
}

func (m *fakeMessage) Topic() string                 { return m.topic }
func (m *fakeMessage) Key() string                   { return m.key }
func (m *fakeMessage) Payload() []byte               { return m.payload }
func (m *fakeMessage) Properties() map[string]string { return m.properties }
func (m *fakeMessage) ID() pulsar.MessageID          { return m.id }
func (m *fakeMessage) EventTime() time.Time          { return m.event }
func (m *fakeMessage) SchemaVersion() []byte         { return nil }
func (m *fakeMessage) PublishTime() time.Time        { return m.publish }

// fakeClient is a Pulsar in memory: consumers get what is put on their channel, producers record what they are sent.
type fakeClient struct {
	mu         sync.Mutex
	consumers  map[string]*fakeConsumer
	producers  map[string]*fakeProducer
	opened     []string // topics in the order of opening; a producer's with a leading ">"
	subscribed []Input
	fail       map[string]error // by topic: opening fails
	failSend   map[string]error // by topic: sends fail
	hold       bool             // sends are confirmed by Flush only
}

func newFakeClient() *fakeClient {
	return &fakeClient{
		consumers: map[string]*fakeConsumer{}, producers: map[string]*fakeProducer{},
		fail: map[string]error{}, failSend: map[string]error{},
	}
}

func (c *fakeClient) consumer(topic string) *fakeConsumer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.consumers[topic] == nil {
		c.consumers[topic] = &fakeConsumer{topic: topic, messages: make(chan *fakeMessage, 100), lost: make(chan error, 1)}
	}
	return c.consumers[topic]
}

func (c *fakeClient) Subscribe(_ context.Context, in Input) (Consumer, error) {
	consumer := c.consumer(in.Topic)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = append(c.opened, in.Topic)
	c.subscribed = append(c.subscribed, in)
	return consumer, c.fail[in.Topic]
}

func (c *fakeClient) Producer(_ context.Context, out Output) (Producer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = append(c.opened, ">"+out.Topic)
	if err := c.fail[out.Topic]; err != nil {
		return nil, err
	}
	p := &fakeProducer{client: c, out: out, err: c.failSend[out.Topic]}
	c.producers[out.Topic] = p
	return p, nil
}

func (c *fakeClient) sent(topic string) []*pulsar.ProducerMessage {
	c.mu.Lock()
	p := c.producers[topic]
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*pulsar.ProducerMessage{}, p.messages...)
}

type fakeConsumer struct {
	topic    string
	messages chan *fakeMessage
	lost     chan error

	mu            sync.Mutex
	next          int64
	acked, nacked []string
	cumulative    []string
	closed        bool
	ackErr        error
}

func (c *fakeConsumer) put(payload string) {
	c.mu.Lock()
	c.next++
	id := pulsar.NewMessageID(7, c.next, -1, -1)
	c.mu.Unlock()
	c.messages <- &fakeMessage{topic: "persistent://public/default/" + c.topic, payload: []byte(payload), id: id, key: "k-" + payload, properties: map[string]string{"p": payload}}
}

func (c *fakeConsumer) Receive(ctx context.Context) (pulsar.Message, error) {
	select {
	case m := <-c.messages:
		return m, nil
	case err := <-c.lost:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *fakeConsumer) record(list *[]string, m pulsar.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, string(m.Payload()))
}
func (c *fakeConsumer) Ack(m pulsar.Message) error { c.record(&c.acked, m); return c.ackErr }
func (c *fakeConsumer) AckCumulative(m pulsar.Message) error {
	c.record(&c.cumulative, m)
	return c.ackErr
}
func (c *fakeConsumer) Nack(m pulsar.Message) { c.record(&c.nacked, m) }
func (c *fakeConsumer) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (c *fakeConsumer) answers() (acked, nacked []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.acked...), append([]string{}, c.nacked...)
}

type fakeProducer struct {
	client *fakeClient
	out    Output
	err    error

	mu       sync.Mutex
	messages []*pulsar.ProducerMessage
	pending  []func()
	flushes  int
	closed   bool
}

func (p *fakeProducer) Send(_ context.Context, m *pulsar.ProducerMessage, done Confirmed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go done(nil, m, errors.New("closed"))
		return
	}
	kept := *m // it is used again after its confirmation
	kept.Properties = maps.Clone(m.Properties)
	p.messages = append(p.messages, &kept)
	id := pulsar.NewMessageID(8, int64(len(p.messages)), -1, -1)
	if p.client.hold {
		p.pending = append(p.pending, func() { done(id, m, p.err) })
		return
	}
	go done(id, m, p.err)
}

func (p *fakeProducer) Flush(context.Context) error {
	p.mu.Lock()
	pending := p.pending
	p.pending = nil
	p.flushes++
	p.mu.Unlock()
	for _, confirm := range pending {
		confirm()
	}
	return nil
}

func (p *fakeProducer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// testConfig is the configuration of a function t/n/f with the input "in" and the output "out".
func testConfig(change ...func(*pb.FunctionDetails)) *Config {
	d := &pb.FunctionDetails{
		Tenant: "t", Namespace: "n", Name: "f", AutoAck: true, Parallelism: 2,
		Source: &pb.SourceSpec{InputSpecs: map[string]*pb.ConsumerSpec{"in": {}}},
		Sink:   &pb.SinkSpec{Topic: "out"},
	}
	for _, f := range change {
		f(d)
	}
	return &Config{Details: d, InstanceID: 1, ServiceURL: "pulsar://x", ClusterName: "c", MaxIdle: 0 * time.Second}
}
