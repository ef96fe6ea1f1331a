package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// delivery is a message and where it came from.
type delivery struct {
	message  pulsar.Message
	consumer Consumer
	input    int         // its place in Plan.Inputs
	pending  *pendingAck // its place among the acknowledgements of its partition; nil unless these are ordered
}

// source gives the next message of all inputs; the error is that of the context, ErrIdle, or why an input is lost.
type source func(ctx context.Context) (delivery, error)

// consume handles messages in the order in which they come from all inputs.
func (e *Engine) consume(ctx, work context.Context) error {
	receiving, stop := context.WithCancel(ctx)
	var receivers sync.WaitGroup
	defer receivers.Wait()
	defer stop()
	if e.ends.source != nil {
		return e.readAll(ctx, work)
	}
	if e.plan.Window != nil {
		deliveries, failed := e.receivers(receiving, &receivers)
		return e.newWindowing(ctx, work).consume(deliveries, failed)
	}
	next := e.receiveAll(receiving, &receivers)
	handle, finish := e.handleOne(work), func() {}
	if e.ends.connector != nil {
		handle = e.writeAll(ctx, work, e.opts.MaxConcurrency)
	} else if n := e.concurrency(); n > 1 {
		handle, finish = e.handleMany(work, n)
	}
	defer finish()
	for {
		d, err := next(ctx)
		switch {
		case ctx.Err() != nil || e.abandoned.Load():
			return nil // what was received and not handled comes again: closing the consumer gives it back
		case errors.Is(err, ErrIdle):
			return err
		case err != nil:
			e.stats.SystemError(err, time.Now())
			return err
		}
		handle(d)
	}
}

func (e *Engine) concurrency() int {
	if c, ok := e.opts.Program.(Concurrent); ok {
		return min(c.Concurrency(), e.opts.MaxConcurrency)
	}
	return 1
}

// receiveAll joins the inputs. A single one is read directly, which spares a goroutine and a switch per message.
func (e *Engine) receiveAll(ctx context.Context, receivers *sync.WaitGroup) source {
	if len(e.consumers) == 1 && e.opts.Config.MaxIdle == 0 {
		return e.single
	}
	deliveries, failed := e.receivers(ctx, receivers)
	return func(ctx context.Context) (delivery, error) {
		var idle <-chan time.Time
		if e.opts.Config.MaxIdle > 0 {
			idle = time.After(e.opts.Config.MaxIdle)
		}
		select {
		case <-ctx.Done():
			return delivery{}, ctx.Err()
		case err := <-failed:
			return delivery{}, err
		case <-idle:
			return delivery{}, ErrIdle
		case d := <-deliveries:
			return d, nil
		}
	}
}

// receivers read each input in a goroutine of its own.
func (e *Engine) receivers(ctx context.Context, running *sync.WaitGroup) (<-chan delivery, <-chan error) {
	deliveries, failed := make(chan delivery), make(chan error, len(e.consumers))
	for i, consumer := range e.consumers {
		running.Go(func() {
			if err := receive(ctx, consumer, i, deliveries); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("receiving from %s: %w", e.plan.Inputs[i].Topic, err)
			}
		})
	}
	return deliveries, failed
}

func (e *Engine) single(ctx context.Context) (delivery, error) {
	msg, err := e.consumers[0].Receive(ctx)
	if err != nil {
		return delivery{}, fmt.Errorf("receiving from %s: %w", e.plan.Inputs[0].Topic, err)
	}
	return delivery{message: msg, consumer: e.consumers[0]}, nil
}

func receive(ctx context.Context, consumer Consumer, input int, deliveries chan<- delivery) error {
	for {
		msg, err := consumer.Receive(ctx)
		if err != nil {
			return err
		}
		select {
		case deliveries <- delivery{message: msg, consumer: consumer, input: input}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// handleOne calls the function with one message at a time.
func (e *Engine) handleOne(work context.Context) func(delivery) {
	return func(d delivery) {
		if !e.begin(&d) {
			return
		}
		o := e.invoke(work, d)
		e.conclude(work, d, o)
	}
}

// handleMany calls the function with up to n messages at a time and passes the results on in the order of the
// messages. The call that comes when n are under way waits, and with it the inputs.
func (e *Engine) handleMany(work context.Context, n int) (handle func(delivery), finish func()) {
	type slot struct {
		d       delivery
		outcome chan outcome
	}
	places := make(chan struct{}, n)
	queue := make(chan slot, n)
	var running sync.WaitGroup
	running.Go(func() {
		for s := range queue {
			e.conclude(work, s.d, <-s.outcome)
			<-places
		}
	})
	handle = func(d delivery) {
		if !e.begin(&d) {
			return
		}
		places <- struct{}{}
		s := slot{d: d, outcome: make(chan outcome, 1)}
		queue <- s
		running.Go(func() { s.outcome <- e.invoke(work, s.d) })
	}
	return handle, func() {
		close(queue)
		running.Wait()
	}
}
