package instance

import (
	"fmt"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// callClock knows which call of the function has been running for longest. The zero value is ready.
type callClock struct {
	mu           sync.Mutex
	oldest, last *runningCall // in the order in which they began
}

// runningCall is a call that is under way. It belongs to one callClock at a time.
type runningCall struct {
	since         time.Time
	message       pulsar.Message
	before, after *runningCall
}

func (c *callClock) begin(r *runningCall, at time.Time, m pulsar.Message) {
	r.since, r.message = at, m
	c.mu.Lock()
	defer c.mu.Unlock()
	r.before, r.after = c.last, nil
	if c.last == nil {
		c.oldest = r
	} else {
		c.last.after = r
	}
	c.last = r
}

func (c *callClock) end(r *runningCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.before == nil {
		c.oldest = r.after
	} else {
		r.before.after = r.after
	}
	if r.after == nil {
		c.last = r.before
	} else {
		r.after.before = r.before
	}
	r.before, r.after = nil, nil
}

// Busy describes the call that has been running for longest, if that is longer than limit; "" otherwise.
func (e *Engine) Busy(now time.Time, limit time.Duration) string {
	e.calls.mu.Lock()
	defer e.calls.mu.Unlock()
	oldest := e.calls.oldest
	if oldest == nil || now.Sub(oldest.since) < limit {
		return ""
	}
	return fmt.Sprintf("the function has been busy with message %s of %s for %s", oldest.message.ID(), oldest.message.Topic(), now.Sub(oldest.since).Round(time.Second))
}
