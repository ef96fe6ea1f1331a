package function

import "time"

// Message is something to publish, or a result with more than a payload.
type Message struct {
	// Topic is where it goes, short or fully qualified; empty means the function's output topic.
	Topic string
	// Payload is the content.
	Payload []byte
	// Key chooses the partition, and the consumer of key-shared subscriptions; empty: none.
	Key string
	// Properties travel with the message.
	Properties map[string]string
	// EventTime is when it happened; zero: not said. It travels with milliseconds.
	EventTime time.Time
	// DeliverAfter delays the delivery to shared and key-shared subscriptions.
	DeliverAfter time.Duration
}

// MessageID names a stored message.
type MessageID interface {
	// Serialize gives the bytes that Pulsar clients exchange and deserialize.
	Serialize() []byte
	// LedgerID and EntryID say where the message is stored.
	LedgerID() int64
	EntryID() int64
	// BatchIdx is its place in a batch; -1 or 0: it was sent on its own.
	BatchIdx() int32
	// PartitionIdx is the partition of its topic; -1 or 0: the topic has none.
	PartitionIdx() int32
	// String is for people: ledger, entry, partition and place in the batch.
	String() string
}

// Record is the message that a handler was called with.
type Record interface {
	// Topic is the topic it came from, fully qualified; of a partitioned topic the partition.
	Topic() string
	// Payload is the content, the same bytes that the handler got.
	Payload() []byte
	// Key is empty when the message has none.
	Key() string
	// Properties are a copy of the message's properties.
	Properties() map[string]string
	// PublishTime is when it was published; EventTime when it happened, zero when the sender did not say.
	PublishTime() time.Time
	EventTime() time.Time
	// ID names the message.
	ID() MessageID
	// ProducerName is the name of the producer that sent it.
	ProducerName() string
	// RedeliveryCount counts the deliveries before this one, as far as the broker knows.
	RedeliveryCount() uint32
}
