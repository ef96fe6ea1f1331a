package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// scriptedSink does what its messages say, and notes what is done with it.
type scriptedSink struct {
	mu      sync.Mutex
	events  []string
	kept    map[string]func(error)
	openErr error
	hang    bool // Leave
	release chan struct{}
}

func (s *scriptedSink) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *scriptedSink) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.events...)
}

func (s *scriptedSink) Open(_ context.Context, configs []byte) error {
	s.note("open %s", strings.TrimSpace(string(configs)))
	return s.openErr
}

func (s *scriptedSink) Handle(ctx context.Context, input []byte) (*Result, error) {
	text := string(input)
	s.note("write %s", text)
	c, _ := FromContext(ctx)
	switch {
	case strings.HasPrefix(text, "later"):
		s.mu.Lock()
		s.kept[text] = c.Later()
		s.mu.Unlock()
	case text == "fail":
		return nil, errors.New("no good")
	case text == "panic":
		panic("ouch")
	}
	return nil, nil
}

func (s *scriptedSink) outcome(text string, err error) {
	s.mu.Lock()
	f := s.kept[text]
	s.mu.Unlock()
	f(err)
}

func (s *scriptedSink) Leave(context.Context) error {
	if s.hang {
		<-s.release
	}
	s.note("leave")
	s.mu.Lock()
	kept := s.kept
	s.mu.Unlock()
	for text, f := range kept {
		if strings.HasSuffix(text, "flushed") {
			f(nil)
		}
	}
	return nil
}

func (s *scriptedSink) Close(context.Context) error { return nil }

func sinkConfig(g pb.ProcessingGuarantees) *Config {
	return testConfig(func(d *pb.FunctionDetails) {
		d.ComponentType, d.ProcessingGuarantees = pb.FunctionDetails_SINK, g
		d.Sink = &pb.SinkSpec{ClassName: "scripted", Builtin: "scripted", Configs: `{"size":12345678901,"key":"${KEY}","other":["${NONE}","x"]}`}
		d.SecretsMap = `{"KEY":"secret"}`
		d.RetryDetails = &pb.RetryDetails{MaxMessageRetries: 3, DeadLetterTopic: "dead"}
	})
}

// startEngine runs an engine in the background until stop is called, which gives what Run returned.
func startEngine(t *testing.T, o Options) (e *Engine, stop func() error) {
	t.Helper()
	e, err := New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return e, func() error {
		cancel()
		return <-ended
	}
}

func TestSink(t *testing.T) {
	for name, tc := range map[string]struct {
		guarantee             pb.ProcessingGuarantees
		inputs                string
		wantAcked, wantNacked string
		wantCumulative        string
		wantErrors            int64
		wantErr               string
	}{
		"at least once":                       {inputs: "a fail panic later-1 later-2 later-3-flushed later-4 b", wantAcked: "a later-1 later-3-flushed b", wantNacked: "fail panic later-2", wantErrors: 3},
		"manual is the same: a sink answers":  {guarantee: pb.ProcessingGuarantees_MANUAL, inputs: "a fail later-1 later-2", wantAcked: "a later-1", wantNacked: "fail later-2", wantErrors: 2},
		"at most once":                        {guarantee: pb.ProcessingGuarantees_ATMOST_ONCE, inputs: "a fail later-1 later-2 b", wantAcked: "a fail later-1 later-2 b", wantErrors: 2},
		"effectively once: in order":          {guarantee: pb.ProcessingGuarantees_EFFECTIVELY_ONCE, inputs: "a later-1 b", wantCumulative: "a b"},
		"effectively once: a failure ends it": {guarantee: pb.ProcessingGuarantees_EFFECTIVELY_ONCE, inputs: "a fail", wantCumulative: "a", wantErrors: 1, wantErr: "Failed to process message"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, sink := newFakeClient(), &scriptedSink{kept: map[string]func(error){}}
				e, stop := startEngine(t, Options{Config: sinkConfig(tc.guarantee), Program: sink, Client: client, Hostname: "host"})
				<-e.Started()
				require.Equal(t, []string{`open {"key":"secret","other":["${NONE}","x"],"size":12345678901}`}, sink.log(), "before the first message")
				for _, in := range strings.Fields(tc.inputs) {
					client.consumer("in").put(in)
				}
				synctest.Wait()
				for text, err := range map[string]error{"later-1": nil, "later-2": errors.New("refused")} {
					if strings.Contains(tc.inputs, text) {
						sink.outcome(text, err)
						sink.outcome(text, errors.New("only the first counts"))
					}
				}
				err := stop()
				if tc.wantErr == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tc.wantErr)
				}
				acked, nacked := client.consumer("in").answers()
				require.ElementsMatch(t, strings.Fields(tc.wantAcked), acked)
				require.ElementsMatch(t, strings.Fields(tc.wantNacked), nacked)
				require.Equal(t, strings.Fields(tc.wantCumulative), append([]string{}, client.consumer("in").cumulative...))
				require.Equal(t, "leave", sink.log()[len(sink.log())-1])
				status := e.Stats().Status(false)
				require.Equal(t, tc.wantErrors, status.NumSinkExceptions)
				require.Len(t, status.LatestSinkExceptions, int(tc.wantErrors))
				require.Zero(t, status.NumUserExceptions+status.NumSystemExceptions)
				if _, kept := sink.kept["later-4"]; kept {
					sink.outcome("later-4", nil) // too late for anybody
					_, nackedThen := client.consumer("in").answers()
					require.Equal(t, nacked, nackedThen)
				}
				in := client.subscribed[0]
				require.Equal(t, "pulsar-sink", in.Properties["application"])
				require.Equal(t, "dead", in.DeadLetterTopic)
				require.Equal(t, 3, in.MaxRedeliveries)
			})
		})
	}
}

