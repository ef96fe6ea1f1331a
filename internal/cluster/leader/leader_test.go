package leader

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
)

const self = "w:h:1"

// bench is an Elector with everything around it in the test's hands.
type bench struct {
	mu      sync.Mutex
	leader  string
	viewErr error
	since   string
	alive   bool
	opened  []string // what happened, in order
	terms   []*Term
	logs    map[string]*rlog.Memory
	events  chan bool
}

// recorded notes when a writer is closed.
type recorded struct {
	rlog.Writer
	b    *bench
	name string
}

func (r recorded) Close() { r.b.note("close " + r.name); r.Writer.Close() }

func (b *bench) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, what)
}

func (b *bench) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *bench) happened() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.opened...)
}

func (b *bench) open(name string) func(ctx context.Context) (rlog.Writer, error) {
	return func(ctx context.Context) (rlog.Writer, error) {
		w, err := b.logs[name].OpenWriter(ctx, "w-"+name)
		if err != nil {
			return nil, err
		}
		b.note("open " + name)
		return recorded{w, b, name}, nil
	}
}

// term waits for the end of the n-th term and returns it.
func (b *bench) term(n int) *Term {
	b.mu.Lock()
	term := b.terms[n]
	b.mu.Unlock()
	<-term.Lost()
	return term
}

func (b *bench) leading() int {
	n := 0
	for _, what := range b.happened() {
		switch what {
		case "lead":
			n++
		case "led":
			n--
		}
	}
	return n
}

// run starts an Elector that ends with the test.
func run(t *testing.T) *bench {
	b := &bench{alive: true, logs: map[string]*rlog.Memory{"assignments": rlog.NewMemory(), "metadata": rlog.NewMemory()}, events: make(chan bool, 4)}
	e := New(Options{Name: self, Events: b.events,
		View: func(context.Context) (membership.View, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return membership.View{LeaderName: b.leader, Consumers: []membership.Consumer{{Name: self, ConnectedSince: b.since}}}, b.viewErr
		},
		WritersAlive: func(context.Context) (bool, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.alive, nil
		},
		OpenAssignments: b.open("assignments"), OpenMetadata: b.open("metadata"),
		CatchUp: func(context.Context) error { b.note("catch up"); return nil },
		Lead: func(ctx context.Context, term *Term) {
			b.set(func() { b.opened, b.terms = append(b.opened, "lead"), append(b.terms, term) })
			<-ctx.Done()
			b.note("led")
		}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

func TestLeadershipIsTakenAndGivenBackInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t)
		time.Sleep(time.Minute)
		require.Empty(t, b.happened(), "not elected")
		b.set(func() { b.leader = self })
		b.events <- true
		synctest.Wait()
		require.Equal(t, []string{"open assignments", "open metadata", "catch up", "lead"}, b.happened())
		b.set(func() { b.leader = "other:h:1" })
		b.events <- false
		synctest.Wait()
		require.Equal(t, []string{"led", "close assignments", "close metadata"}, b.happened()[4:])
		require.ErrorIs(t, b.term(0).Reason(), ErrDeposed)
	})
}

func TestALostNotificationIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t)
		time.Sleep(time.Minute)
		b.set(func() { b.leader = self })
		time.Sleep(4 * time.Second)
		require.Equal(t, 1, b.leading())
		b.set(func() { b.leader = "other:h:1" })
		time.Sleep(4 * time.Second)
		require.Zero(t, b.leading())
	})
}

func TestWhatEndsATerm(t *testing.T) {
	tests := map[string]struct {
		happens    func(b *bench)
		wantReason error // nil: it goes on
		after      time.Duration
	}{
		"the consumer has reconnected":     {happens: func(b *bench) { b.since = "later" }, wantReason: ErrReconnected, after: 4 * time.Second},
		"a writer has vanished":            {happens: func(b *bench) { b.alive = false }, wantReason: ErrWriterGone, after: 4 * time.Second},
		"nobody is active":                 {happens: func(b *bench) { b.leader = "" }, wantReason: ErrInactive, after: 4 * time.Second},
		"a short silence of the broker":    {happens: func(b *bench) { b.viewErr = errors.New("no") }, after: 10 * time.Second},
		"a long silence of the broker":     {happens: func(b *bench) { b.viewErr = errors.New("no") }, wantReason: ErrUnknown, after: 25 * time.Second},
		"a notification out of date":       {happens: func(b *bench) { b.events <- false }, after: 4 * time.Second},
		"a notification without an answer": {happens: func(b *bench) { b.viewErr = errors.New("no"); b.events <- false }, wantReason: ErrInactive, after: time.Second},
		"a writer was fenced":              {happens: func(b *bench) { b.terms[0].Fail(rlog.ErrFenced) }, wantReason: rlog.ErrFenced, after: 10 * time.Millisecond},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := run(t)
				b.set(func() { b.leader = self })
				time.Sleep(10 * time.Second)
				require.Equal(t, 1, b.leading())
				b.set(func() { test.happens(b) })
				time.Sleep(test.after)
				if test.wantReason == nil {
					require.Equal(t, 1, b.leading())
					return
				}
				require.ErrorIs(t, b.term(0).Reason(), test.wantReason)
				b.set(func() { b.viewErr, b.alive, b.leader = nil, true, self })
				time.Sleep(10 * time.Second)
				require.Equal(t, 1, b.leading(), "it recovers by itself")
				b.set(func() { require.GreaterOrEqual(t, len(b.terms), 2) })
			})
		})
	}
}

func TestAcquiringWaitsForThePreviousLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t)
		previous, err := b.logs["metadata"].OpenWriter(t.Context(), "other-metadata")
		require.NoError(t, err)
		b.set(func() { b.leader = self })
		time.Sleep(40 * time.Second)
		require.Equal(t, []string{"open assignments"}, b.happened())
		previous.Close()
		time.Sleep(time.Second)
		require.Equal(t, 1, b.leading(), "within a second after it is free")
	})
}

func TestAcquiringIsGivenUpWhenAnotherIsElected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t)
		_, err := b.logs["metadata"].OpenWriter(t.Context(), "other-metadata")
		require.NoError(t, err)
		b.set(func() { b.leader = self })
		time.Sleep(10 * time.Second)
		b.set(func() { b.leader = "other:h:1" })
		time.Sleep(4 * time.Second)
		require.Equal(t, []string{"open assignments", "close assignments"}, b.happened())
	})
}
