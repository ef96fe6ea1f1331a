package node

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/cluster/scheduler"
)

// drainState is how far a drain is. A worker gets nothing new in any state (section 6.8).
type drainState int

const (
	drainInProgress drainState = iota
	drainCompleted
)

func (o *office) drained() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	drained := map[string]bool{}
	for worker := range o.drains {
		drained[worker] = true
	}
	return drained
}

// currentOffice is the leader's desk, or the error that tells where it is.
func (n *Node) currentOffice(ctx context.Context) (*office, error) {
	if o := n.office.Load(); o != nil {
		return o, nil
	}
	to, err := n.Leader(ctx)
	if err != nil {
		n.log.Debug("no leader to ask", zap.Error(err))
		return nil, cluster.ErrLeaderUnknown
	}
	if *to == n.opts.Self {
		return nil, cluster.ErrLeaderNotReady // a redirect would lead back here
	}
	return nil, cluster.RedirectError{To: *to}
}

// do hands a job to the leader's goroutine; it is not waited for. False when the leadership ends before it is taken.
func (o *office) do(ctx context.Context, job func(context.Context)) error {
	select {
	case o.jobs <- job:
		return nil
	case <-o.term.Lost():
		return cluster.ErrLeaderNotReady
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Rebalance has the leader even out the instances over the workers, in the background (section 6.5). Errors:
// RedirectError, ErrLeaderUnknown, ErrLeaderNotReady, ErrRebalanceInProgress, ErrTooFewWorkers.
func (n *Node) Rebalance(ctx context.Context) error {
	o, err := n.currentOffice(ctx)
	if err != nil {
		return err
	}
	if !o.rebalancing.CompareAndSwap(false, true) {
		return cluster.ErrRebalanceInProgress
	}
	in, err := o.input(ctx)
	if err == nil && in.Available() <= 1 {
		err = cluster.ErrTooFewWorkers
	}
	if err == nil {
		err = o.do(ctx, func(ctx context.Context) {
			defer o.rebalancing.Store(false)
			o.rebalanceNow(ctx)
		})
	}
	if err != nil {
		o.rebalancing.Store(false)
	}
	return err
}

func (o *office) periodicRebalance(ctx context.Context) {
	if o.rebalancing.CompareAndSwap(false, true) {
		defer o.rebalancing.Store(false)
		o.rebalanceNow(ctx)
	}
}

func (o *office) rebalanceNow(ctx context.Context) {
	began := time.Now()
	in, err := o.input(ctx)
	if err != nil {
		o.log.Warn("cannot rebalance now", zap.Error(err))
		return
	}
	if in.Available() <= 1 {
		return
	}
	decided := time.Now()
	plan := scheduler.Rebalance(in)
	strategy := time.Since(decided)
	if err := o.publish(ctx, plan.Changes); err != nil {
		o.log.Error("rebalancing was not finished", zap.Error(err))
		return
	}
	o.log.Info("rebalanced", zap.Int("moved", len(plan.Changes)), zap.Duration("took", time.Since(began)))
	if obs := o.n.opts.Observer; obs != nil {
		obs.Rebalanced(time.Since(began), strategy)
	}
}

// Drain has the leader move everything off a worker, in the background. Errors: RedirectError, ErrLeaderUnknown,
// ErrLeaderNotReady, ErrDrainInProgress, ErrTooFewWorkers, ErrWorkerNotDrainable.
func (n *Node) Drain(ctx context.Context, workerID string) error {
	o, err := n.currentOffice(ctx)
	if err != nil {
		return err
	}
	in, err := o.input(ctx)
	if err != nil {
		return err
	}
	if err := o.beginDrain(in, workerID); err != nil {
		return err
	}
	if err := o.do(ctx, func(ctx context.Context) { o.drainNow(ctx, workerID) }); err != nil {
		o.endDrain(workerID, err)
		return err
	}
	return nil
}

func (o *office) beginDrain(in scheduler.Input, workerID string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, known := o.drains[workerID]
	switch {
	case slices.Contains(slices.Collect(maps.Values(o.drains)), drainInProgress):
		return cluster.ErrDrainInProgress
	case in.Available() <= 1:
		return cluster.ErrTooFewWorkers
	case known:
		return cluster.ErrWorkerNotDrainable{WorkerID: workerID, AlreadyDrained: true}
	case !slices.Contains(in.Members, workerID):
		return cluster.ErrWorkerNotDrainable{WorkerID: workerID}
	}
	o.drains[workerID] = drainInProgress
	return nil
}

// endDrain records the outcome; a drain that failed is forgotten, so that it can be asked for again.
func (o *office) endDrain(workerID string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		delete(o.drains, workerID)
		return
	}
	o.drains[workerID] = drainCompleted
}

func (o *office) drainNow(ctx context.Context, workerID string) {
	began := time.Now()
	in, err := o.input(ctx)
	if err == nil {
		plan := scheduler.Drain(in, workerID)
		if err = o.publish(ctx, plan.Changes); err == nil && len(plan.Unplaced) > 0 {
			err = errors.New("no other worker is left to take the instances")
		}
	}
	o.endDrain(workerID, err)
	if err != nil {
		o.log.Error("the worker was not drained", zap.String("worker", workerID), zap.Error(err))
		return
	}
	o.log.Info("the worker is drained", zap.String("worker", workerID), zap.Duration("took", time.Since(began)))
	if obs := o.n.opts.Observer; obs != nil {
		obs.Drained(time.Since(began))
	}
}

// DrainStatus tells how far the drain of a worker is. Errors: RedirectError, ErrLeaderUnknown, ErrLeaderNotReady.
func (n *Node) DrainStatus(ctx context.Context, workerID string) (cluster.ProcessStatus, error) {
	o, err := n.currentOffice(ctx)
	if err != nil {
		return cluster.ProcessStatus{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	state, known := o.drains[workerID]
	switch {
	case !known:
		return cluster.ProcessStatus{Status: "ERROR", LastError: "Worker " + workerID + " not found in drain records"}, nil
	case state == drainInProgress:
		return cluster.ProcessStatus{Status: "RUNNING"}, nil
	default:
		return cluster.ProcessStatus{Status: "SUCCESS"}, nil
	}
}

// probeDrains forgets drained workers that have left.
func (o *office) probeDrains(ctx context.Context) {
	v, err := o.n.view(ctx)
	if err != nil {
		o.log.Warn("cannot look whether drained workers have left", zap.Error(err))
		return
	}
	members := v.IDs()
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.drains, func(worker string, s drainState) bool {
		return s == drainCompleted && !slices.Contains(members, worker)
	})
}
