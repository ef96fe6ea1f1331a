package instance

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// shout is the handler of most tests: "none" gives no result, "fail" an error, "panic" a panic.
func shout(_ context.Context, in []byte) (*Result, error) {
	switch string(in) {
	case "none":
		return nil, nil
	case "fail":
		return nil, errors.New("no good")
	case "panic":
		panic("ouch")
	}
	return &Result{Message: Message{Payload: append(in, '!')}}, nil
}

// run lets an engine work until everything put in is done with, then stops it. To be called inside a synctest bubble.
func run(t *testing.T, cfg *Config, client *fakeClient, h Handler, inputs ...string) *Engine {
	t.Helper()
	e, err := New(Options{Config: cfg, Program: h, Client: client, Hostname: "host"})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-e.Started()
	require.True(t, e.Running())
	for _, in := range inputs {
		client.consumer("in").put(in)
	}
	synctest.Wait()
	stop()
	require.NoError(t, <-ended)
	require.False(t, e.Running())
	return e
}

func guarantee(g pb.ProcessingGuarantees) func(*pb.FunctionDetails) {
	return func(d *pb.FunctionDetails) { d.ProcessingGuarantees = g }
}

func TestAnswers(t *testing.T) {
	inputs := []string{"a", "none", "fail", "panic", "b"}
	for name, tc := range map[string]struct {
		guarantee             pb.ProcessingGuarantees
		sendError             error
		wantAcked, wantNacked string
		wantUser, wantSystem  int64
		wantProcessed         int64
	}{
		"at least once":                 {guarantee: pb.ProcessingGuarantees_ATLEAST_ONCE, wantAcked: "none a b", wantNacked: "fail panic", wantUser: 2, wantProcessed: 3},
		"at least once, output fails":   {guarantee: pb.ProcessingGuarantees_ATLEAST_ONCE, sendError: errors.New("full"), wantAcked: "none", wantNacked: "fail panic a b", wantUser: 2, wantSystem: 2, wantProcessed: 1},
		"at most once":                  {guarantee: pb.ProcessingGuarantees_ATMOST_ONCE, wantAcked: "a none fail panic b", wantUser: 2, wantProcessed: 3},
		"at most once, output fails":    {guarantee: pb.ProcessingGuarantees_ATMOST_ONCE, sendError: errors.New("full"), wantAcked: "a none fail panic b", wantUser: 2, wantSystem: 2, wantProcessed: 1},
		"manual: only the handler does": {guarantee: pb.ProcessingGuarantees_MANUAL, wantNacked: "fail panic", wantUser: 2, wantProcessed: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newFakeClient()
				client.failSend["out"] = tc.sendError
				e := run(t, testConfig(guarantee(tc.guarantee)), client, shout, inputs...)
				acked, nacked := client.consumer("in").answers()
				require.ElementsMatch(t, strings.Fields(tc.wantAcked), acked)
				require.ElementsMatch(t, strings.Fields(tc.wantNacked), nacked)
				status := e.Stats().Status(true)
				require.EqualValues(t, len(inputs), status.NumReceived)
				require.Equal(t, tc.wantProcessed, status.NumSuccessfullyProcessed)
				require.Equal(t, tc.wantUser, status.NumUserExceptions)
				require.Equal(t, tc.wantSystem, status.NumSystemExceptions)
				require.Equal(t, "no good", status.LatestUserExceptions[0].ExceptionString)
				require.Contains(t, status.LatestUserExceptions[1].ExceptionString, "panic: ouch")
				require.Equal(t, status.LastInvocationTime, status.LatestUserExceptions[1].MsSinceEpoch, "both in milliseconds")
			})
		})
	}
}

