package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Message is something to publish, or an explicit result of a handler.
type Message struct {
	// Topic is where it goes; empty means the output topic.
	Topic string
	// Payload is the content.
	Payload []byte
	// Key chooses partition and key-shared consumer; empty: none.
	Key string
	// Properties travel with the message.
	Properties map[string]string
	// EventTime is when it happened; zero: not said.
	EventTime time.Time
	// DeliverAfter delays the delivery to shared subscriptions.
	DeliverAfter time.Duration
}

// Handler is the user's function: a nil result means that there is none.
type Handler func(ctx context.Context, input []byte) (*Result, error)

// Result is what a handler gives back.
type Result struct {
	Message
	// Explicit results keep their own key and properties; others take the input's key, and its properties if the
	// function asks for it.
	Explicit bool
}

// Context is what a function can know and do beyond its input. One belongs to the instance, and a copy with the
// current message to each call.
type Context struct {
	cfg        *Config
	plan       *Plan
	userConfig map[string]any
	secrets    map[string]any
	log        *slog.Logger
	stats      *Stats
	producers  *producers
	state      State
	getenv     func(string) (string, bool)

	current  pulsar.Message
	consumer Consumer
	answered *atomic.Bool
	later    *later // of a sink's message
}

// newContext reads user config and secrets map; a text that is no JSON object is an error.
func newContext(cfg *Config, plan *Plan, stats *Stats) (*Context, error) {
	c := &Context{cfg: cfg, plan: plan, stats: stats, getenv: os.LookupEnv}
	var err error
	if c.userConfig, err = jsonObject(cfg.Details.GetUserConfig()); err != nil {
		return nil, fmt.Errorf("reading the user config of the function: %w", err)
	}
	if c.secrets, err = jsonObject(cfg.Details.GetSecretsMap()); err != nil {
		return nil, errors.New("reading the secrets map of the function: it is not a JSON object") // never quote it
	}
	return c, nil
}

func jsonObject(text string) (map[string]any, error) {
	values := map[string]any{}
	if text = unquote(text); text == "" {
		return values, nil
	}
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		return nil, err
	}
	return values, nil
}

type contextKey struct{}

// FromContext finds the Context in the ctx that a handler was called with.
func FromContext(ctx context.Context) (*Context, bool) {
	c, ok := ctx.Value(contextKey{}).(*Context)
	return c, ok
}

// NewContext is a ctx as handlers are called with, outside of a call; for tests of programs without an engine.
func NewContext(ctx context.Context, c *Context) context.Context {
	return c.invocation(ctx, delivery{})
}

// invocation is one call of the function: the ctx that it is called with, and the Context in that.
type invocation struct {
	context.Context
	c        Context
	answered atomic.Bool
	running  runningCall
}

// Value implements context.Context.
func (i *invocation) Value(key any) any {
	if key == (contextKey{}) {
		return &i.c
	}
	return i.Context.Value(key)
}

// invocation is that of a message; with an empty delivery that of a call without one.
func (c *Context) invocation(ctx context.Context, d delivery) *invocation {
	i := &invocation{Context: ctx, c: *c}
	i.c.current, i.c.consumer, i.c.answered = d.message, d.consumer, &i.answered
	return i
}

// Config is what the instance was told at its start.
func (c *Context) Config() *Config { return c.cfg }

// Details are the function's details; not to be changed.
func (c *Context) Details() *pb.FunctionDetails { return c.cfg.Details }

// InputTopics are the inputs, sorted: names, or patterns for those subscribed by pattern.
func (c *Context) InputTopics() []string {
	topics := make([]string, 0, len(c.plan.Inputs))
	for _, in := range c.plan.Inputs {
		topics = append(topics, in.Topic)
	}
	return topics
}

// Message is the message that is being handled; nil outside a call.
func (c *Context) Message() pulsar.Message { return c.current }

// Logger writes to the instance's output and to the log topic.
func (c *Context) Logger() *slog.Logger { return c.log }

