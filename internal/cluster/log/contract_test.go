package log_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
)

// bench gives the contract fresh logs of one implementation.
type bench struct {
	newLog  func(t *testing.T) rlog.Log
	compact func(t *testing.T, l rlog.Log)
}

func TestMemoryKeepsTheContract(t *testing.T) {
	runContract(t, bench{
		newLog:  func(*testing.T) rlog.Log { return rlog.NewMemory() },
		compact: func(_ *testing.T, l rlog.Log) { l.(*rlog.Memory).Compact() },
	})
}

func TestPulsarKeepsTheContract(t *testing.T) {
	service, web := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL")
	if service == "" || web == "" {
		t.Skip("PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL are not set: no broker to test with")
	}
	cfg := broker.Config{ServiceURL: service, WebServiceURL: web}
	client, err := broker.NewClient(cfg, nil)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	admin, err := broker.NewAdmin(cfg, nil)
	require.NoError(t, err)
	namespace := "public/clusterlog-" + uuid.NewString()[:8]
	require.NoError(t, admin.CreateNamespace(t.Context(), namespace, broker.NamespacePolicies{
		Retention: &broker.RetentionPolicies{TimeInMinutes: -1, SizeInMB: -1}}))
	t.Cleanup(func() { deleteNamespace(t, admin, namespace) })
	topics := map[rlog.Log]string{}
	runContract(t, bench{
		newLog: func(t *testing.T) rlog.Log {
			topic := "persistent://" + namespace + "/" + uuid.NewString()
			require.NoError(t, admin.CreateTopic(t.Context(), topic))
			l := rlog.NewPulsar(rlog.PulsarOptions{Client: client, Topic: topic, ReadCompacted: true})
			topics[l] = topic
			return l
		},
		compact: func(t *testing.T, l rlog.Log) {
			require.NoError(t, admin.CompactTopic(t.Context(), topics[l]))
			require.Eventually(t, func() bool { return compacted(web, topics[l]) }, 20*time.Second, 50*time.Millisecond)
		},
	})
}

func compacted(web, topic string) bool {
	response, err := http.Get(web + "/admin/v2/" + strings.Replace(topic, "://", "/", 1) + "/compaction")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return strings.Contains(string(body), "SUCCESS")
}

func deleteNamespace(t *testing.T, admin *broker.Admin, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	topics, err := admin.Topics(ctx, namespace)
	for _, topic := range topics {
		err = errors.Join(err, admin.DeleteTopic(ctx, topic, true))
	}
	if err = errors.Join(err, admin.DeleteNamespace(ctx, namespace, false)); err != nil {
		t.Log("cleaning up:", err)
	}
}

