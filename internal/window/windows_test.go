package window

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// script drives Windows and notes what it decides: windows as [a b], messages that leave as -a.
type script struct {
	w     *Windows[string]
	notes []string
	limit int // windows until Fire answers false; 0: never
}

func newScript(spec Spec, inputs int) *script {
	s := &script{}
	s.w = New(spec, inputs, Hooks[string]{
		Fire: func(values []string) bool {
			s.notes = append(s.notes, fmt.Sprint(values))
			return s.limit == 0 || len(s.windows())%s.limit != 0
		},
		Leave: func(v string) { s.notes = append(s.notes, "-"+v) },
	})
	return s
}

func (s *script) windows() (list []string) {
	for _, n := range s.notes {
		if strings.HasPrefix(n, "[") {
			list = append(list, n)
		}
	}
	return list
}

// run takes steps: name@time adds a message of topic "in", name@time/topic one of another topic (input 1), tick@time is a
// tick, -name a removal.
func (s *script) run(t *testing.T, steps string) {
	t.Helper()
	for _, step := range strings.Fields(steps) {
		if name, ok := strings.CutPrefix(step, "-"); ok {
			s.w.Remove(func(v string) bool { return v == name })
			continue
		}
		var at int64
		name, rest, _ := strings.Cut(step, "@")
		when, topic, other := strings.Cut(rest, "/")
		_, err := fmt.Sscan(when, &at)
		require.NoError(t, err, step)
		m := Message[string]{Value: name, Topic: "in", At: at}
		if other {
			m.Topic, m.Input = topic, 1
		}
		switch {
		case name == "tick":
			s.w.Tick(at)
		case !s.w.Add(m):
			s.notes = append(s.notes, "late:"+name)
		}
	}
}

