package instance

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// later is the outcome of a message that a sink has kept for later.
type later struct {
	taken  atomic.Bool
	settle func(error)
}

// Later tells that the outcome of the current message of a sink comes later: by the function that it gives, which is to
// be called once (more often has no effect), from any goroutine, with nil when the message is written. An error of the
// call itself counts before it. nil where there is nothing to keep: functions and sources.
func (c *Context) Later() func(error) {
	if c.later == nil {
		return nil
	}
	c.later.taken.Store(true)
	return c.later.settle
}

// writeAll calls a sink with one message at a time, and stops to while n messages wait for an outcome that comes later.
func (e *Engine) writeAll(ctx, work context.Context, n int) func(delivery) {
	places := make(chan struct{}, n)
	return func(d delivery) {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return // not begun: it comes again
		}
		if !e.begin(&d) {
			<-places
			return
		}
		e.inFlight.Add(1)
		l := &later{}
		var once sync.Once
		l.settle = func(err error) {
			once.Do(func() {
				defer e.inFlight.Done()
				<-places
				e.ends.mu.Lock()
				delete(e.ends.kept, l)
				e.ends.mu.Unlock()
				e.written(d, err)
			})
		}
		e.ends.mu.Lock()
		e.ends.kept[l] = true
		e.ends.mu.Unlock()
		i := e.context.invocation(work, d)
		i.c.later = l
		e.calls.begin(&i.running, time.Now(), d.message)
		_, err := call(i, e.opts.Program, d.message)
		e.calls.end(&i.running)
		if err != nil || !l.taken.Load() {
			l.settle(err)
		}
	}
}

// written answers for a message that a sink is done with. A sink acknowledges by its outcomes, whatever else the
// guarantee MANUAL would mean.
func (e *Engine) written(d delivery, err error) {
	switch {
	case e.abandoned.Load() || e.ends.left.Load(): // the inputs are closed, the message is with somebody else by now
	case err != nil:
		e.stats.EdgeError(err, time.Now())
		e.log.Error("the sink failed", zap.String("topic", d.message.Topic()), zap.Stringer("message", d.message.ID()), zap.Error(err))
		e.answer(d, e.plan.Policy.OnHandlerError())
	default:
		e.stats.Processed()
		e.answer(d, e.plan.Policy.OnDone())
	}
}
