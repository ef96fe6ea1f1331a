package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// Program is the guests of one function instance.
type Program struct {
	host     *Host
	hash     [sha256.Size]byte
	module   *module
	settings Settings
	log      *zap.Logger

	mu     sync.Mutex
	free   []*guest
	closed bool
	rest   rest
}

var (
	_ instance.Program    = (*Program)(nil)
	_ instance.Concurrent = (*Program)(nil)
)

// Concurrency implements instance.Concurrent.
func (p *Program) Concurrency() int { return p.settings.Concurrency }

// Handle implements instance.Program. The error says what the guest said, or why it was ended.
func (p *Program) Handle(ctx context.Context, input []byte) (*instance.Result, error) {
	c, ok := instance.FromContext(ctx)
	if !ok {
		return nil, errors.New("a WebAssembly function is called without the engine's context")
	}
	return p.handle(ctx, engineEnvironment{c}, input)
}

func (p *Program) handle(ctx context.Context, env environment, input []byte) (*instance.Result, error) {
	if err := p.pause(ctx); err != nil {
		return nil, err
	}
	start := time.Now()
	g, err := p.take(ctx)
	if err != nil {
		p.ended(true, time.Since(start))
		return nil, err
	}
	result, err := g.handle(ctx, env, input, p.settings)
	broken := g.broken()
	if broken {
		g.close()
	}
	p.ended(broken, time.Since(start))
	if !broken {
		p.giveBack(g)
	}
	return result, err
}

// take finds a guest that has nothing to do, or makes one.
func (p *Program) take(ctx context.Context) (*guest, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errors.New("the function is closed")
	}
	if n := len(p.free); n > 0 {
		g := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return g, nil
	}
	p.mu.Unlock()
	g, err := p.newGuest(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting the WebAssembly module again: %w", err)
	}
	return g, nil
}

func (p *Program) giveBack(g *guest) {
	p.mu.Lock()
	keep := !p.closed && len(p.free) < p.settings.Concurrency
	if keep {
		p.free = append(p.free, g)
	}
	p.mu.Unlock()
	if !keep {
		g.close()
	}
}

// Close implements instance.Program; calls under way go on, and their guests are ended after them.
func (p *Program) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	free := p.free
	p.free = nil
	p.mu.Unlock()
	for _, g := range free {
		g.close()
	}
	p.host.release(ctx, p.hash)
	return nil
}

// rest keeps a function whose guests end badly from taking the processor from the others: after each such call it
// pauses for a multiple of what the call cost.
type rest struct {
	factor int
	until  time.Time
}

const (
	maxRestFactor = 32 // 3 % of one processor
	maxRest       = 5 * time.Minute
)

func (r *rest) ended(badly bool, took time.Duration, now time.Time) {
	if !badly {
		r.factor /= 2
		return
	}
	r.factor = min(max(2*r.factor, 4), maxRestFactor)
	r.until = now.Add(min(took*time.Duration(r.factor), maxRest))
}

func (p *Program) ended(badly bool, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest.ended(badly, took, time.Now())
}

// pause waits until the function may go on.
func (p *Program) pause(ctx context.Context) error {
	p.mu.Lock()
	until := p.rest.until
	p.mu.Unlock()
	if until.IsZero() {
		return nil
	}
	wait := time.Until(until)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the function pauses because its last calls ended badly: %w", ctx.Err())
	}
}
