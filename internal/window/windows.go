package window

import (
	"slices"
	"sort"
)

// Message is one message as far as windows are concerned. Times are milliseconds since the epoch.
type Message[T any] struct {
	Value T
	// Input is the number of the input that it came from, from 0; Topic is its topic, for a partition that one.
	Input int
	Topic string
	// At is the time that counts.
	At int64
}

// Hooks are told what Windows decides, in the call that makes it decide so. They may call Remove, and nothing else.
type Hooks[T any] struct {
	// Fire gets the messages of a complete window, never none; the slice is its own. False ends the call: windows that are
	// complete too fire with the next one.
	Fire func(values []T) bool
	// Leave gets a message that no later window has.
	Leave func(value T)
}

// Windows holds the messages of one instance that windows still need.
type Windows[T any] struct {
	spec  Spec
	hooks Hooks[T]

	inside  []Message[T] // what the next window may have, in the order of their times
	pending []Message[T] // not reached by the watermark, in the order of their times
	since   int          // messages since the last window

	before int64 // what is not after this time is not for the next window of a timer

	inputs int // how many there are
	heard  map[int]bool
	latest map[string]int64 // by topic
	mark   int64            // the watermark
	end    int64            // of the next window
	fired  int64            // end of the last window
}

// New makes Windows for a function with this number of inputs.
func New[T any](spec Spec, inputs int, hooks Hooks[T]) *Windows[T] {
	return &Windows[T]{spec: spec, hooks: hooks, inputs: inputs, heard: map[int]bool{}, latest: map[string]int64{}, fired: -1}
}

// Len is the number of messages that are held.
func (w *Windows[T]) Len() int { return len(w.inside) + len(w.pending) }

// Add takes a message; false when it is late: windows that it belongs to are done.
func (w *Windows[T]) Add(m Message[T]) bool {
	m.At = min(max(m.At, 0), maxTime)
	if w.spec.Time == Arrival {
		w.arrived(m)
		return true
	}
	w.heard[m.Input] = true
	w.latest[m.Topic] = max(w.latest[m.Topic], m.At)
	if m.At < w.mark || m.At <= w.fired {
		return false
	}
	i := sort.Search(len(w.pending), func(i int) bool { return w.pending[i].At > m.At })
	w.pending = slices.Insert(w.pending, i, m)
	return true
}

// maxTime keeps sums of times and lengths from overflowing: the year 144,683.
const maxTime = 1 << 52

// Tick tells the time; to be called every Spec.Tick.
func (w *Windows[T]) Tick(now int64) {
	switch {
	case w.spec.Time != Arrival:
		w.watermark()
	case w.spec.SlideCount == 0:
		w.timer(now)
	}
}

// Remove takes messages out without a word to Leave.
func (w *Windows[T]) Remove(match func(T) bool) {
	gone := func(m Message[T]) bool { return match(m.Value) }
	w.inside, w.pending = slices.DeleteFunc(w.inside, gone), slices.DeleteFunc(w.pending, gone)
}

// arrived takes a message whose time is that of its arrival, which does not go back when a clock does.
func (w *Windows[T]) arrived(m Message[T]) {
	if n := len(w.inside); n > 0 {
		m.At = max(m.At, w.inside[n-1].At)
	}
	w.inside = append(w.inside, m)
	if w.spec.SlideCount > 0 {
		w.counted(m.At)
	}
}

// counted lets a window end at every SlideCount-th message, of which one has just come in at this time.
func (w *Windows[T]) counted(at int64) bool {
	w.since++
	if w.spec.Count > 0 {
		w.leave(len(w.inside) - w.spec.Count)
	} else {
		w.leaveUntil(at - w.spec.Length.Milliseconds())
	}
	if w.since < w.spec.SlideCount {
		return true
	}
	w.since = 0
	more := w.fire()
	if w.spec.Count > 0 {
		w.leave(len(w.inside) - max(0, w.spec.Count-w.spec.SlideCount))
	}
	return more
}

// timer lets a window end now. What the window before had left over from Length is what leaves, however late the
// timer is, so that no message is passed over; the first window has all.
func (w *Windows[T]) timer(now int64) {
	now-- // the current millisecond belongs to the next window
	w.leaveUntil(w.before)
	w.fireFirst(sort.Search(len(w.inside), func(i int) bool { return w.inside[i].At > now }))
	w.before = now + w.spec.Slide.Milliseconds() - w.spec.Length.Milliseconds()
	w.leaveUntil(w.before)
}

// watermark moves to the earliest of the latest times of all topics, less the lag, once each input was heard.
func (w *Windows[T]) watermark() {
	mark := w.mark
	if len(w.heard) >= w.inputs && len(w.latest) > 0 {
		mark = int64(maxTime)
		for _, at := range w.latest {
			mark = min(mark, at)
		}
		mark -= w.spec.MaxLag.Milliseconds()
	}
	w.mark = max(w.mark, mark)
	if w.spec.SlideCount > 0 {
		for w.reached(w.mark) && w.counted(w.next().At) {
		}
		return
	}
	w.advance()
}

// advance lets all windows end whose end the watermark has reached. Ends are multiples of Slide.
func (w *Windows[T]) advance() {
	length, slide := w.spec.Length.Milliseconds(), w.spec.Slide.Milliseconds()
	for w.end <= w.mark {
		for w.reached(w.end) {
			w.next()
		}
		w.leaveUntil(w.end - length)
		switch {
		case len(w.inside) > 0:
			w.fired = w.end
			w.end += slide
			more := w.fire()
			w.leaveUntil(min(w.fired, w.end-length))
			if !more {
				return
			}
		case w.reached(w.mark):
			w.end = (w.pending[0].At + slide - 1) / slide * slide
		default:
			return
		}
	}
}

// reached says whether the earliest pending message is not after this time.
func (w *Windows[T]) reached(until int64) bool { return len(w.pending) > 0 && w.pending[0].At <= until }

// next moves the earliest pending message inside.
func (w *Windows[T]) next() Message[T] {
	m := w.pending[0]
	w.pending[0] = Message[T]{}
	w.pending = w.pending[1:]
	w.inside = append(w.inside, m)
	return m
}

// leaveUntil lets go of what is not after this time.
func (w *Windows[T]) leaveUntil(at int64) {
	w.leave(sort.Search(len(w.inside), func(i int) bool { return w.inside[i].At > at }))
}

// leave lets go of the first n messages.
func (w *Windows[T]) leave(n int) {
	for range n {
		m := w.inside[0]
		w.inside[0] = Message[T]{}
		w.inside = w.inside[1:]
		w.hooks.Leave(m.Value)
	}
}

func (w *Windows[T]) fire() bool { return w.fireFirst(len(w.inside)) }

func (w *Windows[T]) fireFirst(n int) bool {
	if n == 0 {
		return true
	}
	values := make([]T, n)
	for i, m := range w.inside[:n] {
		values[i] = m.Value
	}
	return w.hooks.Fire(values)
}
