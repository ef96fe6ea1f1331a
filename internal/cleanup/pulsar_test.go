package cleanup

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
)

// receiver collects what one end of the queue receives.
type receiver struct {
	Queue
	items chan Item
	stop  func()
}

// TestPulsarQueue: entries go to one worker at a time, to the next one when it ends, and never again when they are done.
func TestPulsarQueue(t *testing.T) {
	service, web := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL")
	if service == "" || web == "" {
		t.Skip("PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL are not set: no broker to test with")
	}
	cfg := broker.Config{ServiceURL: service, WebServiceURL: web}
	admin, err := broker.NewAdmin(cfg, nil)
	require.NoError(t, err)
	topic := "persistent://public/default/cleanup-" + uuid.NewString()
	t.Cleanup(func() { _ = admin.DeleteTopic(context.WithoutCancel(t.Context()), topic, true) })

	open := func(worker string) *receiver {
		client, err := broker.NewClient(cfg, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		r := &receiver{Queue: NewPulsar(PulsarOptions{Client: client, Admin: admin, Topic: topic, Worker: worker}), items: make(chan Item, 100)}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				if item, err := r.Receive(ctx); err == nil {
					r.items <- item
				}
			}
		}()
		r.stop = func() { cancel(); <-ended; r.Close(); client.Close() }
		return r
	}
	next := func(r *receiver, want string) Item {
		t.Helper()
		select {
		case item := <-r.items:
			require.Equal(t, want, string(item.Data()))
			return item
		case <-time.After(20 * time.Second):
			require.FailNow(t, want+" did not come")
			return nil
		}
	}
	receiving := func(r *receiver) bool {
		yes, err := r.Receiving(t.Context())
		require.NoError(t, err)
		return yes
	}

	a := open("a")
	require.NoError(t, a.Put(t.Context(), []byte("one")))
	require.NoError(t, a.Put(t.Context(), []byte("two")))
	one := next(a, "one")
	next(a, "two").Return()
	require.True(t, receiving(a))
	require.NoError(t, one.Done())
	two := next(a, "two")

	b := open("b")
	require.Eventually(t, func() bool {
		stats, err := admin.TopicStats(t.Context(), topic)
		return err == nil && len(stats.Subscriptions[subscription].Consumers) == 2
	}, 20*time.Second, 50*time.Millisecond)
	active, other := a, b
	if !receiving(a) { // which one is it is the broker's choice
		active, other = b, a
		two = next(b, "two")
	}
	require.False(t, receiving(other))
	require.NoError(t, other.Put(t.Context(), []byte("three"))) // anybody writes
	next(active, "three")

	active.stop()
	two = next(other, "two")
	three := next(other, "three")
	require.Eventually(t, func() bool { return receiving(other) }, 10*time.Second, 50*time.Millisecond)
	require.NoError(t, three.Done())

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, web+"/admin/v2/"+strings.Replace(topic, "://", "/", 1)+"/unload", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	two = next(other, "two") // after a lost connection what is not done comes again
	require.NoError(t, two.Done())
	other.stop()
	require.Empty(t, other.items)
	stats, err := admin.TopicStats(t.Context(), topic)
	require.NoError(t, err)
	require.Zero(t, stats.Subscriptions[subscription].MsgBacklog)
}
