package instance

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/avrojson"
	"github.com/functions-worker/functions-worker/internal/broker"
)

// SchemaLookup finds the schema that a message of a topic was written with, by the version that the message carries, or
// the newest one of the topic without a version; nil when there is none.
type SchemaLookup func(ctx context.Context, topic string, version []byte) (*broker.Schema, error)

// AdminSchemas looks schemas up in the broker's admin API, with the credentials of cfg.
func AdminSchemas(cfg broker.Config) SchemaLookup {
	admin := sync.OnceValues(func() (*broker.Admin, error) { return broker.NewAdmin(cfg, nil) })
	return func(ctx context.Context, topic string, version []byte) (*broker.Schema, error) {
		if cfg.WebServiceURL == "" {
			return nil, errors.New("the address of the broker's web service is not known to the instance (pulsarWebServiceUrl)")
		}
		a, err := admin()
		if err != nil {
			return nil, err
		}
		defer a.Close() // schemas are kept by whoever asks, and connections would be left
		if len(version) == 0 {
			return a.TopicSchema(ctx, topic)
		}
		if len(version) != 8 {
			return nil, fmt.Errorf("the schema version of the message has %d bytes, not 8", len(version))
		}
		return a.TopicSchemaVersion(ctx, topic, binary.BigEndian.Uint64(version))
	}
}

const (
	// maxSchemas bounds the schemas that an input keeps, schemaTimeout how long one is looked up.
	maxSchemas    = 1000
	schemaTimeout = 10 * time.Second
)

// schemaReader turns payloads that only their schema explains into JSON: those of AVRO, and with AUTO_CONSUME numbers too.
type schemaReader struct {
	lookup SchemaLookup
	auto   bool
	own    string // the definition of the handler's type, for messages without a version; "": none

	mu    sync.Mutex
	known map[string]*knownSchema
}

type knownSchema struct {
	kind string // as the broker calls it; "" when the topic has none
	avro *avrojson.Schema
}

// newSchemaReader is nil for schema types whose payloads stand for themselves.
func (c *PulsarClient) newSchemaReader(schemaType string) *schemaReader {
	r := &schemaReader{lookup: c.schemas.Lookup, known: map[string]*knownSchema{}}
	switch strings.ToLower(strings.TrimSpace(schemaType)) {
	case "avro":
		if c.schemas.AvroInput != nil {
			r.own = c.schemas.AvroInput.GetSchemaInfo().Schema
		}
	case "auto_consume", "auto":
		r.auto = true
	default:
		return nil
	}
	return r
}

// read gives what the handler gets for a message.
func (r *schemaReader) read(ctx context.Context, m pulsar.Message) ([]byte, error) {
	s, err := r.schema(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("finding the schema of the message: %w", err)
	}
	payload := m.Payload()
	switch s.kind {
	case "AVRO":
		text, err := s.avro.ToJSON(payload)
		if err != nil {
			return nil, fmt.Errorf("reading the message of %d bytes by its Avro schema: %w", len(payload), err)
		}
		return text, nil
	case "", "NONE", "BYTES", "STRING", "JSON":
		return payload, nil
	}
	return scalarJSON(s.kind, payload)
}

