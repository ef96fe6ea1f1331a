package instance

import (
	"fmt"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// callClock knows which call of the function has been running for longest.
type callClock struct {
	mu    sync.Mutex
	next  uint64
	calls map[uint64]runningCall
}

type runningCall struct {
	since   time.Time
	message pulsar.Message
}

func (c *callClock) begin(at time.Time, m pulsar.Message) (end func()) {
	c.mu.Lock()
	if c.calls == nil {
		c.calls = map[uint64]runningCall{}
	}
	c.next++
	id := c.next
	c.calls[id] = runningCall{at, m}
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.calls, id)
		c.mu.Unlock()
	}
}

// Busy describes the call that has been running for longest, if that is longer than limit; "" otherwise.
func (e *Engine) Busy(now time.Time, limit time.Duration) string {
	e.calls.mu.Lock()
	defer e.calls.mu.Unlock()
	var oldest runningCall
	for _, c := range e.calls.calls {
		if oldest.since.IsZero() || c.since.Before(oldest.since) {
			oldest = c
		}
	}
	if oldest.since.IsZero() || now.Sub(oldest.since) < limit {
		return ""
	}
	return fmt.Sprintf("the function has been busy with message %s of %s for %s", oldest.message.ID(), oldest.message.Topic(), now.Sub(oldest.since).Round(time.Second))
}
