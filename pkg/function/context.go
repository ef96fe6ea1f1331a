package function

import (
	"context"
	"log/slog"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/instance"
)

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
	// EventTime is when it happened; zero: not said.
	EventTime time.Time
	// DeliverAfter delays the delivery to shared and key-shared subscriptions.
	DeliverAfter time.Duration
}

func (m *Message) message() *instance.Message {
	return &instance.Message{
		Topic: m.Topic, Payload: m.Payload, Key: m.Key, Properties: m.Properties, EventTime: m.EventTime, DeliverAfter: m.DeliverAfter,
	}
}

// Context is what a handler can know and do beyond its input. It is safe for concurrent use and stays valid after the
// call, except that there is no current message to acknowledge any more.
type Context struct{ c *instance.Context }

// FromContext finds the Context in the ctx that the handler was called with; false for any other ctx.
func FromContext(ctx context.Context) (*Context, bool) {
	c, ok := instance.FromContext(ctx)
	if !ok {
		return nil, false
	}
	return &Context{c: c}, true
}

// Tenant of the function.
func (c *Context) Tenant() string { return c.c.Details().GetTenant() }

// Namespace of the function, without its tenant.
func (c *Context) Namespace() string { return c.c.Details().GetNamespace() }

// Name of the function.
func (c *Context) Name() string { return c.c.Details().GetName() }

// FunctionID is a UUID of this run.
func (c *Context) FunctionID() string { return c.c.Config().FunctionID }

// FunctionVersion is a UUID of this run.
func (c *Context) FunctionVersion() string { return c.c.Config().FunctionVersion }

// InstanceID counts from 0 to NumInstances-1.
func (c *Context) InstanceID() int { return c.c.Config().InstanceID }

// NumInstances is the parallelism of the function.
func (c *Context) NumInstances() int { return int(c.c.Details().GetParallelism()) }

// ClusterName is the Pulsar cluster, as the worker calls it.
func (c *Context) ClusterName() string { return c.c.Config().ClusterName }

// InputTopics are the input topics, sorted; a pattern where the function subscribes by pattern.
func (c *Context) InputTopics() []string { return c.c.InputTopics() }

// OutputTopic is where results go; empty if the function has no output.
func (c *Context) OutputTopic() string { return c.c.Details().GetSink().GetTopic() }

// OutputSchemaType is the schema type or serde class configured for the output.
func (c *Context) OutputSchemaType() string {
	sink := c.c.Details().GetSink()
	if t := sink.GetSchemaType(); t != "" {
		return t
	}
	return sink.GetSerDeClassName()
}

// Port is where the control service listens.
func (c *Context) Port() int { return c.c.Config().Port }

// MetricsPort is where the metrics are served.
func (c *Context) MetricsPort() int { return c.c.Config().MetricsPort }

// ExpectedHealthCheckInterval is how often the worker promises to look; 0: it does not say.
func (c *Context) ExpectedHealthCheckInterval() time.Duration { return c.c.Config().HealthInterval }

// MaxIdleTime ends the instance when no message comes for this long; 0: never.
func (c *Context) MaxIdleTime() time.Duration { return c.c.Config().MaxIdle }

// Resources are what the function asked for: cores, and bytes of memory and disk.
func (c *Context) Resources() (cpu float64, ram, disk int64) {
	r := c.c.Details().GetResources()
	return r.GetCpu(), r.GetRam(), r.GetDisk()
}

// Message is the message being handled, with topic, key, properties, times and id.
func (c *Context) Message() pulsar.Message { return c.c.Message() }

// UserConfigValue gives a value of the user config as JSON has it (numbers are float64), or false. Text that starts
// with $ stands for the environment variable of that name, and is empty if it is not set.
func (c *Context) UserConfigValue(key string) (any, bool) { return c.c.UserConfigValue(key) }

// UserConfigString is UserConfigValue for text; fallback if there is no text under this key.
func (c *Context) UserConfigString(key, fallback string) string {
	if value, ok := c.c.UserConfigValue(key); ok {
		if text, ok := value.(string); ok {
			return text
		}
	}
	return fallback
}

// UserConfig is a copy of the user config as it was submitted: $ is not replaced in it.
func (c *Context) UserConfig() map[string]any { return c.c.UserConfig() }

// Secret gives the secret of this name, or an error that says why there is none.
func (c *Context) Secret(name string) (string, error) { return c.c.Secret(name) }

// Logger writes to the instance's log and to the function's log topic. LOGGING_LEVEL sets the level of both.
func (c *Context) Logger() *slog.Logger { return c.c.Logger() }

// RecordMetric observes a value; it shows as pulsar_function_user_metric with the label metric, and in the
// function's stats. Up to 500 different names are kept.
func (c *Context) RecordMetric(name string, value float64) { c.c.RecordMetric(name, value) }

// Publish sends a message to any topic and waits until it is stored.
func (c *Context) Publish(ctx context.Context, m *Message) (pulsar.MessageID, error) {
	return c.c.Publish(ctx, m.message())
}

// PublishAsync sends a message to any topic; done, which may be nil, is called once when it is stored or failed. A
// failure counts as a system exception. The input does not wait for it: use Publish where it must.
func (c *Context) PublishAsync(ctx context.Context, m *Message, done func(pulsar.MessageID, error)) {
	c.c.PublishAsync(ctx, m.message(), done)
}

// Ack acknowledges the current message. Only with the processing guarantee MANUAL: with the others it is an error.
func (c *Context) Ack() error { return c.c.Ack() }

// Nack has the current message delivered again. Only with the processing guarantee MANUAL: otherwise return an error.
func (c *Context) Nack() error { return c.c.Nack() }