func (r *schemaReader) schema(ctx context.Context, m pulsar.Message) (*knownSchema, error) {
	version := m.SchemaVersion()
	key := m.Topic() + "\x00" + string(version)
	r.mu.Lock()
	s := r.known[key]
	r.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := r.find(ctx, m.Topic(), version)
	if err != nil {
		return nil, err
	}
	if len(version) == 0 && s.kind == "" {
		return s, nil // the topic may get one
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxSchemas {
		clear(r.known)
	}
	r.known[key] = s
	return s, nil
}

func (r *schemaReader) find(ctx context.Context, topic string, version []byte) (*knownSchema, error) {
	found := &broker.Schema{Type: "AVRO", Data: r.own}
	if len(version) > 0 || r.own == "" {
		if r.lookup == nil {
			return nil, errors.New("nothing is there to look it up")
		}
		ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
		defer cancel()
		var err error
		if found, err = r.lookup(ctx, topic, version); err != nil {
			return nil, err
		}
	}
	switch {
	case found == nil && r.auto:
		return &knownSchema{}, nil
	case found == nil:
		return nil, fmt.Errorf("topic %s has none", topic)
	case found.Type != "AVRO":
		return &knownSchema{kind: found.Type}, nil
	}
	parsed, err := avrojson.Parse(found.Data)
	if err != nil {
		return nil, err
	}
	return &knownSchema{kind: found.Type, avro: parsed}, nil
}

// scalarJSON writes a number or truth value, which Pulsar's schemas encode in the order of the network.
func scalarJSON(kind string, payload []byte) ([]byte, error) {
	sizes := map[string]int{"BOOLEAN": 1, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8}
	size, ok := sizes[kind]
	switch {
	case !ok:
		return nil, fmt.Errorf("messages of the schema type %s cannot be read here", kind)
	case len(payload) != size:
		return nil, fmt.Errorf("a value of type %s has %d bytes, not %d", kind, size, len(payload))
	}
	switch kind {
	case "BOOLEAN":
		return strconv.AppendBool(nil, payload[0] != 0), nil
	case "INT8":
		return strconv.AppendInt(nil, int64(int8(payload[0])), 10), nil
	case "INT16":
		return strconv.AppendInt(nil, int64(int16(binary.BigEndian.Uint16(payload))), 10), nil
	case "INT32":
		return strconv.AppendInt(nil, int64(int32(binary.BigEndian.Uint32(payload))), 10), nil
	case "INT64":
		return strconv.AppendInt(nil, int64(binary.BigEndian.Uint64(payload)), 10), nil
	case "FLOAT":
		return json.Marshal(math.Float32frombits(binary.BigEndian.Uint32(payload)))
	}
	return json.Marshal(math.Float64frombits(binary.BigEndian.Uint64(payload)))
}

// schemaMessage is a message whose payload has to be read by its schema. It is read when it is handled.
type schemaMessage struct {
	pulsar.Message
	reader *schemaReader
}

// payloadOf is what a handler gets for a message.
func payloadOf(ctx context.Context, m pulsar.Message) ([]byte, error) {
	if s, ok := m.(schemaMessage); ok {
		return s.reader.read(ctx, s.Message)
	}
	return m.Payload(), nil
}

// schemaConsumer wraps the messages of an input with a schemaReader.
type schemaConsumer struct {
	Consumer
	reader *schemaReader
}

func (c schemaConsumer) Receive(ctx context.Context) (pulsar.Message, error) {
	m, err := c.Consumer.Receive(ctx)
	if err != nil {
		return nil, err
	}
	return schemaMessage{m, c.reader}, nil
}

func (c schemaConsumer) Ack(m pulsar.Message) error { return c.Consumer.Ack(unwrap(m)) }
func (c schemaConsumer) AckCumulative(m pulsar.Message) error {
	return c.Consumer.AckCumulative(unwrap(m))
}
func (c schemaConsumer) Nack(m pulsar.Message) { c.Consumer.Nack(unwrap(m)) }

func unwrap(m pulsar.Message) pulsar.Message {
	if s, ok := m.(schemaMessage); ok {
		return s.Message
	}
	return m
}

// avroProducer writes results, which are JSON, by the Avro schema of their type.
type avroProducer struct {
	Producer
	schema *avrojson.Schema
}

// withAvro wraps a producer whose schema is one of Avro.
func withAvro(p Producer, schema pulsar.Schema) (Producer, error) {
	if schema == nil || schema.GetSchemaInfo().Type != pulsar.AVRO {
		return p, nil
	}
	parsed, err := avrojson.Parse(schema.GetSchemaInfo().Schema)
	if err != nil {
		p.Close()
		return nil, err
	}
	return avroProducer{p, parsed}, nil
}

func (p avroProducer) Send(ctx context.Context, msg *pulsar.ProducerMessage, done Confirmed) {
	data, err := p.schema.FromJSON(msg.Payload)
	if err != nil {
		done(nil, msg, fmt.Errorf("writing the value by its Avro schema: %w", err))
		return
	}
	msg.Payload = data
	p.Producer.Send(ctx, msg, done)
}
