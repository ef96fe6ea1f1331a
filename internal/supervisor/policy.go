package supervisor

import (
	"fmt"
	"math"
	"time"
)

// RestartPolicy decides how long an instance waits before its next attempt. It is pure: no clock, no random source.
type RestartPolicy struct {
	// Initial is the delay after the first failure, Max the longest. Defaults 1 s and 60 s.
	Initial, Max time.Duration
	// Factor is the growth from failure to failure. Default 2.
	Factor float64
	// Jitter spreads the delay by up to this fraction to both sides, so that what failed together does not come back
	// together. Default 0.2; negative: none.
	Jitter float64
	// StableAfter is how long a run must last to make earlier failures forgotten. Default 60 s.
	StableAfter time.Duration
}

func (p RestartPolicy) withDefaults() RestartPolicy {
	if p.Initial <= 0 {
		p.Initial = time.Second
	}
	if p.Max <= 0 {
		p.Max = time.Minute
	}
	if p.Factor < 1 {
		p.Factor = 2
	}
	switch {
	case p.Jitter < 0:
		p.Jitter = 0
	case p.Jitter == 0 || p.Jitter > 1:
		p.Jitter = 0.2
	}
	if p.StableAfter <= 0 {
		p.StableAfter = time.Minute
	}
	return p
}

// Decision is what follows a failure.
type Decision struct {
	// Failures counts the failures in a row, the one just seen included.
	Failures int
	Delay    time.Duration
	// Reason is for people: why this delay.
	Reason string
}

// After decides on the attempt that follows a failure. failures are those in a row before it, lasted is how long the
// instance had run (0: it was not launched), and random is in [0,1).
func (p RestartPolicy) After(failures int, lasted time.Duration, random float64) Decision {
	p = p.withDefaults()
	if lasted >= p.StableAfter || failures < 0 {
		failures = 0
	}
	failures++
	delay := float64(p.Initial) * math.Pow(p.Factor, float64(failures-1))
	delay = min(delay, float64(p.Max)) // Pow may be +Inf
	delay *= 1 + p.Jitter*(2*random-1)
	delay = min(delay, float64(p.Max))
	d := Decision{Failures: failures, Delay: time.Duration(delay).Round(time.Millisecond)}
	switch {
	case failures > 1:
		d.Reason = fmt.Sprintf("failure %d in a row", failures)
	case lasted > 0:
		d.Reason = fmt.Sprintf("first failure after it ran for %s", lasted.Round(time.Second))
	default:
		d.Reason = "first failure"
	}
	return d
}
