package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// Options are what a Host is made of.
type Options struct {
	// CacheDirectory keeps compiled code over restarts; nobody but the worker may write there. Empty: no such cache.
	CacheDirectory string
	Limits         Limits
	Log            *zap.Logger // nil: none
}

// Host is what all guests of a process share. It is safe for concurrent use.
type Host struct {
	opts    Options
	cache   wazero.CompilationCache
	runtime wazero.Runtime

	mu      sync.Mutex
	modules map[[sha256.Size]byte]*module
	closed  bool
}

// module is compiled code and who uses it.
type module struct {
	users    int
	done     chan struct{} // closed when compiling has ended
	compiled wazero.CompiledModule
	info     *Module
	err      error
}

// NewHost opens the cache and makes the functions that guests import.
func NewHost(ctx context.Context, opts Options) (*Host, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	h := &Host{opts: opts, modules: map[[sha256.Size]byte]*module{}, cache: wazero.NewCompilationCache()}
	if dir := opts.CacheDirectory; dir != "" {
		if err := privateDirectory(dir); err != nil {
			return nil, fmt.Errorf("cache of compiled WebAssembly (goWorker.wasm.cacheDirectory): %w", err)
		}
		cache, err := wazero.NewCompilationCacheWithDir(dir)
		if err != nil {
			return nil, fmt.Errorf("cache of compiled WebAssembly (goWorker.wasm.cacheDirectory): %w", err)
		}
		h.cache = cache
	}
	h.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCompilationCache(h.cache). // guests are stopped by what stoppable adds
		WithMemoryLimitPages(uint32(min(max(opts.Limits.Memory, pageSize)/pageSize, maxPages))).WithDebugInfoEnabled(false))
	if err := h.offer(ctx); err != nil {
		return nil, errors.Join(err, h.Close(ctx))
	}
	return h, nil
}

// privateDirectory makes the directory, or refuses one that others can write: what is there is run as code.
func privateDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by other users (mode %o); run chmod 700 on it, as its content is executed", dir, info.Mode().Perm())
	}
	return nil
}

// offer makes the two modules that guests import from.
func (h *Host) offer(ctx context.Context) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, h.runtime); err != nil {
		return fmt.Errorf("making the WASI functions: %w", err)
	}
	builder := h.runtime.NewHostModuleBuilder(ModuleName)
	for _, f := range functions {
		builder.NewFunctionBuilder().WithGoModuleFunction(f.goFunction(), valueTypes(f.params), valueTypes(f.results)).Export(f.name)
	}
	if _, err := builder.Instantiate(ctx); err != nil {
		return fmt.Errorf("making the functions of the host: %w", err)
	}
	return nil
}

// Close ends all guests; their programs must not be used any more.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	return errors.Join(h.runtime.Close(ctx), h.cache.Close(ctx))
}

// Load is an instance.Loader for files that hold a module: it reads the settings from the function's details, checks
// and compiles the module, and starts a first guest, so that one that cannot start is known at once.
func (h *Host) Load(ctx context.Context, pkg instance.Package) (instance.Program, error) {
	settings, err := ParseSettings(pkg.Details.GetCustomRuntimeOptions(), h.opts.Limits)
	if err != nil {
		return nil, err
	}
	if err := settings.resolve(h.opts.Limits); err != nil {
		return nil, err
	}
	log := pkg.Log
	if log == nil {
		log = zap.NewNop()
	}
	return h.Program(ctx, pkg.File, settings, log)
}

// Program is Load with the settings given. Lines of a guest that starts go to log.
func (h *Host) Program(ctx context.Context, file string, settings Settings, log *zap.Logger) (*Program, error) {
	start := time.Now()
	hash, err := h.hash(file)
	if err != nil {
		return nil, err
	}
	m, err := h.acquire(ctx, hash, file)
	if err != nil {
		return nil, err
	}
	p := &Program{host: h, hash: hash, module: m, settings: settings, log: log}
	compiled := time.Since(start)
	g, err := p.newGuest(ctx)
	if err != nil {
		h.release(ctx, hash)
		return nil, fmt.Errorf("starting the WebAssembly module: %w", err)
	}
	log.Debug("WebAssembly module loaded", zap.Duration("compiled", compiled), zap.Duration("started", time.Since(start)-compiled))
	p.free = append(p.free, g)
	return p, nil
}

// read copies a module, and refuses one that is too large.
func (h *Host) read(file string, to io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the WebAssembly module: %w", err)
	}
	defer f.Close()
	most := h.opts.Limits.Module
	n, err := io.Copy(to, io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the WebAssembly module: %w", err)
	case n > most:
		return tooLarge(most)
	}
	return nil
}

func tooLarge(most int64) error {
	return fmt.Errorf("WebAssembly module: it is larger than %d bytes (goWorker.wasm.maxModuleSize)", most)
}

// hash names a module by its content; the file is not kept in memory.
func (h *Host) hash(file string) (sum [sha256.Size]byte, err error) {
	digest := sha256.New()
	if err := h.read(file, digest); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(digest.Sum(nil)), nil
}

// acquire compiles the module, unless it is compiled, and counts one more user.
func (h *Host) acquire(ctx context.Context, hash [sha256.Size]byte, file string) (*module, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, errors.New("the host of WebAssembly modules is closed")
	}
	m, known := h.modules[hash]
	if !known {
		m = &module{done: make(chan struct{})}
		h.modules[hash] = m
	}
	m.users++
	h.mu.Unlock()
	if !known {
		m.info, m.compiled, m.err = h.compile(ctx, hash, file)
		close(m.done)
	}
	select {
	case <-m.done:
	case <-ctx.Done():
		h.release(ctx, hash)
		return nil, fmt.Errorf("waiting for the WebAssembly module to be compiled: %w", ctx.Err())
	}
	if m.err != nil {
		h.release(ctx, hash)
		return nil, m.err
	}
	return m, nil
}

func (h *Host) compile(ctx context.Context, hash [sha256.Size]byte, file string) (*Module, wazero.CompiledModule, error) {
	var content bytes.Buffer
	if err := h.read(file, &content); err != nil {
		return nil, nil, err
	}
	code := content.Bytes()
	if sha256.Sum256(code) != hash {
		return nil, nil, fmt.Errorf("reading the WebAssembly module: %s changed meanwhile", file)
	}
	info, err := Inspect(bytes.NewReader(code), h.opts.Limits)
	if err != nil {
		return nil, nil, err
	}
	if code, err = stoppable(code); err != nil {
		return nil, nil, fmt.Errorf("WebAssembly module: %w", err)
	}
	compiled, err := h.runtime.CompileModule(ctx, code)
	if err != nil {
		return nil, nil, fmt.Errorf("compiling the WebAssembly module: %w", err)
	}
	return info, compiled, nil
}

// release counts one user less; the last one closes what was compiled.
func (h *Host) release(ctx context.Context, hash [sha256.Size]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.modules[hash]
	if m == nil {
		return
	}
	if m.users--; m.users > 0 {
		return
	}
	delete(h.modules, hash)
	if m.compiled != nil && !h.closed {
		if err := m.compiled.Close(ctx); err != nil {
			h.opts.Log.Warn("closing compiled WebAssembly", zap.Error(err))
		}
	}
}
