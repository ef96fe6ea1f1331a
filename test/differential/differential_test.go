// Package differential sends the same requests to a real Java worker 4.0.8 and to this one, each with a functions
// namespace of its own on one broker, and compares the answers and what both store in their metadata topics. Instances are
// stand-ins (testdata/fakebin) that never answer. Every difference is a failure unless accepted_test.go names the line of
// docs/differences.md that gives its reason.
//
// It also counts what refused submissions leave behind with this worker: nothing.
package differential

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// awaitTimeout bounds waiting for the scheduler of either worker.
const awaitTimeout = 30 * time.Second

func TestDifferential(t *testing.T) {
	rows := documented(t)
	l := newLab(t)
	l.start(t)
	r := newReport(rows)
	began := time.Now()
	only := os.Getenv("DIFFERENTIAL_ONLY") // a part of a scenario's name
	played := map[string]scenario{}
	for i, sc := range scenarios() {
		if !strings.Contains(sc.name, only) {
			continue
		}
		name := fmt.Sprintf("s%d", i)
		played[name] = sc
		t.Run(sc.name, func(t *testing.T) { l.play(t, r, name, sc) })
	}
	t.Run("stored metadata", func(t *testing.T) { l.compareRecords(t, r, played) })
	if only == "" {
		t.Run("accepted differences occur", func(t *testing.T) {
			for _, a := range acceptances {
				require.False(t, r.accepted[a.doc] == 0 && !sometimes[a.doc], "this difference is not one any more: %s", a.doc)
			}
			require.GreaterOrEqual(t, r.submissions, 300)
		})
	}
	t.Log(r.write(t, time.Since(began)))
}

// play sends the requests of one scenario.
func (l *lab) play(t *testing.T, r *report, name string, sc scenario) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	live := map[*worker]map[string]bool{l.java: {}, l.ours: {}}
	defer func() {
		for w, paths := range live {
			for path := range paths {
				if _, err := w.send(context.Background(), step{method: http.MethodDelete, path: path}); err != nil {
					t.Errorf("cleaning up: %v", err)
				}
			}
		}
	}()
	parted := map[string]bool{} // paths of components that only one of them has now
	ahead := false              // this worker applied an update that the Java worker refused
	for _, s := range sc.steps {
		s = s.bind(name, l.namespace, l.packages)
		if s.create == "" && parted[s.path] || ahead && s.method == http.MethodGet {
			continue
		}
		for id := range s.await {
			l.await(ctx, t, fmt.Sprintf("public/%s/%s:%d", l.namespace, name, id))
		}
		if s.submission && l.last == nil {
			l.last = l.traces(t)
		}
		java, ours := l.both(ctx, t, s)
		r.count(s, java, ours)
		for _, d := range l.compare(s, java, ours) {
			d.scenario = sc.name
			if !r.accept(d) {
				t.Errorf("%s: %s\n  java: %s\n  ours: %s", s.title, d.where, shorten(d.java), shorten(d.ours))
			}
		}
		if s.method != http.MethodGet && (java.status < 300) != (ours.status < 300) {
			r.parted[lastOf(componentOf(s.path))] = true
		}
		ahead = ahead || s.method == http.MethodPut && java.status >= 300 && ours.status < 300
		parted[s.path] = s.create != "" && (java.status < 300) != (ours.status < 300)
		switch {
		case s.submission && ours.status >= 300:
			l.nothingNew(t, r, s)
		case s.method != http.MethodGet:
			l.last = nil
		}
		for w, a := range map[*worker]answer{l.java: java, l.ours: ours} {
			switch {
			case a.status >= 300:
			case s.create != "":
				live[w][s.create] = true
			case s.method == http.MethodDelete:
				delete(live[w], s.path)
			}
		}
		if s.stopIfBad && (java.status >= 300 || ours.status >= 300) {
			return
		}
	}
}

// componentOf cuts a path after the name of its component.
func componentOf(path string) string {
	parts := strings.SplitN(path, "/", 8)
	return strings.Join(parts[:min(len(parts), 7)], "/")
}

// both sends one request to both workers at the same time.
func (l *lab) both(ctx context.Context, t *testing.T, s step) (java, ours answer) {
	t.Helper()
	var wg sync.WaitGroup
	var javaErr, oursErr error
	wg.Go(func() { java, javaErr = l.java.send(ctx, s) })
	wg.Go(func() { ours, oursErr = l.ours.send(ctx, s) })
	wg.Wait()
	require.NoError(t, javaErr, "the Java worker does not answer %s %s", s.method, s.path)
	require.NoError(t, oursErr, "this worker does not answer %s %s", s.method, s.path)
	return java, ours
}

func (l *lab) await(ctx context.Context, t *testing.T, instance string) {
	t.Helper()
	for _, w := range []*worker{l.java, l.ours} {
		require.Eventually(t, func() bool { return w.assigned(ctx, instance) }, awaitTimeout, 20*time.Millisecond, "%s does not assign %s", w.name, instance)
	}
}

// traces is what a submission may leave behind with this worker.
type traces struct {
	topics  map[string]bool // of its functions namespace and of the components' namespace
	records int             // in the metadata topic
	files   map[string]bool // temporary ones
}

func (l *lab) traces(t *testing.T) *traces {
	t.Helper()
	tr := &traces{topics: map[string]bool{}, files: map[string]bool{}}
	for _, ns := range []string{l.ours.namespace, "public/" + l.namespace} {
		var topics []string
		mustDecode(t, l.broker(t, http.MethodGet, "/admin/v2/persistent/"+ns), &topics)
		for _, topic := range topics {
			if !strings.HasSuffix(topic, "-intermediate") { // of a batch source that was accepted
				tr.topics[topic] = true
			}
		}
	}
	var stats struct{ EntriesAddedCounter int }
	mustDecode(t, l.broker(t, http.MethodGet, "/admin/v2/persistent/"+l.ours.namespace+"/metadata/internalStats"), &stats)
	tr.records = stats.EntriesAddedCounter
	err := filepath.WalkDir(l.ours.temp, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			tr.files[path] = true
		}
		return nil
	})
	require.NoError(t, err)
	return tr
}

// nothingNew checks that a refused submission left no package, no topic, no metadata record and no file. What earlier
// accepted ones left may go meanwhile.
func (l *lab) nothingNew(t *testing.T, r *report, s step) {
	t.Helper()
	before, after := l.last, l.traces(t)
	for topic := range after.topics {
		if !before.topics[topic] {
			t.Errorf("the refused %s left the topic %s", s.title, topic)
		}
	}
	for file := range after.files {
		if !before.files[file] {
			t.Errorf("the refused %s left the file %s", s.title, file)
		}
	}
	if after.records != before.records {
		t.Errorf("the refused %s left a record in the metadata topic", s.title)
	}
	r.counted++
	l.last = after
}
