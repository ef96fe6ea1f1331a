package cleanup

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	// pauseMin and pauseMax bound the pause between two looks at an entry, pauseEarly in its first two minutes, when
	// instances are on their way out. It is short, because what may be removed now may belong to somebody else later.
	pauseMin   = time.Second
	pauseEarly = 5 * time.Second
	pauseMax   = 30 * time.Second
	early      = 2 * time.Minute
	// inUseLimit is how long consumers may be connected to a subscription that is to be removed. Instances need some
	// seconds to end; later they are somebody else's.
	inUseLimit = 10 * time.Minute
	// giveUp is how long a removal is tried that fails for other reasons.
	giveUp = 24 * time.Hour
	// catchUpTimeout bounds reading both topics to their ends.
	catchUpTimeout = 30 * time.Second
	// parallel is how many entries are worked on at the same time.
	parallel = 4
)

// job is an entry being carried out.
type job struct {
	entry Entry
	item  Item // nil: known to this process only
	seen  time.Time
	next  time.Time
	pause time.Duration
	parts []*part
}

// part is one thing to be removed: something in the broker, or else a package.
type part struct {
	leftover *Leftover
	key      string
	failing  time.Time // when the first attempt failed; zero: none has
	busy     time.Time // since when consumers are connected
}

func (p *part) String() string {
	if p.leftover != nil {
		return p.leftover.String()
	}
	return "package " + p.key
}

func newJob(e Entry, item Item) *job {
	now := time.Now()
	j := &job{entry: e, item: item, seen: now, next: now, pause: pauseMin}
	for i := range e.Remove {
		j.parts = append(j.parts, &part{leftover: &e.Remove[i]})
	}
	for _, key := range e.Packages {
		j.parts = append(j.parts, &part{key: key})
	}
	if len(e.Remove) == 0 {
		j.next = now.Add(e.settle())
	}
	return j
}

// later puts the job off.
func (j *job) later(now time.Time) {
	j.next = now.Add(j.pause)
	limit := pauseMax
	if now.Sub(j.seen) < early+j.entry.settle() {
		limit = pauseEarly
	}
	j.pause = min(2*j.pause, limit)
}

func (j *job) leftBehind() bool {
	return slices.ContainsFunc(j.parts, func(p *part) bool { return p.leftover != nil })
}

// untilNext is how long nothing has to be done.
func (s *Service) untilNext(now time.Time) time.Duration {
	next := time.Hour
	for _, j := range s.jobs {
		next = min(next, max(0, j.next.Sub(now)))
	}
	return next
}

// round looks at all jobs that are due, once.
func (s *Service) round(ctx context.Context) {
	now := time.Now()
	var due []*job
	for _, j := range s.jobs {
		if !j.next.After(now) {
			due = append(due, j)
		}
	}
	if due = s.stillOurs(ctx, due); len(due) == 0 {
		return
	}
	w, err := s.look(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("what is to be cleaned up cannot be told now, will try again", zap.Error(err))
		}
		postpone(due)
		return
	}
	again := slices.DeleteFunc(slices.Clone(due), func(j *job) bool { return !s.reported(j) })
	postpone(again)
	due = slices.DeleteFunc(due, func(j *job) bool { return slices.Contains(again, j) })
	var working sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, j := range due {
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			s.work(ctx, j, w)
		})
	}
	working.Wait()
	s.jobs = slices.DeleteFunc(s.jobs, func(j *job) bool { return len(j.parts) == 0 && (j.item == nil || s.finish(j.item)) })
}

func postpone(jobs []*job) {
	for _, j := range jobs {
		j.later(time.Now())
	}
}

// stillOurs gives back what another worker has been given meanwhile, and returns what is left of due.
func (s *Service) stillOurs(ctx context.Context, due []*job) []*job {
	queued := func(j *job) bool { return j.item != nil }
	if !slices.ContainsFunc(due, queued) {
		return due
	}
	yes, err := s.o.Queue.Receiving(ctx)
	if err == nil && yes {
		return due
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("it is not known whether this worker is to clean up, will ask again", zap.Error(err))
		}
		postpone(due)
	} else {
		for _, j := range s.jobs {
			if queued(j) {
				j.item.Return() // comes back if it is ours nevertheless
			}
		}
		s.jobs = slices.DeleteFunc(s.jobs, queued)
	}
	return slices.DeleteFunc(due, queued)
}

