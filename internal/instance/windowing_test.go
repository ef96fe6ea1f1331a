package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/window"
)

// joiner is a function over windows: it joins the payloads with commas. A window with "fail" fails, one with "panic" panics,
// one with "none" has no result; a message "unreadable" cannot be read.
type joiner struct {
	Handler
	sleep time.Duration
}

func (joiner) TakesWindows() bool { return true }

func (joiner) Read(input []byte) (any, error) {
	if string(input) == "unreadable" {
		return nil, errors.New("not readable")
	}
	return string(input), nil
}

func (j joiner) HandleWindow(_ context.Context, messages []WindowMessage) (*Result, error) {
	time.Sleep(j.sleep)
	var values []string
	for _, m := range messages {
		values = append(values, m.Read.(string))
	}
	joined := strings.Join(values, ",")
	switch {
	case strings.Contains(joined, "fail"):
		return nil, errors.New("no good")
	case strings.Contains(joined, "panic"):
		panic("ouch")
	case strings.Contains(joined, "none"):
		return nil, nil
	}
	return &Result{Message: Message{Payload: []byte(joined)}}, nil
}

func windowConfig(config string) func(*pb.FunctionDetails) {
	return func(d *pb.FunctionDetails) {
		d.ClassName, d.ProcessingGuarantees, d.AutoAck = window.Executor, pb.ProcessingGuarantees_MANUAL, false
		d.UserConfig = `{"__WINDOWCONFIGS__":` + config + `}`
	}
}

// runWindows puts the inputs in, lets the time pass, and stops the engine.
func runWindows(t *testing.T, client *fakeClient, config string, wait time.Duration, inputs ...string) *Engine {
	t.Helper()
	e, err := New(Options{Config: testConfig(windowConfig(config)), Program: joiner{}, Client: client})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-e.Started()
	for _, in := range inputs {
		client.consumer("in").put(in)
		synctest.Wait()
	}
	time.Sleep(wait)
	synctest.Wait()
	stop()
	require.NoError(t, <-ended)
	return e
}

func payloads(messages []*pulsar.ProducerMessage) (list []string) {
	for _, m := range messages {
		list = append(list, string(m.Payload))
	}
	return list
}

func TestWindowAnswers(t *testing.T) {
	const pairs, overlapping = `{"windowLengthCount":2`, `{"windowLengthCount":2,"slidingIntervalCount":1`
	for name, tc := range map[string]struct {
		config                string
		inputs                string
		sendError             error
		want                  string // windows that are published
		wantAcked, wantNacked string
		wantUser, wantSystem  int64
		wantProcessed         int64
	}{
		"at least once: acknowledged with the result":        {config: pairs, inputs: "a b c", want: "a,b", wantAcked: "a b", wantProcessed: 2},
		"without a result":                                   {config: pairs, inputs: "a none", wantAcked: "a none", wantProcessed: 2},
		"an error refuses the window":                        {config: pairs, inputs: "a fail b c", want: "b,c", wantAcked: "b c", wantNacked: "a fail", wantUser: 1, wantProcessed: 2},
		"a panic too":                                        {config: pairs, inputs: "panic a b c", want: "b,c", wantAcked: "b c", wantNacked: "panic a", wantUser: 1, wantProcessed: 2},
		"an error, overlapping: what is done stays":          {config: overlapping, inputs: "a b fail c", want: "a a,b b,c", wantAcked: "a b c", wantNacked: "fail", wantUser: 1, wantProcessed: 3},
		"a message that cannot be read is refused by itself": {config: pairs, inputs: "a unreadable b", want: "a,b", wantAcked: "a b", wantNacked: "unreadable", wantUser: 1, wantProcessed: 2},
		"the output fails":                                   {config: pairs, inputs: "a b c d", sendError: errors.New("full"), want: "a,b c,d", wantNacked: "a b c d", wantSystem: 2},
		"the output fails, overlapping":                      {config: overlapping, inputs: "a b c", sendError: errors.New("full"), want: "a b c", wantNacked: "a b c", wantSystem: 3},
		"windows with gaps":                                  {config: `{"windowLengthCount":1,"slidingIntervalCount":2`, inputs: "a b c", want: "b", wantAcked: "a b", wantProcessed: 2},
		"at most once: acknowledged on arrival":              {config: pairs + `,"processingGuarantees":"ATMOST_ONCE"`, inputs: "a b c", want: "a,b", wantAcked: "a b c", wantProcessed: 2},
		"at most once, an error":                             {config: overlapping + `,"processingGuarantees":"ATMOST_ONCE"`, inputs: "a fail b c", want: "a b,c", wantAcked: "a fail b c", wantUser: 2, wantProcessed: 3},
		"at most once, the output fails":                     {config: pairs + `,"processingGuarantees":"ATMOST_ONCE"`, inputs: "a b", sendError: errors.New("full"), want: "a,b", wantAcked: "a b", wantSystem: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newFakeClient()
				client.failSend["out"] = tc.sendError
				inputs := strings.Fields(tc.inputs)
				e := runWindows(t, client, tc.config+"}", 0, inputs...)
				require.Equal(t, strings.Fields(tc.want), append([]string{}, payloads(client.sent("out"))...))
				acked, nacked := client.consumer("in").answers()
				require.ElementsMatch(t, strings.Fields(tc.wantAcked), acked)
				require.ElementsMatch(t, strings.Fields(tc.wantNacked), nacked)
				status := e.Stats().Status(true)
				require.EqualValues(t, len(inputs), status.NumReceived)
				require.Equal(t, tc.wantProcessed, status.NumSuccessfullyProcessed)
				require.Equal(t, tc.wantUser, status.NumUserExceptions)
				require.Equal(t, tc.wantSystem, status.NumSystemExceptions)
			})
		})
	}
}

