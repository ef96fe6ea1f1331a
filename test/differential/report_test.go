package differential

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// report counts what was compared. DIFFERENTIAL_REPORT names the file it is written to.
type report struct {
	rows                                    map[string]bool // first cells of docs/differences.md
	requests, submissions, refused, counted int
	accepted                                map[string]int
	examples                                map[string][]difference
	unexpected                              []difference
	records                                 int
	parted                                  map[string]bool // names of components that one worker changed and the other did not
}

func newReport(rows map[string]bool) *report {
	return &report{rows: rows, parted: map[string]bool{}, accepted: map[string]int{}, examples: map[string][]difference{}}
}

// documented reads the first cells of the tables in docs/differences.md; every acceptance must be one of them.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "differences.md"))
	require.NoError(t, err)
	rows := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| ") {
			rows[strings.TrimPrefix(cells[0], "| ")] = true
		}
	}
	for _, a := range acceptances {
		require.Contains(t, rows, a.doc, "docs/differences.md does not give this reason")
	}
	return rows
}

func (r *report) count(s step, java, ours answer) {
	r.requests++
	if !s.submission {
		return
	}
	r.submissions++
	if java.status >= 300 {
		r.refused++
	}
}

// accept says whether a difference is one on purpose.
func (r *report) accept(d difference) bool {
	for _, a := range acceptances {
		if a.match(d) {
			r.accepted[a.doc]++
			if len(r.examples[a.doc]) < 3 {
				r.examples[a.doc] = append(r.examples[a.doc], d)
			}
			return true
		}
	}
	r.unexpected = append(r.unexpected, d)
	return false
}

// write stores the report and returns its first line and where it is.
func (r *report) write(t *testing.T, took time.Duration) string {
	t.Helper()
	total := 0
	for _, n := range r.accepted {
		total += n
	}
	summary := fmt.Sprintf("%d requests, %d of them submissions (the Java worker refused %d); %d metadata records compared; %d differences on purpose, %d others; %d refused submissions left nothing behind; %.0f s",
		r.requests, r.submissions, r.refused, r.records, total, len(r.unexpected), r.counted, took.Seconds())
	var b strings.Builder
	fmt.Fprintln(&b, summary)
	for _, doc := range slices.Sorted(maps.Keys(r.accepted)) {
		fmt.Fprintf(&b, "\n%d x %s\n", r.accepted[doc], doc)
		for _, d := range r.examples[doc] {
			fmt.Fprintf(&b, "    %s\n", d)
		}
	}
	if len(r.unexpected) > 0 {
		fmt.Fprintf(&b, "\nnot accepted:\n")
	}
	for _, d := range r.unexpected {
		fmt.Fprintf(&b, "    %s\n", d)
	}
	path := os.Getenv("DIFFERENTIAL_REPORT")
	if path == "" {
		path = filepath.Join(os.TempDir(), "functions-worker-differential.txt")
	}
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	return summary + "\nreport: " + path
}

func mustDecode(t *testing.T, data []byte, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(data, into), string(data))
}
