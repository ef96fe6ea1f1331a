package log_test

import (
	"context"
	"math/rand/v2"
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

// TestAClosedWriterStaysClosed takes topics from under writers while they are being closed. A producer that came back to
// life at the broker would keep every later writer out.
func TestAClosedWriterStaysClosed(t *testing.T) {
	service, web := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL")
	if service == "" || web == "" {
		t.Skip("PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL are not set: no broker to test with")
	}
	cfg := broker.Config{ServiceURL: service, WebServiceURL: web}
	client, err := broker.NewClient(cfg, nil)
	require.NoError(t, err)
	defer client.Close()
	admin, err := broker.NewAdmin(cfg, nil)
	require.NoError(t, err)
	topic := "persistent://public/default/" + uuid.NewString()
	require.NoError(t, admin.CreateTopic(t.Context(), topic))
	t.Cleanup(func() { _ = admin.DeleteTopic(context.WithoutCancel(t.Context()), topic, true) })
	l := rlog.NewPulsar(rlog.PulsarOptions{Client: client, Topic: topic})

	for round := range 15 {
		var w rlog.Writer
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			w, err = l.OpenWriter(ctx, "writer")
			return err == nil
		}, 10*time.Second, 20*time.Millisecond, "round %d: nobody can write any more: %v", round, &err)

		unloaded := make(chan struct{})
		go func() {
			defer close(unloaded)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, web+"/admin/v2/"+strings.Replace(topic, "://", "/", 1)+"/unload", nil)
			if err == nil {
				if res, err := http.DefaultClient.Do(req); err == nil {
					_ = res.Body.Close()
				}
			}
		}()
		if round%3 == 0 {
			select {
			case <-w.Lost():
			case <-time.After(10 * time.Second):
				require.FailNow(t, "the loss of the topic is not noticed")
			}
			_, err := w.Append(t.Context(), rlog.Record{Payload: []byte("late")})
			require.ErrorIs(t, err, rlog.ErrFenced)
		} else {
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		}
		w.Close()
		<-unloaded
	}
}
