// Package leader holds this worker's seat in the election that the broker decides, and turns "the broker says it is
// me" into leadership: both exclusive writers held, both topics read to their end (coordination contract, section 5).
//
// The life of an Elector is one loop: wait until the broker names this worker, acquire, lead until something speaks
// against it, release, and again. Leadership is a Term with a closing channel; leader-only work is handed the Term and
// must end when it closes. Nothing here ends the process: everything that fails is tried again.
package leader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
)

// Term is one leadership of this worker, from the moment everything is in place until anything speaks against it.
type Term struct {
	Assignments, Metadata rlog.Writer

	once   sync.Once
	lost   chan struct{}
	cancel context.CancelFunc // of the leader's work
	reason error
}

// Lost is closed when the leadership is over.
func (t *Term) Lost() <-chan struct{} { return t.lost }

// Fail ends the leadership, because a writer was fenced or does not know what became of a record. Only the first
// reason counts.
func (t *Term) Fail(reason error) {
	t.once.Do(func() {
		t.reason = reason
		close(t.lost)
		t.cancel()
	})
}

// Reason is why it ended; only after Lost is closed.
func (t *Term) Reason() error { return t.reason }

// Reasons why a leadership ends.
var (
	// ErrDeposed: the broker names another worker.
	ErrDeposed = errors.New("the broker has made another worker the leader")
	// ErrInactive: the broker told this worker's consumer that it is not active any more.
	ErrInactive = errors.New("the broker says this worker is not the leader any more")
	// ErrReconnected: the consumer on the coordination topic has connected anew; what happened meanwhile is unknown.
	ErrReconnected = errors.New("the connection to the coordination topic was lost in between")
	// ErrWriterGone: the broker does not know a writer of this worker any more.
	ErrWriterGone = errors.New("the broker does not list this worker's exclusive producer any more")
	// ErrWriterLost: the connection behind a writer has gone.
	ErrWriterLost = errors.New("the connection behind an exclusive producer was lost")
	// ErrUnknown: the broker did not say for too long who leads.
	ErrUnknown = errors.New("the broker cannot be asked who the leader is")
)

// Options of an Elector.
type Options struct {
	// Name is the consumer name of this worker on the coordination topic.
	Name string
	// Events reports what the broker notifies: true for "became active". Events may be lost; View decides.
	Events <-chan bool
	// View asks the broker who is there.
	View func(ctx context.Context) (membership.View, error)
	// WritersAlive asks the broker whether it still knows both writers; nil when it cannot be asked.
	WritersAlive func(ctx context.Context) (bool, error)
	// OpenAssignments and OpenMetadata make one attempt to become the exclusive writer.
	OpenAssignments, OpenMetadata func(ctx context.Context) (rlog.Writer, error)
	// CatchUp reads both topics to their end.
	CatchUp func(ctx context.Context) error
	// Lead does the leader's work. It must return soon after ctx ends; ctx ends when the term does.
	Lead func(ctx context.Context, term *Term)
	// Timing; zero values take the defaults.
	Timing Timing
	Log    *zap.Logger
}

// Timing of an Elector.
type Timing struct {
	Check        time.Duration // between two questions to the broker; 3 s
	UnknownLimit time.Duration // how long a leader leads without an answer; 15 s
	Attempt      time.Duration // longest wait for one attempt to open a writer; 10 s
	RetryMin     time.Duration // first pause between attempts; 100 ms, doubling
	RetryMax     time.Duration // longest pause; 1 s
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Check, 3*time.Second)
	set(&t.UnknownLimit, 15*time.Second)
	set(&t.Attempt, 10*time.Second)
	set(&t.RetryMin, 100*time.Millisecond)
	set(&t.RetryMax, time.Second)
	return t
}

// Elector is this worker's part in the election.
type Elector struct {
	Options
	silent  atomic.Int32 // questions in a row without an answer
	view    atomic.Pointer[membership.View]
	elected atomic.Bool
	closing sync.WaitGroup // writers being given back
}

// New makes an Elector; Run does everything.
func New(o Options) *Elector {
	o.Timing = o.Timing.withDefaults()
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Elector{Options: o}
}

// Elected says whether the broker, when last heard, named this worker: it leads or is about to.
func (e *Elector) Elected() bool { return e.elected.Load() }

// LastView is the latest answer of the broker, nil before the first one.
func (e *Elector) LastView() *membership.View { return e.view.Load() }

// Run takes part until ctx ends; it returns when everything is released.
func (e *Elector) Run(ctx context.Context) {
	defer e.elected.Store(false)
	defer e.closing.Wait()
	pause := e.Timing.RetryMin
	for e.awaitElection(ctx) {
		e.Log.Info("the broker has elected this worker, acquiring leadership")
		began := time.Now()
		err := e.term(ctx)
		if ctx.Err() != nil {
			return
		}
		e.Log.Warn("not the leader any more", zap.Duration("after", time.Since(began)), zap.Error(err))
		if time.Since(began) > e.Timing.UnknownLimit {
			pause = e.Timing.RetryMin
		}
		sleep(ctx, pause) // what ended the term may end the next one as well
		pause = min(2*pause, e.Timing.RetryMax)
	}
}

// awaitElection returns true when this worker is elected, false when ctx has ended.
func (e *Elector) awaitElection(ctx context.Context) bool {
	// right after joining the broker decides within moments, and its first notification may get lost
	wait := min(50*time.Millisecond, e.Timing.Check)
	for ctx.Err() == nil {
		if mine, _, err := e.ask(ctx); err == nil && mine {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case active := <-e.Events:
			if active {
				wait = min(50*time.Millisecond, e.Timing.Check) // the statistics confirm it at once
			}
		case <-timer.C:
			wait = min(2*wait, e.Timing.Check)
		}
		timer.Stop()
	}
	return false
}

