package instance

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The latencies of calls are kept in buckets that grow by a constant factor, so that a quantile is off by at most a
// hundredth of its value, and counting one takes a logarithm: the client library's summary sorts, which was a tenth of
// the time that a message takes.
const (
	latencyError   = 0.01
	latencyBuckets = 1500
	latencyFloor   = 1e-5 // milliseconds: whatever is shorter goes to the first bucket; the last one begins after a day
	latencyAge     = 2 * time.Minute
	latencyAges    = 5 // quantiles are those of the last ten minutes, like the client library's
)

// logGamma is the logarithm of that factor, (1+latencyError)/(1-latencyError).
const logGamma = 0.020000666706669435

// latencies count how long calls took. The zero value is empty. Not safe for concurrent use.
type latencies struct {
	sum   float64 // milliseconds
	count int64
	ages  [latencyAges]latencyAgeBuckets // a ring
}

type latencyAgeBuckets struct {
	number  int64 // of the age, since the epoch
	buckets []uint32
}

// observe counts a latency in milliseconds.
func (l *latencies) observe(ms float64, at time.Time) {
	l.sum += ms
	l.count++
	number := max(0, at.UnixNano()/int64(latencyAge))
	age := &l.ages[number%latencyAges]
	if age.buckets == nil {
		age.buckets = make([]uint32, latencyBuckets)
	}
	if age.number != number {
		age.number = number
		clear(age.buckets)
	}
	age.buckets[latencyBucket(ms)]++
}

func latencyBucket(ms float64) int {
	if !(ms > latencyFloor) { // NaN too
		return 0
	}
	return int(min(latencyBuckets-1, math.Ceil(math.Log(ms/latencyFloor)/logGamma)))
}

// latencyOf is the middle of a bucket, in milliseconds.
func latencyOf(bucket int) float64 {
	upper := latencyFloor * math.Exp(float64(bucket)*logGamma)
	return upper * (1 - latencyError)
}

// quantiles are NaN when nothing was counted in the last ten minutes.
func (l *latencies) quantiles(now time.Time) map[float64]float64 {
	number := now.UnixNano() / int64(latencyAge)
	var merged [latencyBuckets]uint64
	var total uint64
	for _, age := range l.ages {
		if age.buckets == nil || age.number <= number-latencyAges || age.number > number { // the clock may have been put back
			continue
		}
		for i, n := range age.buckets {
			merged[i] += uint64(n)
			total += uint64(n)
		}
	}
	values := map[float64]float64{}
	for _, q := range quantiles() {
		values[q] = math.NaN()
		rank := uint64(math.Ceil(q * float64(total)))
		for i, seen := 0, uint64(0); i < latencyBuckets && total > 0; i++ {
			if seen += merged[i]; seen >= rank && seen > 0 {
				values[q] = latencyOf(i)
				break
			}
		}
	}
	return values
}

// metric shows them as a summary.
func (l *latencies) metric(desc *prometheus.Desc, now time.Time) prometheus.Metric {
	return prometheus.MustNewConstSummary(desc, uint64(l.count), l.sum, l.quantiles(now))
}
