package instance

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// runUntilEnd lets an engine work until it ends by itself.
func runUntilEnd(t *testing.T, client *fakeClient, p Program, inputs ...string) (*Engine, error) {
	e, err := New(Options{Config: testConfig(guarantee(pb.ProcessingGuarantees_EFFECTIVELY_ONCE)), Program: p, Client: client})
	require.NoError(t, err)
	for _, in := range inputs {
		client.consumer("in").put(in)
	}
	return e, e.Run(t.Context())
}

func TestEffectivelyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		run(t, testConfig(guarantee(pb.ProcessingGuarantees_EFFECTIVELY_ONCE)), client, shout, "a", "none", "b")
		require.Equal(t, pb.SubscriptionType_FAILOVER, client.subscribed[0].Type)
		require.Equal(t, []string{"in", ">out"}, client.opened, "the producer is opened with the first message of a partition")
		require.Equal(t, "t/n/f-persistent://public/default/in", client.producers["out"].out.Name)
		sent := client.sent("out")
		require.Len(t, sent, 2)
		require.Equal(t, int64(7<<37|1<<11), *sent[0].SequenceID)
		require.Equal(t, int64(7<<37|3<<11), *sent[1].SequenceID)
		in := client.consumer("in")
		require.Empty(t, in.acked)
		require.Equal(t, "b", in.cumulative[len(in.cumulative)-1])
	})
}

func TestEffectivelyOnceEndsAtTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		e, err := runUntilEnd(t, client, Handler(shout), "a", "fail", "b")
		require.ErrorContains(t, err, "Failed to process message: 7:2:")
		require.EqualValues(t, 1, e.Stats().Status(false).GetNumUserExceptions())
		require.NotContains(t, client.consumer("in").cumulative, "b")
	})
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		client.failSend["out"] = errors.New("full")
		_, err := runUntilEnd(t, client, Handler(shout), "a")
		require.ErrorContains(t, err, "Failed to process message: 7:1:")
		require.Empty(t, client.consumer("in").cumulative)
	})
}

func TestAPartitionGoesToAnotherInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		e, err := New(Options{Config: testConfig(guarantee(pb.ProcessingGuarantees_EFFECTIVELY_ONCE)), Program: Handler(shout), Client: client})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		<-e.Started()
		in, topic := client.consumer("in"), "persistent://public/default/in"
		in.put("a")
		synctest.Wait()
		first := client.producers["out"]
		client.subscribed[0].OnActive(topic, false)
		require.True(t, first.closed, "the next instance needs the name of the producer")
		in.put("stale")
		synctest.Wait()
		client.subscribed[0].OnActive(topic, true)
		in.put("b")
		synctest.Wait()
		require.NotSame(t, first, client.producers["out"])
		require.Len(t, client.sent("out"), 1)
		stop()
		require.NoError(t, <-ended)
		require.Equal(t, []string{"a", "b"}, in.cumulative)
	})
}

// acknowledged is the model of pendingAck: everything up to the last message of the longest prefix that is done.
func TestAcknowledgementsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(rt, "messages")
		p := newPartitions()
		var places []*pendingAck
		for i := range n {
			place, ok := p.add(&fakeMessage{topic: "t", id: pulsar.NewMessageID(1, int64(i), -1, -1)})
			require.True(rt, ok)
			places = append(places, place)
		}
		done, acked := make([]bool, n), int64(-1)
		for _, i := range rapid.Permutation(slices.Collect(seq(n))).Draw(rt, "order") {
			done[i] = true
			require.NoError(rt, places[i].done(func(m pulsar.Message) error {
				require.Greater(rt, m.ID().EntryID(), acked)
				acked = m.ID().EntryID()
				return nil
			}))
			want := slices.Index(done, false)
			if want < 0 {
				want = n
			}
			require.EqualValues(rt, want-1, acked)
		}
	})
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestSequencesGrowWithThePosition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) (pos [3]int64) {
			return [3]int64{rapid.Int64Range(0, 1<<26-1).Draw(rt, name+"ledger"), rapid.Int64Range(0, 1<<26-1).Draw(rt, name+"entry"), rapid.Int64Range(0, 1<<11-1).Draw(rt, name+"index")}
		}
		a, b := draw("a"), draw("b")
		idOf := func(p [3]int64) int64 {
			s, err := sequenceOf(pulsar.NewMessageID(p[0], p[1], int32(p[2]), 0))
			require.NoError(rt, err)
			require.GreaterOrEqual(rt, s, int64(0))
			return s
		}
		switch slices.Compare(a[:], b[:]) {
		case -1:
			require.Less(rt, idOf(a), idOf(b))
		case 0:
			require.Equal(rt, idOf(a), idOf(b))
		}
	})
	for _, bad := range []pulsar.MessageID{
		pulsar.NewMessageID(1<<26, 0, 0, 0), pulsar.NewMessageID(0, 1<<26, 0, 0), pulsar.NewMessageID(0, 0, 1<<11, 0), pulsar.NewMessageID(-1, 0, 0, 0),
	} {
		_, err := sequenceOf(bad)
		require.ErrorContains(t, err, "cannot be processed effectively once")
	}
}

// parallel is a program that handles n messages at a time.
type parallel struct {
	Handler
	n int
}

func (p parallel) Concurrency() int { return p.n }

func TestConcurrentCallsKeepTheOrderOfResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		handle := func(_ context.Context, in []byte) (*Result, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Duration('z'-in[0]) * time.Second) // the later in the alphabet, the faster
			return &Result{Message: Message{Payload: in}}, nil
		}
		client := newFakeClient()
		e, err := New(Options{Config: testConfig(), Program: parallel{handle, 3}, Client: client, HandlerGrace: time.Hour})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		<-e.Started()
		for _, in := range []string{"a", "m", "y", "b", "x"} {
			client.consumer("in").put(in)
		}
		time.Sleep(5 * time.Minute)
		stop()
		require.NoError(t, <-ended)
		var results string
		for _, m := range client.sent("out") {
			results += string(m.Payload)
		}
		require.Equal(t, "amybx", results)
		require.EqualValues(t, 3, most.Load())
	})
}

func TestMaxConcurrencyIsTheWorkers(t *testing.T) {
	t.Parallel()
	e, err := New(Options{Config: testConfig(), Program: parallel{shout, 5000}, Client: newFakeClient(), MaxConcurrency: 10})
	require.NoError(t, err)
	require.Equal(t, 10, e.concurrency())
}

func TestACallThatNeverReturnsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		client := newFakeClient()
		e, err := New(Options{Config: testConfig(), Client: client, Program: Handler(func(context.Context, []byte) (*Result, error) {
			<-release // whatever the context says
			return &Result{Message: Message{Payload: []byte("late")}}, nil
		})})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		<-e.Started()
		client.consumer("in").put("a")
		time.Sleep(40 * time.Second)
		require.Contains(t, e.Busy(time.Now(), 30*time.Second), "has been busy with message 7:1:-1 of persistent://public/default/in for 40s")
		require.Empty(t, e.Busy(time.Now(), time.Minute))
		stop()
		require.ErrorIs(t, <-ended, ErrStuck)
		require.True(t, client.consumer("in").closed, "its messages go to others")
		select {
		case <-e.Finished():
			t.Fatal("the call still runs")
		default:
		}
		close(release)
		<-e.Finished()
		require.Empty(t, client.sent("out"), "a result that comes after the end is dropped")
	})
}
