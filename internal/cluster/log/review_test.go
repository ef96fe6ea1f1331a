package log_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
)

// keyed is a state that a compacted log describes.
type keyed struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (k *keyed) apply(e rlog.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.Tombstone() {
		delete(k.keys, e.Key)
	} else {
		k.keys[e.Key] = true
	}
}

func (k *keyed) retain(alive func(string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.keys, func(key string, _ bool) bool { return !alive(key) })
}

func (k *keyed) list() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.keys))
}

// TestADeletionCompactedAwayIsNoticed: while a follower is cut off, a key is deleted and compaction removes the deletion.
func TestADeletionCompactedAwayIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, state := rlog.NewMemory(), &keyed{keys: map[string]bool{}}
		f := rlog.NewFollower(l, "tailer", state.apply, nil)
		f.Reviewed(state.retain)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); f.Run(ctx) }()
		defer func() { cancel(); <-ended }()

		w := openWriter(t, l, "writer")
		write(t, w, rlog.Record{Key: "stays", Payload: []byte("1")}, rlog.Record{Key: "goes", Payload: []byte("1")})
		time.Sleep(time.Second)
		require.Equal(t, []string{"goes", "stays"}, state.list())

		l.Cut("tailer")
		time.Sleep(time.Second)
		write(t, w, rlog.Record{Key: "goes"}, rlog.Record{Key: "comes", Payload: []byte("1")})
		l.Compact()
		l.Heal("tailer")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"comes", "stays"}, state.list())
	})
}

// hooked is a log whose readers call after every time they were asked for the end.
type hooked struct {
	rlog.Log
	after func()
}

func (h hooked) OpenReader(ctx context.Context, name string, after rlog.ID) (rlog.Reader, error) {
	r, err := h.Log.OpenReader(ctx, name, after)
	return hookedReader{r, h.after}, err
}

type hookedReader struct {
	rlog.Reader
	after func()
}

func (r hookedReader) Last(ctx context.Context) (rlog.ID, error) {
	id, err := r.Reader.Last(ctx)
	r.after()
	return id, err
}

// TestAKeyAppendedDuringAReviewStays: the writer of this process appends between the question for the log's end and the reading.
func TestAKeyAppendedDuringAReviewStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, state := rlog.NewMemory(), &keyed{keys: map[string]bool{}}
		w := openWriter(t, memory, "writer")
		var f *rlog.Follower
		n := 0
		append1 := func() {
			n++
			record := rlog.Record{Key: string(rune('a' + n)), Payload: []byte("1")}
			ids, err := w.Append(t.Context(), record)
			require.NoError(t, err)
			require.NoError(t, f.Appended(t.Context(), ids[0], record))
		}
		f = rlog.NewFollower(hooked{memory, append1}, "tailer", state.apply, nil)
		f.Reviewed(state.retain)
		write(t, w, rlog.Record{Key: "a", Payload: []byte("1")})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); f.Run(ctx) }()
		time.Sleep(10 * time.Minute) // several reviews
		cancel()
		<-ended
		require.Greater(t, n, 2)
		require.Len(t, state.list(), n+1)
	})
}
