package broker

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Position is where a new subscription begins.
type Position int

const (
	Latest   Position = iota // only messages published from now on
	Earliest                 // all messages the topic still has
)

type messageID struct {
	Ledger    int64 `json:"ledgerId"`
	Entry     int64 `json:"entryId"`
	Partition int   `json:"partitionIndex"`
}

func (p Position) messageID() messageID {
	if p == Earliest {
		return messageID{Ledger: -1, Entry: -1, Partition: -1}
	}
	return messageID{Ledger: math.MaxInt64, Entry: math.MaxInt64, Partition: -1}
}

// TopicStats is what the broker says about a topic, as far as this worker uses it.
type TopicStats struct {
	Publishers    []PublisherStats             `json:"publishers"`
	Subscriptions map[string]SubscriptionStats `json:"subscriptions"`
	StorageSize   int64                        `json:"storageSize"` // bytes
	MsgInCounter  int64                        `json:"msgInCounter"`
}

// PublisherStats is one connected producer.
type PublisherStats struct {
	Name       string            `json:"producerName"`
	AccessMode string            `json:"accessMode"`
	Address    string            `json:"address"`
	Metadata   map[string]string `json:"metadata"`
}

// SubscriptionStats is one subscription with its connected consumers; ActiveConsumerName is empty while there is none.
type SubscriptionStats struct {
	ActiveConsumerName string          `json:"activeConsumerName"`
	Consumers          []ConsumerStats `json:"consumers"`
	Type               string          `json:"type"` // Exclusive, Failover, Shared, Key_Shared, None
	MsgBacklog         int64           `json:"msgBacklog"`
}

// ConsumerStats is one connected consumer.
type ConsumerStats struct {
	Name           string            `json:"consumerName"`
	Metadata       map[string]string `json:"metadata"`
	Address        string            `json:"address"`
	ConnectedSince string            `json:"connectedSince"`
}

// topicName is a topic taken apart; domain is persistent or non-persistent.
type topicName struct{ domain, tenant, namespace, local string }

// parseTopic understands domain://tenant/ns/name, tenant/ns/name and name (in public/default); name may hold anything.
func parseTopic(topic string) (topicName, error) {
	t := topicName{domain: "persistent"}
	domain, rest, ok := strings.Cut(topic, "://")
	if !ok {
		rest = topic
		if !strings.Contains(topic, "/") {
			rest = "public/default/" + topic
		}
	} else if t.domain = domain; domain != "persistent" && domain != "non-persistent" {
		return topicName{}, fmt.Errorf("topic %q: unknown domain", topic)
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) != 3 || parts[2] == "" {
		return topicName{}, fmt.Errorf("topic %q is not domain://tenant/namespace/name", topic)
	}
	t.tenant, t.namespace, t.local = parts[0], parts[1], parts[2]
	if err := checkNames(t.tenant, t.namespace); err != nil {
		return topicName{}, fmt.Errorf("topic %q: %w", topic, err)
	}
	if t.local == "." || t.local == ".." {
		return topicName{}, fmt.Errorf("topic %q: name %q is not valid", topic, t.local)
	}
	return t, nil
}

// path is the admin path of the topic. Local names are encoded as Java encodes them (a blank becomes +), since the
// broker decodes them that way.
func (t topicName) path() string {
	return "/admin/v2/" + t.domain + "/" + url.QueryEscape(t.tenant) + "/" + url.QueryEscape(t.namespace) + "/" + url.QueryEscape(t.local)
}

func (a *Admin) topicCall(ctx context.Context, op, method, topic, suffix string, body, answer any) error {
	name, err := parseTopic(topic)
	if err != nil {
		return wrap(op, err)
	}
	return a.call(ctx, op+" "+topic, method, name.path()+suffix, body, answer)
}

// CreateTopic creates a topic without partitions; IsConflict if it exists.
func (a *Admin) CreateTopic(ctx context.Context, topic string) error {
	return a.topicCall(ctx, "creating topic", http.MethodPut, topic, "", struct{}{}, nil)
}

// How often a deletion is sent again that the broker answers with 422, and after how long.
const (
	deletionTries = 5
	deletionPause = 300 * time.Millisecond
)

