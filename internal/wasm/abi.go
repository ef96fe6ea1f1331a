package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// Names of the ABI, version 1 (docs/wasm-abi.md).
const (
	// ModuleName is the module that guests import the host's functions from.
	ModuleName = "pulsar"
	// exportVersion marks a guest of version 1; it is exported, and never called.
	exportVersion       = "pulsar_abi_version_1"
	exportVersionPrefix = "pulsar_abi_version_"
	// exportHandle takes one message: (length i32) -> status i32.
	exportHandle = "pulsar_handle"
	// exportStart, which a guest may have, prepares it: () -> status i32.
	exportStart  = "pulsar_start"
	exportMemory = "memory"
	// exportInitialize is the start of a WASI reactor, exportMain that of a WASI command, which is no guest.
	exportInitialize = "_initialize"
	exportMain       = "_start"
	wasiModule       = "wasi_snapshot_preview1"
)

// What a host function answers instead of a length.
const (
	codeNone     = -1 // there is no such value
	codeFailed   = -2 // it did not work; held() is the reason
	codeChanged  = -3 // compare-and-set: the value has another version
	codeDisabled = -4 // the worker has no state store; held() is the reason
)

// function is one function that the host offers.
type function struct {
	name string
	// params and results by WebAssembly type: i = i32, I = i64, F = f64.
	params, results string
	call            func(c *call, a args) int64
}

// args are the arguments of one call, and the results in the same place.
type args []uint64

func (a args) i32(i int) uint32 { return uint32(a[i]) }
func (a args) i64(i int) int64  { return int64(a[i]) }

// functions is the ABI: Inspect checks imports against it, the host offers it, and a test holds the document against it.
// Pointers and lengths go in pairs; "buf, cap" is where a value goes, and the answer is its length.
var functions = []function{
	// the message
	{"input", "ii", "i", func(c *call, a args) int64 { return c.give(c.input, a.i32(0), a.i32(1)) }},
	{"held", "ii", "i", func(c *call, a args) int64 { return c.give(c.held, a.i32(0), a.i32(1)) }},
	{"message_topic", "ii", "i", func(c *call, a args) int64 { return c.fact(message.Topic, a) }},
	{"message_key", "ii", "i", func(c *call, a args) int64 { return c.fact(message.Key, a) }},
	{"message_producer", "ii", "i", func(c *call, a args) int64 { return c.fact(message.ProducerName, a) }},
	{"message_id", "ii", "i", func(c *call, a args) int64 {
		return c.fact(func(m message) string { return string(m.ID()) }, a)
	}},
	{"message_property", "iiii", "i", messageProperty},
	{"message_properties", "ii", "i", messageProperties},
	{"message_publish_time", "", "I", func(c *call, _ args) int64 { return c.when(message.PublishTime) }},
	{"message_event_time", "", "I", func(c *call, _ args) int64 { return c.when(message.EventTime) }},
	{"message_redelivery_count", "", "i", redeliveryCount},
	{"ack", "", "i", func(c *call, _ args) int64 { return c.done(c.env.Ack()) }},
	{"nack", "", "i", func(c *call, _ args) int64 { return c.done(c.env.Nack()) }},
	// the result
	{"output", "ii", "", func(c *call, a args) int64 {
		r := c.out()
		r.Payload = append([]byte{}, c.take(a.i32(0), a.i32(1))...)
		return 0
	}},
	{"output_topic", "ii", "", func(c *call, a args) int64 { c.explicit().Topic = c.text(a, 0); return 0 }},
	{"output_key", "ii", "", func(c *call, a args) int64 { c.explicit().Key = c.text(a, 0); return 0 }},
	{"output_property", "iiii", "", outputProperty},
	{"output_event_time", "I", "", func(c *call, a args) int64 { c.explicit().EventTime = fromMillis(a.i64(0)); return 0 }},
	{"output_deliver_after", "I", "", func(c *call, a args) int64 { c.explicit().DeliverAfter = milliseconds(a.i64(0)); return 0 }},
	{"fail", "ii", "", func(c *call, a args) int64 { c.failure = c.text(a, 0); return 0 }},
	// the function
	{"function_fact", "iiii", "i", functionFact},
	{"function_facts", "ii", "i", func(c *call, a args) int64 { return c.json(c.env.Facts(), a, 0) }},
	{"config_text", "iiii", "i", configText},
	{"config_json", "iiii", "i", configJSON},
	{"secret", "iiii", "i", secret},
	// the outside
	{"log", "iii", "", func(c *call, a args) int64 { c.log(int32(a.i32(0)), c.logText(a)); return 0 }},
	{"metric", "iiF", "", func(c *call, a args) int64 {
		c.env.RecordMetric(c.text(a, 0), math.Float64frombits(a[2]))
		return 0
	}},
	{"now", "", "I", func(*call, args) int64 { return time.Now().UnixNano() }},
	{"publish", "iiiiiiiiII", "i", publish},
	{"publish_async", "iiiiiiiiII", "i", publishAsync},
	// state
	{"state_get", "iiiii", "i", stateGet},
	{"state_put", "iiii", "i", statePut},
	{"state_delete", "ii", "i", stateDelete},
	{"state_increment", "iiIi", "i", stateIncrement},
	{"state_counter", "iii", "i", stateCounter},
	{"state_compare_and_set", "iiIiii", "i", stateCompareAndSet},
}

// valueTypes turns the short form of types into wazero's.
func valueTypes(short string) []api.ValueType {
	types := make([]api.ValueType, 0, len(short))
	for _, t := range short {
		switch t {
		case 'i':
			types = append(types, api.ValueTypeI32)
		case 'I':
			types = append(types, api.ValueTypeI64)
		case 'F':
			types = append(types, api.ValueTypeF64)
		}
	}
	return types
}