// reported says whether an earlier job removes what this one would: the deletion was recorded by the worker that was
// asked for it, and again by owners of instances.
func (s *Service) reported(j *job) bool {
	if !j.leftBehind() {
		return false
	}
	for _, other := range s.jobs {
		if other == j {
			return false
		}
		if other.entry.incarnation() == j.entry.incarnation() && other.leftBehind() {
			return true
		}
	}
	return false
}

// look reads what the cluster agrees on.
func (s *Service) look(ctx context.Context) (*world, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := s.o.Cluster.CatchUp(ctx); err != nil {
		return nil, err
	}
	var assigned []*pb.FunctionMetaData
	for _, instances := range s.o.Cluster.Assignments() {
		for _, a := range instances {
			assigned = append(assigned, a.GetInstance().GetFunctionMetaData())
		}
	}
	return newWorld(s.o.Cluster.AllFunctions(), assigned), nil
}

// work does what can be done about one entry now. What is settled is no longer among its parts afterwards.
func (s *Service) work(ctx context.Context, j *job, w *world) {
	before := j.leftBehind()
	happened := true
	j.parts = slices.DeleteFunc(j.parts, func(p *part) bool {
		if ctx.Err() != nil {
			return false
		}
		v, why := s.judge(j, p, w)
		log := s.log.With(zap.String("function", j.entry.Function), zap.Stringer("what", p))
		switch v {
		case keep, never:
			happened = happened && v != never
			if p.leftover != nil {
				log.Info("not cleaned up", zap.String("why", why))
			}
			return true
		case wait:
			return false
		}
		return s.remove(ctx, p, log)
	})
	if before && happened && !j.leftBehind() {
		s.done.add(j.entry.incarnation(), time.Now())
	}
	j.later(time.Now())
}

func (s *Service) judge(j *job, p *part, w *world) (verdict, string) {
	now := time.Now()
	seen := now.Sub(j.seen)
	if p.leftover == nil {
		return w.judgePackage(j.entry, p.key, seen)
	}
	if s.done.has(j.entry.incarnation(), now) {
		return keep, "it was done already"
	}
	return w.judgeLeftover(j.entry, *p.leftover, seen, now.Sub(j.entry.Written))
}

// remove makes one attempt; true means that nothing more is to be done about it.
func (s *Service) remove(ctx context.Context, p *part, log *zap.Logger) bool {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	err := s.removeNow(ctx, p)
	now := time.Now()
	switch {
	case err == nil || broker.IsNotFound(err):
		log.Info("cleaned up")
		return true
	case errors.Is(ctx.Err(), context.Canceled): // the worker ends
		return false
	case isBusy(err):
		if p.busy.IsZero() {
			p.busy = now
		}
		if now.Sub(p.busy) >= inUseLimit {
			log.Warn("not cleaned up: somebody else consumes from it", zap.Error(err))
			return true
		}
	default:
		p.busy = time.Time{}
	}
	if p.failing.IsZero() {
		p.failing = now
	}
	if now.Sub(p.failing) >= giveUp {
		log.Error("clean-up is given up; remove it by hand", zap.Duration("after", now.Sub(p.failing)), zap.Error(err))
		return true
	}
	log.Debug("clean-up will be tried again", zap.Error(err))
	return false
}

func (s *Service) removeNow(ctx context.Context, p *part) error {
	if p.leftover == nil {
		return s.o.Packages.Delete(ctx, p.key)
	}
	switch l := p.leftover; l.Kind {
	case Pattern:
		return s.o.Broker.UnsubscribeNamespace(ctx, l.Namespace, l.Subscription)
	case BatchTopic:
		// while an instance consumes, it would make the topic again
		if err := s.o.Broker.DeleteSubscription(ctx, l.Topic, l.Subscription, false); err != nil && !broker.IsNotFound(err) {
			return err
		}
		return s.o.Broker.DeleteTopic(ctx, l.Topic, true)
	default:
		return s.o.Broker.DeleteSubscription(ctx, l.Topic, l.Subscription, false)
	}
}

// isBusy says whether the broker refuses because consumers are connected.
func isBusy(err error) bool {
	var answer *broker.Error
	return errors.As(err, &answer) && (answer.Code == http.StatusPreconditionFailed || strings.Contains(answer.Reason, "active connected consumers"))
}
