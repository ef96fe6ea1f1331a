package supervisor

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRestartPolicy(t *testing.T) {
	exact := RestartPolicy{Jitter: -1}
	tests := []struct {
		name     string
		policy   RestartPolicy
		failures int
		lasted   time.Duration
		random   float64
		want     Decision
	}{
		{name: "first failure, never launched", policy: exact, want: Decision{1, time.Second, "first failure"}},
		{name: "first failure after a run", policy: exact, lasted: 90 * time.Second, want: Decision{1, time.Second, "first failure after it ran for 1m30s"}},
		{name: "third in a row", policy: exact, failures: 2, lasted: time.Second, want: Decision{3, 4 * time.Second, "failure 3 in a row"}},
		{name: "never longer than the longest", policy: exact, failures: 5000, want: Decision{5001, time.Minute, "failure 5001 in a row"}},
		{name: "a stable run makes failures forgotten", policy: exact, failures: 9, lasted: time.Minute, want: Decision{1, time.Second, "first failure after it ran for 1m0s"}},
		{name: "almost stable is not", policy: exact, failures: 9, lasted: 59 * time.Second, want: Decision{10, time.Minute, "failure 10 in a row"}},
		{name: "jitter down", failures: 1, random: 0, want: Decision{2, 1600 * time.Millisecond, "failure 2 in a row"}},
		{name: "jitter up", failures: 1, random: 0.999999, want: Decision{2, 2400 * time.Millisecond, "failure 2 in a row"}},
		{name: "jitter does not pass the longest", failures: 50, random: 0.9, want: Decision{51, time.Minute, "failure 51 in a row"}},
		{name: "own numbers", policy: RestartPolicy{Initial: 10 * time.Second, Max: 15 * time.Second, Factor: 1.2, Jitter: -1, StableAfter: time.Hour}, failures: 1, lasted: time.Minute,
			want: Decision{2, 12 * time.Second, "failure 2 in a row"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, tt.policy.After(tt.failures, tt.lasted, tt.random)) })
	}
}

func TestRestartPolicyStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := RestartPolicy{Jitter: rapid.Float64Range(-1, 2).Draw(t, "jitter"), Factor: rapid.Float64Range(0, 1e6).Draw(t, "factor")}
		failures := rapid.IntRange(-1, math.MaxInt-1).Draw(t, "failures")
		d := p.After(failures, time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "lasted")), rapid.Float64Range(0, 1).Draw(t, "random"))
		if d.Delay < 0 || d.Delay > time.Minute || d.Failures < 1 || d.Reason == "" {
			t.Fatalf("%+v", d)
		}
	})
}
