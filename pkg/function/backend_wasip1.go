package function

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"structs"
	"time"
	"unsafe"
)

type guestKey struct{}

// guestBackend asks the host for everything, and once for what stays the same as long as the instance runs. It is of use
// while a message is handled.
type guestBackend struct{}

// kept is what the host said once. A guest handles one message at a time.
var kept struct {
	about  *about
	config map[string]configValue
}

// maxKept bounds the keys of the user config that are remembered.
const maxKept = 1000

type configValue struct {
	value any
	ok    bool
}

func backendOf(ctx context.Context) (backend, bool) {
	_, ok := ctx.Value(guestKey{}).(bool)
	return guestBackend{}, ok
}

func (guestBackend) about() *about {
	if kept.about == nil {
		a := &about{}
		if jsonOf(a, hostFunctionFacts) {
			kept.about = a
		}
		return a
	}
	return kept.about
}

func (guestBackend) record() Record {
	if _, ok, err := value(hostMessageTopic); !ok || err != nil {
		return nil
	}
	return guestRecord{}
}

func (guestBackend) userConfigValue(key string) (any, bool) {
	if key == "" {
		return nil, false
	}
	if v, ok := kept.config[key]; ok {
		return v.value, v.ok
	}
	var v configValue
	v.ok = jsonOf(&v.value, func(buf *byte, size uint32) int32 { return hostConfigJSON(key, buf, size) })
	if kept.config == nil {
		kept.config = map[string]configValue{}
	}
	if len(kept.config) < maxKept {
		kept.config[key] = v
	}
	return v.value, v.ok
}

func (guestBackend) userConfig() map[string]any {
	all := map[string]any{}
	jsonOf(&all, func(buf *byte, size uint32) int32 { return hostConfigJSON("", buf, size) })
	return all
}

func (guestBackend) secret(name string) (string, error) {
	data, ok, err := value(func(buf *byte, size uint32) int32 { return hostSecret(name, buf, size) })
	if err == nil && !ok {
		err = fmt.Errorf("secret %q is not there", name)
	}
	return string(data), err
}

func (guestBackend) recordMetric(name string, value float64) { hostMetric(name, value) }

func (guestBackend) ack() error { return answer(hostAck()) }

func (guestBackend) nack() error { return answer(hostNack()) }

func answer(code int32) error {
	if code < 0 {
		return heldError(code)
	}
	return nil
}

func (guestBackend) publish(_ context.Context, m *Message) (MessageID, error) {
	var packed []byte
	for name, value := range m.Properties {
		packed = appendText(appendText(packed, name), value)
	}
	var eventTime int64
	if !m.EventTime.IsZero() {
		eventTime = m.EventTime.UnixMilli()
	}
	n := hostPublish(m.Topic, unsafe.SliceData(m.Payload), uint32(len(m.Payload)), m.Key,
		unsafe.SliceData(packed), uint32(len(packed)), eventTime, m.DeliverAfter.Milliseconds())
	if n < 0 {
		return nil, heldError(n)
	}
	return parseID(held(n)), nil
}

// publishAsync stores the message before it returns: a guest has nothing that could run later.
func (b guestBackend) publishAsync(ctx context.Context, m *Message, done func(MessageID, error)) {
	id, err := b.publish(ctx, m)
	if done != nil {
		done(id, err)
	}
}

func appendText(b []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
}

func (guestBackend) logger() *slog.Logger { return slog.New(lineHandler{}) }

// lineHandler writes a line as the message followed by key=value attributes.
type lineHandler struct {
	prefix     string // of the groups, with a dot at the end
	attributes string // of With, each with a blank before it
}

func (h lineHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + h.attributes
	r.Attrs(func(a slog.Attr) bool {
		text += format(h.prefix, a)
		return true
	})
	level := int32(1)
	switch {
	case r.Level < slog.LevelInfo:
		level = 0
	case r.Level >= slog.LevelError:
		level = 3
	case r.Level >= slog.LevelWarn:
		level = 2
	}
	hostLog(level, text)
	return nil
}