func runContract(t *testing.T, b bench) {
	tests := map[string]func(t *testing.T, b bench){
		"an empty log has no last entry":                   emptyLog,
		"entries arrive in order with keys and properties": inOrder,
		"a tombstone is recognised":                        tombstone,
		"a reader starts after a position":                 startAfter,
		"a second exclusive writer is refused":             secondWriter,
		"a closed writer says it is fenced":                closedWriter,
		"next keeps its deadline":                          nextDeadline,
		"too large is refused and the writer goes on":      tooLarge,
		"a follower catches up and follows":                follower,
		"the compacted view ends where last says":          compaction,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

func write(t *testing.T, w rlog.Writer, records ...rlog.Record) []rlog.ID {
	ids, err := w.Append(ctx(t), records...)
	require.NoError(t, err)
	require.Len(t, ids, len(records))
	return ids
}

func openWriter(t *testing.T, l rlog.Log, name string) rlog.Writer {
	w, err := l.OpenWriter(ctx(t), name)
	require.NoError(t, err)
	t.Cleanup(w.Close)
	return w
}

func openReader(t *testing.T, l rlog.Log, after rlog.ID) rlog.Reader {
	r, err := l.OpenReader(ctx(t), "w-reader", after)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func emptyLog(t *testing.T, b bench) {
	last, err := openReader(t, b.newLog(t), rlog.None).Last(ctx(t))
	require.NoError(t, err)
	require.Equal(t, rlog.None, last)
}

func inOrder(t *testing.T, b bench) {
	l := b.newLog(t)
	w := openWriter(t, l, "w-leader")
	var records []rlog.Record
	for i := range 100 {
		records = append(records, rlog.Record{Key: fmt.Sprint("k", i), Payload: []byte(fmt.Sprint("v", i)),
			Properties: map[string]string{"version": fmt.Sprint(i)}})
	}
	ids := write(t, w, records...)
	r := openReader(t, l, rlog.None)
	for i, want := range records {
		e, err := r.Next(ctx(t))
		require.NoError(t, err)
		require.Equal(t, ids[i], e.ID)
		require.Equal(t, want, e.Record)
	}
	last, err := r.Last(ctx(t))
	require.NoError(t, err)
	require.Equal(t, ids[99], last)
}

func tombstone(t *testing.T, b bench) {
	l := b.newLog(t)
	write(t, openWriter(t, l, "w-leader"), rlog.Record{Key: "a", Payload: []byte("x")}, rlog.Record{Key: "a"})
	r := openReader(t, l, rlog.None)
	e, err := r.Next(ctx(t))
	require.NoError(t, err)
	require.False(t, e.Tombstone())
	e, err = r.Next(ctx(t))
	require.NoError(t, err)
	require.True(t, e.Tombstone())
	require.Equal(t, "a", e.Key)
}

func startAfter(t *testing.T, b bench) {
	l := b.newLog(t)
	ids := write(t, openWriter(t, l, "w-leader"), rlog.Record{Key: "a", Payload: []byte("1")}, rlog.Record{Key: "b", Payload: []byte("2")})
	e, err := openReader(t, l, ids[0]).Next(ctx(t))
	require.NoError(t, err)
	require.Equal(t, "b", e.Key)
}

func secondWriter(t *testing.T, b bench) {
	l := b.newLog(t)
	w := openWriter(t, l, "w1-leader")
	_, err := l.OpenWriter(ctx(t), "w2-leader")
	require.ErrorIs(t, err, rlog.ErrBusy)
	_, err = l.OpenWriter(ctx(t), "w1-leader")
	require.ErrorIs(t, err, rlog.ErrBusy, "the same name is no key")
	w.Close()
	write(t, openWriter(t, l, "w2-leader"), rlog.Record{Key: "a", Payload: []byte("x")})
}

func closedWriter(t *testing.T, b bench) {
	l := b.newLog(t)
	w := openWriter(t, l, "w-leader")
	w.Close()
	w.Close()
	_, err := w.Append(ctx(t), rlog.Record{Key: "a", Payload: []byte("x")})
	require.ErrorIs(t, err, rlog.ErrFenced)
}

func nextDeadline(t *testing.T, b bench) {
	r := openReader(t, b.newLog(t), rlog.None)
	c, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.Next(c)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func tooLarge(t *testing.T, b bench) {
	l := b.newLog(t)
	w := openWriter(t, l, "w-leader")
	large := rlog.Record{Key: "a", Payload: make([]byte, 16<<20)}
	if m, ok := l.(*rlog.Memory); ok {
		m.FailNext(rlog.Refuse)
	} else {
		for i := range large.Payload { // incompressible enough
			large.Payload[i] = byte(i*i>>7 ^ i*7919>>3 ^ i>>11)
		}
	}
	ids, err := w.Append(ctx(t), large)
	require.ErrorIs(t, err, rlog.ErrRejected)
	require.Equal(t, []rlog.ID{rlog.None}, ids)
	write(t, w, rlog.Record{Key: "b", Payload: []byte("x")})
}

func follower(t *testing.T, b bench) {
	l := b.newLog(t)
	w := openWriter(t, l, "w-leader")
	write(t, w, rlog.Record{Key: "a", Payload: []byte("1")})
	seen := make(chan string, 10)
	f := rlog.NewFollower(l, "w-tailer", func(e rlog.Entry) { seen <- e.Key }, nil)
	c, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(c) }()
	require.NoError(t, f.CatchUp(ctx(t)))
	require.Equal(t, "a", <-seen)
	ids := write(t, w, rlog.Record{Key: "b", Payload: []byte("2")})
	require.NoError(t, f.Appended(ctx(t), ids[0], rlog.Record{Key: "b", Payload: []byte("2")}))
	require.Equal(t, "b", <-seen)
	write(t, w, rlog.Record{Key: "c", Payload: []byte("3")})
	require.NoError(t, f.CatchUp(ctx(t)))
	require.Equal(t, "c", <-seen)
	require.Empty(t, seen, "nothing is applied twice")
	cancel()
	<-done
}

func compaction(t *testing.T, b bench) {
	l := b.newLog(t)
	w := openWriter(t, l, "w-leader")
	write(t, w, rlog.Record{Key: "a", Payload: []byte("1")}, rlog.Record{Key: "b", Payload: []byte("2")},
		rlog.Record{Key: "a", Payload: []byte("3")}, rlog.Record{Key: "b"})
	b.compact(t, l)
	r := openReader(t, l, rlog.None)
	state := map[string]string{}
	last, err := r.Last(ctx(t))
	require.NoError(t, err)
	for pos := rlog.None; pos.Compare(last) < 0; {
		e, err := r.Next(ctx(t))
		require.NoError(t, err)
		pos = e.ID
		if e.Tombstone() {
			delete(state, e.Key)
		} else {
			state[e.Key] = string(e.Payload)
		}
	}
	require.Equal(t, map[string]string{"a": "3"}, state)
}
