package cleanup

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func inputs(topics ...string) map[string]*pb.ConsumerSpec {
	specs := map[string]*pb.ConsumerSpec{}
	for _, t := range topics {
		pattern, isPattern := strings.CutPrefix(t, "pattern:")
		specs[pattern] = &pb.ConsumerSpec{IsRegexPattern: isPattern}
	}
	return specs
}

func TestLeftovers(t *testing.T) {
	tests := []struct {
		name    string
		source  *pb.SourceSpec
		want    []Leftover
		wantErr string
	}{
		{name: "not asked for", source: &pb.SourceSpec{InputSpecs: inputs("in")}},
		{name: "default subscription, topics and patterns", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("in", "pattern:persistent://a/b/x-.*/y")},
			want: []Leftover{{Kind: Subscription, Topic: "persistent://public/default/in", Subscription: "t/n/f"}, {Kind: Pattern, Namespace: "a/b", Subscription: "t/n/f"}}},
		{name: "given subscription", source: &pb.SourceSpec{CleanupSubscription: true, SubscriptionName: "s/x", InputSpecs: inputs("a/b/in")},
			want: []Leftover{{Kind: Subscription, Topic: "persistent://a/b/in", Subscription: "s/x"}}},
		{name: "a bad topic name does not keep the others", source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: inputs("x/y", "z")},
			want: []Leftover{{Kind: Subscription, Topic: "persistent://public/default/z", Subscription: "t/n/f"}}, wantErr: `topic name "x/y"`},
		{name: "batch source", source: &pb.SourceSpec{Configs: batchConfigs},
			want: []Leftover{{Kind: BatchTopic, Topic: "persistent://t/n/f-intermediate", Subscription: "BatchSourceExecutor-t/n/f"}}},
		{name: "an ordinary source", source: &pb.SourceSpec{Configs: `{"a":"__BATCHSOURCECONFIGS__"}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Leftovers(component(1, source(tt.source)).GetFunctionDetails())
			require.Equal(t, tt.want, got)
			if tt.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.wantErr)
			}
		})
	}
}

func TestJudgeLeftover(t *testing.T) {
	plain := Leftover{Kind: Subscription, Topic: "persistent://public/default/in", Subscription: "t/n/f"}
	pattern := Leftover{Kind: Pattern, Namespace: "a/b", Subscription: "s"}
	batch := Leftover{Kind: BatchTopic, Topic: "persistent://t/n/f-intermediate", Subscription: "BatchSourceExecutor-t/n/f"}
	consumes := func(subscription string, topics ...string) func(*pb.FunctionMetaData) {
		return source(&pb.SourceSpec{SubscriptionName: subscription, InputSpecs: inputs(topics...)})
	}
	type list = []*pb.FunctionMetaData
	tests := []struct {
		name       string
		registered list
		assigned   list
		leftover   Leftover
		seen, age  time.Duration
		want       verdict
	}{
		{name: "gone", leftover: plain, want: remove},
		{name: "not deleted yet", registered: list{component(1)}, leftover: plain, seen: changeLimit, want: wait},
		{name: "never deleted", registered: list{component(1)}, leftover: plain, seen: changeLimit + 1, want: never},
		{name: "instances left", assigned: list{component(1)}, leftover: plain, seen: 20 * time.Hour, want: wait},
		{name: "too long ago", leftover: plain, age: tooOld + 1, want: keep},
		{name: "too long ago and instances left", assigned: list{component(1)}, leftover: plain, age: tooOld + 1, want: keep},
		{name: "created anew with the same input", registered: list{component(2)}, leftover: plain, want: keep},
		{name: "created anew, old instances left", registered: list{component(2)}, assigned: list{component(1)}, leftover: plain, want: wait},
		{name: "created anew with another input", registered: list{component(2, consumes("", "other"))}, assigned: list{component(2)}, leftover: plain, want: remove},
		{name: "created anew with another subscription", registered: list{component(2, consumes("mine", "in"))}, leftover: plain, want: remove},
		{name: "another component has the subscription", registered: list{component(9, named("g"), consumes("t/n/f", "public/default/in"))}, leftover: plain, want: keep},
		{name: "another component has it by pattern", registered: list{component(9, named("g"), consumes("t/n/f", "pattern:persistent://public/default/.*"))}, leftover: plain, want: keep},
		{name: "a pattern of another namespace", registered: list{component(9, named("g"), consumes("t/n/f", "pattern:persistent://public/other/.*"))}, leftover: plain, want: remove},
		{name: "pattern gone", leftover: pattern, want: remove},
		{name: "pattern whose namespace has the subscription", registered: list{component(9, named("g"), consumes("s", "a/b/x"))}, leftover: pattern, want: keep},
		{name: "pattern used by another pattern", registered: list{component(9, named("g"), consumes("s", "pattern:persistent://a/b/z.*"))}, leftover: pattern, want: keep},
		{name: "pattern, other subscription", registered: list{component(9, named("g"), consumes("s2", "a/b/x"))}, leftover: pattern, want: remove},
		{name: "batch topic", leftover: batch, want: remove},
		{name: "batch topic, created anew", registered: list{component(2, source(&pb.SourceSpec{Configs: batchConfigs}))}, leftover: batch, want: keep},
		{name: "batch topic, created anew as an ordinary source", registered: list{component(2, source(&pb.SourceSpec{}))}, leftover: batch, want: remove},
		{name: "batch topic that somebody reads", registered: list{component(9, named("g"), consumes("", "t/n/f-intermediate"))}, leftover: batch, want: keep},
		{name: "batch topic that somebody writes", registered: list{component(9, named("g"), func(m *pb.FunctionMetaData) {
			m.FunctionDetails.Sink = &pb.SinkSpec{Topic: "persistent://t/n/f-intermediate"}
		})}, leftover: batch, want: keep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, why := newWorld(tt.registered, tt.assigned).judgeLeftover(Deleted(component(1)), tt.leftover, tt.seen, tt.age)
			require.Equal(t, tt.want, got, why)
			require.Equal(t, got == remove, why == "")
		})
	}
}

func TestJudgePackage(t *testing.T) {
	type list = []*pb.FunctionMetaData
	transform := component(7, named("g"), func(m *pb.FunctionMetaData) {
		m.TransformFunctionPackageLocation = &pb.PackageLocationMetaData{PackagePath: "key1"}
	})
	tests := []struct {
		name       string
		entry      Entry
		registered list
		assigned   list
		seen       time.Duration
		want       verdict
	}{
		{name: "nobody uses it", entry: Deleted(component(1)), want: remove},
		{name: "registered", entry: Deleted(component(1)), registered: list{component(1)}, want: wait},
		{name: "still registered after a while", entry: Deleted(component(1)), registered: list{component(1)}, seen: changeLimit + 1, want: keep},
		{name: "assigned", entry: Deleted(component(1)), assigned: list{component(1)}, seen: 48 * time.Hour, want: wait},
		{name: "transform function of another", entry: Deleted(component(1)), registered: list{transform}, want: wait},
		{name: "superseded", entry: Superseded(uploaded(1), component(2)), registered: list{component(2)}, want: remove},
		{name: "just uploaded", entry: Uploaded("t/n/f"), seen: uploadSettle - 1, want: wait},
		{name: "uploaded and registered", entry: Uploaded("t/n/f"), registered: list{component(1)}, seen: uploadSettle, want: keep},
		{name: "uploaded in vain", entry: Uploaded("t/n/f"), seen: uploadSettle, want: remove},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, why := newWorld(tt.registered, tt.assigned).judgePackage(tt.entry, "key1", tt.seen)
			require.Equal(t, tt.want, got, why)
		})
	}
}

// TestNothingInUseIsRemoved: whatever components there are, nothing is removed that one of them has.
func TestNothingInUseIsRemoved(t *testing.T) {
	topics := rapid.SampledFrom([]string{"in", "a/b/x", "t/n/f-intermediate", "pattern:persistent://a/b/.*", "pattern:persistent://public/default/.*"})
	anyComponent := rapid.Custom(func(t *rapid.T) *pb.FunctionMetaData {
		m := component(rapid.Uint64Range(1, 3).Draw(t, "createTime"), named(rapid.SampledFrom([]string{"f", "g", "h"}).Draw(t, "name")))
		if rapid.Bool().Draw(t, "batch") {
			source(&pb.SourceSpec{Configs: batchConfigs})(m)
			return m
		}
		source(&pb.SourceSpec{CleanupSubscription: true, SubscriptionName: rapid.SampledFrom([]string{"", "s"}).Draw(t, "subscription"),
			InputSpecs: inputs(rapid.SliceOfN(topics, 1, 3).Draw(t, "topics")...)})(m)
		return m
	})
	rapid.Check(t, func(t *rapid.T) {
		registered := rapid.SliceOfNDistinct(anyComponent, 0, 3, func(m *pb.FunctionMetaData) string { return m.GetFunctionDetails().GetName() }).Draw(t, "registered")
		deleted := Deleted(anyComponent.Draw(t, "deleted"))
		w := newWorld(registered, nil)
		for _, l := range deleted.Remove {
			if v, _ := w.judgeLeftover(deleted, l, time.Hour, 0); v != remove {
				continue
			}
			for _, m := range registered {
				used, err := Leftovers(m.GetFunctionDetails())
				require.NoError(t, err)
				require.NotContains(t, used, l)
			}
		}
	})
}

func TestDecode(t *testing.T) {
	good := Deleted(uploaded(5)).complete("w", time.Unix(1_700_000_000, 0))
	data, err := json.Marshal(good)
	require.NoError(t, err)
	got, err := decode(data)
	require.NoError(t, err)
	require.Equal(t, good, got)

	for name, tc := range map[string]struct{ text, want string }{
		"empty":           {"", "decoding"},
		"no JSON":         {"\x00", "decoding"},
		"nothing in it":   {"{}", "incomplete"},
		"a later version": {`{"format":2,"id":"x"}`, "later version"},
		"no function":     {`{"format":1,"id":"x"}`, "incomplete"},
		"negative settle": {`{"format":1,"id":"x","function":"t/n/f","settleSeconds":-1}`, "incomplete"},
		"for ever":        {`{"format":1,"id":"x","function":"t/n/f","settleSeconds":9223372036854775807}`, "incomplete"},
		"unknown kind":    {`{"format":1,"id":"x","function":"t/n/f","remove":[{"kind":"namespace","subscription":"s"}]}`, "nothing that could be removed"},
		"no subscription": {`{"format":1,"id":"x","function":"t/n/f","remove":[{"kind":"pattern","namespace":"a/b"}]}`, "nothing that could be removed"},
		"bad topic":       {`{"format":1,"id":"x","function":"t/n/f","remove":[{"kind":"batchTopic","topic":"x/y","subscription":"s"}]}`, "nothing that could be removed"},
		"too large":       {fmt.Sprintf(`{"format":1,"id":%q}`, strings.Repeat("x", maxEntry)), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode([]byte(tc.text))
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"format":1,"id":"x","function":"t/n/f","remove":[{"kind":"pattern","namespace":"a/b","subscription":"s"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decode(data)
		if err != nil {
			return
		}
		for _, l := range e.Remove {
			newWorld(nil, nil).judgeLeftover(e, l, 0, 0)
		}
	})
}
