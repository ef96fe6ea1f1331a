// Package gcpace lets the heap of a busy process grow by more than its live part between two collections. With Go's own
// setting a small process that handles a hundred thousand messages a second collects dozens of times a second, which is a
// fifth of its processor time; an idle one gives the memory back.
package gcpace

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

const (
	// goDefault is Go's own setting: the heap grows by its live part.
	goDefault = 100
	// most is the garbage that may lie about, in bytes.
	most = 128 << 20
	// part of a memory limit that may be garbage.
	part = 8
	// between is the time that shall pass between two collections.
	between = 500 * time.Millisecond
	// sampling is how often the pace is looked at.
	sampling = time.Second
)

// Start lets Run work beside the caller, until stop is called.
func Start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// Run sets the pace by how fast memory is allocated, until ctx ends. It does nothing where the operator has chosen one
// (GOGC).
func Run(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	allowed := allowance(min(limitOf("/sys/fs/cgroup"), uint64(debug.SetMemoryLimit(-1))))
	current := goDefault
	defer func() { debug.SetGCPercent(goDefault) }()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	ticker := time.NewTicker(sampling)
	defer ticker.Stop()
	for {
		before := samples[0].Value.Uint64()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(samples)
		next := percent(samples[0].Value.Uint64()-before, samples[1].Value.Uint64(), allowed)
		if worthwhile(current, next) {
			debug.SetGCPercent(next)
			current = next
		}
	}
}

// percent is the setting for a process that allocates so many bytes a second and has so many that live.
func percent(rate, live, allowed uint64) int {
	wanted := min(uint64(float64(rate)*between.Seconds()), allowed)
	if live = max(live, 1<<20); wanted <= live {
		return goDefault
	}
	return int(wanted * goDefault / live)
}

// worthwhile keeps small changes from being made: each stops the process for a moment.
func worthwhile(current, next int) bool {
	return next != current && (next == goDefault || next > current+current/4 || next < current-current/4)
}

// allowance is how much garbage a process may have under a memory limit.
func allowance(limit uint64) uint64 { return min(most, limit/part) }

// limitOf is the memory limit of the control group that is mounted at dir (version 2 or 1), in bytes; a very large number if there is none.
func limitOf(dir string) uint64 {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64); err == nil && limit > 0 { // "max" is none
			return limit
		}
	}
	return 1 << 62
}