func TestResultCarriesWhereItComesFrom(t *testing.T) {
	for name, tc := range map[string]struct {
		forward        bool
		result         *Result
		wantKey        string
		wantProperties map[string]string
		wantTopic      string
	}{
		"the key is forwarded":     {result: &Result{}, wantKey: "k-a", wantTopic: "out"},
		"properties, when asked":   {forward: true, result: &Result{}, wantKey: "k-a", wantProperties: map[string]string{"p": "a"}, wantTopic: "out"},
		"an explicit one has both": {forward: true, result: &Result{Explicit: true, Message: Message{Key: "own", Properties: map[string]string{"q": "1"}}}, wantKey: "own", wantProperties: map[string]string{"q": "1"}, wantTopic: "out"},
		"and its own topic":        {result: &Result{Explicit: true, Message: Message{Topic: "other"}}, wantTopic: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newFakeClient()
				cfg := testConfig(func(d *pb.FunctionDetails) { d.Sink.ForwardSourceMessageProperty = tc.forward })
				run(t, cfg, client, func(context.Context, []byte) (*Result, error) { return tc.result, nil }, "a")
				sent := client.sent(tc.wantTopic)
				require.Len(t, sent, 1)
				require.Equal(t, tc.wantKey, sent[0].Key)
				require.NotNil(t, sent[0].Payload, "nil would be a tombstone")
				require.Equal(t, "persistent://public/default/in", sent[0].Properties["__pfn_input_topic__"])
				id, err := base64.StdEncoding.DecodeString(sent[0].Properties["__pfn_input_msg_id__"])
				require.NoError(t, err)
				require.Equal(t, []byte{0x08, 7, 0x10, 1}, id)
				delete(sent[0].Properties, "__pfn_input_topic__")
				delete(sent[0].Properties, "__pfn_input_msg_id__")
				if tc.wantProperties == nil {
					tc.wantProperties = map[string]string{}
				}
				require.Equal(t, tc.wantProperties, sent[0].Properties)
			})
		})
	}
}

func TestOrderOfOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		cfg := testConfig(func(d *pb.FunctionDetails) { d.LogTopic = "log"; d.Source.InputSpecs["a"] = &pb.ConsumerSpec{} })
		run(t, cfg, client, shout, "x")
		require.Contains(t, client.opened, ">out", "beside the inputs")
		require.Equal(t, []string{">log", "a", "in"}, slices.DeleteFunc(slices.Clone(client.opened), func(topic string) bool { return topic == ">out" }))
		require.Equal(t, ">log", client.opened[0])
		require.True(t, client.producers["out"].closed)
		require.True(t, client.producers["log"].closed)
		require.True(t, client.consumer("in").closed)
	})
}

func TestNoOutputTopicAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		run(t, testConfig(func(d *pb.FunctionDetails) { d.Sink = nil }), client, shout, "a")
		acked, _ := client.consumer("in").answers()
		require.Equal(t, []string{"a"}, acked)
		require.Equal(t, []string{"in"}, client.opened)
	})
}

func TestOpeningFails(t *testing.T) {
	for topic, want := range map[string]string{
		"in":  "subscribing to input in as t/n/f: refused",
		"out": "opening the output topic out: refused",
		"log": "opening the log topic log: refused",
	} {
		t.Run(topic, func(t *testing.T) {
			client := newFakeClient()
			client.fail[topic] = errors.New("refused")
			e, err := New(Options{Config: testConfig(func(d *pb.FunctionDetails) { d.LogTopic = "log" }), Program: Handler(shout), Client: client})
			require.NoError(t, err)
			require.EqualError(t, e.Run(t.Context()), want)
		})
	}
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		client.hold = true // nothing is confirmed before the flush
		slow := func(ctx context.Context, in []byte) (*Result, error) {
			time.Sleep(2 * time.Second)
			return shout(ctx, in)
		}
		start := time.Now()
		run(t, testConfig(), client, slow, "a", "b") // stops while a is being handled
		acked, nacked := client.consumer("in").answers()
		require.Equal(t, []string{"a"}, acked)
		require.Empty(t, nacked, "b was never handled: closing the consumer gives it back")
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

// TestAnOutputThatStandsStill: results that are not confirmed fill no memory, the messages wait.
func TestAnOutputThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		client.hold = true
		e, err := New(Options{Config: testConfig(), Client: client, Program: Handler(func(context.Context, []byte) (*Result, error) {
			return &Result{Message: Message{Payload: make([]byte, maxInFlight/2+1)}}, nil
		})})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		<-e.Started()
		for _, text := range []string{"a", "b", "c"} {
			client.consumer("in").put(text)
		}
		synctest.Wait()
		require.Len(t, client.sent("out"), 1)
		client.mu.Lock()
		client.hold = false
		out := client.producers["out"]
		client.mu.Unlock()
		require.NoError(t, out.Flush(ctx))
		synctest.Wait()
		require.Len(t, client.sent("out"), 3)
		stop()
		require.NoError(t, <-ended)
		acked, _ := client.consumer("in").answers()
		require.ElementsMatch(t, []string{"a", "b", "c"}, acked)
	})
}

func TestStopEndsTheHandlersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		start := time.Now()
		stuck := func(ctx context.Context, _ []byte) (*Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		run(t, testConfig(), client, stuck, "a")
		_, nacked := client.consumer("in").answers()
		require.Equal(t, []string{"a"}, nacked)
		require.Equal(t, defaultHandlerGrace, time.Since(start))
	})
}

