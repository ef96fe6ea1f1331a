//go:build !wasip1

package function

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// finish ends the process.
func finish(code int) { os.Exit(code) }

// program is a function in the form of the engine in this process.
type program struct {
	instance.Handler
	window  *windowed
	schemas instance.Schemas
}

var _ instance.Windowed = program{}

// TakesWindows implements instance.Windowed.
func (p program) TakesWindows() bool { return p.window != nil }

// Read implements instance.Windowed.
func (p program) Read(input []byte) (any, error) { return p.window.read(input) }

// HandleWindow implements instance.Windowed.
func (p program) HandleWindow(ctx context.Context, messages []instance.WindowMessage) (*instance.Result, error) {
	list := make([]windowMessage, len(messages))
	for i, m := range messages {
		list[i] = windowMessage{record: pulsarRecord{m.Message}, read: m.Read}
	}
	return engineResult(p.window.handle(ctx, list))
}

// engineResult is a result in the engine's form.
func engineResult(r *result, err error) (*instance.Result, error) {
	if r == nil || err != nil {
		return nil, err
	}
	return &instance.Result{Message: *r.message(), Explicit: r.explicit}, nil
}

// Schemas tells the engine what the handler's types are on the wire.
func (p program) Schemas() instance.Schemas { return p.schemas }

func (a adapted) program() program {
	handler := func(ctx context.Context, input []byte) (*instance.Result, error) {
		return engineResult(a.handler(ctx, input))
	}
	return program{Handler: handler, window: a.window, schemas: schemasOf(a.input, a.output)}
}

// pulsarSchema is nil for a type without one, and for a definition that the client refuses.
func pulsarSchema(c *codec) pulsar.Schema {
	if c == nil {
		return nil
	}
	if p, ok := c.wire.(protobuf); ok {
		return p.schema()
	}
	if c.schema == "" {
		return nil
	}
	schema, err := pulsar.NewJSONSchemaWithValidation(c.schema, nil)
	if err != nil {
		return nil
	}
	return schema
}

// schemasOf are the schemas of an input and a result.
func schemasOf(in, out *codec) instance.Schemas {
	return instance.Schemas{Input: pulsarSchema(in), Output: pulsarSchema(out), AvroInput: pulsarAvro(in), AvroOutput: pulsarAvro(out)}
}

// pulsarAvro is nil for a type that cannot be written as Avro.
func pulsarAvro(c *codec) pulsar.Schema {
	if c == nil || c.avro == "" {
		return nil
	}
	schema, err := pulsar.NewAvroSchemaWithValidation(c.avro, nil)
	if err != nil {
		return nil
	}
	return schema
}

// checkSchemas refuses schema types at submission that the types of a function cannot have.
func checkSchemas(d *pb.FunctionDetails, in, out *codec) error {
	if strings.EqualFold(strings.TrimSpace(d.GetSink().GetSchemaType()), "AVRO") && pulsarAvro(out) == nil {
		return fmt.Errorf("the schema type AVRO of the output needs a struct as the type of the result, of fields that Avro can write; it is %s", typeOf(out))
	}
	for topic, spec := range d.GetSource().GetInputSpecs() {
		switch strings.ToUpper(strings.TrimSpace(spec.GetSchemaType())) {
		case "AVRO", "AUTO", "AUTO_CONSUME":
			if in != nil && in.wire != nil {
				return fmt.Errorf("the schema type %s of input %s gives JSON, which %s is not read from", spec.GetSchemaType(), topic, in.goType)
			}
		}
	}
	return nil
}

func typeOf(c *codec) string {
	if c == nil {
		return "none"
	}
	return c.goType.String()
}

func (m *Message) message() *instance.Message {
	return &instance.Message{
		Topic: m.Topic, Payload: m.Payload, Key: m.Key, Properties: m.Properties, EventTime: m.EventTime, DeliverAfter: m.DeliverAfter,
	}
}

// engineBackend is a Context of the engine.
type engineBackend struct{ c *instance.Context }

func backendOf(ctx context.Context) (backend, bool) {
	c, ok := instance.FromContext(ctx)
	return engineBackend{c}, ok
}

func (b engineBackend) about() *about {
	cfg, d := b.c.Config(), b.c.Details()
	a := &about{
		Tenant: d.GetTenant(), Namespace: d.GetNamespace(), Name: d.GetName(),
		FunctionID: cfg.FunctionID, FunctionVersion: cfg.FunctionVersion, InstanceID: cfg.InstanceID, NumInstances: int(d.GetParallelism()),
		ClusterName: cfg.ClusterName, InputTopics: b.c.InputTopics(), OutputTopic: d.GetSink().GetTopic(), OutputSchemaType: d.GetSink().GetSchemaType(),
		Port: cfg.Port, MetricsPort: cfg.MetricsPort, HealthInterval: cfg.HealthInterval.Milliseconds(), MaxIdle: cfg.MaxIdle.Milliseconds(),
		CPU: d.GetResources().GetCpu(), RAM: d.GetResources().GetRam(), Disk: d.GetResources().GetDisk(),
	}
	if a.OutputSchemaType == "" {
		a.OutputSchemaType = d.GetSink().GetSerDeClassName()
	}
	return a
}

// pulsarRecord is a message of the client.
type pulsarRecord struct{ pulsar.Message }

func (r pulsarRecord) ID() MessageID { return r.Message.ID() }

func (b engineBackend) record() Record {
	m := b.c.Message()
	if m == nil {
		return nil
	}
	return pulsarRecord{m}
}

func (b engineBackend) userConfigValue(key string) (any, bool)  { return b.c.UserConfigValue(key) }
func (b engineBackend) userConfig() map[string]any              { return b.c.UserConfig() }
func (b engineBackend) secret(name string) (string, error)      { return b.c.Secret(name) }
func (b engineBackend) logger() *slog.Logger                    { return b.c.Logger() }
func (b engineBackend) recordMetric(name string, value float64) { b.c.RecordMetric(name, value) }
func (b engineBackend) ack() error                              { return b.c.Ack() }
func (b engineBackend) nack() error                             { return b.c.Nack() }

func (b engineBackend) publish(ctx context.Context, m *Message) (MessageID, error) {
	id, err := b.c.Publish(ctx, m.message())
	if err != nil {
		return nil, err
	}
	return id, nil
}

func (b engineBackend) publishAsync(ctx context.Context, m *Message, done func(MessageID, error)) {
	if done == nil {
		b.c.PublishAsync(ctx, m.message(), nil)
		return
	}
	b.c.PublishAsync(ctx, m.message(), func(id pulsar.MessageID, err error) { done(id, err) })
}
