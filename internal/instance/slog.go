package instance

import (
	"context"
	"log/slog"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogHandler writes what a function logs with log/slog to the instance's zap logger.
type slogHandler struct {
	log    *zap.Logger
	prefix string // of the groups, with a dot at the end
}

func newSlog(log *zap.Logger) *slog.Logger { return slog.New(slogHandler{log: log}) }

func zapLevel(l slog.Level) zapcore.Level {
	switch {
	case l < slog.LevelInfo:
		return zapcore.DebugLevel
	case l < slog.LevelWarn:
		return zapcore.InfoLevel
	case l < slog.LevelError:
		return zapcore.WarnLevel
	default:
		return zapcore.ErrorLevel
	}
}

func (h slogHandler) Enabled(_ context.Context, l slog.Level) bool {
	return h.log.Core().Enabled(zapLevel(l))
}

func (h slogHandler) Handle(_ context.Context, r slog.Record) error {
	entry := h.log.Check(zapLevel(r.Level), r.Message)
	if entry == nil {
		return nil
	}
	if !r.Time.IsZero() {
		entry.Time = r.Time
	} else {
		entry.Time = time.Now()
	}
	var fields []zap.Field
	r.Attrs(func(a slog.Attr) bool {
		fields = appendAttr(fields, h.prefix, a)
		return true
	})
	entry.Write(fields...)
	return nil
}

func (h slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var fields []zap.Field
	for _, a := range attrs {
		fields = appendAttr(fields, h.prefix, a)
	}
	return slogHandler{log: h.log.With(fields...), prefix: h.prefix}
}

func (h slogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return slogHandler{log: h.log, prefix: h.prefix + name + "."}
}

func appendAttr(fields []zap.Field, prefix string, a slog.Attr) []zap.Field {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range value.Group() {
			fields = appendAttr(fields, prefix, inner)
		}
		return fields
	}
	if a.Key == "" && value.Any() == nil {
		return fields
	}
	return append(fields, zap.Any(prefix+a.Key, value.Any()))
}
