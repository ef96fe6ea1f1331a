package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// BrokerAdmin is what the cleaner asks of the broker; *broker.Admin has it.
type BrokerAdmin interface {
	CreateSubscription(ctx context.Context, topic, subscription string, position broker.Position) error
	DeleteSubscription(ctx context.Context, topic, subscription string, force bool) error
	UnsubscribeNamespace(ctx context.Context, namespace, subscription string) error
	DeleteTopic(ctx context.Context, topic string, force bool) error
}

// BrokerCleaner makes and removes subscriptions and topics of functions (coordination contract, sections 8.3 and 8.4).
type BrokerCleaner struct {
	admin BrokerAdmin
	log   *zap.Logger
	// tries and pause are those of the Java worker; tries is more for removals, because instances on other workers may
	// still be on their way out and hold the subscription.
	prepareTries, cleanTries int
	pause                    time.Duration
}

var _ Cleaner = (*BrokerCleaner)(nil)

// NewBrokerCleaner makes a cleaner; log may be nil.
func NewBrokerCleaner(admin BrokerAdmin, log *zap.Logger) *BrokerCleaner {
	if log == nil {
		log = zap.NewNop()
	}
	return &BrokerCleaner{admin: admin, log: log, prepareTries: 10, cleanTries: 30, pause: time.Second}
}

// callTimeout bounds one attempt, so that a broker that hangs is asked again.
const callTimeout = 10 * time.Second

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

func batchTopic(d *pb.FunctionDetails) string {
	return "persistent://" + d.GetTenant() + "/" + d.GetNamespace() + "/" + d.GetName() + "-intermediate"
}

func batchSubscription(d *pb.FunctionDetails) string {
	return "BatchSourceExecutor-" + pb.FullyQualifiedName(d)
}

// Prepare makes the subscription over which the instances of a batch source share their tasks.
func (c *BrokerCleaner) Prepare(ctx context.Context, d *pb.FunctionDetails) error {
	if !isBatchSource(d) {
		return nil
	}
	return c.repeat(ctx, c.prepareTries, nil, func(ctx context.Context) error {
		err := c.admin.CreateSubscription(ctx, batchTopic(d), batchSubscription(d), broker.Latest)
		if broker.IsConflict(err) { // it is there already
			return nil
		}
		return err
	})
}

// Clean removes the subscriptions of a deleted function, if it asked for that, and the topic of a batch source. Every
// part is tried, whatever becomes of the others. It ends early, and without an error, when the function is there again.
func (c *BrokerCleaner) Clean(ctx context.Context, d *pb.FunctionDetails, gone func(context.Context) (bool, error)) error {
	var errs []error
	part := func(what string, f func(context.Context) error) {
		err := c.repeat(ctx, c.cleanTries, gone, func(ctx context.Context) error {
			if err := f(ctx); err != nil && !broker.IsNotFound(err) {
				return err
			}
			return nil
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	if d.GetSource().GetCleanupSubscription() {
		sub := d.GetSource().GetSubscriptionName()
		if sub == "" {
			sub = pb.FullyQualifiedName(d)
		}
		specs := d.GetSource().GetInputSpecs()
		for _, topic := range slices.Sorted(maps.Keys(specs)) {
			full, namespace, err := topicName(topic)
			switch {
			case err != nil:
				errs = append(errs, err)
			case specs[topic].GetIsRegexPattern():
				part("removing subscription "+sub+" from namespace "+namespace, func(ctx context.Context) error { return c.admin.UnsubscribeNamespace(ctx, namespace, sub) })
			default:
				part("removing subscription "+sub+" from "+full, func(ctx context.Context) error { return c.admin.DeleteSubscription(ctx, full, sub, false) })
			}
		}
	}
	if isBatchSource(d) {
		topic := batchTopic(d)
		part("removing subscription "+batchSubscription(d)+" from "+topic, func(ctx context.Context) error {
			return c.admin.DeleteSubscription(ctx, topic, batchSubscription(d), false)
		})
		part("removing topic "+topic, func(ctx context.Context) error { return c.admin.DeleteTopic(ctx, topic, true) })
	}
	return errors.Join(errs...)
}

// repeat calls f until it succeeds, with a pause after each failure. A refusal of our credentials is not repeated:
// it does not pass. gone, when given, is asked before each repetition.
func (c *BrokerCleaner) repeat(ctx context.Context, tries int, gone func(context.Context) (bool, error), f func(context.Context) error) error {
	for try := 1; ; try++ {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		err := f(callCtx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if try >= tries || broker.IsUnauthorized(err) {
			return fmt.Errorf("after %d attempts: %w", try, err)
		}
		c.log.Debug("clean-up in the broker will be tried again", zap.Int("attempt", try), zap.Error(err))
		sleep(ctx, c.pause)
		if ctx.Err() != nil {
			return err
		}
		if gone != nil {
			if yes, goneErr := gone(ctx); goneErr == nil && !yes {
				return nil // created anew: its subscriptions are in use
			}
		}
	}
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
