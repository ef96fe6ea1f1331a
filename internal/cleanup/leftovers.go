package cleanup

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const batchConfigKey = "__BATCHSOURCECONFIGS__"

// isBatchSource: a source whose configs hold the batch source's own part.
func isBatchSource(d *pb.FunctionDetails) bool {
	if pb.ComponentTypeOf(d) != pb.FunctionDetails_SOURCE {
		return false
	}
	var configs map[string]json.RawMessage
	if json.Unmarshal([]byte(d.GetSource().GetConfigs()), &configs) != nil {
		return false
	}
	_, ok := configs[batchConfigKey]
	return ok
}

func batchLeftover(d *pb.FunctionDetails) Leftover {
	return Leftover{Kind: BatchTopic,
		Topic:        "persistent://" + d.GetTenant() + "/" + d.GetNamespace() + "/" + d.GetName() + "-intermediate",
		Subscription: "BatchSourceExecutor-" + pb.FullyQualifiedName(d)}
}

// Leftovers is what a component leaves in the broker and its deletion is to remove: subscriptions if it asked for that,
// and the topic of a batch source. The error tells of inputs that are no topic names; the others are returned all the same.
func Leftovers(d *pb.FunctionDetails) ([]Leftover, error) {
	var all []Leftover
	var err error
	if d.GetSource().GetCleanupSubscription() {
		all, err = subscriptions(d)
	}
	if isBatchSource(d) {
		all = append(all, batchLeftover(d))
	}
	return all, err
}

// subscriptions are those that a component consumes its inputs with.
func subscriptions(d *pb.FunctionDetails) ([]Leftover, error) {
	name := d.GetSource().GetSubscriptionName()
	if name == "" {
		name = pb.FullyQualifiedName(d)
	}
	var all []Leftover
	var errs []error
	specs := d.GetSource().GetInputSpecs()
	for _, topic := range slices.Sorted(maps.Keys(specs)) {
		full, namespace, err := topicName(topic)
		switch {
		case err != nil:
			errs = append(errs, err)
		case specs[topic].GetIsRegexPattern():
			all = append(all, Leftover{Kind: Pattern, Namespace: namespace, Subscription: name})
		default:
			all = append(all, Leftover{Kind: Subscription, Topic: full, Subscription: name})
		}
	}
	return slices.Compact(all), errors.Join(errs...)
}

// topicName completes a topic name as the Java client does: x is persistent://public/default/x, t/n/x is persistent://t/n/x.
func topicName(topic string) (full, namespace string, err error) {
	domain, rest, found := strings.Cut(topic, "://")
	if !found {
		domain, rest = "persistent", topic
		if !strings.Contains(topic, "/") {
			rest = "public/default/" + topic
		}
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", fmt.Errorf("topic name %q is not of the form persistent://tenant/namespace/topic", topic)
	}
	return domain + "://" + rest, parts[0] + "/" + parts[1], nil
}
