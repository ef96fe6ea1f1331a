package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/cluster/assignment"
	"github.com/functions-worker/functions-worker/internal/cluster/leader"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/cluster/scheduler"
)

const (
	// memberCheck is how often the leader looks whether the members have changed since it last scheduled.
	memberCheck = 3 * time.Second
	// retrySchedule is the pause after a scheduling run that could not be carried out.
	retrySchedule = time.Second
	// publishBatch bounds how many assignments are under way at once.
	publishBatch = 500
)

// office is the work of one leadership. One goroutine makes all decisions on assignments, one after the other.
type office struct {
	n        *Node
	term     *leader.Term
	log      *zap.Logger
	wake     chan struct{} // capacity 1: a scheduling run is wanted
	jobs     chan func(context.Context)
	failures *scheduler.FailureCheck

	rebalancing atomic.Bool
	mu          sync.Mutex
	drains      map[string]drainState

	retry        <-chan time.Time
	scheduledFor []string    // members of the last scheduling run
	dirty        atomic.Bool // assignments were written since the last compaction
}

// lead is the leader's work for one term.
func (n *Node) lead(ctx context.Context, term *leader.Term) {
	o := &office{n: n, term: term, log: n.log.Named("scheduler"), wake: make(chan struct{}, 1),
		jobs: make(chan func(context.Context)), failures: scheduler.NewFailureCheck(), drains: map[string]drainState{}}
	n.mu.Lock()
	maps.Copy(o.drains, n.drains)
	n.mu.Unlock()
	o.schedule()
	n.office.Store(o)
	defer func() {
		n.office.Store(nil) // a write under way fails when the writers are closed now
		n.keepDrains(o)
	}()
	var compacting sync.WaitGroup
	compacting.Go(func() { o.compact(ctx) })
	o.run(ctx)
	compacting.Wait()
}

func (n *Node) keepDrains(o *office) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.drains, func(_ string, s drainState) bool { return s != drainCompleted })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drains = o.drains
}

// schedule asks for a scheduling run; several requests before it begins are one.
func (o *office) schedule() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *office) run(ctx context.Context) {
	failures, stopFailures := ticker(o.n.opts.FailureCheck)
	defer stopFailures()
	rebalance, stopRebalance := ticker(o.n.opts.RebalanceCheck)
	defer stopRebalance()
	probe, stopProbe := ticker(o.n.opts.DrainProbe)
	defer stopProbe()
	members, stopMembers := ticker(memberCheck)
	defer stopMembers()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
			o.scheduleNow(ctx, nil)
		case <-o.retry:
			o.scheduleNow(ctx, nil)
		case job := <-o.jobs:
			job(ctx)
		case <-failures:
			o.checkFailures(ctx)
		case <-members:
			o.checkMembers()
		case <-rebalance:
			o.periodicRebalance(ctx)
		case <-probe:
			o.probeDrains(ctx)
		}
	}
}