func TestWindows(t *testing.T) {
	ms := time.Millisecond
	for name, tc := range map[string]struct {
		spec   Spec
		inputs int
		limit  int
		steps  string
		want   string
	}{
		"count, tumbling":         {spec: Spec{Count: 2, SlideCount: 2}, steps: "a@1 b@2 c@3 d@4 e@5", want: "[a b] -a -b [c d] -c -d"},
		"count, sliding":          {spec: Spec{Count: 3, SlideCount: 2}, steps: "a@1 b@2 c@3 d@4 e@5 f@6", want: "[a b] -a [b c d] -b -c [d e f] -d -e"},
		"count, with gaps":        {spec: Spec{Count: 1, SlideCount: 3}, steps: "a@1 b@2 c@3 d@4", want: "-a -b [c] -c"},
		"count of a time":         {spec: Spec{Length: 10 * ms, SlideCount: 2}, steps: "a@1 b@2 c@11 d@12 e@30 f@31", want: "[a b] -a -b [c d] -c -d [e f]"},
		"count, one is removed":   {spec: Spec{Count: 3, SlideCount: 3}, steps: "a@1 b@2 -a c@3 d@4 e@5 f@6", want: "[b c] -b -c [d e f] -d -e -f"},
		"a clock that steps back": {spec: Spec{Length: 10 * ms, Slide: 10 * ms}, steps: "a@20 b@5 tick@30", want: "[a b] -a -b"},

		"timer, tumbling": {spec: Spec{Length: 10 * ms, Slide: 10 * ms}, steps: "a@1 b@9 tick@10 c@10 tick@20 tick@30 d@31 tick@40", want: "[a b] -a -b [c] -c [d] -d"},
		"timer: the millisecond of the tick is for the next window": {spec: Spec{Length: 10 * ms, Slide: 10 * ms}, steps: "a@1 b@10 tick@10 tick@20", want: "[a] -a [b] -b"},
		"timer, late ticks lose nothing":                            {spec: Spec{Length: 10 * ms, Slide: 10 * ms}, steps: "a@1 tick@10 b@12 c@34 tick@35 d@36 tick@40", want: "[a] -a [b c] -b -c [d] -d"},
		"timer, sliding":                                            {spec: Spec{Length: 20 * ms, Slide: 10 * ms}, steps: "a@1 tick@10 b@12 tick@20 c@22 tick@30 tick@40 tick@50", want: "[a] [a b] -a [b c] -b [c] -c"},
		"timer: the first window has all":                           {spec: Spec{Length: 5 * ms, Slide: 10 * ms}, steps: "a@1 tick@10 b@11 c@16 tick@20", want: "[a] -a -b [c] -c"},

		"event time, tumbling":                           {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, steps: "a@1 b@10 c@11 tick@0 d@25 tick@0 e@31 tick@0", want: "[a b] -a -b [c] -c [d] -d"},
		"event time, sliding":                            {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 5 * ms}, steps: "a@3 b@7 c@100 tick@0", want: "[a] [a b] -a [b] -b [c]"},
		"event time, out of order":                       {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, steps: "c@28 a@3 b@12 a2@2 tick@0", want: "[a2 a] -a2 -a [b] -b"},
		"event time, late":                               {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, steps: "a@25 tick@0 b@24 c@25 d@30 tick@0", want: "late:b [a c d] -a -c -d"},
		"event time, at a window's end after it is done": {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, steps: "a@10 tick@0 b@10 c@11 d@20 tick@0", want: "[a] -a late:b [c d] -c -d"},
		"event time, lag":                                {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms, MaxLag: 5 * ms}, steps: "a@8 b@12 tick@0 c@9 d@15 tick@0 e@9 f@25 tick@0", want: "[a c] -a -c late:e [b d] -b -d"},
		"event time, all inputs":                         {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, inputs: 2, steps: "a@5 b@15 tick@0 c@7/x tick@0 d@12/x tick@0", want: "[a c] -a -c"},
		"event time, partitions":                         {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, inputs: 2, steps: "a@5/p0 b@15/p1 tick@0 c@30 tick@0 d@40/p0 tick@0 e@40/p1 tick@0", want: "[a] -a [b] -b [c] -c"},
		"event time, long silence":                       {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, steps: "a@1 b@1000000000001 c@1000000000011 tick@0", want: "[a] -a [b] -b"},
		"event time, stopped and on":                     {spec: Spec{Time: EventTime, Length: 10 * ms, Slide: 10 * ms}, limit: 1, steps: "a@1 b@11 c@30 tick@0 tick@0 tick@0", want: "[a] -a [b] -b [c] -c"},
		"event time, beyond all time":                    {spec: Spec{Time: EventTime, Length: maxDuration, Slide: maxDuration}, steps: "a@-5 b@9223372036854775807 tick@0", want: "[a] -a"},
		"event time, count":                              {spec: Spec{Time: EventTime, Count: 2, SlideCount: 2}, steps: "c@3 a@1 b@2 d@9 tick@0 e@9 f@10 tick@0", want: "[a b] -a -b [c d] -c -d [e f] -e -f"},
		"event time, count, stopped":                     {spec: Spec{Time: EventTime, Count: 1, SlideCount: 1}, limit: 2, steps: "a@1 b@2 c@3 tick@0 d@3 tick@0", want: "[a] -a [b] -b [c] -c [d] -d"},
		"event time, count of a time":                    {spec: Spec{Time: EventTime, Length: 5 * ms, SlideCount: 2}, steps: "a@1 b@2 c@6 d@20 tick@0", want: "[a b] -a -b -c [d]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(tc.spec, max(1, tc.inputs))
			s.limit = tc.limit
			s.run(t, tc.steps)
			require.Equal(t, tc.want, strings.Join(s.notes, " "))
		})
	}
}

