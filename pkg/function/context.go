package function

import (
	"context"
	"log/slog"
	"time"
)

// backend is what stands behind a Context: the engine in this process, or the host of a WebAssembly guest.
type backend interface {
	// about are the facts that stay the same as long as the instance runs.
	about() *about
	record() Record
	userConfigValue(key string) (any, bool)
	userConfig() map[string]any
	secret(name string) (string, error)
	logger() *slog.Logger
	state() State
	recordMetric(name string, value float64)
	publish(ctx context.Context, m *Message) (MessageID, error)
	publishAsync(ctx context.Context, m *Message, done func(MessageID, error))
	ack() error
	nack() error
}

// about is what an instance knows of itself.
type about struct {
	Tenant           string   `json:"tenant"`
	Namespace        string   `json:"namespace"`
	Name             string   `json:"name"`
	FunctionID       string   `json:"functionId"`
	FunctionVersion  string   `json:"functionVersion"`
	InstanceID       int      `json:"instanceId"`
	NumInstances     int      `json:"numInstances"`
	ClusterName      string   `json:"clusterName"`
	InputTopics      []string `json:"inputTopics"`
	OutputTopic      string   `json:"outputTopic"`
	OutputSchemaType string   `json:"outputSchemaType"`
	Port             int      `json:"port"`
	MetricsPort      int      `json:"metricsPort"`
	HealthInterval   int64    `json:"expectedHealthCheckIntervalMs"`
	MaxIdle          int64    `json:"maxIdleMs"`
	CPU              float64  `json:"cpu"`
	RAM              int64    `json:"ram"`
	Disk             int64    `json:"disk"`
}

// Context is what a handler can know and do beyond its input. It is safe for concurrent use and stays valid after the
// call, except that there is no current message to acknowledge any more.
type Context struct{ b backend }

// FromContext finds the Context in the ctx that the handler was called with; false for any other ctx.
func FromContext(ctx context.Context) (*Context, bool) {
	b, ok := backendOf(ctx)
	if !ok {
		return nil, false
	}
	return &Context{b: b}, true
}

// Tenant of the function.
func (c *Context) Tenant() string { return c.b.about().Tenant }

// Namespace of the function, without its tenant.
func (c *Context) Namespace() string { return c.b.about().Namespace }

// Name of the function.
func (c *Context) Name() string { return c.b.about().Name }

// FunctionID is a UUID of this run.
func (c *Context) FunctionID() string { return c.b.about().FunctionID }

// FunctionVersion is a UUID of this run.
func (c *Context) FunctionVersion() string { return c.b.about().FunctionVersion }

// InstanceID counts from 0 to NumInstances-1.
func (c *Context) InstanceID() int { return c.b.about().InstanceID }

// NumInstances is the parallelism of the function.
func (c *Context) NumInstances() int { return c.b.about().NumInstances }

// ClusterName is the Pulsar cluster, as the worker calls it.
func (c *Context) ClusterName() string { return c.b.about().ClusterName }

// InputTopics are the input topics, sorted; a pattern where the function subscribes by pattern.
func (c *Context) InputTopics() []string { return c.b.about().InputTopics }

// OutputTopic is where results go; empty if the function has no output.
func (c *Context) OutputTopic() string { return c.b.about().OutputTopic }

// OutputSchemaType is the schema type or serde class configured for the output.
func (c *Context) OutputSchemaType() string { return c.b.about().OutputSchemaType }

// Port is where the control service listens.
func (c *Context) Port() int { return c.b.about().Port }

// MetricsPort is where the metrics are served.
func (c *Context) MetricsPort() int { return c.b.about().MetricsPort }

// ExpectedHealthCheckInterval is how often the worker promises to look; 0: it does not say.
func (c *Context) ExpectedHealthCheckInterval() time.Duration {
	return time.Duration(c.b.about().HealthInterval) * time.Millisecond
}

// MaxIdleTime ends the instance when no message comes for this long; 0: never.
func (c *Context) MaxIdleTime() time.Duration {
	return time.Duration(c.b.about().MaxIdle) * time.Millisecond
}

// Resources are what the function asked for: cores, and bytes of memory and disk.
func (c *Context) Resources() (cpu float64, ram, disk int64) {
	a := c.b.about()
	return a.CPU, a.RAM, a.Disk
}

// Message is the message being handled, with topic, key, properties, times and id; nil outside a call.
func (c *Context) Message() Record { return c.b.record() }

// UserConfigValue gives a value of the user config as JSON has it (numbers are float64), or false. Text that starts
// with $ stands for the environment variable of that name, and is empty if it is not set.
func (c *Context) UserConfigValue(key string) (any, bool) { return c.b.userConfigValue(key) }

// UserConfigString is UserConfigValue for text; fallback if there is no text under this key.
func (c *Context) UserConfigString(key, fallback string) string {
	if value, ok := c.b.userConfigValue(key); ok {
		if text, ok := value.(string); ok {
			return text
		}
	}
	return fallback
}

// UserConfig is a copy of the user config as it was submitted: $ is not replaced in it.
func (c *Context) UserConfig() map[string]any { return c.b.userConfig() }

// Secret gives the secret of this name, or an error that says why there is none.
func (c *Context) Secret(name string) (string, error) { return c.b.secret(name) }

// State holds the function's values and counters. Without a state store every call of it fails with ErrStateDisabled.
func (c *Context) State() State { return c.b.state() }

// Logger writes to the instance's log and to the function's log topic. LOGGING_LEVEL sets the level of both.
func (c *Context) Logger() *slog.Logger { return c.b.logger() }

// RecordMetric observes a value; it shows as pulsar_function_user_metric with the label metric, and in the
// function's stats. Up to 500 different names are kept.
func (c *Context) RecordMetric(name string, value float64) { c.b.recordMetric(name, value) }

// Publish sends a message to any topic and waits until it is stored.
func (c *Context) Publish(ctx context.Context, m *Message) (MessageID, error) {
	return c.b.publish(ctx, m)
}

// PublishAsync sends a message to any topic; done, which may be nil, is called once when it is stored or failed. A
// failure counts as a system exception. The input does not wait for it: use Publish where it must.
func (c *Context) PublishAsync(ctx context.Context, m *Message, done func(MessageID, error)) {
	c.b.publishAsync(ctx, m, done)
}

// Ack acknowledges the current message. Only with the processing guarantee MANUAL: with the others it is an error.
func (c *Context) Ack() error { return c.b.ack() }

// Nack has the current message delivered again. Only with the processing guarantee MANUAL: otherwise return an error.
func (c *Context) Nack() error { return c.b.nack() }