// TestWindowResult: a result comes from many messages, and has nothing of one of them.
func TestWindowResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		runWindows(t, client, `{"windowLengthCount":1}`, 0, "a")
		require.Equal(t, []*pulsar.ProducerMessage{{Payload: []byte("a")}}, client.sent("out"))
	})
}

// TestTimedWindows: with a fake clock the windows are exactly those of the intervals.
func TestTimedWindows(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		every  time.Duration // between messages a, b, c …
		want   []string
	}{
		"tumbling": {`{"windowLengthDurationMs":1000}`, 300 * time.Millisecond, []string{"a,b,c,d", "e,f,g", "h"}},
		"sliding":  {`{"windowLengthDurationMs":1000,"slidingIntervalDurationMs":500}`, 400 * time.Millisecond, []string{"a,b", "a,b,c", "c,d", "d,e", "e,f,g", "f,g,h", "h"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newFakeClient()
				e, err := New(Options{Config: testConfig(windowConfig(tc.config)), Program: joiner{}, Client: client})
				require.NoError(t, err)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- e.Run(ctx) }()
				<-e.Started()
				for _, in := range strings.Split("abcdefgh", "") {
					client.consumer("in").put(in)
					time.Sleep(tc.every)
				}
				time.Sleep(3 * time.Second)
				stop()
				require.NoError(t, <-ended)
				require.Equal(t, tc.want, payloads(client.sent("out")))
				acked, _ := client.consumer("in").answers()
				require.ElementsMatch(t, strings.Split("abcdefgh", ""), acked, "each once")
			})
		})
	}
}

// timed puts a message with an event time in seconds; 0: the sender did not say, and it was published at 100 s.
func (c *fakeConsumer) timed(payload string, second int64) {
	id := pulsar.NewMessageID(7, second, -1, -1)
	c.messages <- &fakeMessage{topic: c.topic, payload: []byte(payload), id: id, event: time.Unix(second, 0), publish: time.Unix(100, 0)}
}

