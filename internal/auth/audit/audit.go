// Package audit keeps the trail of who asked this worker for what, from where, and what came of it: one JSON object a line
// for every request that may change something, every one that was not authenticated, and every one that was denied.
//
// internal/app puts Log.Wrap around the whole API; authentication and authorization add what they found out to the Entry
// in the request's context. No query, header value other than the original principal, body or credential is ever part of a
// line. A file is opened again when it was moved or removed, so that any log rotation works without a signal.
package audit

import (
	"context"
	"encoding/json"
	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Record is one line. Texts that callers choose are cut to bounded lengths.
type Record struct {
	Time     time.Time `json:"time"`
	Worker   string    `json:"worker"`
	Client   string    `json:"client"`         // address of the caller
	Peer     string    `json:"peer,omitempty"` // of the connection, where a trusted proxy named another client
	Role     string    `json:"role,omitempty"`
	Original string    `json:"originalPrincipal,omitempty"`
	Auth     string    `json:"authentication,omitempty"` // token, basic or tls
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Rights   []string  `json:"rights,omitempty"` // what authorization was asked for, as "functions on acme/app"
	Outcome  string    `json:"outcome"`
	Status   int       `json:"status"` // 0: the connection was cut
	Reason   string    `json:"reason,omitempty"`
	Millis   int64     `json:"durationMs"`
}

// Outcomes of a request.
const (
	Done            = "success"
	Redirected      = "redirected" // to the worker in charge, which has a line of its own
	Unauthenticated = "unauthenticated"
	Denied          = "denied"
	Failed          = "failed"
)

const (
	maxPath   = 2048
	maxText   = 256
	maxReason = 512
	maxRights = 8
)

// Entry collects what becomes known about a request. The methods of a nil Entry do nothing, so that callers need not ask
// whether there is an audit log.
type Entry struct {
	mu     sync.Mutex
	record Record
	failed string // outcome that was decided before the status
}

type entryKey struct{}

// From is the entry of a request, nil without an audit log.
func From(ctx context.Context) *Entry {
	e, _ := ctx.Value(entryKey{}).(*Entry)
	return e
}

// Caller notes who was authenticated, and how.
func (e *Entry) Caller(role, method string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.record.Role, e.record.Auth = clip(role, maxText), method
}

// Refused notes why nobody was authenticated.
func (e *Entry) Refused(reason string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed, e.record.Reason = Unauthenticated, clip(reason, maxReason)
}

// Asked notes a right that the request needs and whether the caller has it; err says that it could not be decided.
func (e *Entry) Asked(right string, allowed bool, err error) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.record.Rights) < maxRights {
		e.record.Rights = append(e.record.Rights, clip(right, maxText))
	}
	switch {
	case err != nil:
		e.failed, e.record.Reason = Failed, clip(err.Error(), maxReason)
	case !allowed:
		e.failed, e.record.Reason = Denied, "the right is missing: "+clip(right, maxText)
	}
}

// Log writes the trail.
type Log struct {
	worker  string
	sink    Sink
	problem func(error)
	now     func() time.Time
}

// Sink takes whole lines, each with its line end.
type Sink interface {
	Write(line []byte) error
	Close() error
}

// New makes a Log. problem is told when lines cannot be written: requests go on all the same, because a full disk must not
// stop the cluster; it is called for each such line.
func New(worker string, sink Sink, problem func(error)) *Log {
	return &Log{worker: worker, sink: sink, problem: problem, now: time.Now}
}

// Close closes the sink.
func (l *Log) Close() error { return l.sink.Close() }

// Wrap writes a line for the requests that deserve one, after they were answered. client gives the address of the caller,
// and that of the connection if it is another.
func (l *Log) Wrap(client func(*http.Request) (client, peer string), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := l.now()
		e := &Entry{record: Record{Worker: l.worker, Method: clip(r.Method, maxText), Path: clip(r.URL.EscapedPath(), maxPath),
			Original: clip(strings.Join(r.Header.Values(authn.PrincipalHeader), ", "), maxText)}}
		e.record.Client, e.record.Peer = client(r)
		answer := &statusWriter{ResponseWriter: w}
		defer func() { // also when the connection is cut by a panic
			e.mu.Lock()
			defer e.mu.Unlock()
			e.record.Time, e.record.Status, e.record.Millis = start.UTC(), answer.status, l.now().Sub(start).Milliseconds()
			if e.record.Outcome = outcome(e.failed, answer.status); changes(r.Method) || e.failed != "" {
				l.write(e.record)
			}
		}()
		next.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), entryKey{}, e)))
	})
}

// changes tells the methods that may change something; one that nobody knows counts as such.
func changes(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return true
}

// outcome: what authentication and authorization decided counts as long as the answer agrees, since a handler may ask for a
// right only to choose what it shows.
func outcome(decided string, status int) string {
	switch {
	case status == http.StatusUnauthorized && decided != "":
		return decided
	case status >= 200 && status < 300:
		return Done
	case status == http.StatusTemporaryRedirect:
		return Redirected
	}
	return Failed
}

func (l *Log) write(r Record) {
	line, err := json.Marshal(r) // escapes line ends: a line cannot be forged
	if err == nil {
		err = l.sink.Write(append(line, '\n'))
	}
	if err != nil && l.problem != nil {
		l.problem(err)
	}
}

// clip bounds a text and makes it valid UTF-8.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return s
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