func (h lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attributes += format(h.prefix, a)
	}
	return h
}

func (h lineHandler) WithGroup(name string) slog.Handler {
	h.prefix += name + "."
	return h
}

func format(prefix string, a slog.Attr) string {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		return fmt.Sprintf(" %s%s=%v", prefix, a.Key, v.Any())
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	text := ""
	for _, member := range v.Group() {
		text += format(prefix, member)
	}
	return text
}

// guestRecord asks the host for what is wanted.
type guestRecord struct{}

func textOf(ask func(buf *byte, size uint32) int32) string {
	data, _, _ := value(ask) // a fact of the message cannot fail
	return string(data)
}

func (guestRecord) Topic() string        { return textOf(hostMessageTopic) }
func (guestRecord) Key() string          { return textOf(hostMessageKey) }
func (guestRecord) ProducerName() string { return textOf(hostMessageProducer) }
func (guestRecord) ID() MessageID {
	return parseID([]byte(textOf(hostMessageID)))
}
func (guestRecord) RedeliveryCount() uint32 { return uint32(max(hostMessageRedeliveryCount(), 0)) }

func (guestRecord) Payload() []byte {
	b := make([]byte, hostInput(nil, 0))
	hostInput(unsafe.SliceData(b), uint32(len(b)))
	return b
}

func (guestRecord) Properties() map[string]string {
	packed, _, _ := value(hostMessageProperties)
	properties := map[string]string{}
	next := func() (text string) {
		if len(packed) < 4 {
			return ""
		}
		n := min(binary.LittleEndian.Uint32(packed), uint32(len(packed)-4))
		text, packed = string(packed[4:4+n]), packed[4+n:]
		return text
	}
	for len(packed) > 0 {
		name := next()
		properties[name] = next()
	}
	return properties
}

func (guestRecord) PublishTime() time.Time { return millis(hostMessagePublishTime()) }
func (guestRecord) EventTime() time.Time   { return millis(hostMessageEventTime()) }

func millis(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// stateInfo is what the host writes beside a value.
type stateInfo struct {
	_         structs.HostLayout
	version   int64
	number    int64
	isCounter int32
	_         int32
}

type guestState struct{}

func (guestBackend) state() State { return guestState{} }

type disabledError struct{ error }

func (disabledError) Is(target error) bool { return target == ErrStateDisabled }

func (guestState) Get(_ context.Context, key string) (*StateValue, error) {
	info := new(stateInfo)
	data, ok, err := value(func(buf *byte, size uint32) int32 { return hostStateGet(key, info, buf, size) })
	if err != nil || !ok {
		return nil, err
	}
	v := &StateValue{Value: data, Version: info.version}
	if info.isCounter == 1 {
		v.Number = &info.number
	}
	return v, nil
}

func (s guestState) Put(ctx context.Context, key string, value []byte) error {
	if value == nil {
		return s.Delete(ctx, key)
	}
	return answer(hostStatePut(key, unsafe.SliceData(value), uint32(len(value))))
}

func (guestState) Delete(_ context.Context, key string) error { return answer(hostStateDelete(key)) }

func (guestState) Increment(_ context.Context, key string, amount int64) (int64, error) {
	total := new(int64)
	code := hostStateIncrement(key, amount, total)
	return *total, answer(code)
}

func (guestState) Counter(_ context.Context, key string) (int64, error) {
	total := new(int64)
	code := hostStateCounter(key, total)
	return *total, answer(code)
}

func (guestState) CompareAndSet(_ context.Context, key string, version int64, value []byte) (int64, error) {
	if value == nil {
		return 0, errors.New("compare-and-set needs a value; an empty one is not nil")
	}
	next := new(int64)
	code := hostStateCompareAndSet(key, version, unsafe.SliceData(value), uint32(len(value)), next)
	return *next, answer(code)
}
