package wasm

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// environment is what a guest can know and do beyond its input.
type environment interface {
	// Message is the one being handled; nil while the guest starts.
	Message() message
	// Facts are about the function, by the names of docs/wasm-abi.md.
	Facts() map[string]any
	UserConfigValue(key string) (any, bool)
	UserConfig() map[string]any
	Secret(name string) (string, error)
	// Log writes one line of the guest.
	Log(ctx context.Context, level slog.Level, text string)
	RecordMetric(name string, value float64)
	// Publish gives the serialized id of the stored message.
	Publish(ctx context.Context, m *instance.Message) ([]byte, error)
	PublishAsync(ctx context.Context, m *instance.Message)
	Ack() error
	Nack() error
	State() instance.State
}

// message is what a guest can know of its input.
type message interface {
	Topic() string
	Key() string
	ProducerName() string
	ID() []byte
	Properties() map[string]string
	PublishTime() time.Time
	EventTime() time.Time
	RedeliveryCount() uint32
}

// engineEnvironment is the Context of a call.
type engineEnvironment struct{ *instance.Context }

// Log implements environment.
func (e engineEnvironment) Log(ctx context.Context, level slog.Level, text string) {
	e.Logger().Log(ctx, level, text)
}

type engineMessage struct{ pulsar.Message }

func (m engineMessage) ID() []byte { return m.Message.ID().Serialize() }

func (e engineEnvironment) Message() message {
	if m := e.Context.Message(); m != nil {
		return engineMessage{m}
	}
	return nil
}

func (e engineEnvironment) Facts() map[string]any {
	cfg, d := e.Config(), e.Details()
	schema := d.GetSink().GetSchemaType()
	if schema == "" {
		schema = d.GetSink().GetSerDeClassName()
	}
	return map[string]any{
		"tenant": d.GetTenant(), "namespace": d.GetNamespace(), "name": d.GetName(),
		"functionId": cfg.FunctionID, "functionVersion": cfg.FunctionVersion,
		"instanceId": cfg.InstanceID, "numInstances": d.GetParallelism(), "clusterName": cfg.ClusterName,
		"inputTopics": e.InputTopics(), "outputTopic": d.GetSink().GetTopic(), "outputSchemaType": schema,
		"port": cfg.Port, "metricsPort": cfg.MetricsPort,
		"expectedHealthCheckIntervalMs": cfg.HealthInterval.Milliseconds(), "maxIdleMs": cfg.MaxIdle.Milliseconds(),
		"cpu": d.GetResources().GetCpu(), "ram": d.GetResources().GetRam(), "disk": d.GetResources().GetDisk(),
	}
}

func (e engineEnvironment) Publish(ctx context.Context, m *instance.Message) ([]byte, error) {
	id, err := e.Context.Publish(ctx, m)
	if err != nil {
		return nil, err
	}
	return id.Serialize(), nil
}

func (e engineEnvironment) PublishAsync(ctx context.Context, m *instance.Message) {
	e.Context.PublishAsync(ctx, m, nil) // a failure is counted there
}

// startEnvironment is there while a guest starts, when there is no message yet: it can log, and nothing else.
type startEnvironment struct{ log *zap.Logger }

var errStarting = errors.New("this is possible only while a message is handled")

// Log implements environment.
func (s startEnvironment) Log(_ context.Context, level slog.Level, text string) {
	s.log.Log(zapcore.Level(level/4), text)
}

func (startEnvironment) Message() message                   { return nil }
func (startEnvironment) Facts() map[string]any              { return map[string]any{} }
func (startEnvironment) UserConfigValue(string) (any, bool) { return nil, false }
func (startEnvironment) UserConfig() map[string]any         { return map[string]any{} }
func (startEnvironment) Secret(string) (string, error)      { return "", errStarting }
func (startEnvironment) RecordMetric(string, float64)       {}
func (startEnvironment) Publish(context.Context, *instance.Message) ([]byte, error) {
	return nil, errStarting
}
func (s startEnvironment) PublishAsync(context.Context, *instance.Message) {
	s.log.Error("a guest published a message while it started; it is lost")
}
func (startEnvironment) Ack() error            { return errStarting }
func (startEnvironment) Nack() error           { return errStarting }
func (startEnvironment) State() instance.State { return startState{} }

type startState struct{}

func (startState) Get(context.Context, string) (*instance.StateValue, error) { return nil, errStarting }
func (startState) Put(context.Context, string, []byte) error                 { return errStarting }
func (startState) Delete(context.Context, string) error                      { return errStarting }
func (startState) Increment(context.Context, string, int64) (int64, error)   { return 0, errStarting }
func (startState) Counter(context.Context, string) (int64, error)            { return 0, errStarting }
func (startState) CompareAndSet(context.Context, string, int64, []byte) (int64, error) {
	return 0, errStarting
}
