package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/google/uuid"
)

// Message properties that a function sets on a result to name the input it came from.
const (
	propInputMessage = "__pfn_input_msg_id__"
	propInputTopic   = "__pfn_input_topic__"
)

// Subscriptions lists the subscriptions of a topic: the broker knows a topic when it can.
type Subscriptions interface {
	Subscriptions(ctx context.Context, topic string) ([]string, error)
}

// PulsarTrigger implements Triggerer over a Pulsar client. Close it after the server has shut down.
type PulsarTrigger struct {
	client   pulsar.Client
	admin    Subscriptions
	workerID string
	late     sync.WaitGroup
}

// NewPulsarTrigger makes a Triggerer; admin may be nil.
func NewPulsarTrigger(client pulsar.Client, admin Subscriptions, workerID string) *PulsarTrigger {
	return &PulsarTrigger{client: client, admin: admin, workerID: workerID}
}

// Close waits for calls of the client that outlived their request.
func (p *PulsarTrigger) Close() { p.late.Wait() }

// Trigger implements Triggerer: it reads the output topic from its end, sends, and waits for the result of just this
// message until ctx ends. The producer has a name of its own, so concurrent calls do not disturb each other.
func (p *PulsarTrigger) Trigger(ctx context.Context, req TriggerRequest) (result []byte, hasOutput bool, err error) {
	if p.admin != nil {
		if _, err := p.admin.Subscriptions(ctx, fullTopic(req.Topic)); err != nil {
			if ctx.Err() != nil {
				return nil, false, ctx.Err()
			}
			return nil, false, fail(http.StatusBadRequest, "Function in trigger function is not ready")
		}
	}
	name := p.workerID + "-trigger-" + pb.FullyQualifiedName(req.Function) + "-" + uuid.NewString()[:8]
	var reader pulsar.Reader
	if req.OutputTopic != "" {
		reader, err = await(ctx, &p.late, func() (pulsar.Reader, error) {
			return p.client.CreateReader(pulsar.ReaderOptions{Topic: req.OutputTopic, Name: name, StartMessageID: pulsar.LatestMessageID()})
		}, pulsar.Reader.Close)
		if err != nil {
			return nil, false, fmt.Errorf("reading the output topic %s: %w", req.OutputTopic, err)
		}
		defer reader.Close()
	}
	id, err := p.send(ctx, name, req)
	if err != nil || reader == nil {
		return nil, false, err
	}
	result, err = waitResult(ctx, reader, id, fullTopic(req.Topic))
	return result, err == nil, err
}

// send publishes the data, unbatched, so that its id names one entry; ctx is the only deadline.
func (p *PulsarTrigger) send(ctx context.Context, name string, req TriggerRequest) (pulsar.MessageID, error) {
	producer, err := await(ctx, &p.late, func() (pulsar.Producer, error) {
		return p.client.CreateProducer(pulsar.ProducerOptions{Topic: req.Topic, Name: name, DisableBatching: true, SendTimeout: -1})
	}, pulsar.Producer.Close)
	if err != nil && strings.Contains(err.Error(), "IncompatibleSchema") {
		return nil, failf(http.StatusBadRequest, "Failed to serialize input with error: %v. Please checkif input data conforms with the schema of the input topic.", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the input topic %s: %w", req.Topic, err)
	}
	defer producer.Close()
	id, err := producer.Send(ctx, &pulsar.ProducerMessage{Payload: req.Data})
	if err != nil {
		return nil, fmt.Errorf("sending to the input topic %s: %w", req.Topic, err)
	}
	return id, nil
}

// waitResult reads until the message that came from the one sent.
func waitResult(ctx context.Context, reader pulsar.Reader, sent pulsar.MessageID, topic string) ([]byte, error) {
	for {
		msg, err := reader.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("waiting for the result: %w", err)
		}
		if isResultOf(msg.Properties(), sent, topic) {
			return msg.Payload(), nil
		}
	}
}

// isResultOf compares the input that a result names; partition and batch index are written differently by the
// languages, ledger and entry are not.
func isResultOf(properties map[string]string, sent pulsar.MessageID, topic string) bool {
	from := fullTopic(properties[propInputTopic])
	if from != topic && !strings.HasPrefix(from, topic+"-partition-") {
		return false
	}
	data, err := base64.StdEncoding.DecodeString(properties[propInputMessage])
	if err != nil || len(data) == 0 {
		return false
	}
	id, err := pulsar.DeserializeMessageID(data)
	return err == nil && id.LedgerID() == sent.LedgerID() && id.EntryID() == sent.EntryID()
}

// fullTopic completes a short topic name.
func fullTopic(topic string) string {
	switch {
	case topic == "" || strings.Contains(topic, "://"):
		return topic
	case strings.Count(topic, "/") == 0:
		return "persistent://public/default/" + topic
	default:
		return "persistent://" + topic
	}
}

// await runs a call that takes no context. When ctx ends first, the late result is closed as soon as it comes.
func await[T any](ctx context.Context, running *sync.WaitGroup, call func() (T, error), closeLate func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome) // unbuffered: either the caller takes the outcome or the goroutine disposes of it
	running.Go(func() {
		value, err := call()
		select {
		case done <- outcome{value, err}:
		case <-ctx.Done():
			if err == nil {
				closeLate(value)
			}
		}
	})
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}