func TestASinkThatKeepsMessagesHoldsUpItsInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, sink := newFakeClient(), &scriptedSink{kept: map[string]func(error){}}
		_, stop := startEngine(t, Options{Config: sinkConfig(0), Program: sink, Client: client, MaxConcurrency: 2})
		for i := range 4 {
			client.consumer("in").put(fmt.Sprintf("later-%d", i))
		}
		synctest.Wait()
		require.Equal(t, []string{"write later-0", "write later-1"}, sink.log()[1:])
		sink.outcome("later-0", nil)
		synctest.Wait()
		require.Equal(t, []string{"write later-0", "write later-1", "write later-2"}, sink.log()[1:])
		require.NoError(t, stop())
		acked, nacked := client.consumer("in").answers()
		require.Equal(t, []string{"later-0"}, acked)
		require.Empty(t, nacked, "closing the consumer gives the others back")
	})
}

func TestConnectorsThatDoNotOpenOrClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, sink := newFakeClient(), &scriptedSink{openErr: errors.New("no such place")}
		e, stop := startEngine(t, Options{Config: sinkConfig(0), Program: sink, Client: client})
		<-e.Finished()
		require.EqualError(t, stop(), "opening the sink: no such place")
		require.Len(t, sink.log(), 1, "what was not opened is not closed")
		require.Empty(t, client.subscribed)
		require.EqualValues(t, 1, e.Stats().Status(false).NumSinkExceptions)

		sink = &scriptedSink{hang: true, release: make(chan struct{})}
		e, stop = startEngine(t, Options{Config: sinkConfig(0), Program: sink, Client: newFakeClient()})
		<-e.Started()
		require.ErrorIs(t, stop(), ErrStuck)
		select {
		case <-e.Finished():
			t.Fatal("its code still runs")
		default:
		}
		close(sink.release)
		<-e.Finished()

		client, sink = newFakeClient(), &scriptedSink{}
		client.fail["in"] = errors.New("no such topic")
		_, stop = startEngine(t, Options{Config: sinkConfig(0), Program: sink, Client: client})
		synctest.Wait()
		require.ErrorContains(t, stop(), "no such topic")
		require.Equal(t, "leave", sink.log()[1])
	})
	_, err := New(Options{Config: sinkConfig(0), Program: Handler(shout), Client: newFakeClient()})
	require.EqualError(t, err, "the code is a function and cannot be a sink")
	_, err = New(Options{Config: testConfig(), Program: &scriptedSink{}, Client: newFakeClient()})
	require.EqualError(t, err, "the code is a sink and cannot be a function")
	bad := sinkConfig(0)
	bad.Details.Sink.Configs = `{"a":1} {"b":2}`
	synctest.Test(t, func(t *testing.T) {
		_, stop := startEngine(t, Options{Config: bad, Program: &scriptedSink{}, Client: newFakeClient()})
		synctest.Wait()
		require.ErrorContains(t, stop(), "more than one JSON object")
	})
}