// TestCountProperty: the k-th window has the last Count of the first k*SlideCount messages, and no message leaves early or
// twice.
func TestCountProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{Count: rapid.IntRange(1, 12).Draw(t, "count"), SlideCount: rapid.IntRange(1, 12).Draw(t, "slide")}
		messages := rapid.IntRange(0, 60).Draw(t, "messages")
		var all []int
		var windows [][]int
		left := map[int]bool{}
		w := New(spec, 1, Hooks[int]{
			Fire: func(values []int) bool {
				for _, v := range values {
					if left[v] {
						t.Fatalf("%d has left and is in %v", v, values)
					}
				}
				windows = append(windows, values)
				return true
			},
			Leave: func(v int) {
				if left[v] {
					t.Fatalf("%d leaves twice", v)
				}
				left[v] = true
			},
		})
		for i := range messages {
			all = append(all, i)
			w.Add(Message[int]{Value: i, At: int64(i)})
			if w.Len()+len(left) != i+1 || w.Len() > spec.Count {
				t.Fatalf("%d held, %d left of %d", w.Len(), len(left), i+1)
			}
		}
		if len(windows) != messages/spec.SlideCount {
			t.Fatalf("%d windows of %d messages", len(windows), messages)
		}
		for k, got := range windows {
			end := (k + 1) * spec.SlideCount
			if want := all[max(0, end-spec.Count):end]; !slices.Equal(got, want) {
				t.Fatalf("window %d is %v, want %v", k, got, want)
			}
		}
	})
}

// TestTimerProperty: whatever the delays of ticks, windows that touch have every message once, those that overlap at least
// once, all of them in order.
func TestTimerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slide := rapid.Int64Range(1, 20).Draw(t, "slide")
		length := slide + rapid.Int64Range(0, 30).Draw(t, "overlap")
		seen := map[int64]int{}
		left := 0
		w := New(Spec{Length: time.Duration(length) * time.Millisecond, Slide: time.Duration(slide) * time.Millisecond}, 1, Hooks[int64]{
			Fire: func(values []int64) bool {
				if !slices.IsSorted(values) {
					t.Fatalf("not in order: %v", values)
				}
				for _, v := range values {
					seen[v]++
				}
				return true
			},
			Leave: func(v int64) {
				if left++; seen[v] == 0 {
					t.Fatalf("%d left before any window", v)
				}
			},
		})
		now, added := int64(1), []int64{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += rapid.Int64Range(1, 15).Draw(t, "wait")
			if rapid.Bool().Draw(t, "tick") {
				w.Tick(now)
			} else {
				w.Add(Message[int64]{Value: now, At: now})
				added = append(added, now)
			}
		}
		w.Tick(now + slide)
		for _, at := range added {
			if seen[at] == 0 || length == slide && seen[at] != 1 {
				t.Fatalf("message of %d was in %d windows", at, seen[at])
			}
		}
		if w.Len()+left != len(added) {
			t.Fatalf("%d held and %d left of %d", w.Len(), left, len(added))
		}
	})
}

// TestEventTimeProperty compares with the definition: a window ends at each multiple of Slide that the watermark has
// reached, and has every message in time whose time is after its begin and not after its end.
func TestEventTimeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slide, length := rapid.Int64Range(1, 20).Draw(t, "slide"), rapid.Int64Range(1, 50).Draw(t, "length")
		lag := rapid.Int64Range(0, 20).Draw(t, "lag")
		var got, want []string
		w := New(Spec{
			Time: EventTime, Length: time.Duration(length) * time.Millisecond, Slide: time.Duration(slide) * time.Millisecond,
			MaxLag: time.Duration(lag) * time.Millisecond,
		}, 1, Hooks[int64]{
			Fire:  func(values []int64) bool { got = append(got, fmt.Sprint(values)); return true },
			Leave: func(int64) {},
		})
		var inTime []int64
		latest, mark := int64(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				w.Tick(0)
				if latest > 0 {
					mark = max(mark, latest-lag)
				}
				continue
			}
			at := rapid.Int64Range(1, 300).Draw(t, "at")
			latest = max(latest, at)
			if w.Add(Message[int64]{Value: at, Topic: "in", At: at}) {
				inTime = append(inTime, at)
			} else if at > mark {
				t.Fatalf("%d is not late, the watermark is at %d", at, mark)
			}
		}
		w.Tick(0)
		mark = max(mark, latest-lag)
		slices.Sort(inTime)
		for end := int64(0); end <= mark; end += slide {
			var inside []int64
			for _, at := range inTime {
				if at > end-length && at <= end {
					inside = append(inside, at)
				}
			}
			if len(inside) > 0 {
				want = append(want, fmt.Sprint(inside))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("windows %v, want %v", got, want)
		}
	})
}
