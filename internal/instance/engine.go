package instance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Options are what an Engine is made of.
type Options struct {
	Config  *Config
	Program Program // New does not take it over: whoever loaded it closes it, after Run
	Client  Client
	// State keeps the function's values; nil: state is not enabled.
	State State
	// Log takes the instance's own lines and the function's; nil: none.
	Log *zap.Logger
	// Hostname is told to the broker with each consumer and producer.
	Hostname string
	// HandlerGrace is how long a running call may go on when the instance stops, before its context ends; 0: 5 s.
	HandlerGrace time.Duration
	// FlushGrace is how long results may take to be stored after that; 0: 2.5 s.
	FlushGrace time.Duration
	// LeaveGrace is how long a call may go on after its context has ended, before Run gives it up with ErrStuck; 0: 1 s.
	LeaveGrace time.Duration
	// MaxConcurrency bounds the calls at the same time of a program that handles several; 0: 1000.
	MaxConcurrency int
}

const (
	defaultHandlerGrace = 5 * time.Second
	defaultFlushGrace   = 2500 * time.Millisecond
	defaultLeaveGrace   = time.Second
	defaultConcurrency  = 1000 // maxPendingAsyncRequests of a worker that does not say
)

// maxInFlight are the bytes of results that may be on their way, so that an output that stands still fills no memory.
const maxInFlight = 64 << 20

// Engine runs one instance. Make it with New, call Run once.
type Engine struct {
	opts    Options
	plan    *Plan
	windows Windowed // nil, or the program's form for windows
	ends    *ends
	stats   *Stats
	context *Context
	log     *zap.Logger
	running atomic.Bool
	started chan struct{} // closed when all inputs are open

	logProducer Producer
	consumers   []Consumer
	inFlight    sync.WaitGroup // messages whose result is not confirmed

	partitions partitions              // of the inputs, for effectively-once
	fail       context.CancelCauseFunc // ends Run with an error
	abandoned  atomic.Bool             // Run has left a call behind that does not return
	leftBehind <-chan struct{}         // set with abandoned by a connector's call beside consuming; closed when it returns
	finished   chan struct{}           // closed when no call runs any more
	hurry      chan struct{}           // closed by Hurry
	hurryOnce  sync.Once
	calls      callClock
	sendings   sync.Pool
	room       *semaphore.Weighted // bytes of results on their way
}

// ErrIdle ends Run when no message came for Config.MaxIdle.
var ErrIdle = errors.New("no message came for the longest time allowed (killAfterIdleMs)")

// ErrStuck ends Run when a call of the function has not returned although its context has ended. Go cannot end it from
// outside: it goes on until it returns by itself or the process ends. Inputs and outputs of the instance are closed.
var ErrStuck = errors.New("the function does not return from a message and cannot be ended from outside; its goroutine is left behind")

// New checks the configuration as far as that goes without a broker.
func New(opts Options) (*Engine, error) {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.HandlerGrace <= 0 {
		opts.HandlerGrace = defaultHandlerGrace
	}
	if opts.FlushGrace <= 0 {
		opts.FlushGrace = defaultFlushGrace
	}
	if opts.LeaveGrace <= 0 {
		opts.LeaveGrace = defaultLeaveGrace
	}
	if opts.MaxConcurrency <= 0 {
		opts.MaxConcurrency = defaultConcurrency
	}
	plan, err := NewPlan(opts.Config, opts.Hostname)
	if err != nil {
		return nil, err
	}
	windows, err := windowed(opts.Program, plan)
	if err != nil {
		return nil, err
	}
	ends, err := endsOf(opts.Program, plan.Kind)
	if err != nil {
		return nil, err
	}
	stats := NewStats(opts.Config)
	c, err := newContext(opts.Config, plan, stats)
	if err != nil {
		return nil, err
	}
	c.producers = newProducers(opts.Client, plan.Output)
	c.log = newSlog(opts.Log)
	if c.state = opts.State; c.state == nil {
		c.state = newNoState(opts.Config.Details)
	}
	return &Engine{opts: opts, plan: plan, windows: windows, ends: ends, stats: stats, context: c, log: opts.Log,
		started: make(chan struct{}), finished: make(chan struct{}), hurry: make(chan struct{}), partitions: newPartitions(), room: semaphore.NewWeighted(maxInFlight)}, nil
}

// Stats are the counters of the instance.
func (e *Engine) Stats() *Stats { return e.stats }

// Started is closed when all inputs are open and messages flow.
func (e *Engine) Started() <-chan struct{} { return e.started }

// Running is true between Started and the end of Run.
func (e *Engine) Running() bool { return e.running.Load() }

// Finished is closed when no call of the function runs any more: with the end of Run, or later after ErrStuck.
func (e *Engine) Finished() <-chan struct{} { return e.finished }

// Run works until ctx ends, then finishes what is in flight and returns nil; or until something fails for good.
// A handler that is busy when ctx ends may finish within HandlerGrace; then its own context ends.
func (e *Engine) Run(ctx context.Context) error {
	asked := ctx
	ctx, e.fail = context.WithCancelCause(ctx)
	defer e.fail(nil)
	defer e.close()
	if err := e.open(ctx); err != nil {
		stopped := asked.Err() != nil // before anybody hears that it has ended, who may then stop it
		e.leaveConnector()
		e.finish()
		if stopped && !errors.Is(err, ErrStuck) {
			return nil // asked to stop while starting
		}
		return err
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx)) // of the handlers: outlives ctx by the grace
	defer stopWork()
	var side sync.WaitGroup
	side.Go(func() { e.graceful(ctx, work, stopWork) })
	side.Go(func() { e.housekeeping(work) })
	e.running.Store(true)
	close(e.started)
	consumed, returned := make(chan error, 1), make(chan struct{})
	go func() { // Run waits for it, unless a call of the function never returns
		consumed <- e.consume(ctx, work)
		close(returned)
	}()
	err := e.await(work, consumed)
	if errors.Is(err, ErrStuck) {
		e.leftBehind = returned
	}
	e.running.Store(false)
	if e.ends.source == nil { // a sink may still write what it holds
		e.leaveConnector()
	}
	e.drain()
	e.ends.leave()
	e.leaveConnector() // a source has been told what became of its records
	stopWork()
	side.Wait()
	if err == nil && e.leftBehind != nil {
		err = ErrStuck
	}
	if err == nil && asked.Err() == nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
	}
	e.finish()
	return err
}

