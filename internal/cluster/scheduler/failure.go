package scheduler

import (
	"slices"
	"time"
)

// FailureCheck remembers since when instances have been without a live worker (section 4.2). It is the memory of one
// leadership and starts empty with the next. Its only clock is the one it is given.
type FailureCheck struct {
	firstSeen map[string]time.Time // by instance key
}

// NewFailureCheck makes one that has seen nothing yet.
func NewFailureCheck() *FailureCheck { return &FailureCheck{firstSeen: map[string]time.Time{}} }

// Look takes in the state at this moment and returns the instances that have been without a live worker for longer
// than timeout: their assignments no longer count, and the next scheduling run places them anew.
func (f *FailureCheck) Look(in Input, now time.Time, timeout time.Duration) map[string]bool {
	without := map[string]bool{}
	for key, i := range in.wanted() {
		a := in.Assignments[key]
		_, heartbeat := HeartbeatWorker(i.GetFunctionMetaData())
		switch {
		case a == nil:
			without[key] = true
		case !slices.Contains(in.Members, a.GetWorkerId()) && !heartbeat: // a heartbeat stays with its worker, dead or alive
			without[key] = true
		}
	}
	for key := range f.firstSeen {
		if !without[key] {
			delete(f.firstSeen, key)
		}
	}
	failed := map[string]bool{}
	for key := range without {
		since, seen := f.firstSeen[key]
		if !seen {
			f.firstSeen[key] = now
		} else if now.Sub(since) > timeout {
			failed[key] = true
		}
	}
	return failed
}
