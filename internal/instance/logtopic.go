package instance

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// topicCore is a zap core that sends every line to the log topic in the form of the Java instance: the message text
// alone, the rest in properties (process contract, section 9.6). Lines are lost rather than waited for.
type topicCore struct {
	zapcore.LevelEnabler
	producer       Producer
	instance, fqfn string
	fields         []zapcore.Field
	lost           *atomic.Int64
}

func newTopicCore(level zapcore.LevelEnabler, producer Producer, instance, fqfn string) *topicCore {
	return &topicCore{LevelEnabler: level, producer: producer, instance: instance, fqfn: fqfn, lost: new(atomic.Int64)}
}

func (c *topicCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.fields = append(append([]zapcore.Field{}, c.fields...), fields...)
	return &clone
}

func (c *topicCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *topicCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	var text strings.Builder
	text.WriteString(e.Message)
	for _, list := range [][]zapcore.Field{c.fields, fields} {
		for _, f := range list {
			appendField(&text, f)
		}
	}
	msg := &pulsar.ProducerMessage{
		Payload: []byte(text.String()),
		Properties: map[string]string{
			"loglevel": e.Level.CapitalString(), "instance": c.instance, "fqn": c.fqfn,
		},
	}
	c.producer.Send(context.Background(), msg, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		if err != nil {
			c.lost.Add(1) // logging it here would loop
		}
	})
	return nil
}

func appendField(text *strings.Builder, f zapcore.Field) {
	encoder := zapcore.NewMapObjectEncoder()
	f.AddTo(encoder)
	if value, ok := encoder.Fields[f.Key]; ok {
		fmt.Fprintf(text, " %s=%v", f.Key, value)
	}
}

func (c *topicCore) Sync() error { return nil }

// teeToTopic makes a logger that writes to log and to the topic.
func teeToTopic(log *zap.Logger, producer Producer, instance, fqfn string) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewTee(core, newTopicCore(topicLevel{core}, producer, instance, fqfn))
	}))
}

// topicLevel lets the same levels through as the log itself; a log that writes nowhere still leaves info for the topic.
type topicLevel struct{ core zapcore.Core }

func (l topicLevel) Enabled(level zapcore.Level) bool {
	if l.core.Enabled(zapcore.FatalLevel) {
		return l.core.Enabled(level)
	}
	return level >= zapcore.InfoLevel
}