// DeleteTopic deletes a topic without partitions together with its schema; with force although it is in use.
//
// The broker answers 422 while something of the topic ends (an IllegalStateException in its deleteTopic), and for good
// when the deletion itself has ended a compaction: "Last compaction task failed" stays with the topic as it is loaded.
// Unloading it forgets that, so with force a deletion is sent again behind one.
func (a *Admin) DeleteTopic(ctx context.Context, topic string, force bool) error {
	for try := 1; ; try++ {
		err := a.topicCall(ctx, "deleting topic", http.MethodDelete, topic,
			"?force="+strconv.FormatBool(force)+"&deleteSchema=true", nil, nil)
		if try > 1 && IsNotFound(err) {
			return nil // the deletion before got that far
		}
		if !hasCode(err, http.StatusUnprocessableEntity) || try == deletionTries {
			return err
		}
		if force { // otherwise what has begun to use it meanwhile keeps the topic
			if unloadErr := a.topicCall(ctx, "unloading topic", http.MethodPut, topic, "/unload", nil, nil); unloadErr != nil {
				a.log.Debug("a topic that cannot be deleted cannot be unloaded either", zap.Error(unloadErr))
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(deletionPause):
		}
	}
}

// Topics lists the persistent topics of tenant/namespace (partitions one by one).
func (a *Admin) Topics(ctx context.Context, namespace string) ([]string, error) {
	path, err := namespacePath(namespace)
	if err != nil {
		return nil, err
	}
	path = strings.Replace(path, "/namespaces/", "/persistent/", 1)
	var topics []string
	err = a.call(ctx, "listing the topics of "+namespace, http.MethodGet, path, nil, &topics)
	return topics, err
}

// Subscriptions lists the durable subscriptions of a topic.
func (a *Admin) Subscriptions(ctx context.Context, topic string) ([]string, error) {
	var names []string
	err := a.topicCall(ctx, "listing the subscriptions of", http.MethodGet, topic, "/subscriptions", nil, &names)
	return names, err
}

// CreateSubscription creates a durable subscription; IsConflict if it exists.
func (a *Admin) CreateSubscription(ctx context.Context, topic, subscription string, position Position) error {
	return a.topicCall(ctx, "creating subscription "+subscription+" of", http.MethodPut, topic,
		"/subscription/"+encodeTwice(subscription)+"?replicated=false", position.messageID(), nil)
}

// DeleteSubscription deletes a durable subscription; with force although consumers are connected.
func (a *Admin) DeleteSubscription(ctx context.Context, topic, subscription string, force bool) error {
	return a.topicCall(ctx, "deleting subscription "+subscription+" of", http.MethodDelete, topic,
		"/subscription/"+encodeTwice(subscription)+"?force="+strconv.FormatBool(force), nil, nil)
}

// encodeTwice, because the broker decodes the subscription in these paths twice (coordination contract, section 8.3).
func encodeTwice(name string) string { return url.QueryEscape(url.QueryEscape(name)) }

// TopicStats reads who is connected to a topic.
func (a *Admin) TopicStats(ctx context.Context, topic string) (*TopicStats, error) {
	var stats TopicStats
	if err := a.topicCall(ctx, "reading the stats of", http.MethodGet, topic, "/stats", nil, &stats); err != nil {
		return nil, err
	}
	return &stats, nil
}

// CompactTopic asks for a compaction; it runs in the broker's background. IsConflict if one is running.
func (a *Admin) CompactTopic(ctx context.Context, topic string) error {
	return a.topicCall(ctx, "compacting", http.MethodPut, topic, "/compaction", nil, nil)
}

// PartitionedTopicPartitions tells the number of partitions; 0 for a topic without partitions or one that does not exist.
func (a *Admin) PartitionedTopicPartitions(ctx context.Context, topic string) (int, error) {
	var meta struct {
		Partitions int `json:"partitions"`
	}
	err := a.topicCall(ctx, "reading the partitions of", http.MethodGet, topic, "/partitions", nil, &meta)
	if IsNotFound(err) {
		return 0, nil
	}
	return meta.Partitions, err
}
