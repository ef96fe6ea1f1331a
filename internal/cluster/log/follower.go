package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// idleCheck is how long a silent reader is trusted before the end of the log is compared with what it delivered.
	idleCheck = 20 * time.Second
	// stall is how long the reader may deliver nothing although the log has more, before it is opened anew.
	stall = 5 * time.Second
	// stallsUntilSkip bounds how often that is tried: an entry that no reader gets delivered (the client throws an
	// uncompressed empty value away) must not hold up the cluster for ever.
	stallsUntilSkip = 3
	// retryMin and retryMax bound the pause between attempts to open a reader.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// Follower applies a log to a state, entry by entry, for as long as Run runs. Every worker follows, the leader as well:
// then there is one way in which the state changes, and losing leadership leaves nothing to repair.
type Follower struct {
	log    Log
	name   string
	apply  func(Entry)
	logger *zap.Logger

	mu      sync.Mutex
	pos     ID
	moved   chan struct{} // closed and replaced when pos moves
	reader  Reader        // nil while it is being opened
	opened  chan struct{} // closed while there is a reader
	stalled int
	review  *review // nil unless the log is compacted
}

// NewFollower makes a follower that hands every entry once, in order, to apply. apply runs under the follower's lock
// and must not call the follower.
func NewFollower(log Log, readerName string, apply func(Entry), logger *zap.Logger) *Follower {
	if logger == nil {
		logger = zap.NewNop()
	}
	return &Follower{log: log, name: readerName, apply: apply, logger: logger,
		pos: None, moved: make(chan struct{}), opened: make(chan struct{})}
}

// Position is that of the last entry applied.
func (f *Follower) Position() ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pos
}

// Run follows the log until ctx ends. It survives every failure of the reader.
func (f *Follower) Run(ctx context.Context) {
	pause := retryMin
	for ctx.Err() == nil {
		reader, err := f.log.OpenReader(ctx, f.name, f.Position())
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			f.logger.Warn("cannot read the topic, will try again", zap.Duration("after", pause), zap.Error(err))
			sleep(ctx, pause)
			pause = min(2*pause, retryMax)
			continue
		}
		pause = retryMin
		f.review.ask()
		f.setReader(reader)
		err = f.follow(ctx, reader)
		f.setReader(nil)
		reader.Close()
		if ctx.Err() == nil {
			f.logger.Info("reading the topic anew", zap.Stringer("after", f.Position()), zap.Error(err))
			sleep(ctx, pause)
		}
	}
}

func (f *Follower) setReader(r Reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reader = r
	if r != nil {
		close(f.opened)
	} else {
		f.opened = make(chan struct{})
	}
}

// errStalled: the log has entries that the reader does not deliver.
var errStalled = errors.New("the topic has entries that the reader does not deliver")

// follow reads until something is wrong with the reader.
func (f *Follower) follow(ctx context.Context, r Reader) error {
	wait := idleCheck
	if f.stalled > 0 {
		wait = stall
	}
	for {
		if err := f.reviewIfDue(ctx, r); err != nil {
			return err
		}
		nextCtx, cancel := context.WithTimeout(ctx, wait)
		entry, err := r.Next(nextCtx)
		cancel()
		switch {
		case err == nil:
			f.stalled = 0
			wait = idleCheck
			f.advance(entry)
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("reading: %w", err)
		default:
			behind, last, err := f.behind(ctx, r)
			if err != nil {
				return err
			}
			if !behind {
				f.stalled, wait = 0, idleCheck
				continue
			}
			if wait == stall {
				f.skipIfHopeless(last)
				return errStalled
			}
			wait = stall // it may be on its way
		}
	}
}

// behind says whether the log has more than was applied.
func (f *Follower) behind(ctx context.Context, r Reader) (bool, ID, error) {
	lastCtx, cancel := context.WithTimeout(ctx, idleCheck)
	defer cancel()
	last, err := r.Last(lastCtx)
	if err != nil {
		return false, None, fmt.Errorf("asking for the end of the topic: %w", err)
	}
	return f.Position().Compare(last) < 0, last, nil
}

// skipIfHopeless goes on after entries that no reader was given in several attempts.
func (f *Follower) skipIfHopeless(last ID) {
	f.stalled++
	if f.stalled < stallsUntilSkip {
		return
	}
	f.stalled = 0
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logger.Error("entries of the topic cannot be read and are passed over; a writer of another version may have "+
		"published an empty value without compression", zap.Stringer("after", f.pos), zap.Stringer("until", last))
	f.moveTo(last)
}

// advance applies an entry unless it was applied already.
func (f *Follower) advance(e Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advanceLocked(e)
}

func (f *Follower) advanceLocked(e Entry) {
	if e.ID.Compare(f.pos) <= 0 {
		return
	}
	f.review.touch(e.Key)
	f.apply(e)
	f.moveTo(e.ID)
}

func (f *Follower) moveTo(id ID) {
	f.pos = id
	close(f.moved)
	f.moved = make(chan struct{})
}

// Appended takes in what the exclusive writer of this process has just written. What directly follows the position is
// applied at once; if something else may lie in between, it waits for the reader, which delivers both in order.
func (f *Follower) Appended(ctx context.Context, id ID, r Record) error {
	f.mu.Lock()
	if id.follows(f.pos) {
		f.advanceLocked(Entry{ID: id, Record: r})
	}
	f.mu.Unlock()
	return f.waitFor(ctx, id)
}

func (f *Follower) waitFor(ctx context.Context, id ID) error {
	for {
		f.mu.Lock()
		reached, moved := id.Compare(f.pos) <= 0, f.moved
		f.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("waiting until the topic is read to %s: %w", id, ctx.Err())
		}
	}
}

// CatchUp returns when everything is applied that the log had when it was called. Run must be running.
func (f *Follower) CatchUp(ctx context.Context) error {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		last, err := f.last(ctx)
		if err == nil {
			return f.waitFor(ctx, last)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("reading the topic to its end: %w", err)
		}
		f.logger.Warn("cannot find the end of the topic, will try again", zap.Duration("after", pause), zap.Error(err))
		sleep(ctx, pause)
	}
}

func (f *Follower) last(ctx context.Context) (ID, error) {
	f.mu.Lock()
	opened := f.opened
	f.mu.Unlock()
	select {
	case <-opened:
	case <-ctx.Done():
		return None, ctx.Err()
	}
	f.mu.Lock()
	r := f.reader
	f.mu.Unlock()
	if r == nil {
		return None, errors.New("the reader is being opened anew")
	}
	return r.Last(ctx)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