// ticker ticks every d, or never when d is not positive.
func ticker(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// scheduleNow makes one scheduling run.
func (o *office) scheduleNow(ctx context.Context, failed map[string]bool) {
	began := time.Now()
	in, err := o.input(ctx)
	if err != nil {
		o.again(ctx, "scheduling", err)
		return
	}
	in.Failed = failed
	decided := time.Now()
	plan := scheduler.Schedule(in)
	strategy := time.Since(decided)
	if err := o.publish(ctx, plan.Changes); err != nil {
		o.log.Error("assignments could not be published", zap.Error(err))
		return
	}
	if len(in.Members) == 0 && len(plan.Unplaced) > 0 {
		o.retry = time.After(retrySchedule) // the broker is just coming back, and this worker's consumer with it
	}
	o.scheduledFor = slices.Sorted(slices.Values(in.Members))
	if len(plan.Unplaced) > 0 {
		o.log.Warn("instances have no worker to run on", zap.Int("count", len(plan.Unplaced)),
			zap.Strings("first", plan.Unplaced[:min(5, len(plan.Unplaced))]), zap.Int("availableWorkers", in.Available()))
	}
	if len(plan.Changes) > 0 {
		o.log.Info("scheduled", zap.Int("changes", len(plan.Changes)), zap.Duration("took", time.Since(began)))
	}
	if obs := o.n.opts.Observer; obs != nil {
		obs.Scheduled(time.Since(began), strategy)
	}
}

func (o *office) input(ctx context.Context) (scheduler.Input, error) {
	v, err := o.n.view(ctx)
	if err != nil {
		return scheduler.Input{}, err
	}
	return o.n.input(v.IDs(), o.drained()), nil
}

// again asks for another run after a pause.
func (o *office) again(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	o.log.Warn(what+" is not possible now, will try again", zap.Error(err))
	o.retry = time.After(retrySchedule)
}

// publish writes changes in order and takes in what is confirmed. An uncertain outcome ends the leadership: the next
// one begins by reading the topic to its end.
func (o *office) publish(ctx context.Context, changes []assignment.Change) error {
	for batch := range slices.Chunk(changes, publishBatch) {
		var records []rlog.Record
		for _, c := range batch {
			r, err := assignment.Encode(c)
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		appendCtx, cancel := context.WithTimeout(ctx, appendTimeout)
		ids, err := o.term.Assignments.Append(appendCtx, records...)
		o.dirty.Store(true)
		if err != nil && !errors.Is(err, rlog.ErrRejected) {
			cancel()
			err = fmt.Errorf("writing assignments: %w", err)
			o.term.Fail(err)
			return err
		}
		for i, id := range ids {
			if id == rlog.None {
				o.log.Error("an assignment was refused by the broker", zap.String("instance", records[i].Key), zap.Error(err))
				continue
			}
			if err := o.n.follow.assignments.Appended(appendCtx, id, records[i]); err != nil {
				cancel()
				o.term.Fail(err)
				return err
			}
		}
		cancel()
	}
	return nil
}

// checkFailures looks for instances without a live worker (section 4.2).
func (o *office) checkFailures(ctx context.Context) {
	in, err := o.input(ctx)
	if err != nil {
		o.log.Warn("cannot look for failed workers", zap.Error(err))
		return
	}
	failed := o.failures.Look(in, time.Now(), o.n.opts.RescheduleTimeout)
	if len(failed) > 0 {
		o.log.Info("instances have been without a live worker for too long, scheduling them anew", zap.Int("count", len(failed)))
		o.scheduleNow(ctx, failed)
	}
}

// checkMembers asks for a scheduling run when workers came or went: one may run what had no place, and the heartbeat
// function of a new worker waits for it. Without anything to do the run publishes nothing.
func (o *office) checkMembers() {
	o.n.mu.Lock()
	elector := o.n.elector
	o.n.mu.Unlock()
	if v := elector.LastView(); v != nil && !slices.Equal(slices.Sorted(slices.Values(v.IDs())), o.scheduledFor) {
		o.schedule()
	}
}

// compactRetry is the pause after a compaction that could not be started.
const compactRetry = time.Minute

// compact has the broker compact both topics now and then (section 6.7).
func (o *office) compact(ctx context.Context) {
	if o.n.opts.Compaction <= 0 {
		return
	}
	metadataAt := rlog.None
	for next := o.n.opts.Compaction; pause(ctx, next) == nil; {
		next = o.n.opts.Compaction
		if o.dirty.Swap(false) {
			if err := o.compactTopic(ctx, o.n.topics.assignments); err != nil {
				o.dirty.Store(true)
				next = compactRetry
			}
		}
		if at := o.n.follow.metadata.Position(); at != metadataAt {
			if err := o.compactTopic(ctx, o.n.topics.metadata); err != nil {
				next = compactRetry
			} else {
				metadataAt = at
			}
		}
	}
}

func (o *office) compactTopic(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	err := o.n.opts.Admin.CompactTopic(ctx, topic)
	if err != nil {
		o.log.Warn("cannot have the topic compacted, will try again", zap.String("topic", topic), zap.Error(err))
	}
	return err
}
