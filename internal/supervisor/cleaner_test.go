package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// fakeBroker records the calls; answer decides about the n-th call.
type fakeBroker struct {
	mu     sync.Mutex
	calls  []string
	answer func(n int, call string) error
}

func (b *fakeBroker) call(format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	call := fmt.Sprintf(format, args...)
	b.calls = append(b.calls, call)
	if b.answer == nil {
		return nil
	}
	return b.answer(len(b.calls), call)
}

func (b *fakeBroker) CreateSubscription(_ context.Context, topic, sub string, p broker.Position) error {
	return b.call("create %s %s latest=%t", topic, sub, p == broker.Latest)
}

func (b *fakeBroker) DeleteSubscription(_ context.Context, topic, sub string, force bool) error {
	return b.call("delete %s %s force=%t", topic, sub, force)
}

func (b *fakeBroker) UnsubscribeNamespace(_ context.Context, ns, sub string) error {
	return b.call("unsubscribe %s %s", ns, sub)
}

func (b *fakeBroker) DeleteTopic(_ context.Context, topic string, force bool) error {
	return b.call("delete topic %s force=%t", topic, force)
}

func code(c int) error { return &broker.Error{Op: "test", Code: c, Reason: "r"} }

func yes(context.Context) (bool, error) { return true, nil }

func withSource(s *pb.SourceSpec) *pb.FunctionDetails {
	d := &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f", ComponentType: pb.FunctionDetails_FUNCTION, Source: s}
	if len(s.InputSpecs) == 0 {
		d.ComponentType = pb.FunctionDetails_SOURCE
	}
	return d
}

func TestClean(t *testing.T) {
	inputs := func(plain string, pattern string) map[string]*pb.ConsumerSpec {
		m := map[string]*pb.ConsumerSpec{plain: {}}
		if pattern != "" {
			m[pattern] = &pb.ConsumerSpec{IsRegexPattern: true}
		}
		return m
	}
	tests := []struct {
		name      string
		source    *pb.SourceSpec
		answer    func(n int, call string) error
		gone      func(context.Context) (bool, error)
		wantCalls []string
		wantErr   string
		wantTook  time.Duration
	}{
		{name: "not asked for", source: &pb.SourceSpec{InputSpecs: inputs("in", "")}},
		{name: "default and given subscription names, topics and patterns", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("in", "persistent://a/b/x-.*/y")},
			wantCalls: []string{"delete persistent://public/default/in t/n/f force=false", "unsubscribe a/b t/n/f"}},
		{name: "given subscription name", source: &pb.SourceSpec{CleanupSubscription: true, SubscriptionName: "s/x", InputSpecs: inputs("a/b/in", "")},
			wantCalls: []string{"delete persistent://a/b/in s/x force=false"}},
		{name: "already gone", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("in", "")}, answer: func(int, string) error { return code(404) },
			wantCalls: []string{"delete persistent://public/default/in t/n/f force=false"}},
		{name: "still in use twice", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("in", "")}, answer: func(n int, _ string) error {
			if n < 3 {
				return code(412)
			}
			return nil
		}, wantCalls: []string{"delete persistent://public/default/in t/n/f force=false", "delete persistent://public/default/in t/n/f force=false", "delete persistent://public/default/in t/n/f force=false"}, wantTook: 2 * time.Second},
		{name: "created anew meanwhile", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("in", "")}, answer: func(int, string) error { return code(412) },
			gone: func(context.Context) (bool, error) { return false, nil }, wantCalls: []string{"delete persistent://public/default/in t/n/f force=false"}, wantTook: time.Second},
		{name: "not allowed", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("in", "")}, answer: func(int, string) error { return code(403) },
			wantCalls: []string{"delete persistent://public/default/in t/n/f force=false"}, wantErr: "after 1 attempts"},
		{name: "a bad topic name does not keep the others", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("x/y", "persistent://a/b/z")},
			wantCalls: []string{"unsubscribe a/b t/n/f"}, wantErr: `topic name "x/y"`},
		{name: "batch source: subscription, then the topic whatever became of it", source: &pb.SourceSpec{Configs: `{"__BATCHSOURCECONFIGS__":"{}"}`}, answer: func(_ int, call string) error {
			if strings.HasPrefix(call, "delete persistent") {
				return code(401)
			}
			return nil
		}, wantCalls: []string{"delete persistent://t/n/f-intermediate BatchSourceExecutor-t/n/f force=false", "delete topic persistent://t/n/f-intermediate force=true"}, wantErr: "BatchSourceExecutor-t/n/f"},
		{name: "an ordinary source leaves nothing", source: &pb.SourceSpec{Configs: `{"a":"__BATCHSOURCECONFIGS__"}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakeBroker{answer: tt.answer}
				gone := tt.gone
				if gone == nil {
					gone = yes
				}
				begun := time.Now()
				err := NewBrokerCleaner(b, nil).Clean(t.Context(), withSource(tt.source), gone)
				if tt.wantErr == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tt.wantErr)
				}
				require.Equal(t, tt.wantCalls, b.calls)
				require.Equal(t, tt.wantTook, time.Since(begun))
			})
		})
	}
}

func TestCleanGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{answer: func(int, string) error { return errors.New("connection refused") }}
		d := withSource(&pb.SourceSpec{CleanupSubscription: true, InputSpecs: map[string]*pb.ConsumerSpec{"in": {}}})
		require.ErrorContains(t, NewBrokerCleaner(b, nil).Clean(t.Context(), d, yes), "after 30 attempts: connection refused")

		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		begun := time.Now()
		require.Error(t, NewBrokerCleaner(b, nil).Clean(ctx, d, yes))
		require.Equal(t, 3500*time.Millisecond, time.Since(begun), "the end of ctx cuts the pauses short")
	})
}

func TestPrepare(t *testing.T) {
	batch := withSource(&pb.SourceSpec{Configs: `{"__BATCHSOURCECONFIGS__":"{}"}`})
	create := "create persistent://t/n/f-intermediate BatchSourceExecutor-t/n/f latest=true"
	tests := []struct {
		name    string
		d       *pb.FunctionDetails
		answer  func(n int, call string) error
		want    int
		wantErr string
	}{
		{name: "a function needs nothing", d: withSource(&pb.SourceSpec{InputSpecs: map[string]*pb.ConsumerSpec{"in": {}}, Configs: `{"__BATCHSOURCECONFIGS__":"{}"}`})},
		{name: "a batch source", d: batch, want: 1},
		{name: "there already", d: batch, answer: func(int, string) error { return code(409) }, want: 1},
		{name: "later", d: batch, answer: func(n int, _ string) error {
			if n < 4 {
				return code(500)
			}
			return nil
		}, want: 4},
		{name: "never", d: batch, answer: func(int, string) error { return code(500) }, want: 10, wantErr: "after 10 attempts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakeBroker{answer: tt.answer}
				err := NewBrokerCleaner(b, nil).Prepare(t.Context(), tt.d)
				if tt.wantErr == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tt.wantErr)
				}
				require.Len(t, b.calls, tt.want)
				for _, c := range b.calls {
					require.Equal(t, create, c)
				}
			})
		})
	}
}

// *broker.Admin is the real one.
var _ BrokerAdmin = (*broker.Admin)(nil)