// TestAnEffectivelyOnceSourceEndsWithARecordThatIsNotStored: what was read meanwhile is given back in any case.
func TestAnEffectivelyOnceSourceEndsWithARecordThatIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, source := newFakeClient(), newScriptedSource()
		client.failSend["out"] = errors.New("full")
		source.put(7, "a")
		e, stop := startEngine(t, Options{Config: sourceConfig(pb.ProcessingGuarantees_EFFECTIVELY_ONCE), Program: source, Client: client, Hostname: "host"})
		synctest.Wait()
		require.ErrorContains(t, stop(), "sending a record to out: full")
		require.Equal(t, []string{"open {}", "fail a", "leave"}, source.log())
		require.EqualValues(t, 1, e.Stats().Status(false).NumSystemExceptions)
	})
}

// scriptedSource gives the records of its channel.
type scriptedSource struct {
	scriptedSink
	records chan *SourceRecord
	err     chan error
}

func newScriptedSource() *scriptedSource {
	return &scriptedSource{records: make(chan *SourceRecord, 100), err: make(chan error, 1)}
}

func (s *scriptedSource) Read(ctx context.Context) (*SourceRecord, error) {
	select {
	case r := <-s.records:
		return r, nil
	case err := <-s.err:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *scriptedSource) put(sequence int64, text string) {
	s.records <- &SourceRecord{
		Message:   Message{Payload: []byte(text), Key: "k", Properties: map[string]string{"p": text}, EventTime: time.UnixMilli(5)},
		Partition: "file-1", Sequence: sequence,
		Ack: func() { s.note("ack %s", text) }, Fail: func(err error) { s.note("fail %s", text) },
	}
}

func sourceConfig(g pb.ProcessingGuarantees) *Config {
	return testConfig(func(d *pb.FunctionDetails) {
		d.ComponentType, d.ProcessingGuarantees = pb.FunctionDetails_SOURCE, g
		d.Source = &pb.SourceSpec{ClassName: "scripted", Builtin: "scripted", Configs: `{}`}
	})
}

func TestSource(t *testing.T) {
	for name, tc := range map[string]struct {
		guarantee   pb.ProcessingGuarantees
		sendErr     error
		want        []string
		wantWritten int64
	}{
		"at least once":             {want: []string{"ack a", "ack b", "leave"}, wantWritten: 2},
		"at least once, not stored": {sendErr: errors.New("full"), want: []string{"fail a", "fail b", "leave"}},
		"at most once":              {guarantee: pb.ProcessingGuarantees_ATMOST_ONCE, want: []string{"ack a", "ack b", "leave"}, wantWritten: 2},
		"at most once, not stored":  {guarantee: pb.ProcessingGuarantees_ATMOST_ONCE, sendErr: errors.New("full"), want: []string{"ack a", "ack b", "leave"}},
		"manual: the source's own":  {guarantee: pb.ProcessingGuarantees_MANUAL, want: []string{"leave"}, wantWritten: 2},
		"effectively once":          {guarantee: pb.ProcessingGuarantees_EFFECTIVELY_ONCE, want: []string{"ack a", "ack b", "leave"}, wantWritten: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, source := newFakeClient(), newScriptedSource()
				client.failSend["out"] = tc.sendErr
				source.put(7, "a")
				source.put(9, "b")
				e, stop := startEngine(t, Options{Config: sourceConfig(tc.guarantee), Program: source, Client: client, Hostname: "host"})
				synctest.Wait()
				require.NoError(t, stop())
				require.ElementsMatch(t, append([]string{"open {}"}, tc.want...), source.log())
				require.Equal(t, "leave", source.log()[len(source.log())-1], "a source has heard of its records when it is closed")
				sent := client.sent("out")
				require.Len(t, sent, 2)
				require.Equal(t, "k a 5", fmt.Sprint(sent[0].Key, " ", sent[0].Properties["p"], " ", sent[0].EventTime.UnixMilli()))
				out := client.producers["out"].out
				require.Equal(t, "pulsar-source", out.Properties["application"])
				if tc.guarantee == pb.ProcessingGuarantees_EFFECTIVELY_ONCE {
					require.EqualValues(t, 7, *sent[0].SequenceID)
					require.EqualValues(t, 9, *sent[1].SequenceID)
					require.Equal(t, "t/n/f-file-1", out.Name)
				} else {
					require.Nil(t, sent[0].SequenceID)
				}
				status := e.Stats().Status(false)
				require.EqualValues(t, 2, status.NumReceived)
				require.Equal(t, tc.wantWritten, status.NumSuccessfullyProcessed)
				require.Equal(t, tc.sendErr != nil, status.NumSystemExceptions == 2)
				got := samples(t, e.Stats())
				require.EqualValues(t, 2, got["pulsar_source_received_total"])
				require.EqualValues(t, tc.wantWritten, got["pulsar_source_written_1min_total"])
				require.Contains(t, got, "pulsar_source_source_exceptions_total")
				require.NotContains(t, got, "pulsar_source_user_exceptions_total")
			})
		})
	}
}

