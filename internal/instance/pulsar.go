package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/spaolacci/murmur3"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Schemas are the schemas to use for inputs and output where the function's details name a type; nil means that
// payloads go without one.
type Schemas struct {
	Input, Output pulsar.Schema
	// AvroInput and AvroOutput stand beside them for types that have a schema of JSON: what they would be as AVRO.
	AvroInput, AvroOutput pulsar.Schema
	// Lookup finds the schemas of messages; nil: they cannot be found.
	Lookup SchemaLookup
}

// PulsarClient is the Client over a real broker. It does not own the pulsar.Client: whoever made that closes it.
type PulsarClient struct {
	client  pulsar.Client
	schemas Schemas
	keys    *KeyFiles
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
	var err error
	if options.Decryption, err = c.decryption(in.Decrypt); err != nil {
		return nil, err
	}
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
	if reader := c.newSchemaReader(in.SchemaType); reader != nil {
		return schemaConsumer{pulsarConsumer{consumer}, reader}, nil
	}
	return pulsarConsumer{consumer}, nil
}

func (c *PulsarClient) consumerOptions(in Input) pulsar.ConsumerOptions {
	options := pulsar.ConsumerOptions{
		Topic: in.Topic, SubscriptionName: in.Subscription, Type: consumerType(in.Type), Properties: in.Properties,
		NackRedeliveryDelay: in.NackDelay, NackPrecisionBit: nackPrecision(in.NackDelay), Schema: c.schema(in.SchemaType, c.schemas.Input, c.schemas.AvroInput, "input "+in.Topic),
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
		// this client counts the first delivery, too
		options.DLQ = &pulsar.DLQPolicy{MaxDeliveries: uint32(in.MaxRedeliveries) + 1, DeadLetterTopic: in.DeadLetterTopic}
	}
	if in.OnActive != nil {
		options.EventListener = activeListener(in.OnActive)
	}
	c.settings(in, &options)
	return options
}

// nackPrecision is how many low bits of the time of a redelivery, in milliseconds, the client may drop: it then comes up
// to a sixteenth of the delay too early. The client's own default, 8 bits, makes any delay below a quarter of a second none.
func nackPrecision(delay time.Duration) *int64 {
	const most = 8
	n := int64(most)
	if delay > 0 {
		n = min(most, max(0, int64(bits.Len64(uint64(delay.Milliseconds())/16))-1))
	}
	return &n
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

// schema chooses the schema of a schemaType as it is written in function configs; typed and avro are those of the handler's type.
func (c *PulsarClient) schema(schemaType string, typed, avro pulsar.Schema, where string) pulsar.Schema {
	switch strings.ToLower(strings.TrimSpace(schemaType)) {
	case "", "bytes", "none", "auto", "auto_consume":
		return nil
	case "avro":
		return c.typed(pulsar.AVRO, "AVRO", avro, where)
	case "string":
		return pulsar.NewStringSchema(nil)
	case "json":
		return c.typed(pulsar.JSON, "JSON", typed, where)
	case "protobuf_native":
		return c.typed(pulsar.ProtoNative, "PROTOBUF_NATIVE", typed, where)
	default:
		c.log.Warn("the schema type is not supported, payloads are passed as they are", zap.String("for", where), zap.String("schemaType", schemaType))
	}
	return nil
}

// typed is the schema of the handler's type, if it is of this kind.
func (c *PulsarClient) typed(kind pulsar.SchemaType, name string, schema pulsar.Schema, where string) pulsar.Schema {
	if schema != nil && schema.GetSchemaInfo().Type == kind {
		return schema
	}
	c.log.Warn("the handler's type has no schema of the schema type: no schema is used", zap.String("for", where), zap.String("schemaType", name))
	return nil
}

// maxPending are the results of a function on their way to one topic, unless its producer config says otherwise. The
// client's own default, a thousand, is two batches, of which one waits until the other one is confirmed.
const maxPending = 5000

// Producer opens a producer.
func (c *PulsarClient) Producer(ctx context.Context, out Output) (Producer, error) {
	options := pulsar.ProducerOptions{
		Topic: out.Topic, Properties: out.Properties, SendTimeout: -1, MaxPendingMessages: cmp.Or(out.MaxPending, maxPending),
		HashingScheme: pulsar.Murmur3_32Hash, BatchingMaxPublishDelay: out.BatchDelay,
		CompressionType: compression(out.Compression), DisableBlockIfQueueFull: out.DropWhenFull,
		Schema: c.schema(out.SchemaType, c.schemas.Output, c.schemas.AvroOutput, "output "+out.Topic),
	}
	if out.KeyBased {
		options.BatcherBuilderType = pulsar.KeyBasedBatchBuilder
	}
	if out.Name != "" {
		options.Name, options.DisableBatching, options.MessageRouter = out.Name, true, routeBySequence
	}
	var err error
	if options.Encryption, err = c.encryption(out.Encrypt); err != nil {
		return nil, err
	}
	producer, err := c.createProducer(ctx, options)
	if err != nil {
		return nil, err
	}
	return withAvro(pulsarProducer{producer}, options.Schema)
}

// takeOver is how long the name of a producer may still be in use by the instance that had the partition before.
const takeOver = 30 * time.Second

// createProducer waits for a name that is still in use.
func (c *PulsarClient) createProducer(ctx context.Context, options pulsar.ProducerOptions) (pulsar.Producer, error) {
	deadline := time.Now().Add(takeOver)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		producer, err := c.client.CreateProducer(options)
		if err == nil || options.Name == "" || !strings.Contains(err.Error(), "ProducerBusy") || time.Now().After(deadline) { // the client has no typed error
			return producer, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// activeListener passes on which partitions of a failover subscription are this consumer's.
type activeListener func(topic string, active bool)

func (l activeListener) BecameActive(_ pulsar.Consumer, topic string, _ int32)   { l(topic, true) }
func (l activeListener) BecameInactive(_ pulsar.Consumer, topic string, _ int32) { l(topic, false) }

// routeBySequence sends a repetition of a message to the partition of the first attempt: by its key as every client
// does, else by its sequence id as the Java instance does.
func routeBySequence(m *pulsar.ProducerMessage, topic pulsar.TopicMetadata) int {
	n := uint32(topic.NumPartitions())
	switch {
	case n <= 1:
		return 0
	case m.OrderingKey != "":
		return int(murmur3.Sum32([]byte(m.OrderingKey)) & math.MaxInt32 % n)
	case m.Key != "":
		return int(murmur3.Sum32([]byte(m.Key)) & math.MaxInt32 % n)
	case m.SequenceID != nil:
		return int((*m.SequenceID>>batchBits + *m.SequenceID&(1<<batchBits-1)) % int64(n)) // alone, its low bits are mostly zero
	}
	return 0
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
func (c pulsarConsumer) Ack(m pulsar.Message) error           { return c.consumer.Ack(m) }
func (c pulsarConsumer) AckCumulative(m pulsar.Message) error { return c.consumer.AckCumulative(m) }
func (c pulsarConsumer) Nack(m pulsar.Message)                { c.consumer.Nack(m) }
func (c pulsarConsumer) Close()                               { c.consumer.Close() }

type pulsarProducer struct{ producer pulsar.Producer }

func (p pulsarProducer) Send(ctx context.Context, msg *pulsar.ProducerMessage, done Confirmed) {
	p.producer.SendAsync(ctx, msg, done)
}

func (p pulsarProducer) Flush(ctx context.Context) error {
	err := p.producer.FlushWithCtx(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("flushing %s: %w", p.producer.Topic(), err)
	}
	return err
}
func (p pulsarProducer) Close() { p.producer.Close() }
