package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/stretchr/testify/require"
)

type memory struct {
	mu    sync.Mutex
	lines bytes.Buffer
	err   error
}

func (m *memory) Write(line []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines.Write(line)
	return m.err
}

func (m *memory) Close() error { return nil }

func (m *memory) records(t *testing.T) []Record {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Record
	for line := range strings.Lines(m.lines.String()) {
		var r Record
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		all = append(all, r)
	}
	return all
}

func address(r *http.Request) (string, string) { return r.RemoteAddr, "" }

func TestWhichRequestsAreWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		method string
		handle http.HandlerFunc
		want   string // outcome, "" = no line
	}{
		"a read":              {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, ""},
		"a read that fails":   {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, ""},
		"a change":            {"POST", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, Done},
		"a change, redirect":  {"PUT", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(307) }, Redirected},
		"a change that fails": {"DELETE", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, Failed},
		"an unknown method":   {"BREW", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(405) }, Failed},
		"a body only":         {"POST", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, Done},
		"no credentials": {"GET", func(w http.ResponseWriter, r *http.Request) {
			From(r.Context()).Refused("none were given")
			w.WriteHeader(401)
		}, Unauthenticated},
		"denied": {"GET", func(w http.ResponseWriter, r *http.Request) {
			From(r.Context()).Asked("functions on acme/app", false, nil)
			w.WriteHeader(401)
		}, Denied},
		"undecided": {"GET", func(w http.ResponseWriter, r *http.Request) {
			From(r.Context()).Asked("functions on acme/app", false, errors.New("no broker"))
			w.WriteHeader(500)
		}, Failed},
		"allowed": {"GET", func(w http.ResponseWriter, r *http.Request) {
			From(r.Context()).Asked("functions on acme/app", true, nil)
			w.WriteHeader(200)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			h := New("w1", m, nil).Wrap(address, tc.handle)
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(tc.method, "/admin/v3/functions/acme/app/f", nil))
			got := m.records(t)
			if tc.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, tc.want, got[0].Outcome)
			require.Equal(t, "w1", got[0].Worker)
			require.Equal(t, "192.0.2.1:1234", got[0].Client)
		})
	}
}

func TestLineOfARequest(t *testing.T) {
	m := &memory{}
	h := New("w1", m, nil).Wrap(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		From(r.Context()).Caller("proxy", "token")
		From(r.Context()).Asked("functions on acme/app", true, nil)
		w.WriteHeader(204)
	}))
	r := httptest.NewRequest("POST", "/admin/v3/functions/acme/app/f?token=SECRET", strings.NewReader("SECRET"))
	r.Header.Set("Authorization", "Bearer SECRET")
	r.Header.Set(authn.PrincipalHeader, "joe\n{\"forged\":1}")
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.NotContains(t, m.lines.String(), "SECRET")
	got := m.records(t)
	require.Len(t, got, 1, "a line end in a header must not begin another line")
	require.Equal(t, "proxy", got[0].Role)
	require.Equal(t, "token", got[0].Auth)
	require.Equal(t, "joe\n{\"forged\":1}", got[0].Original)
	require.Equal(t, []string{"functions on acme/app"}, got[0].Rights)
	require.Equal(t, "/admin/v3/functions/acme/app/f", got[0].Path)
	require.WithinDuration(t, time.Now(), got[0].Time, time.Minute)
}

func TestCallersCannotMakeLinesLong(t *testing.T) {
	m := &memory{}
	h := New("w1", m, nil).Wrap(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := From(r.Context())
		for range 1000 {
			e.Asked(strings.Repeat("r", 100_000), true, nil)
		}
		e.Refused(strings.Repeat("x", 100_000))
		w.WriteHeader(401)
	}))
	r := httptest.NewRequest("POST", "/"+strings.Repeat("p", 100_000), nil)
	r.Header.Set(authn.PrincipalHeader, strings.Repeat("\xff", 100_000))
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.Less(t, m.lines.Len(), 10_000)
	require.Len(t, m.records(t), 1)
}

func TestPanicsAreWritten(t *testing.T) {
	m := &memory{}
	h := New("w1", m, nil).Wrap(address, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	require.Panics(t, func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/x", nil)) })
	require.Equal(t, Failed, m.records(t)[0].Outcome)
}

func TestNoEntry(t *testing.T) {
	e := From(t.Context())
	require.Nil(t, e)
	e.Caller("a", "b")
	e.Refused("c")
	e.Asked("d", false, nil)
}

func TestProblemsAreTold(t *testing.T) {
	m := &memory{err: errors.New("disk full")}
	var told error
	h := New("w1", m, func(err error) { told = err }).Wrap(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("POST", "/x", nil))
	require.Equal(t, 204, answer.Code)
	require.ErrorContains(t, told, "disk full")
}

func TestFileFollowsItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	sink, err := OpenSink(path)
	require.NoError(t, err)
	now := time.Now()
	sink.(*file).now = func() time.Time { return now }
	write := func(text string) { require.NoError(t, sink.Write([]byte(text+"\n"))) }
	read := func(path string) string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data)
	}
	write("1")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.Rename(path, path+".1"))
	now = now.Add(2 * time.Second)
	write("2")
	require.Equal(t, "1\n", read(path+".1"))
	require.Equal(t, "2\n", read(path))

	require.NoError(t, os.Truncate(path, 0)) // copytruncate
	write("3")
	require.Equal(t, "3\n", read(path))

	require.NoError(t, os.RemoveAll(path))
	now = now.Add(2 * time.Second)
	write("4")
	require.Equal(t, "4\n", read(path))
	require.NoError(t, sink.Close())
	require.ErrorIs(t, sink.Write([]byte("5\n")), errClosed)

	again, err := OpenSink(path) // a restart appends
	require.NoError(t, err)
	require.NoError(t, again.Write([]byte("6\n")))
	require.NoError(t, again.Close())
	require.Equal(t, "4\n6\n", read(path))

	_, err = OpenSink(filepath.Join(t.TempDir(), "no", "such", "directory"))
	require.ErrorContains(t, err, "opening the audit log")
}
