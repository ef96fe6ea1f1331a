package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/instance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEnvironment is the world of a guest without a broker.
type fakeEnvironment struct {
	mu        sync.Mutex
	message   message
	config    map[string]any
	secrets   map[string]string
	lines     []string
	metrics   map[string]float64
	published []*instance.Message
	publish   func(ctx context.Context) error
	state     instance.State
}

type fakeMessage struct {
	topic, key string
	properties map[string]string
	at         time.Time
}

func (m fakeMessage) Topic() string                 { return m.topic }
func (m fakeMessage) Key() string                   { return m.key }
func (m fakeMessage) ProducerName() string          { return "p" }
func (m fakeMessage) ID() []byte                    { return []byte{8, 5, 16, 7} }
func (m fakeMessage) Properties() map[string]string { return m.properties }
func (m fakeMessage) PublishTime() time.Time        { return m.at }
func (m fakeMessage) EventTime() time.Time          { return time.Time{} }
func (m fakeMessage) RedeliveryCount() uint32       { return 2 }

func (e *fakeEnvironment) Message() message      { return e.message }
func (e *fakeEnvironment) Facts() map[string]any { return map[string]any{"name": "f", "instanceId": 3} }
func (e *fakeEnvironment) UserConfigValue(key string) (any, bool) {
	v, ok := e.config[key]
	return v, ok
}
func (e *fakeEnvironment) UserConfig() map[string]any { return e.config }
func (e *fakeEnvironment) Secret(name string) (string, error) {
	if v, ok := e.secrets[name]; ok {
		return v, nil
	}
	return "", fmt.Errorf("secret %q is not there", name)
}
func (e *fakeEnvironment) Log(_ context.Context, level slog.Level, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, level.String()+" "+text)
}
func (e *fakeEnvironment) RecordMetric(name string, value float64) {
	if e.metrics == nil {
		e.metrics = map[string]float64{}
	}
	e.metrics[name] += value
}
func (e *fakeEnvironment) Publish(ctx context.Context, m *instance.Message) ([]byte, error) {
	e.published = append(e.published, m)
	if e.publish != nil {
		return nil, e.publish(ctx)
	}
	return []byte{8, 1, 16, 2}, nil
}
func (e *fakeEnvironment) PublishAsync(_ context.Context, m *instance.Message) {
	e.published = append(e.published, m)
}
func (e *fakeEnvironment) Ack() error  { return errors.New("not MANUAL") }
func (e *fakeEnvironment) Nack() error { return errors.New("not MANUAL") }
func (e *fakeEnvironment) State() instance.State {
	if e.state == nil {
		return startState{}
	}
	return e.state
}

var cacheDirectory = sync.OnceValue(func() string {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("functions-worker-wasm-test-%d", os.Getuid()))
	return dir
})

func newHost(t testing.TB, limits Limits) *Host {
	t.Helper()
	h, err := NewHost(context.Background(), Options{CacheDirectory: cacheDirectory(), Limits: limits})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close(context.Background())) })
	return h
}

func newProgram(t testing.TB, file, options string) *Program {
	t.Helper()
	h := newHost(t, DefaultLimits())
	settings, err := ParseSettings(options, DefaultLimits())
	require.NoError(t, err)
	p, err := h.Program(context.Background(), file, settings, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return p
}

// goGuest builds an example as a guest, once per test run.
var goGuests sync.Map

func goGuest(t testing.TB, example string) string {
	t.Helper()
	build, _ := goGuests.LoadOrStore(example, sync.OnceValues(func() (string, error) {
		file := filepath.Join(os.TempDir(), fmt.Sprintf("functions-worker-%s-%d.wasm", example, os.Getpid()))
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "../../examples/go/"+example)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return file, nil
	}))
	file, err := build.(func() (string, error))()
	require.NoError(t, err)
	return file
}

func TestGoGuest(t *testing.T) {
	p := newProgram(t, goGuest(t, "exclamation"), "")
	env := &fakeEnvironment{config: map[string]any{"suffix": "?!"}, message: fakeMessage{topic: "persistent://a/b/c"}}
	for range 3 {
		r, err := p.handle(t.Context(), env, []byte("hello"))
		require.NoError(t, err)
		require.Equal(t, "hello?!", string(r.Payload))
		require.False(t, r.Explicit)
	}
	require.Equal(t, map[string]float64{"length": 15}, env.metrics)
	require.Equal(t, "INFO exclaiming input=hello instance=3", env.lines[0])
}

func BenchmarkGoGuest(b *testing.B) {
	p := newProgram(b, goGuest(b, cmp.Or(os.Getenv("GUEST"), "exclamation")), "")
	env := &benchEnvironment{}
	input := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.handle(b.Context(), env, input); err != nil {
			b.Fatal(err)
		}
	}
}

type benchEnvironment struct{ fakeEnvironment }

func (*benchEnvironment) Log(context.Context, slog.Level, string) {}

const (
	cGuest    = "../../examples/wasm/exclamation-c/exclamation.wasm"
	rustGuest = "../../examples/wasm/counter-rust/counter.wasm"
)

func BenchmarkCGuest(b *testing.B) {
	p := newProgram(b, cGuest, "")
	env := &benchEnvironment{}
	input := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.handle(b.Context(), env, input); err != nil {
			b.Fatal(err)
		}
	}
}

// mapState is a state store in memory.
type mapState struct {
	instance.State
	numbers map[string]int64
}

func (m *mapState) Increment(_ context.Context, key string, amount int64) (int64, error) {
	m.numbers[key] += amount
	return m.numbers[key], nil
}

func TestRustGuest(t *testing.T) {
	p := newProgram(t, rustGuest, "")
	env := &fakeEnvironment{state: &mapState{numbers: map[string]int64{}}}
	r, err := p.handle(t.Context(), env, []byte("a rose is a Rose"))
	require.NoError(t, err)
	require.Equal(t, "a=1 rose=1 is=1 a=2 Rose=2", string(r.Payload))
	r, err = p.handle(t.Context(), env, []byte("rose"))
	require.NoError(t, err)
	require.Equal(t, "rose=3", string(r.Payload))
	_, err = p.handle(t.Context(), env, []byte{0xff})
	require.ErrorContains(t, err, "the input is no text: invalid utf-8")
	_, err = p.handle(t.Context(), &fakeEnvironment{}, []byte("x"))
	require.EqualError(t, err, errStarting.Error(), "the reason of the host reaches the guest, and comes back")
}

func TestCGuest(t *testing.T) {
	p := newProgram(t, cGuest, "")
	for suffix, want := range map[any]string{nil: "hello!", "?": "hello?", 5.0: "hello5", "": "hello"} {
		env := &fakeEnvironment{config: map[string]any{}}
		if suffix != nil {
			env.config["suffix"] = suffix
		}
		r, err := p.handle(t.Context(), env, []byte("hello"))
		require.NoError(t, err)
		require.Equal(t, want, string(r.Payload))
		require.Equal(t, map[string]float64{"length": 5}, env.metrics)
	}
	_, err := p.handle(t.Context(), &fakeEnvironment{config: map[string]any{"suffix": strings.Repeat("x", 257)}}, nil)
	require.EqualError(t, err, "the user config suffix is longer than 256 bytes")
}
