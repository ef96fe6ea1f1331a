package log

import (
	"context"
	"fmt"
	"time"
)

// reviewEvery is how often a compacted log is read again although no interruption was noticed: a reader that is merely
// slow may miss something too. The log holds one small entry per instance.
const reviewEvery = 3 * time.Minute

// reviewLimit bounds one review.
const reviewLimit = 2 * time.Minute

// A review finds what a reader of a compacted log has missed: while it was away, or far behind, compaction may have
// removed a deletion together with what it deleted, and no entry will ever tell. So the whole log is read once more, and
// keys that are not in it are given up.
type review struct {
	retain func(alive func(key string) bool)
	first  bool            // the reader that starts at the beginning needs none
	due    bool            // asked for and not done
	last   time.Time       // of the last one
	recent map[string]bool // keys with an entry since the review began; nil when none is under way
}

// Reviewed makes the follower review its compacted log: retain is called under the follower's lock with a function that
// tells whether the log has a value for a key; it drops all others. To be called before Run.
func (f *Follower) Reviewed(retain func(alive func(key string) bool)) {
	f.review = &review{retain: retain, first: true}
}

// ask notes that the reader may have missed something.
func (r *review) ask() {
	if r == nil {
		return
	}
	r.due = r.due || !r.first
	if r.first {
		r.first, r.last = false, time.Now()
	}
}

// touch notes a key that got an entry while a review is under way.
func (r *review) touch(key string) {
	if r != nil && r.recent != nil {
		r.recent[key] = true
	}
}

// reviewIfDue runs a review after an interruption, and now and then without one. Only a failure of the reader r, which
// must be connected for the review to mean something, is an error.
func (f *Follower) reviewIfDue(ctx context.Context, r Reader) error {
	if f.review == nil {
		return nil
	}
	select {
	case <-r.Interrupted():
		f.review.due = true
	default:
	}
	if !f.review.due && time.Since(f.review.last) < reviewEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	// Before the end is asked for: what this process appends meanwhile lies behind that end and is applied already.
	f.watchRecent(map[string]bool{})
	defer f.watchRecent(nil)
	end, err := r.Last(ctx)
	if err != nil {
		return fmt.Errorf("asking for the end of the topic: %w", err)
	}
	f.review.due, f.review.last = false, time.Now()
	if err := f.reviewUntil(ctx, r, end); err != nil {
		f.review.due = true
		return fmt.Errorf("reviewing the compacted topic: %w", err)
	}
	return nil
}

// watchRecent begins to note the keys that get entries, or ends it with nil.
func (f *Follower) watchRecent(keys map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.review.recent = keys
}

// reviewUntil reads the log from its beginning to end with a reader of its own, brings the state there as well, and
// drops what is not in the log.
func (f *Follower) reviewUntil(ctx context.Context, r Reader, end ID) error {
	alive, err := f.keysUntil(ctx, end)
	if err != nil {
		return err
	}
	for f.Position().Compare(end) < 0 {
		next, cancel := context.WithTimeout(ctx, stall)
		entry, err := r.Next(next)
		cancel()
		if err != nil {
			return fmt.Errorf("reading on to %s: %w", end, err)
		}
		f.advance(entry)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	recent := f.review.recent
	f.review.retain(func(key string) bool { return alive[key] || recent[key] })
	return nil
}

// keysUntil reads which keys have a value.
func (f *Follower) keysUntil(ctx context.Context, end ID) (map[string]bool, error) {
	alive := map[string]bool{}
	if end == None {
		return alive, nil
	}
	r, err := f.log.OpenReader(ctx, f.name, None)
	if err != nil {
		return nil, fmt.Errorf("opening a reader: %w", err)
	}
	defer r.Close()
	for {
		next, cancel := context.WithTimeout(ctx, stall)
		entry, err := r.Next(next)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("the entries up to %s did not arrive: %w", end, err)
		}
		if entry.Tombstone() {
			delete(alive, entry.Key)
		} else {
			alive[entry.Key] = true
		}
		if entry.ID.Compare(end) >= 0 {
			return alive, nil
		}
	}
}