// finish tells that no call of the program runs any more, or sees to it that this is told.
func (e *Engine) finish() {
	if e.leftBehind == nil {
		close(e.finished)
		return
	}
	go func() { // ends with the call that was left behind
		<-e.leftBehind
		close(e.finished)
	}()
}

// await returns how consuming ended, or ErrStuck when it does not end in time after the handlers' context.
func (e *Engine) await(work context.Context, consumed <-chan error) error {
	select {
	case err := <-consumed:
		return err
	case <-work.Done():
	}
	select {
	case err := <-consumed:
		return err
	case <-time.After(e.opts.LeaveGrace):
		e.abandoned.Store(true)
		return ErrStuck
	}
}

// graceful ends the handlers' context a while after ctx.
func (e *Engine) graceful(ctx, work context.Context, stopWork func()) {
	select {
	case <-work.Done():
		return
	case <-ctx.Done():
	}
	select {
	case <-work.Done():
	case <-e.hurry:
		stopWork()
	case <-time.After(e.opts.HandlerGrace):
		stopWork()
	}
}

// Hurry ends the graces of an engine that was asked to stop.
func (e *Engine) Hurry() { e.hurryOnce.Do(func() { close(e.hurry) }) }

// housekeeping starts a new minute of the counters every minute and closes idle producers.
func (e *Engine) housekeeping(ctx context.Context) {
	ticker := time.NewTicker(tumblingWindow)
	defer ticker.Stop()
	unused := time.NewTimer(producerUnused)
	defer unused.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-unused.C:
			e.context.producers.closeIdle(now.Add(-producerUnused / 2))
		case now := <-ticker.C:
			e.stats.Tumble()
			e.context.producers.closeIdle(now.Add(-producerIdle))
		}
	}
}

func (e *Engine) open(ctx context.Context) error {
	for _, warning := range e.plan.Warnings {
		e.log.Warn(warning)
	}
	if err := e.openLog(ctx); err != nil {
		return err
	}
	if e.ends.connector != nil { // a source has no inputs, a sink no output
		if err := e.openOutput(ctx); err != nil {
			return err
		}
		if err := e.openConnector(ctx); err != nil {
			return err
		}
		return e.openInputs(ctx)
	}
	output := make(chan error, 1) // output and inputs take the broker a while if their topics are new
	go func() { output <- e.openOutput(ctx) }()
	inputs := e.openInputs(ctx)
	if err := <-output; err != nil {
		return err
	}
	return inputs
}

// openOutput finds out that the output can be opened.
func (e *Engine) openOutput(ctx context.Context) error {
	topic := e.plan.Output.Topic
	if topic == "" || e.plan.Policy.Ordered() { // there: one producer per partition of the input
		return nil
	}
	producer, err := e.context.producers.acquire(ctx, producerKey{topic: topic})
	if err != nil {
		return fmt.Errorf("opening the output topic %s: %w", topic, err)
	}
	e.context.producers.release(producer)
	return nil
}

func (e *Engine) openInputs(ctx context.Context) error {
	for _, in := range e.plan.Inputs {
		if e.plan.Policy.Ordered() {
			in.OnActive = e.activeChanged
		}
		consumer, err := e.opts.Client.Subscribe(ctx, in)
		if err != nil {
			return fmt.Errorf("subscribing to input %s as %s: %w", in.Topic, in.Subscription, err)
		}
		e.consumers = append(e.consumers, consumer)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// openLog lets the log go to the log topic too.
func (e *Engine) openLog(ctx context.Context) error {
	if e.plan.Log.Topic == "" {
		return nil
	}
	producer, err := e.opts.Client.Producer(ctx, e.plan.Log)
	if err != nil {
		return fmt.Errorf("opening the log topic %s: %w", e.plan.Log.Topic, err)
	}
	e.logProducer = producer
	e.log = teeToTopic(e.opts.Log, producer, strconv.Itoa(e.opts.Config.InstanceID), pb.FullyQualifiedName(e.opts.Config.Details))
	e.context.log = newSlog(e.log)
	return nil
}

// drain waits until the results on their way are stored, so that their inputs are acknowledged.
func (e *Engine) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), e.opts.FlushGrace)
	defer cancel()
	if err := e.context.producers.flush(ctx); err != nil {
		e.log.Warn("not all results are stored; their inputs will come again", zap.Error(err))
	}
	done := make(chan struct{})
	go func() { // ends at the latest when the producers are closed: that answers every send
		e.inFlight.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// close closes inputs first (which sends the last acknowledgements), then the producers, the log last.
func (e *Engine) close() {
	var closing sync.WaitGroup
	for _, consumer := range e.consumers {
		closing.Go(consumer.Close)
	}
	closing.Wait()
	e.context.producers.close()
	if e.logProducer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.logProducer.Flush(ctx) // best effort: log lines only
		e.logProducer.Close()
	}
}
