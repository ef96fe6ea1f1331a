package instance

import (
	"context"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// benchClient is an input of n messages, and an output that confirms by batches of a hundred.
type benchClient struct {
	n       int
	message *fakeMessage
	waiting []func()
	acked   chan struct{}
}

func (c *benchClient) Subscribe(context.Context, Input) (Consumer, error) { return c, nil }
func (c *benchClient) Producer(context.Context, Output) (Producer, error) { return c, nil }
func (c *benchClient) Ack(pulsar.Message) error                           { return nil }
func (c *benchClient) AckCumulative(pulsar.Message) error                 { return nil }
func (c *benchClient) Nack(pulsar.Message)                                {}
func (c *benchClient) Close()                                             {}

func (c *benchClient) Receive(ctx context.Context) (pulsar.Message, error) {
	if c.n == 0 {
		c.confirm()
		close(c.acked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.n--
	return c.message, nil
}

func (c *benchClient) Send(_ context.Context, m *pulsar.ProducerMessage, done Confirmed) {
	if c.waiting = append(c.waiting, func() { done(nil, m, nil) }); len(c.waiting) == 100 {
		c.confirm()
	}
}

func (c *benchClient) confirm() {
	for _, confirm := range c.waiting {
		confirm()
	}
	c.waiting = c.waiting[:0]
}

func (c *benchClient) Flush(context.Context) error { return nil }

// BenchmarkEngine is what the engine adds to a message beside the client.
func BenchmarkEngine(b *testing.B) {
	c := &benchClient{n: b.N, acked: make(chan struct{}), message: &fakeMessage{topic: "persistent://public/default/in", payload: make([]byte, 100), id: pulsar.NewMessageID(7, 8, 9, 0)}}
	e, err := New(Options{Config: testConfig(), Client: c, Program: Handler(func(_ context.Context, input []byte) (*Result, error) {
		return &Result{Message: Message{Payload: input}}, nil
	})})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- e.Run(ctx) }()
	<-c.acked
	b.StopTimer()
	require.Equal(b, int64(b.N), e.Stats().Metrics().GetProcessedSuccessfullyTotal())
	cancel()
	require.NoError(b, <-ended)
}
