package wasm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// maxLog bounds one log line of a guest, in bytes; the rest is cut off.
const maxLog = 64 << 10

type callKey struct{}

// call is what one call of a guest may see, and what came of it.
type call struct {
	ctx    context.Context
	env    environment
	memory api.Memory
	limit  uint64 // of the output, in bytes
	input  []byte
	held   []byte // the last value or reason, until the next one

	result  *instance.Result
	used    uint64 // of the limit, by properties
	failure string
	said    tail // what the guest wrote to its standard error
}

// take is guest memory from ptr on. It is valid until the guest goes on.
func (c *call) take(ptr, size uint32) []byte {
	if size == 0 {
		return nil
	}
	b, ok := c.memory.Read(ptr, size)
	if !ok {
		panic(fmt.Errorf("the guest gave a bad pointer: %d bytes at %d are not within its memory of %d bytes", size, ptr, c.memory.Size()))
	}
	return b
}

// text is a copy of the guest's text whose pointer is argument i.
func (c *call) text(a args, i int) string {
	size := a.i32(i + 1)
	c.bound(uint64(size))
	return string(c.take(a.i32(i), size))
}

// give copies a value to the guest as far as all of it fits, and answers its length.
func (c *call) give(value []byte, buf, size uint32) int64 {
	if len(value) > 0 && uint64(len(value)) <= uint64(size) {
		copy(c.take(buf, uint32(len(value))), value)
	}
	return int64(len(value))
}

// hold gives a value to the buffer whose pointer is argument i, and keeps it for held().
func (c *call) hold(value []byte, a args, i int) int64 {
	c.held = value
	return c.give(value, a.i32(i), a.i32(i+1))
}

func (c *call) fact(of func(message) string, a args) int64 {
	m := c.env.Message()
	if m == nil {
		return codeNone
	}
	value := of(m)
	if value == "" {
		return codeNone
	}
	return c.hold([]byte(value), a, 0)
}

func (c *call) when(of func(message) time.Time) int64 {
	m := c.env.Message()
	if m == nil {
		return 0
	}
	t := of(m)
	if t.IsZero() || t.UnixMilli() <= 0 {
		return 0
	}
	return t.UnixMilli()
}

func (c *call) json(value any, a args, i int) int64 {
	data, err := json.Marshal(value)
	if err != nil {
		return c.done(err)
	}
	return c.hold(data, a, i)
}

// jsonText gives text as it is, and anything else as JSON.
func (c *call) jsonText(value any, a args, i int) int64 {
	if text, ok := value.(string); ok {
		return c.hold([]byte(text), a, i)
	}
	return c.json(value, a, i)
}

// done turns an error into an answer, with its text held.
func (c *call) done(err error) int64 {
	if err == nil {
		return 0
	}
	c.held = []byte(err.Error())
	if errors.Is(err, instance.ErrStateDisabled) {
		return codeDisabled
	}
	return codeFailed
}

// number writes n where the guest wants it; a null pointer says that it does not.
func (c *call) number(at uint32, n int64, err error) int64 {
	if err != nil {
		return c.done(err)
	}
	if at != 0 {
		binary.LittleEndian.PutUint64(c.take(at, 8), uint64(n))
	}
	return 0
}

func (c *call) out() *instance.Result {
	if c.result == nil {
		c.result = &instance.Result{}
	}
	return c.result
}

func (c *call) explicit() *instance.Result {
	r := c.out()
	r.Explicit = true
	return r
}

// room counts what the guest piles up in properties.
func (c *call) room(n int) {
	c.used += uint64(n)
	c.bound(c.used)
}

// bound ends a guest that hands over more than it may.
func (c *call) bound(n uint64) {
	if n > c.limit {
		panic(fmt.Errorf("the guest handed over %d bytes; at most %d are allowed (wasm.maxOutput)", n, c.limit))
	}
}

// finished is the result, once the guest has said that all is well.
func (c *call) finished() (*instance.Result, error) {
	r := c.result
	if r == nil {
		return nil, nil
	}
	if n := uint64(len(r.Payload)+len(r.Key)) + c.used; n > c.limit {
		return nil, fmt.Errorf("the result has %d bytes; at most %d are allowed (wasm.maxOutput)", n, c.limit)
	}
	if r.Payload == nil {
		r.Payload = []byte{}
	}
	return r, nil
}

func (c *call) logText(a args) string {
	text := c.take(a.i32(1), min(a.i32(2), maxLog))
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// log writes a line; levels are 0 debug, 1 info, 2 warn, 3 error.
func (c *call) log(level int32, text string) {
	levels := [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	c.env.Log(c.ctx, levels[max(0, min(int(level), len(levels)-1))], text)
}

// appendText packs a text: four bytes of length, the lowest first, then the bytes.
func appendText(b []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
}

// unpack reads packed pairs of texts; a guest that packs wrongly is ended.
func unpack(b []byte) map[string]string {
	var texts []string
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			panic(errors.New("the guest packed properties wrongly: a length goes past the end"))
		}
		n := binary.LittleEndian.Uint32(b)
		texts = append(texts, string(b[4:4+n]))
		b = b[4+n:]
	}
	if len(texts)%2 != 0 {
		panic(errors.New("the guest packed properties wrongly: the last name has no value"))
	}
	if len(texts) == 0 {
		return nil
	}
	properties := make(map[string]string, len(texts)/2)
	for i := 0; i < len(texts); i += 2 {
		properties[texts[i]] = texts[i+1]
	}
	return properties
}

// tail keeps the last bytes that were written.
type tail struct{ bytes []byte }

const tailSize = 2 << 10

func (t *tail) add(p []byte) {
	if len(p) > tailSize {
		p = p[len(p)-tailSize:]
	}
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - tailSize; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
}

func (t *tail) String() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(t.bytes), "\uFFFD"))
}