func TestEventTimeWindows(t *testing.T) {
	for name, tc := range map[string]struct {
		extractor, lateTopic string
		want, wantLate       []string
	}{
		"event time":   {"eventTime", `,"lateDataTopic":"late"`, []string{"a,c", "b"}, []string{"late"}},
		"without late": {"eventTime", "", []string{"a,c", "b"}, nil},
		"publish time": {"publishTime", "", []string{"a,b,c,d"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newFakeClient()
				e, err := New(Options{Config: testConfig(windowConfig(fmt.Sprintf(`{"windowLengthDurationMs":10000,"timestampExtractorClassName":%q%s}`, tc.extractor, tc.lateTopic))),
					Program: joiner{}, Client: client})
				require.NoError(t, err)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- e.Run(ctx) }()
				<-e.Started()
				in := client.consumer("in")
				for i, m := range []string{"a", "b", "c", "d"} {
					in.timed(m, []int64{3, 12, 9, 31}[i])
				}
				time.Sleep(1500 * time.Millisecond) // the watermark is at 31 s
				in.timed("late", 12)
				in.timed("e", 0) // taken by its publish time
				time.Sleep(1500 * time.Millisecond)
				stop()
				require.NoError(t, <-ended)
				acked, _ := in.answers()
				if tc.extractor == "eventTime" {
					tc.want = append(tc.want, "d") // the watermark is at 100 s, the end of e's window
					tc.want = append(tc.want, "e")
				}
				require.Equal(t, tc.want, payloads(client.sent("out")))
				require.Equal(t, tc.wantLate, payloads(client.sent("late")))
				require.ElementsMatch(t, []string{"a", "b", "c", "d", "late", "e"}, acked, "late ones too")
			})
		})
	}
}

func TestWindowsThatCannotGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Options{Config: testConfig(windowConfig(`{"windowLengthCount":1}`)), Program: joiner{}, Client: newFakeClient()})
		require.NoError(t, err)
		w := e.newWindowing(t.Context(), t.Context())
		w.most = heldBytes
		in := newFakeClient().consumer("in")
		require.ErrorContains(t, w.take(delivery{message: &fakeMessage{payload: []byte("x")}, consumer: in}), "the windows need more than 512 bytes of messages")
	})
	synctest.Test(t, func(t *testing.T) { // stuck calls end as those of other functions
		client := newFakeClient()
		e, err := New(Options{Config: testConfig(windowConfig(`{"windowLengthCount":1}`)), Program: joiner{sleep: time.Hour}, Client: client})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		client.consumer("in").put("a")
		time.Sleep(time.Minute)
		require.Contains(t, e.Busy(time.Now(), time.Second), "busy with message")
		stop()
		require.ErrorIs(t, <-ended, ErrStuck)
		<-e.Finished()
		acked, nacked := client.consumer("in").answers()
		require.Empty(t, append(acked, nacked...))
	})
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(windowConfig(`{"windowLengthDurationMs":10}`))
		cfg.MaxIdle = time.Minute
		e, err := New(Options{Config: cfg, Program: joiner{}, Client: newFakeClient()})
		require.NoError(t, err)
		require.ErrorIs(t, e.Run(t.Context()), ErrIdle, "ticks are no messages")
	})
}

// TestHeldMessagesAreForgotten: what is held is bounded by what windows need.
func TestHeldMessagesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Options{Config: testConfig(windowConfig(`{"windowLengthCount":3,"slidingIntervalCount":2}`)), Program: joiner{}, Client: newFakeClient()})
		require.NoError(t, err)
		defer e.context.producers.close()
		w := e.newWindowing(t.Context(), t.Context())
		in := newFakeClient().consumer("in")
		for i := range 1000 {
			payload := "x"
			if i%7 == 0 {
				payload = "fail"
			}
			require.NoError(t, w.take(delivery{message: &fakeMessage{payload: []byte(payload), id: pulsar.EarliestMessageID()}, consumer: in}))
			require.LessOrEqual(t, w.windows.Len(), 3)
			require.LessOrEqual(t, w.bytes, 3*(heldBytes+4))
			synctest.Wait()
		}
	})
}

func TestWindowsAndSingleMessages(t *testing.T) {
	_, err := New(Options{Config: testConfig(), Program: joiner{}, Client: newFakeClient()})
	require.ErrorContains(t, err, "needs a windowConfig")
	_, err = New(Options{Config: testConfig(windowConfig(`{"windowLengthCount":1}`)), Program: Handler(shout), Client: newFakeClient()})
	require.ErrorContains(t, err, "the function takes single messages")
	single, many := Builtin{Name: "single"}, Builtin{Name: "many", Windows: true}
	details, windows := testConfig().Details, testConfig(windowConfig(`{"windowLengthCount":1}`)).Details
	require.NoError(t, single.Admit(details, ""))
	require.NoError(t, many.Admit(windows, ""))
	require.ErrorContains(t, single.Admit(windows, ""), "the function takes single messages")
	require.ErrorContains(t, many.Admit(details, ""), "needs a windowConfig")
}
