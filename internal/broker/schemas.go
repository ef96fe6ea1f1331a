package broker

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// Schema is a schema of a topic as the admin API tells it.
type Schema struct {
	Type       string            `json:"type"` // BYTES, STRING, JSON, AVRO, INT32 and so on
	Data       string            `json:"data"` // the definition: for JSON and AVRO an Avro schema
	Properties map[string]string `json:"properties"`
}

// TopicSchema reads the newest schema of a topic, of all partitions where it has some; nil when the topic has none.
func (a *Admin) TopicSchema(ctx context.Context, topic string) (*Schema, error) {
	const op = "reading the schema of"
	name, err := parseTopic(topic)
	if err != nil {
		return nil, wrap(op, err)
	}
	name.domain = "schemas" // the path of a topic's schema has no domain
	return a.schema(ctx, op+" "+topic, name.path()+"/schema")
}

// TopicSchemaVersion reads one version of the schema of a topic; nil when there is none.
func (a *Admin) TopicSchemaVersion(ctx context.Context, topic string, version uint64) (*Schema, error) {
	const op = "reading a version of the schema of"
	name, err := parseTopic(topic)
	if err != nil {
		return nil, wrap(op, err)
	}
	name.domain = "schemas"
	return a.schema(ctx, fmt.Sprintf("reading version %d of the schema of %s", version, topic), name.path()+"/schema/"+strconv.FormatUint(version, 10))
}

func (a *Admin) schema(ctx context.Context, op, path string) (*Schema, error) {
	var schema Schema
	err := a.call(ctx, op, http.MethodGet, path, nil, &schema)
	switch {
	case IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &schema, nil
}
