package cleanup

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
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

// TestPulsarQueueWhoseTopicIsDeleted: somebody tidies up the namespace; new entries are taken again without a restart.
func TestPulsarQueueWhoseTopicIsDeleted(t *testing.T) {
	e := newEnv(t)
	a := e.open("a", func(q *pulsarQueue) { q.idle = time.Second })
	defer a.stop()
	require.NoError(t, a.Put(t.Context(), []byte("one")))
	require.NoError(t, e.next(a, "one").Done())
	require.NoError(t, e.admin.DeleteTopic(t.Context(), e.topic, true))
	ctx, cancel := context.WithTimeout(t.Context(), putTimeout)
	defer cancel()
	require.NoError(t, a.Put(ctx, []byte("two")))
	require.NoError(t, e.next(a, "two").Done())
}

// phantom is an admin API that tells of one more entry than there is, once it is asked to.
type phantom struct {
	QueueAdmin
	more atomic.Bool
}

func (p *phantom) TopicStats(ctx context.Context, topic string) (*broker.TopicStats, error) {
	stats, err := p.QueueAdmin.TopicStats(ctx, topic)
	if err == nil && p.more.Load() {
		s := stats.Subscriptions[subscription]
		s.MsgBacklog++
		stats.Subscriptions[subscription] = s
	}
	return stats, err
}

// TestPulsarQueueThatStalls: a receiver that is not given what the broker says is there subscribes anew, and only then.
func TestPulsarQueueThatStalls(t *testing.T) {
	e := newEnv(t)
	stats := &phantom{QueueAdmin: e.admin}
	a := e.open("a", func(q *pulsarQueue) { q.Admin, q.idle, q.glance = stats, 200*time.Millisecond, 100*time.Millisecond })
	defer a.stop()
	require.NoError(t, a.Put(t.Context(), []byte("one")))
	e.next(a, "one")
	select {
	case <-a.items:
		require.FailNow(t, "subscribed anew although one entry is held and one is there")
	case <-time.After(2 * time.Second):
	}
	stats.more.Store(true)
	again := e.next(a, "one")
	stats.more.Store(false)
	require.NoError(t, again.Done())
}

// env is a topic of a test.
type env struct {
	t     *testing.T
	cfg   broker.Config
	admin *broker.Admin
	topic string
}

func newEnv(t *testing.T) *env {
	t.Helper()
	service, web := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL")
	if service == "" || web == "" {
		t.Skip("PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL are not set: no broker to test with")
	}
	e := &env{t: t, cfg: broker.Config{ServiceURL: service, WebServiceURL: web}, topic: "persistent://public/default/cleanup-" + uuid.NewString()}
	var err error
	e.admin, err = broker.NewAdmin(e.cfg, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.admin.DeleteTopic(context.WithoutCancel(t.Context()), e.topic, true) })
	return e
}

// open begins to receive as a worker, with a client of its own.
func (e *env) open(worker string, change ...func(*pulsarQueue)) *receiver {
	e.t.Helper()
	client, err := broker.NewClient(e.cfg, nil)
	require.NoError(e.t, err)
	ctx, cancel := context.WithCancel(e.t.Context())
	r := &receiver{Queue: NewPulsar(PulsarOptions{Client: client, Admin: e.admin, Topic: e.topic, Worker: worker}), items: make(chan Item, 100)}
	for _, c := range change {
		c(r.Queue.(*pulsarQueue))
	}
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

func (e *env) next(r *receiver, want string) Item {
	e.t.Helper()
	select {
	case item := <-r.items:
		require.Equal(e.t, want, string(item.Data()))
		return item
	case <-time.After(30 * time.Second):
		require.FailNow(e.t, want+" did not come")
		return nil
	}
}

// TestPulsarQueue: entries go to one worker at a time, to the next one when it ends, and never again when they are done.
func TestPulsarQueue(t *testing.T) {
	e := newEnv(t)
	receiving := func(r *receiver) bool {
		yes, err := r.Receiving(t.Context())
		require.NoError(t, err)
		return yes
	}

	a := e.open("a")
	require.NoError(t, a.Put(t.Context(), []byte("one")))
	require.NoError(t, a.Put(t.Context(), []byte("two")))
	one := e.next(a, "one")
	e.next(a, "two").Return()
	require.True(t, receiving(a))
	require.NoError(t, one.Done())
	e.next(a, "two")

	b := e.open("b")
	require.Eventually(t, func() bool {
		stats, err := e.admin.TopicStats(t.Context(), e.topic)
		return err == nil && len(stats.Subscriptions[subscription].Consumers) == 2
	}, 20*time.Second, 50*time.Millisecond)
	active, other := a, b
	if !receiving(a) { // which one is it is the broker's choice
		active, other = b, a
		e.next(b, "two")
	}
	require.False(t, receiving(other))
	require.NoError(t, other.Put(t.Context(), []byte("three"))) // anybody writes
	e.next(active, "three")

	active.stop()
	e.next(other, "two")
	three := e.next(other, "three")
	require.Eventually(t, func() bool { return receiving(other) }, 10*time.Second, 50*time.Millisecond)
	require.NoError(t, three.Done())

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, e.cfg.WebServiceURL+"/admin/v2/"+strings.Replace(e.topic, "://", "/", 1)+"/unload", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	two := e.next(other, "two") // after a lost connection what is not done comes again
	require.NoError(t, two.Done())
	other.stop()
	require.Empty(t, other.items)
	stats, err := e.admin.TopicStats(t.Context(), e.topic)
	require.NoError(t, err)
	require.Zero(t, stats.Subscriptions[subscription].MsgBacklog)
}