// goFunction is f as wazero calls it. A guest that gives bad pointers is ended by the panic, which wazero recovers.
func (f function) goFunction() api.GoModuleFunction {
	return api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
		c, ok := ctx.Value(callKey{}).(*call)
		if !ok {
			panic(errors.New(f.name + " was called outside a call of the host"))
		}
		c.ctx, c.memory = ctx, mod.Memory()
		answer := f.call(c, stack)
		if f.results == "i" {
			stack[0] = uint64(uint32(int32(answer)))
		} else if f.results == "I" {
			stack[0] = uint64(answer)
		}
	})
}

func messageProperty(c *call, a args) int64 {
	m := c.env.Message()
	if m == nil {
		return codeNone
	}
	value, ok := m.Properties()[c.text(a, 0)]
	if !ok {
		return codeNone
	}
	return c.hold([]byte(value), a, 2)
}

// messageProperties gives all of them as packed texts: name, value, name, value …
func messageProperties(c *call, a args) int64 {
	m := c.env.Message()
	if m == nil {
		return codeNone
	}
	var packed []byte
	for name, value := range m.Properties() {
		packed = appendText(appendText(packed, name), value)
	}
	return c.hold(packed, a, 0)
}

func redeliveryCount(c *call, _ args) int64 {
	if m := c.env.Message(); m != nil {
		return int64(m.RedeliveryCount())
	}
	return codeNone
}

func outputProperty(c *call, a args) int64 {
	r := c.explicit()
	if r.Properties == nil {
		r.Properties = map[string]string{}
	}
	name, value := c.text(a, 0), c.text(a, 2)
	c.room(len(name) + len(value))
	r.Properties[name] = value
	return 0
}

func functionFact(c *call, a args) int64 {
	value, ok := c.env.Facts()[c.text(a, 0)]
	if !ok {
		return codeNone
	}
	return c.jsonText(value, a, 2)
}

func configText(c *call, a args) int64 {
	value, ok := c.env.UserConfigValue(c.text(a, 0))
	if !ok {
		return codeNone
	}
	return c.jsonText(value, a, 2)
}

func configJSON(c *call, a args) int64 {
	key := c.text(a, 0)
	if key == "" {
		return c.json(c.env.UserConfig(), a, 2)
	}
	value, ok := c.env.UserConfigValue(key)
	if !ok {
		return codeNone
	}
	return c.json(value, a, 2)
}

func secret(c *call, a args) int64 {
	value, err := c.env.Secret(c.text(a, 0))
	if err != nil {
		return c.done(err)
	}
	return c.hold([]byte(value), a, 2)
}

func (c *call) outgoing(a args) *instance.Message {
	payload, properties := c.take(a.i32(2), a.i32(3)), c.take(a.i32(6), a.i32(7))
	c.bound(uint64(a.i32(3)) + uint64(a.i32(5)) + uint64(a.i32(7)))
	return &instance.Message{
		Topic: c.text(a, 0), Payload: append([]byte{}, payload...), Key: c.text(a, 4), Properties: unpack(properties),
		EventTime: fromMillis(a.i64(8)), DeliverAfter: milliseconds(a.i64(9)),
	}
}

func publish(c *call, a args) int64 {
	id, err := c.env.Publish(c.ctx, c.outgoing(a))
	if err != nil {
		return c.done(err)
	}
	c.held = id
	return int64(len(id))
}

func publishAsync(c *call, a args) int64 {
	c.env.PublishAsync(c.ctx, c.outgoing(a))
	return 0
}

// stateInfo is what state_get writes beside the value: version, number, 1 for a counter, four bytes of nothing.
const stateInfo = 24

func stateGet(c *call, a args) int64 {
	v, err := c.env.State().Get(c.ctx, c.text(a, 0))
	switch {
	case err != nil:
		return c.done(err)
	case v == nil:
		return codeNone
	}
	if at := a.i32(2); at != 0 {
		info := c.take(at, stateInfo)
		clear(info)
		binary.LittleEndian.PutUint64(info, uint64(v.Version))
		if v.Number != nil {
			binary.LittleEndian.PutUint64(info[8:], uint64(*v.Number))
			info[16] = 1
		}
	}
	return c.hold(v.Value, a, 3)
}

func statePut(c *call, a args) int64 {
	value := append([]byte{}, c.take(a.i32(2), a.i32(3))...)
	return c.done(c.env.State().Put(c.ctx, c.text(a, 0), value))
}

func stateDelete(c *call, a args) int64 { return c.done(c.env.State().Delete(c.ctx, c.text(a, 0))) }

func stateIncrement(c *call, a args) int64 {
	total, err := c.env.State().Increment(c.ctx, c.text(a, 0), a.i64(2))
	return c.number(a.i32(3), total, err)
}

func stateCounter(c *call, a args) int64 {
	total, err := c.env.State().Counter(c.ctx, c.text(a, 0))
	return c.number(a.i32(2), total, err)
}

func stateCompareAndSet(c *call, a args) int64 {
	value := append([]byte{}, c.take(a.i32(3), a.i32(4))...)
	version, err := c.env.State().CompareAndSet(c.ctx, c.text(a, 0), a.i64(2), value)
	if errors.Is(err, instance.ErrStateChanged) {
		return codeChanged
	}
	return c.number(a.i32(5), version, err)
}

func fromMillis(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func milliseconds(n int64) time.Duration {
	if n <= 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}
