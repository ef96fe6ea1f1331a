package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/functions-worker/functions-worker/internal/instance"
)

const (
	// startTimeout bounds the start of a guest.
	startTimeout = 10 * time.Second
	// longestSleep is how long a guest sleeps at once; it looks at its time limit in between.
	longestSleep = 5 * time.Millisecond
	maxFailure   = 8 << 10 // bytes of a reason that are kept
)

// guest is one instance of a module. It handles one message at a time.
type guest struct {
	module   api.Module
	memory   experimental.LinearMemory
	run      api.Function
	stop     api.MutableGlobal
	argument [1]uint64
	out      *output
	bad      bool
}

// newGuest makes a guest and lets it prepare itself.
func (p *Program) newGuest(ctx context.Context) (*guest, error) {
	if need := p.module.info.MemoryMin; need > p.settings.Memory {
		return nil, fmt.Errorf("the module begins with %d bytes of memory, and the function may have %d (customRuntimeOptions: wasm.maxMemory)", need, p.settings.Memory)
	}
	g := &guest{out: &output{}}
	c := &call{ctx: ctx, env: startEnvironment{p.log}, limit: p.settings.Output}
	g.out.call = c
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, c), startTimeout)
	defer cancel()
	memories := allocator(p.settings.Memory)
	instantiating := experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(size, most uint64) experimental.LinearMemory {
		g.memory = memories.Allocate(size, most)
		return g.memory
	}))
	var err error
	g.module, err = p.host.runtime.InstantiateModule(instantiating, p.module.compiled, g.config(p.settings))
	if err != nil {
		g.close()
		return nil, g.why(ctx, err, c, startTimeout, "its start")
	}
	g.run = g.module.ExportedFunction(exportHandle)
	g.stop = g.module.ExportedGlobal(exportStop).(api.MutableGlobal) // stoppable has put it there
	for _, name := range []string{exportFirst, exportInitialize, exportStart} {
		if err := g.prepare(ctx, c, name); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// prepare calls one of the functions that come before the first message, if the module has it.
func (g *guest) prepare(ctx context.Context, c *call, name string) error {
	f := g.module.ExportedFunction(name)
	if f == nil {
		return nil
	}
	var results [1]uint64
	where := name
	if name != exportStart {
		where = "its start"
	}
	if err := g.call(ctx, f, results[:]); err != nil {
		return g.why(ctx, err, c, startTimeout, where)
	}
	if status := uint32(results[0]); name == exportStart && status != 0 {
		return failed(c, status)
	}
	return nil
}

// call runs a function of the guest until ctx ends at the latest. A guest that was stopped is of no use any more.
func (g *guest) call(ctx context.Context, f api.Function, stack []uint64) error {
	inTime := context.AfterFunc(ctx, func() { g.stop.Set(1) })
	err := f.CallWithStack(ctx, stack)
	if !inTime() || err != nil {
		g.bad = true
	}
	return err
}

// config gives a guest the clock, randomness, its standard output, and what it was granted.
func (g *guest) config(s Settings) wazero.ModuleConfig {
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithSysWalltime().WithSysNanotime().WithRandSource(rand.Reader).
		WithNanosleep(func(ns int64) { time.Sleep(min(time.Duration(ns), longestSleep)) }).
		WithStdout(g.out.stream(slog.LevelInfo)).WithStderr(g.out.stream(slog.LevelWarn))
	for _, name := range s.Environment {
		if value, ok := os.LookupEnv(name); ok {
			config = config.WithEnv(name, value)
		}
	}
	if len(s.Directories) > 0 {
		fs := wazero.NewFSConfig()
		for _, d := range s.Directories {
			if d.Write {
				fs = fs.WithDirMount(d.Host, d.Guest)
			} else {
				fs = fs.WithReadOnlyDirMount(d.Host, d.Guest)
			}
		}
		config = config.WithFSConfig(fs)
	}
	return config
}

// handle gives one message to the guest.
func (g *guest) handle(ctx context.Context, env environment, input []byte, s Settings) (*instance.Result, error) {
	c := &call{ctx: ctx, env: env, limit: s.Output, input: input}
	g.out.call = c
	limited, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, c), s.Timeout)
	defer cancel()
	g.argument[0] = uint64(uint32(len(input)))
	err := g.call(limited, g.run, g.argument[:])
	g.out.flush()
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the function was stopped while it handled the message: %w", ctx.Err())
		}
		return nil, g.why(limited, err, c, s.Timeout, exportHandle)
	}
	if status := uint32(g.argument[0]); status != 0 {
		return nil, failed(c, status)
	}
	return c.finished()
}

// broken tells whether the guest cannot be used again.
func (g *guest) broken() bool { return g.bad || g.module.IsClosed() }

// close ends the guest and frees its memory.
func (g *guest) close() {
	if g.module != nil {
		_ = g.module.Close(context.Background()) // of a module that is closed: nil
	}
	if g.memory != nil {
		g.memory.Free()
	}
}

// failed is the failure that a guest reports itself.
func failed(c *call, status uint32) error {
	if text := strings.TrimSpace(c.failure); text != "" {
		return errors.New(clip(text))
	}
	return fmt.Errorf("the function failed with status %d", int32(status))
}

// why explains what ended a guest in a call until ctx; wazero's text has a stack trace, of which the first line counts.
func (g *guest) why(ctx context.Context, err error, c *call, limit time.Duration, where string) error {
	exit := (*sys.ExitError)(nil)
	switch {
	case errors.As(err, &exit):
		return fmt.Errorf("%s ended the guest with exit code %d%s", where, exit.ExitCode(), c.lastWords())
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s ran longer than %s and was stopped%s", where, limit, c.lastWords())
	case ctx.Err() != nil:
		return fmt.Errorf("%s was stopped: %w", where, context.Canceled)
	}
	text, _, _ := strings.Cut(err.Error(), "\nwasm stack trace:")
	text, _, _ = strings.Cut(text, " (recovered by wazero)")
	return fmt.Errorf("%s trapped: %s%s", where, clip(text), c.lastWords())
}

func (c *call) lastWords() string {
	if said := c.said.String(); said != "" {
		return "; it wrote: " + said
	}
	return ""
}

func clip(text string) string {
	if len(text) > maxFailure {
		text = text[:maxFailure] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// output turns what a guest writes to its standard streams into lines of the log.
type output struct {
	call    *call
	streams []*stream
}

type stream struct {
	out   *output
	level slog.Level
	line  []byte
}

func (o *output) stream(level slog.Level) *stream {
	s := &stream{out: o, level: level}
	o.streams = append(o.streams, s)
	return s
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	if s.level == slog.LevelWarn {
		s.out.call.said.add(p)
	}
	for rest := p; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte("\n"))
		s.line = append(s.line, line[:min(len(line), maxLog-min(len(s.line), maxLog))]...)
		if complete {
			s.flush()
		}
		rest = after
	}
	return len(p), nil
}

func (s *stream) flush() {
	if len(s.line) > 0 {
		s.out.call.env.Log(s.out.call.ctx, s.level, strings.ToValidUTF8(string(s.line), "\uFFFD"))
		s.line = s.line[:0]
	}
}

func (o *output) flush() {
	for _, s := range o.streams {
		s.flush()
	}
}
