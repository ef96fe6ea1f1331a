package instance

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestLatencies: quantiles are those of the sorted values, but for a hundredth.
func TestLatencies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(2e-5, 1e7), 1, 300).Draw(t, "values")
		var l latencies
		now := time.Unix(1_800_000_000, 0)
		for i, v := range values {
			l.observe(v, now.Add(time.Duration(i)*time.Second))
		}
		slices.Sort(values)
		got := l.quantiles(now.Add(time.Duration(len(values)) * time.Second))
		for _, q := range quantiles() {
			want := values[int(math.Ceil(q*float64(len(values))))-1]
			require.InEpsilon(t, want, got[q], latencyError+1e-9, "%v", q)
		}
	})
}

func TestLatenciesAge(t *testing.T) {
	var l latencies
	now := time.Unix(1_800_000_000, 0)
	require.True(t, math.IsNaN(l.quantiles(now)[0.5]))
	l.observe(100, now)
	now = now.Add(latencyAge)
	l.observe(1, now)
	require.InEpsilon(t, 100, l.quantiles(now)[0.99], latencyError)
	require.InEpsilon(t, 1, l.quantiles(now.Add((latencyAges - 1) * latencyAge))[0.99], latencyError, "ten minutes later the first is forgotten")
	l.observe(3, now.Add(latencyAges*latencyAge))
	require.InEpsilon(t, 3, l.quantiles(now.Add(latencyAges * latencyAge))[0.5], latencyError, "its place in the ring is used again")
	require.True(t, math.IsNaN(l.quantiles(now.Add(time.Hour))[0.5]))
	require.Equal(t, int64(3), l.count)
	require.InDelta(t, 104, l.sum, 1e-9)
}

// TestLatenciesExtremes: nothing is out of range.
func TestLatenciesExtremes(t *testing.T) {
	var l latencies
	now := time.Unix(1_800_000_000, 0)
	for _, v := range []float64{-1, 0, latencyFloor, math.NaN(), math.Inf(1), math.MaxFloat64} {
		l.observe(v, now)
	}
	require.LessOrEqual(t, l.quantiles(now)[0.5], latencyFloor*1.01)
	require.Greater(t, latencyOf(latencyBuckets-1), 24*3600*1000.0)
}
