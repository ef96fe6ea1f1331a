package instance

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Options are what an Engine is made of.
type Options struct {
	Config  *Config
	Handler Handler
	Client  Client
	// Log takes the instance's own lines and the function's; nil: none.
	Log *zap.Logger
	// Hostname is told to the broker with each consumer and producer.
	Hostname string
	// HandlerGrace is how long a running call may go on when the instance stops, before its context ends; 0: 5 s.
	HandlerGrace time.Duration
	// FlushGrace is how long results may take to be stored after that; 0: 2.5 s.
	FlushGrace time.Duration
}

const (
	defaultHandlerGrace = 5 * time.Second
	defaultFlushGrace   = 2500 * time.Millisecond
)

// Engine runs one instance. Make it with New, call Run once.
type Engine struct {
	opts    Options
	plan    *Plan
	stats   *Stats
	context *Context
	log     *zap.Logger
	running atomic.Bool
	started chan struct{} // closed when all inputs are open

	logProducer Producer
	consumers   []Consumer
	inFlight    sync.WaitGroup // messages whose result is not confirmed
}

// delivery is a message and where it came from.
type delivery struct {
	message  pulsar.Message
	consumer Consumer
}

// ErrIdle ends Run when no message came for Config.MaxIdle.
var ErrIdle = errors.New("no message came for the longest time allowed (killAfterIdleMs)")

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
	plan, err := NewPlan(opts.Config, opts.Hostname)
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
	return &Engine{opts: opts, plan: plan, stats: stats, context: c, log: opts.Log, started: make(chan struct{})}, nil
}

// Stats are the counters of the instance.
func (e *Engine) Stats() *Stats { return e.stats }

// Started is closed when all inputs are open and messages flow.
func (e *Engine) Started() <-chan struct{} { return e.started }

// Running is true between Started and the end of Run.
func (e *Engine) Running() bool { return e.running.Load() }

// Run works until ctx ends, then finishes what is in flight and returns nil; or until something fails for good.
// A handler that is busy when ctx ends may finish within HandlerGrace; then its own context ends.
func (e *Engine) Run(ctx context.Context) error {
	defer e.close()
	if err := e.open(ctx); err != nil {
		if ctx.Err() != nil {
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
	err := e.consume(ctx, work)
	e.running.Store(false)
	e.drain()
	stopWork()
	side.Wait()
	return err
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
	case <-time.After(e.opts.HandlerGrace):
		stopWork()
	}
}

// housekeeping starts a new minute of the counters every minute and closes idle producers.
func (e *Engine) housekeeping(ctx context.Context) {
	ticker := time.NewTicker(tumblingWindow)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
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
	if topic := e.plan.Output.Topic; topic != "" {
		producer, err := e.context.producers.acquire(ctx, topic)
		if err != nil {
			return fmt.Errorf("opening the output topic %s: %w", topic, err)
		}
		e.context.producers.release(producer)
	}
	for _, in := range e.plan.Inputs {
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

// consume handles messages one by one, in the order in which they come from all inputs.
func (e *Engine) consume(ctx, work context.Context) error {
	receiving, stop := context.WithCancel(ctx)
	deliveries, failed := make(chan delivery), make(chan error, len(e.consumers))
	var receivers sync.WaitGroup
	defer receivers.Wait()
	defer stop()
	for i, consumer := range e.consumers {
		receivers.Go(func() {
			if err := receive(receiving, consumer, deliveries); err != nil && receiving.Err() == nil {
				failed <- fmt.Errorf("receiving from %s: %w", e.plan.Inputs[i].Topic, err)
			}
		})
	}
	var idle <-chan time.Time
	for {
		if e.opts.Config.MaxIdle > 0 {
			idle = time.After(e.opts.Config.MaxIdle)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			e.stats.SystemError(err, time.Now())
			return err
		case <-idle:
			return ErrIdle
		case d := <-deliveries:
			e.handle(work, d)
		}
	}
}

func receive(ctx context.Context, consumer Consumer, deliveries chan<- delivery) error {
	for {
		msg, err := consumer.Receive(ctx)
		if err != nil {
			return err
		}
		select {
		case deliveries <- delivery{message: msg, consumer: consumer}:
		case <-ctx.Done():
			return ctx.Err() // not handled: closing the consumer gives it back
		}
	}
}

// handle calls the function with one message and passes its result on.
func (e *Engine) handle(ctx context.Context, d delivery) {
	e.stats.Received(time.Now())
	e.answer(d, e.plan.Policy.OnReceive())
	c := e.context.with(d)
	start := time.Now()
	result, err := call(NewContext(ctx, c), e.opts.Handler, d.message.Payload())
	e.stats.Handled(time.Since(start))
	switch {
	case err != nil:
		e.stats.UserError(err, time.Now())
		e.log.Error("the function failed", zap.String("topic", d.message.Topic()),
			zap.Stringer("message", d.message.ID()), zap.Error(err))
		if !c.answered.Load() {
			e.answer(d, e.plan.Policy.OnHandlerError())
		}
	case result == nil || (result.Topic == "" && e.plan.Output.Topic == ""):
		e.stats.Processed()
		e.answer(d, e.plan.Policy.OnDone())
	default:
		e.send(ctx, d, result)
	}
}

// panicError is a panic of the handler; the text has the stack for the log and the status.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

func call(ctx context.Context, h Handler, input []byte) (result *Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return h(ctx, input)
}

func (e *Engine) send(ctx context.Context, d delivery, result *Result) {
	topic := result.Topic
	if topic == "" {
		topic = e.plan.Output.Topic
	}
	msg := e.outgoing(d.message, result)
	e.inFlight.Add(1)
	e.context.producers.send(ctx, topic, msg, func(_ pulsar.MessageID, err error) {
		defer e.inFlight.Done()
		if err != nil {
			err = fmt.Errorf("sending the result to %s: %w", topic, err)
			e.stats.SystemError(err, time.Now())
			e.log.Error("the result is lost unless the input is redelivered", zap.Error(err))
			e.answer(d, e.plan.Policy.OnSendError())
			return
		}
		e.stats.Processed()
		e.answer(d, e.plan.Policy.OnDone())
	})
}

// outgoing builds the message of a result (process contract, section 9.4).
func (e *Engine) outgoing(in pulsar.Message, result *Result) *pulsar.ProducerMessage {
	out := producerMessage(&result.Message)
	out.Properties = map[string]string{}
	if result.Explicit {
		maps.Copy(out.Properties, result.Properties)
	} else {
		out.Key = in.Key()
		if e.plan.ForwardProperties {
			maps.Copy(out.Properties, in.Properties())
		}
	}
	out.Properties["__pfn_input_topic__"] = in.Topic()
	out.Properties["__pfn_input_msg_id__"] = base64.StdEncoding.EncodeToString(serializeID(in.Topic(), in.ID()))
	return out
}

func (e *Engine) answer(d delivery, a Answer) {
	switch a {
	case Ack:
		if err := d.consumer.Ack(d.message); err != nil {
			err = fmt.Errorf("acknowledging a message of %s: %w", d.message.Topic(), err)
			e.stats.SystemError(err, time.Now())
			e.log.Warn("the message will come again", zap.Error(err))
		}
	case Nack:
		d.consumer.Nack(d.message)
	case Nothing:
	}
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
