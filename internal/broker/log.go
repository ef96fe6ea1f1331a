package broker

import (
	"fmt"

	pulsarlog "github.com/apache/pulsar-client-go/pulsar/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// clientLogger hands the Pulsar client's lines to zap, one level more quietly: the client reports every connection at
// info and every retry at error, while only this worker knows what a lost connection means. Its debug lines (one per
// frame) are dropped.
type clientLogger struct{ log *zap.Logger }

func newClientLogger(log *zap.Logger) pulsarlog.Logger {
	if log == nil {
		return pulsarlog.DefaultNopLogger()
	}
	return clientLogger{log: log.Named("pulsar").WithOptions(zap.WithCaller(false), zap.AddStacktrace(zapcore.InvalidLevel))}
}

func (l clientLogger) with(fields pulsarlog.Fields) clientLogger {
	zapFields := make([]zap.Field, 0, len(fields))
	for name, value := range fields {
		zapFields = append(zapFields, zap.Any(name, value))
	}
	return clientLogger{log: l.log.With(zapFields...)}
}

func (l clientLogger) print(level zapcore.Level, args []any) {
	if entry := l.log.Check(level, ""); entry != nil {
		entry.Message = fmt.Sprint(args...)
		entry.Write()
	}
}

func (l clientLogger) printf(level zapcore.Level, format string, args []any) {
	if entry := l.log.Check(level, ""); entry != nil {
		entry.Message = fmt.Sprintf(format, args...)
		entry.Write()
	}
}

func (l clientLogger) SubLogger(fields pulsarlog.Fields) pulsarlog.Logger { return l.with(fields) }
func (l clientLogger) WithFields(fields pulsarlog.Fields) pulsarlog.Entry { return l.with(fields) }
func (l clientLogger) WithField(name string, value any) pulsarlog.Entry {
	return clientLogger{log: l.log.With(zap.Any(name, value))}
}
func (l clientLogger) WithError(err error) pulsarlog.Entry {
	return clientLogger{log: l.log.With(zap.Error(err))}
}

func (l clientLogger) Debug(...any)                      {}
func (l clientLogger) Debugf(string, ...any)             {}
func (l clientLogger) Info(args ...any)                  { l.print(zapcore.DebugLevel, args) }
func (l clientLogger) Infof(format string, args ...any)  { l.printf(zapcore.DebugLevel, format, args) }
func (l clientLogger) Warn(args ...any)                  { l.print(zapcore.InfoLevel, args) }
func (l clientLogger) Warnf(format string, args ...any)  { l.printf(zapcore.InfoLevel, format, args) }
func (l clientLogger) Error(args ...any)                 { l.print(zapcore.WarnLevel, args) }
func (l clientLogger) Errorf(format string, args ...any) { l.printf(zapcore.WarnLevel, format, args) }
