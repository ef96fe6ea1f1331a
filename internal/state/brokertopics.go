package state

import (
	"context"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster/log"
)

// brokerTopics are the topics of a broker.
type brokerTopics struct {
	client pulsar.Client
	admin  *broker.Admin
}

// NewBrokerTopics lets a Topic store work with a broker.
func NewBrokerTopics(client pulsar.Client, admin *broker.Admin) Topics {
	return brokerTopics{client, admin}
}

func (b brokerTopics) Exists(ctx context.Context, topic string) (bool, error) {
	_, err := b.admin.TopicStats(ctx, topic)
	if broker.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (b brokerTopics) Create(ctx context.Context, topic string) error {
	if err := b.admin.CreateTopic(ctx, topic); err != nil && !broker.IsConflict(err) {
		return err
	}
	return nil
}

func (b brokerTopics) Delete(ctx context.Context, topic string) error {
	if err := b.admin.DeleteTopic(ctx, topic, true); err != nil && !broker.IsNotFound(err) {
		return err
	}
	return nil
}

func (b brokerTopics) Compact(ctx context.Context, topic string) error {
	if err := b.admin.CompactTopic(ctx, topic); err != nil && !broker.IsConflict(err) { // one is under way
		return err
	}
	return nil
}

func (b brokerTopics) Log(topic string) log.Log {
	return log.NewPulsar(log.PulsarOptions{Client: b.client, Topic: topic, ReadCompacted: true})
}
