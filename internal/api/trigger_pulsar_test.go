package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// topics knows every topic and gives all of them one schema.
type topics struct{ schema *broker.Schema }

func (topics) Subscriptions(context.Context, string) ([]string, error) { return nil, nil }

func (t topics) TopicSchema(context.Context, string) (*broker.Schema, error) { return t.schema, nil }

// upper stands in for a function: it answers in upper case and names the input, after an answer to something else.
func upper(ctx context.Context, t *testing.T, client pulsar.Client, in, out string) {
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: in, SubscriptionName: "f"})
	require.NoError(t, err)
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: out, SendTimeout: -1})
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer consumer.Close()
		defer producer.Close()
		for {
			msg, err := consumer.Receive(ctx)
			if err != nil {
				return
			}
			_, _ = producer.Send(ctx, &pulsar.ProducerMessage{Payload: []byte("not this one")})
			_, _ = producer.Send(ctx, &pulsar.ProducerMessage{Payload: bytes.ToUpper(msg.Payload()), Properties: map[string]string{
				propInputMessage: base64.StdEncoding.EncodeToString(msg.ID().Serialize()), propInputTopic: msg.Topic(),
			}})
		}
	})
	t.Cleanup(wg.Wait)
}

func TestTriggerWithABroker(t *testing.T) {
	url := os.Getenv("PULSAR_TEST_SERVICE_URL")
	if url == "" {
		t.Skip("PULSAR_TEST_SERVICE_URL is not set: no broker to trigger a function with")
	}
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: url})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	topic := "persistent://public/default/api-trigger-" + uuid.NewString()
	if web := os.Getenv("PULSAR_TEST_WEB_URL"); web != "" {
		t.Cleanup(func() { deleteTopics(t, web, topic) })
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	upper(ctx, t, client, topic+"-in", topic+"-out")
	trigger := NewPulsarTrigger(client, topics{}, "w1")
	t.Cleanup(trigger.Close)
	req := TriggerRequest{Function: &pb.FunctionDetails{Tenant: "public", Namespace: "default", Name: "f"}, Topic: topic + "-in", Data: []byte("hello"), OutputTopic: topic + "-out"}
	var wg sync.WaitGroup
	for range 3 { // calls of one function at the same time
		wg.Go(func() {
			result, hasOutput, err := trigger.Trigger(ctx, req)
			assert.NoError(t, err)
			assert.True(t, hasOutput)
			assert.Equal(t, "HELLO", string(result))
		})
	}
	wg.Wait()
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	req.OutputTopic = topic + "-nobody"
	_, _, err = trigger.Trigger(short, req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	req.OutputTopic = ""
	_, hasOutput, err := trigger.Trigger(ctx, req)
	require.NoError(t, err)
	require.False(t, hasOutput)
	req.Data = make([]byte, 6<<20)
	_, _, err = trigger.Trigger(ctx, req)
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusRequestEntityTooLarge, refused.Status)
	require.Contains(t, refused.Reason, "6291456 bytes")
	cancel()
}

// deleteTopics removes the topics that a test made.
func deleteTopics(t *testing.T, web, topic string) {
	for _, suffix := range []string{"-in", "-out", "-nobody"} {
		path := strings.Replace(topic+suffix, "persistent://", web+"/admin/v2/persistent/", 1) + "?force=true"
		r, err := http.NewRequest(http.MethodDelete, path, nil)
		require.NoError(t, err)
		if resp, err := http.DefaultClient.Do(r); err == nil {
			_ = resp.Body.Close()
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
