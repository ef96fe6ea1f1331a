package instance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Schemas are the schemas to use for inputs and output where the function's details name a type; nil means that
// payloads go without one.
type Schemas struct{ Input, Output pulsar.Schema }

// PulsarClient is the Client over a real broker. It does not own the pulsar.Client: whoever made that closes it.
type PulsarClient struct {
	client  pulsar.Client
	schemas Schemas
	log     *zap.Logger
}

// NewPulsarClient wraps a client, which may be shared between instances.
func NewPulsarClient(client pulsar.Client, schemas Schemas, log *zap.Logger) *PulsarClient {
	if log == nil {
		log = zap.NewNop()
	}
	return &PulsarClient{client: client, schemas: schemas, log: log}
}

// Subscribe opens the consumer of one input, which may be a pattern or have partitions.
func (c *PulsarClient) Subscribe(_ context.Context, in Input) (Consumer, error) {
	options := c.consumerOptions(in)
	if in.QueueSize == 0 {
		if err := c.zeroQueue(in, &options); err != nil {
			return nil, err
		}
	}
	consumer, err := c.client.Subscribe(options)
	if err != nil {
		return nil, err
	}
	if in.SkipToLatest {
		if err := skip(consumer, in); err != nil {
			consumer.Close()
			return nil, err
		}
	}
	return pulsarConsumer{consumer}, nil
}

func (c *PulsarClient) consumerOptions(in Input) pulsar.ConsumerOptions {
	options := pulsar.ConsumerOptions{
		Topic: in.Topic, SubscriptionName: in.Subscription, Type: consumerType(in.Type), Properties: in.Properties,
		NackRedeliveryDelay: in.NackDelay, Schema: c.schema(in.SchemaType, c.schemas.Input, "input "+in.Topic),
	}
	if in.Regex {
		options.Topic, options.TopicsPattern = "", in.Topic
	}
	if in.Earliest {
		options.SubscriptionInitialPosition = pulsar.SubscriptionPositionEarliest
	}
	if in.QueueSize > 0 {
		options.ReceiverQueueSize = in.QueueSize
	}
	if in.MaxRedeliveries > 0 {
		options.DLQ = &pulsar.DLQPolicy{MaxDeliveries: uint32(in.MaxRedeliveries), DeadLetterTopic: in.DeadLetterTopic}
	}
	c.settings(in, &options)
	return options
}

// settings applies the consumer properties that the Go client has an equivalent for.
func (c *PulsarClient) settings(in Input, options *pulsar.ConsumerOptions) {
	for name, value := range in.Settings {
		switch on, isBool := strconv.ParseBool(value); {
		case name == "consumerName":
			options.Name = value
		case name == "readCompacted" && isBool == nil:
			options.ReadCompacted = on
		case name == "replicateSubscriptionState" && isBool == nil:
			options.ReplicateSubscriptionState = on
		case name == "batchIndexAckEnabled" && isBool == nil:
			options.EnableBatchIndexAcknowledgment = on
		default:
			c.log.Warn("a consumer property has no effect", zap.String("topic", in.Topic), zap.String("property", name))
		}
	}
}

// zeroQueue turns the receiver queue off where the client can do that; elsewhere it holds one message.
func (c *PulsarClient) zeroQueue(in Input, options *pulsar.ConsumerOptions) error {
	options.ReceiverQueueSize = 1
	if in.Regex || in.MaxRedeliveries > 0 {
		return nil
	}
	partitions, err := c.client.TopicPartitions(in.Topic)
	if err != nil {
		return fmt.Errorf("looking up the partitions: %w", err)
	}
	options.EnableZeroQueueConsumer = len(partitions) == 1
	return nil
}

// skip moves the subscription to the end of the topic.
func skip(consumer pulsar.Consumer, in Input) error {
	err := consumer.Seek(pulsar.LatestMessageID())
	if err != nil {
		err = consumer.SeekByTime(time.Now()) // the way for topics with partitions
	}
	if err != nil {
		return fmt.Errorf("skipping to the latest message of %s: %w", in.Topic, err)
	}
	return nil
}

func consumerType(t pb.SubscriptionType) pulsar.SubscriptionType {
	switch t {
	case pb.SubscriptionType_FAILOVER:
		return pulsar.Failover
	case pb.SubscriptionType_KEY_SHARED:
		return pulsar.KeyShared
	default:
		return pulsar.Shared
	}
}

// schema chooses the schema of a schemaType as it is written in function configs; typed is that of the handler's type.
func (c *PulsarClient) schema(schemaType string, typed pulsar.Schema, where string) pulsar.Schema {
	switch strings.ToLower(strings.TrimSpace(schemaType)) {
	case "", "bytes", "none":
		return nil
	case "string":
		return pulsar.NewStringSchema(nil)
	case "json":
		if typed != nil {
			return typed
		}
		c.log.Warn("the schema type is JSON, but the handler's type is not known: no schema is used", zap.String("for", where))
	default:
		c.log.Warn("the schema type is not supported, payloads are passed as they are", zap.String("for", where), zap.String("schemaType", schemaType))
	}
	return nil
}

// Producer opens a producer.
func (c *PulsarClient) Producer(_ context.Context, out Output) (Producer, error) {
	options := pulsar.ProducerOptions{
		Topic: out.Topic, Properties: out.Properties, SendTimeout: -1, MaxPendingMessages: out.MaxPending,
		HashingScheme: pulsar.Murmur3_32Hash, BatchingMaxPublishDelay: out.BatchDelay,
		CompressionType: compression(out.Compression), DisableBlockIfQueueFull: out.DropWhenFull,
		Schema: c.schema(out.SchemaType, c.schemas.Output, "output "+out.Topic),
	}
	if out.KeyBased {
		options.BatcherBuilderType = pulsar.KeyBasedBatchBuilder
	}
	producer, err := c.client.CreateProducer(options)
	if err != nil {
		return nil, err
	}
	return pulsarProducer{producer}, nil
}

func compression(t pb.CompressionType) pulsar.CompressionType {
	switch t {
	case pb.CompressionType_NONE:
		return pulsar.NoCompression
	case pb.CompressionType_ZLIB:
		return pulsar.ZLib
	case pb.CompressionType_ZSTD:
		return pulsar.ZSTD
	case pb.CompressionType_SNAPPY:
		return pulsar.SNAPPY
	default:
		return pulsar.LZ4
	}
}

type pulsarConsumer struct{ consumer pulsar.Consumer }

func (c pulsarConsumer) Receive(ctx context.Context) (pulsar.Message, error) {
	return c.consumer.Receive(ctx)
}
func (c pulsarConsumer) Ack(m pulsar.Message) error { return c.consumer.Ack(m) }
func (c pulsarConsumer) Nack(m pulsar.Message)      { c.consumer.Nack(m) }
func (c pulsarConsumer) Close()                     { c.consumer.Close() }

type pulsarProducer struct{ producer pulsar.Producer }

func (p pulsarProducer) Send(ctx context.Context, msg *pulsar.ProducerMessage, done func(pulsar.MessageID, error)) {
	p.producer.SendAsync(ctx, msg, func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { done(id, err) })
}

func (p pulsarProducer) Flush(ctx context.Context) error {
	err := p.producer.FlushWithCtx(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("flushing %s: %w", p.producer.Topic(), err)
	}
	return err
}
func (p pulsarProducer) Close() { p.producer.Close() }