// ask finds out whether this worker is the active one.
func (e *Elector) ask(ctx context.Context) (bool, membership.View, error) {
	ctx, cancel := context.WithTimeout(ctx, e.Timing.UnknownLimit)
	defer cancel()
	v, err := e.View(ctx)
	if err != nil {
		if e.silent.Add(1)%10 == 1 { // once, and then twice a minute
			e.Log.Warn("cannot find out from the broker who the leader is", zap.Error(err))
		}
		return false, v, err
	}
	e.silent.Store(0)
	e.view.Store(&v)
	mine := v.LeaderName == e.Name
	e.elected.Store(mine)
	return mine, v, nil
}

// term acquires, leads and releases once. It returns why it ended.
func (e *Elector) term(parent context.Context) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)
	var acquired atomic.Bool
	var watching sync.WaitGroup
	watching.Go(func() { e.watch(ctx, end, &acquired) })
	defer watching.Wait()
	defer end(nil)

	workCtx, cancel := context.WithCancel(ctx)
	term := &Term{lost: make(chan struct{}), cancel: cancel}
	defer e.release(term)
	if err := e.acquire(ctx, term); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	acquired.Store(true)
	for _, w := range []rlog.Writer{term.Assignments, term.Metadata} {
		watching.Go(func() {
			select {
			case <-w.Lost():
				end(ErrWriterLost)
			case <-ctx.Done():
			}
		})
	}
	e.Log.Info("this worker is the leader")
	stop := context.AfterFunc(ctx, func() { term.Fail(context.Cause(ctx)) })
	defer stop()
	e.Lead(workCtx, term)
	if cause := context.Cause(ctx); cause != nil {
		term.Fail(cause)
	}
	term.Fail(errors.New("the leader's work has ended"))
	return term.Reason()
}

// acquire takes the writers in the order that all workers keep, or two contenders could hold one each: assignments
// first, then metadata. Only after that nobody else can append, so only then reading to the end means something.
func (e *Elector) acquire(ctx context.Context, term *Term) error {
	var err error
	if term.Assignments, err = e.open(ctx, "assignments", e.OpenAssignments); err != nil {
		return err
	}
	if term.Metadata, err = e.open(ctx, "metadata", e.OpenMetadata); err != nil {
		return err
	}
	if err := e.CatchUp(ctx); err != nil {
		return fmt.Errorf("reading the topics before leading: %w", err)
	}
	return nil
}

// open tries until it has the writer or ctx ends, which it does when the broker names another worker.
func (e *Elector) open(ctx context.Context, what string, open func(context.Context) (rlog.Writer, error)) (rlog.Writer, error) {
	for pause, n := e.Timing.RetryMin, 1; ; pause, n = min(2*pause, e.Timing.RetryMax), n+1 {
		attempt, cancel := context.WithTimeout(ctx, e.Timing.Attempt)
		w, err := open(attempt)
		cancel()
		if err == nil {
			return w, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if n%20 == 1 { // the previous leader needs a moment to let go, a dead one up to a minute
			e.Log.Info("cannot write the topic yet, will try again", zap.String("topic", what), zap.Int("attempt", n), zap.Error(err))
		}
		sleep(ctx, pause)
	}
}

// releaseWait bounds how long closing the writers holds up the election: with a broker that does not answer it takes
// long, and until they are closed nobody else gets them anyway, this worker included.
const releaseWait = 5 * time.Second

// release gives the writers back in the order they were taken.
func (e *Elector) release(term *Term) {
	term.Fail(errors.New("leadership was not reached"))
	closed := make(chan struct{})
	e.closing.Go(func() {
		defer close(closed)
		for _, w := range []rlog.Writer{term.Assignments, term.Metadata} {
			if w != nil {
				w.Close()
			}
		}
	})
	timer := time.NewTimer(releaseWait)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
		e.Log.Warn("the broker is slow to take the exclusive producers back")
	}
}

// watch ends the term when the broker says that this worker is not the leader, when that cannot be found out for too
// long, or when the connections behind the leadership are not those it was built on.
func (e *Elector) watch(ctx context.Context, end context.CancelCauseFunc, acquired *atomic.Bool) {
	ticker := time.NewTicker(e.Timing.Check)
	defer ticker.Stop()
	answered := time.Now()
	var connections []membership.Consumer
	doubt := false // the broker said "inactive", and the statistics have not contradicted it yet
	for {
		mine, v, err := e.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && doubt:
			end(ErrInactive)
			return
		case err != nil:
			if time.Since(answered) > e.Timing.UnknownLimit {
				end(fmt.Errorf("%w: %w", ErrUnknown, err))
				return
			}
		case !mine && v.LeaderName != "":
			end(ErrDeposed)
			return
		case !mine:
			end(ErrInactive)
			return
		default:
			answered, doubt = time.Now(), false
			now := v.Connections(e.Name)
			if connections != nil && !slices.Equal(connections, now) {
				end(ErrReconnected)
				return
			}
			connections = now
			if !e.writersAlive(ctx, acquired) {
				end(ErrWriterGone)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case active := <-e.Events:
			doubt = !active
		case <-ticker.C:
		}
	}
}

// writersAlive is true unless the broker says no: nothing signals the loss of an idle writer.
func (e *Elector) writersAlive(ctx context.Context, acquired *atomic.Bool) bool {
	if e.WritersAlive == nil || !acquired.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timing.UnknownLimit)
	defer cancel()
	alive, err := e.WritersAlive(ctx)
	return err != nil || alive
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
