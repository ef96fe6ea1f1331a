package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/uuid"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Message properties that a function sets on a result to name the input it came from.
const (
	propInputMessage = "__pfn_input_msg_id__"
	propInputTopic   = "__pfn_input_topic__"
)

// TopicAdmin tells about a topic: the broker knows one when it can list its subscriptions.
type TopicAdmin interface {
	Subscriptions(ctx context.Context, topic string) ([]string, error)
	// TopicSchema is nil when the topic has none.
	TopicSchema(ctx context.Context, topic string) (*broker.Schema, error)
}

// PulsarTrigger implements Triggerer over a Pulsar client. Close it after the server has shut down.
type PulsarTrigger struct {
	client   pulsar.Client
	admin    TopicAdmin
	workerID string
	late     sync.WaitGroup
}

// NewPulsarTrigger makes a Triggerer.
func NewPulsarTrigger(client pulsar.Client, admin TopicAdmin, workerID string) *PulsarTrigger {
	return &PulsarTrigger{client: client, admin: admin, workerID: workerID}
}

// Close waits for calls of the client that outlived their request.
func (p *PulsarTrigger) Close() { p.late.Wait() }

// Trigger implements Triggerer: it reads the output topic from its end, sends, and waits for the result of just this
// message until ctx ends. The producer has a name of its own, so concurrent calls do not disturb each other.
func (p *PulsarTrigger) Trigger(ctx context.Context, req TriggerRequest) (result []byte, hasOutput bool, err error) {
	if _, err := p.admin.Subscriptions(ctx, fullTopic(req.Topic)); err != nil {
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		return nil, false, fail(http.StatusBadRequest, "Function in trigger function is not ready")
	}
	schema, err := p.admin.TopicSchema(ctx, fullTopic(req.Topic))
	if err != nil {
		return nil, false, err
	}
	if err := conforms(schema, req.Data); err != nil {
		return nil, false, unfit(err)
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
	id, err := p.send(ctx, name, req, producerSchema(schema))
	if err != nil || reader == nil {
		return nil, false, err
	}
	result, err = waitResult(ctx, reader, id, fullTopic(req.Topic))
	return result, err == nil, err
}

// send publishes the data, unbatched, so that its id names one entry; ctx is the only deadline.
func (p *PulsarTrigger) send(ctx context.Context, name string, req TriggerRequest, schema pulsar.Schema) (pulsar.MessageID, error) {
	producer, err := await(ctx, &p.late, func() (pulsar.Producer, error) {
		return p.client.CreateProducer(pulsar.ProducerOptions{Topic: req.Topic, Name: name, DisableBatching: true, SendTimeout: -1, Schema: schema})
	}, pulsar.Producer.Close)
	if err != nil && strings.Contains(err.Error(), "IncompatibleSchema") {
		return nil, unfit(err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the input topic %s: %w", req.Topic, err)
	}
	defer producer.Close()
	id, err := producer.Send(ctx, &pulsar.ProducerMessage{Payload: req.Data})
	if errors.Is(err, pulsar.ErrMessageTooLarge) {
		return nil, failf(http.StatusRequestEntityTooLarge, "The data has %d bytes, more than a message of the broker may have (maxMessageSize)", len(req.Data))
	}
	if err != nil {
		return nil, fmt.Errorf("sending to the input topic %s: %w", req.Topic, err)
	}
	return id, nil
}

// unfit is the answer to data that is no value of the topic's schema; the missing blank is Java's.
func unfit(err error) error {
	return failf(http.StatusBadRequest, "Failed to serialize input with error: %v. Please checkif input data conforms with the schema of the input topic.", err)
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