func TestSourcesThatFail(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*scriptedSource)
		config *Config
		want   string
	}{
		"an error":     {func(s *scriptedSource) { s.err <- errors.New("disk gone") }, sourceConfig(0), "reading from the source: disk gone"},
		"neither":      {func(s *scriptedSource) { s.records <- nil }, sourceConfig(0), "neither a record nor an error"},
		"no partition": {func(s *scriptedSource) { s.records <- &SourceRecord{} }, sourceConfig(pb.ProcessingGuarantees_EFFECTIVELY_ONCE), "PartitionId needs to be specified"},
		"a step back":  {func(s *scriptedSource) { s.put(5, "a"); s.put(5, "b") }, sourceConfig(pb.ProcessingGuarantees_EFFECTIVELY_ONCE), "and to grow: 5 of partition file-1"},
		"no sequence":  {func(s *scriptedSource) { s.put(-1, "a") }, sourceConfig(pb.ProcessingGuarantees_EFFECTIVELY_ONCE), "RecordSequence needs to be specified"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newScriptedSource()
				tc.change(source)
				e, stop := startEngine(t, Options{Config: tc.config, Program: source, Client: newFakeClient()})
				<-e.Finished()
				require.ErrorContains(t, stop(), tc.want)
				status := e.Stats().Status(false)
				require.EqualValues(t, 1, status.NumSourceExceptions)
				require.Contains(t, status.LatestSourceExceptions[0].ExceptionString, tc.want)
				require.Equal(t, "leave", source.log()[len(source.log())-1])
			})
		})
	}
}

func TestASourceWithoutATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, source, config := newFakeClient(), newScriptedSource(), sourceConfig(0)
		config.Details.Sink = &pb.SinkSpec{}
		source.put(1, "dropped")
		source.records <- &SourceRecord{Message: Message{Topic: "other", Payload: []byte("x")}, Ack: func() { panic("ouch") }}
		e, stop := startEngine(t, Options{Config: config, Program: source, Client: client})
		synctest.Wait()
		require.NoError(t, stop())
		require.Len(t, client.sent("other"), 1)
		require.Contains(t, source.log(), "ack dropped")
		require.Contains(t, e.Stats().Status(true).LatestSourceExceptions[0].ExceptionString, "panic: ouch")
	})
}

// slowSource is a source that does not get ready.
type slowSource struct{ Source }

func (slowSource) Open(ctx context.Context, _ []byte) error { <-ctx.Done(); return ctx.Err() }
func (slowSource) Handle(context.Context, []byte) (*Result, error) {
	return nil, errors.New("a source has no messages")
}
func (slowSource) Close(context.Context) error { return nil }

// TestAnOutputThatIsRefused is told at once, also while a source would take its time to get ready.
func TestAnOutputThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFakeClient()
		client.fail["out"] = errors.New("refused")
		e, err := New(Options{Config: testConfig(func(d *pb.FunctionDetails) { d.ComponentType, d.Source = pb.FunctionDetails_SOURCE, &pb.SourceSpec{} }), Client: client, Program: slowSource{}})
		require.NoError(t, err)
		require.EqualError(t, e.Run(t.Context()), "opening the output topic out: refused")
	})
}
