package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/avrojson"
	"github.com/functions-worker/functions-worker/internal/broker"
)

// topicSchema is the schema of an input topic, for a producer of payloads that are already encoded.
type topicSchema struct{ info pulsar.SchemaInfo }

var errEncoded = errors.New("payloads of a trigger are already encoded")

func (s *topicSchema) Encode(any) ([]byte, error)        { return nil, errEncoded }
func (s *topicSchema) Decode([]byte, any) error          { return errEncoded }
func (s *topicSchema) Validate([]byte) error             { return nil }
func (s *topicSchema) GetSchemaInfo() *pulsar.SchemaInfo { return &s.info }

// schemaKind is what the broker calls a schema type, its number on the wire, and the length of its values in bytes (0: any).
type schemaKind struct {
	number pulsar.SchemaType
	length int
}

// schemaKinds are the types of values that a topic can have (Schema.Type of Pulsar's binary protocol).
var schemaKinds = map[string]schemaKind{
	"STRING": {pulsar.STRING, 0}, "JSON": {pulsar.JSON, 0}, "AVRO": {pulsar.AVRO, 0}, "PROTOBUF": {pulsar.PROTOBUF, 0},
	"BOOLEAN": {pulsar.BOOLEAN, 1}, "INT8": {pulsar.INT8, 1}, "INT16": {pulsar.INT16, 2}, "INT32": {pulsar.INT32, 4}, "INT64": {pulsar.INT64, 8},
	"FLOAT": {pulsar.FLOAT, 4}, "DOUBLE": {pulsar.DOUBLE, 8}, "DATE": {12, 8}, "TIME": {13, 8}, "TIMESTAMP": {14, 8},
	"KEY_VALUE": {pulsar.KeyValue, 0}, "INSTANT": {16, 12}, "LOCAL_DATE": {17, 8}, "LOCAL_TIME": {18, 8}, "LOCAL_DATE_TIME": {19, 16},
	"PROTOBUF_NATIVE": {pulsar.ProtoNative, 0},
}

// producerSchema is the schema to send with to a topic that has this one; nil for topics of plain bytes.
func producerSchema(schema *broker.Schema) pulsar.Schema {
	if schema == nil {
		return nil
	}
	kind, known := schemaKinds[schema.Type]
	if !known {
		return nil // BYTES, NONE, and types of a newer broker, which then judges itself
	}
	return &topicSchema{pulsar.SchemaInfo{Name: "trigger", Schema: schema.Data, Type: kind.number, Properties: schema.Properties}}
}

// conforms says why data is no value of the topic's schema. What it does not know it lets pass, as the broker does.
func conforms(schema *broker.Schema, data []byte) error {
	if schema == nil {
		return nil
	}
	switch schema.Type {
	case "JSON":
		return conformsJSON(data)
	case "AVRO":
		return conformsAvro(schema.Data, data)
	}
	if want := schemaKinds[schema.Type].length; want > 0 && len(data) != want {
		return fmt.Errorf("a value of type %s has %d bytes, not %d", schema.Type, want, len(data))
	}
	return nil
}

func conformsJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("the topic's schema is JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("the topic's schema is JSON: there is more after the first value")
	}
	return nil
}

// conformsAvro walks the value as the function's reader would. A definition that cannot be read is the topic's fault, not the data's.
func conformsAvro(definition string, data []byte) error {
	schema, err := avrojson.Parse(definition)
	if err != nil {
		return nil //nolint:nilerr // the broker judges
	}
	if err := schema.Check(data); err != nil {
		return fmt.Errorf("the topic's schema is AVRO: %w", err)
	}
	return nil
}