// UserConfigValue looks a value up; text that starts with $ stands for that environment variable, "" if it is not set.
func (c *Context) UserConfigValue(key string) (any, bool) {
	value, ok := c.userConfig[key]
	if text, isText := value.(string); isText && len(text) > 1 && text[0] == '$' {
		value, _ = c.getenv(text[1:])
	}
	return value, ok
}

// UserConfig is a copy of the whole user config, without the substitution of environment variables.
func (c *Context) UserConfig() map[string]any { return maps.Clone(c.userConfig) }

// Secret gives the secret of this name. A secret whose mapping is text is that text (the clear-text provider);
// one with any other mapping is expected in the environment variable of its name (the provider of Kubernetes).
func (c *Context) Secret(name string) (string, error) {
	mapping, ok := c.secrets[name]
	if !ok {
		return "", fmt.Errorf("secret %q is not in the function's secrets map", name)
	}
	if text, ok := mapping.(string); ok {
		return text, nil
	}
	if value, ok := c.getenv(name); ok {
		return value, nil
	}
	return "", fmt.Errorf("secret %q: the environment variable of this name is not set", name)
}

// SecretNames are the names of the secrets map, sorted.
func (c *Context) SecretNames() []string { return slices.Sorted(maps.Keys(c.secrets)) }

// State are the function's values; every call of it fails with ErrStateDisabled when the worker has no store.
func (c *Context) State() State { return c.state }

// RecordMetric observes a value of a metric of the function.
func (c *Context) RecordMetric(name string, value float64) { c.stats.RecordMetric(name, value) }

// Publish sends a message and waits until it is stored.
func (c *Context) Publish(ctx context.Context, m *Message) (pulsar.MessageID, error) {
	type outcome struct {
		id  pulsar.MessageID
		err error
	}
	stored := make(chan outcome, 1)
	c.PublishAsync(ctx, m, func(id pulsar.MessageID, err error) { stored <- outcome{id, err} })
	select {
	case o := <-stored:
		return o.id, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("publishing to %s: %w", m.Topic, ctx.Err())
	}
}

// PublishAsync sends a message; done, which may be nil, is called once, possibly from another goroutine. Waiting for
// the topic's producer, or for room in its queue, ends with ctx.
func (c *Context) PublishAsync(ctx context.Context, m *Message, done func(pulsar.MessageID, error)) {
	topic := m.Topic
	if topic == "" {
		topic = c.plan.Output.Topic
	}
	finish := func(id pulsar.MessageID, err error) {
		if err != nil {
			err = fmt.Errorf("publishing to %q: %w", topic, err)
			c.stats.SystemError(err, time.Now())
		}
		if done != nil {
			done(id, err)
		}
	}
	if topic == "" {
		finish(nil, errors.New("no topic given, and the function has no output topic"))
		return
	}
	c.producers.send(ctx, producerKey{topic: topic}, producerMessage(m), finish)
}

func producerMessage(m *Message) *pulsar.ProducerMessage {
	out := outgoing(m)
	return &out
}

func outgoing(m *Message) pulsar.ProducerMessage {
	payload := m.Payload
	if payload == nil {
		payload = []byte{} // nil would be a tombstone
	}
	return pulsar.ProducerMessage{
		Payload: payload, Key: m.Key, Properties: m.Properties, EventTime: m.EventTime, DeliverAfter: m.DeliverAfter,
	}
}

// Ack acknowledges the current message; only with the guarantee MANUAL, where nobody else does.
func (c *Context) Ack() error {
	switch {
	case c.current == nil:
		return errors.New("acknowledging: there is no current message")
	case !c.plan.Policy.Manual():
		return errors.New("acknowledging: the function does not have the processing guarantee MANUAL")
	case c.answered.Swap(true):
		return nil
	}
	return c.consumer.Ack(c.current)
}

// Nack asks for the redelivery of the current message; only with the guarantee MANUAL (otherwise return an error).
func (c *Context) Nack() error {
	switch {
	case c.current == nil:
		return errors.New("negative acknowledgement: there is no current message")
	case !c.plan.Policy.Manual():
		return errors.New("negative acknowledgement: the function does not have the processing guarantee MANUAL; return an error instead")
	case c.answered.Swap(true):
		return nil
	}
	c.consumer.Nack(c.current)
	return nil
}