func TestConsumerLost(t *testing.T) {
	client := newFakeClient()
	e, err := New(Options{Config: testConfig(), Program: Handler(shout), Client: client})
	require.NoError(t, err)
	client.consumer("in").lost <- errors.New("gone")
	require.EqualError(t, e.Run(t.Context()), "receiving from in: gone")
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.MaxIdle = time.Minute
		e, err := New(Options{Config: cfg, Program: Handler(shout), Client: newFakeClient()})
		require.NoError(t, err)
		require.ErrorIs(t, e.Run(t.Context()), ErrIdle)
	})
}

func TestManualAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		run(t, testConfig(guarantee(pb.ProcessingGuarantees_MANUAL)), client, func(ctx context.Context, in []byte) (*Result, error) {
			c, _ := FromContext(ctx)
			if string(in) == "bad" {
				require.NoError(t, c.Nack())
				require.NoError(t, c.Ack(), "an answered message stays as it is")
				return nil, errors.New("nacked already")
			}
			return nil, c.Ack()
		}, "good", "bad")
		acked, nacked := client.consumer("in").answers()
		require.Equal(t, []string{"good"}, acked)
		require.Equal(t, []string{"bad"}, nacked)
	})
	synctest.Test(t, func(t *testing.T) {
		e := run(t, testConfig(), newFakeClient(), func(ctx context.Context, _ []byte) (*Result, error) {
			c, _ := FromContext(ctx)
			return nil, errors.Join(c.Ack(), c.Nack())
		}, "a")
		require.EqualValues(t, 1, e.Stats().Status(true).NumUserExceptions)
	})
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		client.fail["closed-topic"] = errors.New("refused")
		e := run(t, testConfig(func(d *pb.FunctionDetails) { d.Sink = nil }), client, func(ctx context.Context, in []byte) (*Result, error) {
			c, _ := FromContext(ctx)
			for range 3 {
				_, err := c.Publish(ctx, &Message{Topic: "side", Payload: in, Key: "k"})
				require.NoError(t, err)
			}
			c.PublishAsync(ctx, &Message{Topic: "side"}, nil)
			_, err := c.Publish(ctx, &Message{Topic: "closed-topic"})
			require.EqualError(t, err, `publishing to "closed-topic": refused`)
			_, err = c.Publish(ctx, &Message{})
			require.ErrorContains(t, err, "no topic given")
			return nil, nil
		}, "a")
		require.Len(t, client.sent("side"), 4)
		require.Equal(t, []string{"in", ">side", ">closed-topic"}, client.opened, "one producer per topic")
		require.EqualValues(t, 2, e.Stats().Status(true).NumSystemExceptions)
	})
}

func TestIdleProducersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		run(t, testConfig(), client, func(ctx context.Context, in []byte) (*Result, error) {
			c, _ := FromContext(ctx)
			_, err := c.Publish(ctx, &Message{Topic: "side"})
			require.NoError(t, err)
			time.Sleep(time.Millisecond) // the confirmation is counted
			c.producers.closeIdle(time.Now().Add(-time.Second))
			require.False(t, client.producers["side"].closed, "used a moment ago")
			c.producers.closeIdle(time.Now().Add(time.Second))
			require.True(t, client.producers["side"].closed)
			_, err = c.Publish(ctx, &Message{Topic: "side"})
			require.NoError(t, err, "it is opened again")
			return nil, nil
		}, "a")
	})
}

// TestTheOutputIsOpenWhileItIsUsed: two thousand idle functions must not hold two thousand producers.
func TestTheOutputIsOpenWhileItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		open := func() bool {
			synctest.Wait()
			client.mu.Lock()
			p := client.producers["out"]
			client.mu.Unlock()
			p.mu.Lock()
			defer p.mu.Unlock()
			return !p.closed
		}
		e, err := New(Options{Config: testConfig(), Client: client, Hostname: "host",
			Program: Handler(func(_ context.Context, in []byte) (*Result, error) {
				return &Result{Message: Message{Payload: in}}, nil
			})})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		<-e.Started()
		require.True(t, open(), "the start finds out whether it can be opened")
		time.Sleep(producerUnused + time.Second)
		require.False(t, open())
		client.consumer("in").put("a")
		synctest.Wait()
		require.Len(t, client.sent("out"), 1)
		require.True(t, open())
		time.Sleep(producerIdle - time.Minute)
		require.True(t, open(), "used not long ago")
		time.Sleep(3 * time.Minute)
		require.False(t, open())
		client.consumer("in").put("b")
		synctest.Wait()
		require.Equal(t, "b", string(client.sent("out")[0].Payload))
		stop()
		require.NoError(t, <-ended)
		acked, _ := client.consumer("in").answers()
		require.Equal(t, []string{"a", "b"}, acked)
	})
}

func TestLogTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		cfg := testConfig(func(d *pb.FunctionDetails) { d.LogTopic = "log" })
		run(t, cfg, client, func(ctx context.Context, in []byte) (*Result, error) {
			c, _ := FromContext(ctx)
			c.Logger().Debug("not shown")
			c.Logger().With("a", 1).WithGroup("g").Warn("careful", "b", "x y")
			return nil, errors.New("bad")
		}, "a")
		sent := client.sent("log")
		require.Len(t, sent, 2)
		require.Equal(t, "careful a=1 g.b=x y", string(sent[0].Payload))
		require.Equal(t, map[string]string{"loglevel": "WARN", "instance": "1", "fqn": "t/n/f"}, sent[0].Properties)
		require.Contains(t, string(sent[1].Payload), "the function failed")
		require.Equal(t, "ERROR", sent[1].Properties["loglevel"])
		require.Equal(t, Output{Topic: "log", MaxPending: 1000, BatchDelay: 100 * time.Millisecond, DropWhenFull: true, Properties: map[string]string{"function": "t/n/f"}}, client.producers["log"].out)
	})
}

func TestContextFacts(t *testing.T) {
	cfg := testConfig(func(d *pb.FunctionDetails) {
		d.UserConfig = `{"plain":"x","env":"$HOME_OF_TEST","gone":"$NOT_THERE","dollar":"$","n":3}`
		d.SecretsMap = `{"clear":"text","mounted":{"path":"s","key":"k"},"missing":{"path":"s","key":"k"}}`
	})
	e, err := New(Options{Config: cfg, Program: Handler(shout), Client: newFakeClient()})
	require.NoError(t, err)
	c := e.context
	c.getenv = func(name string) (string, bool) {
		value, ok := map[string]string{"HOME_OF_TEST": "/home", "mounted": "hidden"}[name]
		return value, ok
	}
	for key, want := range map[string]any{"plain": "x", "env": "/home", "gone": "", "dollar": "$", "n": 3.0} {
		value, ok := c.UserConfigValue(key)
		require.True(t, ok, key)
		require.Equal(t, want, value, key)
	}
	_, ok := c.UserConfigValue("none")
	require.False(t, ok)
	require.Equal(t, "$HOME_OF_TEST", c.UserConfig()["env"], "the whole map is as submitted")
	for name, want := range map[string]string{"clear": "text", "mounted": "hidden"} {
		value, err := c.Secret(name)
		require.NoError(t, err)
		require.Equal(t, want, value)
	}
	_, err = c.Secret("missing")
	require.EqualError(t, err, `secret "missing": the environment variable of this name is not set`)
	_, err = c.Secret("other")
	require.EqualError(t, err, `secret "other" is not in the function's secrets map`)
	require.Equal(t, []string{"clear", "missing", "mounted"}, c.SecretNames())
	require.Equal(t, []string{"in"}, c.InputTopics())
	require.Nil(t, c.Message())
	require.Error(t, c.Ack())

	_, err = New(Options{Config: testConfig(func(d *pb.FunctionDetails) { d.UserConfig = "[" })})
	require.ErrorContains(t, err, "user config")
	_, err = New(Options{Config: testConfig(func(d *pb.FunctionDetails) { d.SecretsMap = "hush" })})
	require.ErrorContains(t, err, "secrets map")
	require.NotContains(t, err.Error(), "hush")
}

func TestSerializeID(t *testing.T) {
	for name, tc := range map[string]struct {
		topic string
		id    pulsar.MessageID
		want  []byte
	}{
		"single":          {topic: "persistent://a/b/c", id: pulsar.NewMessageID(1, 2, 0, 0), want: []byte{8, 1, 16, 2}},
		"partition":       {topic: "persistent://a/b/c-partition-3", id: pulsar.NewMessageID(1, 2, -1, 3), want: []byte{8, 1, 16, 2, 24, 3}},
		"not a partition": {topic: "persistent://a/b/c-partition-x", id: pulsar.NewMessageID(1, 2, -1, 0), want: []byte{8, 1, 16, 2}},
		"batch":           {topic: "persistent://a/b/c", id: batchID{pulsar.NewMessageID(1, 2, 4, 0)}, want: []byte{8, 1, 16, 2, 32, 4, 48, 5}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, serializeID(nil, tc.topic, tc.id)) })
	}
}

type batchID struct{ pulsar.MessageID }

func (batchID) BatchSize() int32 { return 5 }
