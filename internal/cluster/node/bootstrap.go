package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster/membership"
)

const (
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
	// tenantWait is how long a missing tenant is waited for: a standalone broker creates its own some time after it
	// answers the first request.
	tenantWait = 30 * time.Second
	// namespaceWait is how long a broker may not know the namespace yet that another worker has just created.
	namespaceWait = 30 * time.Second
	// busyWait is how long the creation of a subscription by another worker may last.
	busyWait = 30 * time.Second
)

// bootstrap waits for the broker and makes sure of the namespace, the topics and the subscription (sections 2.2, 2.3).
func (n *Node) bootstrap(ctx context.Context) error {
	var clusters []string
	err := n.persist(ctx, "waiting for the broker", func(ctx context.Context) (err error) {
		clusters, err = n.opts.Admin.Clusters(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if !slices.Contains(clusters, n.opts.PulsarCluster) {
		n.log.Warn("the broker does not know the configured cluster", zap.String("pulsarFunctionsCluster", n.opts.PulsarCluster),
			zap.Strings("known", clusters))
	}
	if err := n.ensureNamespace(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, topic := range []string{n.topics.assignments, n.topics.metadata} {
		group.Go(func() error { return n.ensureTopic(ctx, topic) })
	}
	group.Go(func() error {
		if err := n.ensureTopic(ctx, n.topics.coordination); err != nil {
			return err
		}
		return n.ensureSubscription(ctx)
	})
	return group.Wait()
}

// ensureSubscription creates it at the earliest position; an existing one is never touched. While another worker creates it, the broker
// may answer that it is busy.
func (n *Node) ensureSubscription(ctx context.Context) error {
	began := time.Now()
	return n.ensureInside(ctx, "creating subscription "+membership.Subscription, func(ctx context.Context) error {
		err := n.opts.Admin.CreateSubscription(ctx, n.topics.coordination, membership.Subscription, broker.Earliest)
		if broker.IsPreconditionFailed(err) && time.Since(began) < busyWait {
			return errors.New("it may be being created: " + err.Error()) // not wrapped: it is tried again
		}
		return err
	})
}

func (n *Node) ensureTopic(ctx context.Context, topic string) error {
	return n.ensureInside(ctx, "creating topic "+topic, func(ctx context.Context) error { return n.opts.Admin.CreateTopic(ctx, topic) })
}

// ensureInside is ensure for what is in the namespace: that it is not found is believed only after a while.
func (n *Node) ensureInside(ctx context.Context, what string, create func(context.Context) error) error {
	began := time.Now()
	return n.ensure(ctx, what, func(ctx context.Context) error {
		err := create(ctx)
		if broker.IsNotFound(err) && time.Since(began) < namespaceWait {
			return errors.New("the broker does not know the namespace yet: " + err.Error()) // not wrapped: it is tried again
		}
		return err
	})
}

// ensure takes "exists already" for success.
func (n *Node) ensure(ctx context.Context, what string, create func(context.Context) error) error {
	return n.persist(ctx, what, func(ctx context.Context) error {
		if err := create(ctx); err != nil && !broker.IsConflict(err) {
			return err
		}
		return nil
	})
}

// ensureNamespace creates the namespace with the policies the internal topics depend on, or checks an existing one.
func (n *Node) ensureNamespace(ctx context.Context) error {
	for began := time.Now(); ; {
		var policies *broker.NamespacePolicies
		err := n.persist(ctx, "reading namespace "+n.opts.Namespace, func(ctx context.Context) (err error) {
			policies, err = n.opts.Admin.NamespacePolicies(ctx, n.opts.Namespace)
			return err
		})
		if err == nil {
			n.checkPolicies(policies)
			return nil
		}
		if !broker.IsNotFound(err) {
			return err
		}
		err = n.ensure(ctx, "creating namespace "+n.opts.Namespace, func(ctx context.Context) error {
			return n.opts.Admin.CreateNamespace(ctx, n.opts.Namespace, n.policies())
		})
		if err == nil || !broker.IsNotFound(err) {
			return err
		}
		if time.Since(began) > tenantWait {
			return fmt.Errorf("%w (the tenant of pulsarFunctionsNamespace must exist)", err)
		}
		n.log.Warn("the tenant of the functions namespace does not exist yet, waiting for it", zap.Error(err))
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (n *Node) policies() broker.NamespacePolicies {
	return broker.NamespacePolicies{
		ReplicationClusters: []string{n.opts.PulsarCluster},
		Retention:           &broker.RetentionPolicies{TimeInMinutes: -1, SizeInMB: -1},
		InactiveTopics:      &broker.InactiveTopicPolicies{MaxInactiveDurationSeconds: 0, DeleteWhileInactive: false},
	}
}

// checkPolicies warns of policies with which the cluster can lose all its functions: nobody holds a durable
// subscription on the metadata and assignments topics.
func (n *Node) checkPolicies(p *broker.NamespacePolicies) {
	if r := p.Retention; r == nil || r.TimeInMinutes >= 0 || r.SizeInMB >= 0 {
		n.log.Warn("the functions namespace does not keep its messages for ever: registered functions can get lost; "+
			"set its retention to -1 minutes and -1 MB", zap.String("namespace", n.opts.Namespace))
	}
	if i := p.InactiveTopics; i == nil || i.DeleteWhileInactive {
		n.log.Warn("the functions namespace does not forbid the deletion of inactive topics: the broker may delete the internal "+
			"topics while no worker runs; set its inactive topic policies to deleteWhileInactive=false",
			zap.String("namespace", n.opts.Namespace))
	}
}

// persist tries until the broker has answered, saying so now and then. Only an answer that will stay the same is an
// error, besides that of ctx.
func (n *Node) persist(ctx context.Context, what string, do func(context.Context) error) error {
	began := time.Now()
	for wait := firstPause; ; wait = min(2*wait, maxPause) {
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := do(attempt)
		cancel()
		switch {
		case err == nil:
			if d := time.Since(began); wait > firstPause {
				n.log.Info(what+": succeeded", zap.Duration("after", d))
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		case final(err):
			return fmt.Errorf("%s: %w", what, err)
		}
		n.log.Warn(what+": not possible yet, will try again", zap.Duration("in", wait), zap.Duration("since", time.Since(began)), zap.Error(err))
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// final says whether the broker has refused for a reason that will not go away.
func final(err error) bool {
	var answer *broker.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return answer.Code < 500
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
