package scheduler

import (
	"maps"
	"slices"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// load is how many instances each available worker has.
type load struct {
	workers []string // sorted, so that ties are decided the same way each time
	count   map[string]*workerLoad
}

type workerLoad struct {
	keys  []string // may move
	fixed int      // may not
}

func (w *workerLoad) total() int { return len(w.keys) + w.fixed }

func newLoad(workers []string, current map[string]*pb.Assignment) *load {
	l := &load{workers: workers, count: map[string]*workerLoad{}}
	for _, w := range workers {
		l.count[w] = &workerLoad{}
	}
	for _, key := range slices.Sorted(maps.Keys(current)) {
		l.add(current[key].GetWorkerId(), key)
	}
	return l
}

func (l *load) add(worker, key string) {
	if c := l.count[worker]; c != nil {
		c.keys = append(c.keys, key)
	}
}

// least is the worker with the fewest instances.
func (l *load) least() (string, bool) {
	best := ""
	for i, w := range l.workers {
		if i == 0 || l.count[w].total() < l.count[best].total() {
			best = w
		}
	}
	return best, len(l.workers) > 0
}

// extremes are the fullest worker that can give something and the emptiest one, while they differ by more than one.
func (l *load) extremes() (from, to string, ok bool) {
	to, ok = l.least()
	if !ok {
		return "", "", false
	}
	for _, w := range l.workers {
		if len(l.count[w].keys) > 0 && (from == "" || l.count[w].total() > l.count[from].total()) {
			from = w
		}
	}
	return from, to, from != "" && l.count[from].total()-l.count[to].total() > 1
}
