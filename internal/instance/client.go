package instance

import (
	"context"

	"github.com/apache/pulsar-client-go/pulsar"
)

// Client is what the engine needs of Pulsar.
type Client interface {
	// Subscribe opens the consumer of one input.
	Subscribe(ctx context.Context, in Input) (Consumer, error)
	// Producer opens a producer.
	Producer(ctx context.Context, out Output) (Producer, error)
}

// Consumer is one input. Receive ends with the context's error, or another one if the consumer is lost for good.
type Consumer interface {
	Receive(ctx context.Context) (pulsar.Message, error)
	Ack(pulsar.Message) error
	AckCumulative(pulsar.Message) error
	Nack(pulsar.Message)
	Close()
}

// Confirmed is told that a message is stored, or why not; the message is nobody's any more then.
type Confirmed = func(pulsar.MessageID, *pulsar.ProducerMessage, error)

// Producer sends messages to one topic. Send may wait while its queue is full (as long as ctx), then calls done once,
// possibly from another goroutine, when the broker has stored the message or will not.
type Producer interface {
	Send(ctx context.Context, msg *pulsar.ProducerMessage, done Confirmed)
	Flush(ctx context.Context) error
	Close()
}
