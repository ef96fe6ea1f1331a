package leader

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
)

// Seat is the consumer on the coordination topic: having it is membership.
type Seat struct {
	events chan bool
	close  func()
	once   sync.Once
}

// Take subscribes under the announced name. Several attempts are the caller's business.
func Take(ctx context.Context, client pulsar.Client, topic, name string) (*Seat, error) {
	events := make(chan bool, 16)
	type result struct {
		consumer pulsar.Consumer
		err      error
	}
	ch := make(chan result)
	go func() { // Subscribe takes no context; a late consumer must not stay behind as a member
		consumer, err := client.Subscribe(pulsar.ConsumerOptions{
			Topic:             topic,
			SubscriptionName:  membership.Subscription,
			Type:              pulsar.Failover,
			Name:              name,
			Properties:        map[string]string{membership.IDProperty: name},
			EventListener:     listener(events),
			BackOffPolicyFunc: rlog.Backoff,
		})
		select {
		case ch <- result{consumer, err}:
		case <-ctx.Done():
			if err == nil {
				consumer.Close()
			}
		}
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, fmt.Errorf("subscribing to %s as %s: %w", topic, name, r.err)
		}
		return &Seat{events: events, close: r.consumer.Close}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("subscribing to %s as %s: %w", topic, name, ctx.Err())
	}
}

// Events reports "became active" (true) and "became inactive".
func (s *Seat) Events() <-chan bool { return s.events }

// Close leaves the cluster.
func (s *Seat) Close() { s.once.Do(s.close) }

// listener only hands over: it is called on the goroutine that reads the connection, where anything that waits for
// the broker would wait for ever.
type listener chan<- bool

func (l listener) BecameActive(pulsar.Consumer, string, int32)   { l.hand(true) }
func (l listener) BecameInactive(pulsar.Consumer, string, int32) { l.hand(false) }

func (l listener) hand(active bool) {
	select {
	case l <- active:
	default: // nobody has listened for long; the statistics tell
	}
}
