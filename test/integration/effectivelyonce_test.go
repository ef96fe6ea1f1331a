package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// TestEffectivelyOnceThroughKills: the process of a compiled-in function is killed again and again while it works through
// batched messages of a partitioned topic; every message has exactly one result. FUNCTIONS_TEST_FULL=1 takes 100,000
// messages and 20 kills.
func TestEffectivelyOnceThroughKills(t *testing.T) {
	messages, kills := 10_000, 5
	if os.Getenv("FUNCTIONS_TEST_FULL") != "" {
		messages, kills = 100_000, 20
	}
	w := startOwnWorker(t, map[string]any{"goWorker": map[string]any{"restartBackoffInitial": "100ms", "restartBackoffMax": "200ms"}})
	namespace := "public/" + unique("once")
	admin := w.env.webURL + "/admin/v2/"
	for _, step := range []struct{ method, path, body string }{
		{"PUT", "namespaces/" + namespace, "{}"},
		{"POST", "namespaces/" + namespace + "/deduplication", "true"},
		{"PUT", "persistent/" + namespace + "/in/partitions", "3"},
	} {
		code, body := request(step.method, admin+step.path, "application/json", strings.NewReader(step.body))
		require.Less(t, code, 300, "%s %s: %s", step.method, step.path, body)
		require.NotZero(t, code, string(body))
	}
	name := unique("once")
	in, out := "persistent://"+namespace+"/in", "persistent://"+namespace+"/out"
	code, body := w.post("POST", name, fmt.Sprintf(`{"tenant":"public","namespace":"default","name":%q,"jar":"builtin://identity","inputs":[%q],"output":%q,
		"subscriptionPosition":"Earliest","processingGuarantees":"EFFECTIVELY_ONCE"}`, name, in, out))
	require.Equal(t, http.StatusNoContent, code, string(body))
	w.awaitRunning(name, 1, 60*time.Second)

	producer, err := pulsarClient(t, w.env).CreateProducer(pulsar.ProducerOptions{Topic: in, BatchingMaxMessages: 50})
	require.NoError(t, err)
	defer producer.Close()
	consumer, err := pulsarClient(t, w.env).Subscribe(pulsar.ConsumerOptions{Topic: out, SubscriptionName: "check",
		SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest, Type: pulsar.Exclusive})
	require.NoError(t, err)
	defer consumer.Close()
	var failed atomic.Pointer[error]
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range messages {
			producer.SendAsync(context.Background(), &pulsar.ProducerMessage{Payload: []byte(strconv.Itoa(i))}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
		_ = producer.FlushWithCtx(context.Background())
	}()

	seen := make([]int, messages)
	killed := 0
	for n := 0; n < messages; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		msg, err := consumer.Receive(ctx)
		cancel()
		require.NoError(t, err, "%d of %d results after %d kills", n, messages, killed)
		i, err := strconv.Atoi(string(msg.Payload()))
		require.NoError(t, err)
		seen[i]++
		require.Equal(t, 1, seen[i], "message %d has a second result, after %d kills", i, killed)
		_ = consumer.Ack(msg)
		if killed < kills && n >= (killed+1)*messages/(kills+1) {
			for _, child := range children(t, name) {
				require.NoError(t, syscall.Kill(child.pid, syscall.SIGKILL))
				killed++
			}
		}
	}
	<-sent
	require.Nil(t, failed.Load())
	require.GreaterOrEqual(t, killed, kills)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	msg, err := consumer.Receive(ctx)
	require.Error(t, err, "one result too many: %v", msg)
	t.Logf("%d messages, %d kills: one result each", messages, killed)
}
