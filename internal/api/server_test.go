package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen serves a fixture on a real port and shuts down at the end.
func listen(t *testing.T, f *fixture) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.server.Serve(context.Background(), l, nil) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, f.server.Shutdown(ctx))
		require.NoError(t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	return l.Addr().String()
}

// exchange sends raw bytes and reads the answer.
func exchange(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	return resp
}

func TestListener(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits.BodyIdleTimeout = 100 * time.Millisecond })
	addr := listen(t, f)
	for name, tc := range map[string]struct {
		request string
		want    int
	}{
		"plain":          {"GET /version HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		"old":            {"GET /version HTTP/1.0\r\n\r\n", 200},
		"no host":        {"GET /version HTTP/1.1\r\n\r\n", 400},
		"head too large": {"GET /version HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 9000) + "\r\n\r\n", 431},
		"head just fits": {"GET /version HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 7000) + "\r\n\r\n", 200},
		"no HTTP":        {"\x16\x03\x01\x02\x00\r\n\r\n", 400},
		"bad escape":     {"GET /admin/v3/functions/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"body that never comes": {"POST " + one + " HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x\r\n",
			408},
		"upgrade to HTTP/2": {"GET /version HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n", 200},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, exchange(t, addr, tc.request).StatusCode) })
	}
}

func TestExpectContinueAndChunks(t *testing.T) {
	f := newFixture(t)
	addr := listen(t, f)
	contentType, body := multipartBody(t, config1(python), pythonFile)
	r, err := http.NewRequest(http.MethodPost, "http://"+addr+one, io.NopCloser(body)) // length unknown: chunked
	require.NoError(t, err)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Expect", "100-continue")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 204, resp.StatusCode)
}

func TestConcurrencyLimit(t *testing.T) {
	tr := &fakeTrigger{hang: true}
	f, _ := registered(t, func(o *Options) {
		o.Trigger, o.TriggerTimeout = tr, 300*time.Millisecond
		o.Limits.MaxConcurrentRequests, o.Limits.QueueTimeout = 1, 20*time.Millisecond
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		contentType, body := multipartBody(t, part{name: "data", value: "x"})
		r := httptest.NewRequest(http.MethodPost, one+"/trigger", body)
		r.Header.Set("Content-Type", contentType)
		f.server.Handler().ServeHTTP(httptest.NewRecorder(), r)
	}()
	require.Eventually(t, func() bool { return f.do("GET", "/version").Code == 503 }, 2*time.Second, time.Millisecond)
	<-done
	require.Equal(t, 200, f.do("GET", "/version").Code)
}

func TestRateLimit(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits.RequestsPerSecond = 2 })
	codes := map[int]int{}
	for range 10 {
		codes[f.do("GET", "/metrics").Code]++
	}
	require.GreaterOrEqual(t, codes[429], 7)
	require.Contains(t, f.do("GET", "/version").Body.String(), `"reason":"Too Many Requests"`)
}

type panicking struct{ Cluster }

func (panicking) Initialized() bool { panic("a defect") }

func TestPanicsAreAnswered(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	f := newFixture(t, func(o *Options) { o.Log = zap.New(core) })
	f.server.opts.Cluster = panicking{f.cluster}
	rec := f.do("GET", "/initialized")
	require.Equal(t, 500, rec.Code)
	require.Contains(t, rec.Body.String(), `"reason":"Request failed."`)
	require.Equal(t, 1, logs.FilterMessage("a request made the worker panic").Len())
}

func TestRequestLog(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	f := newFixture(t, func(o *Options) {
		o.Log = zap.New(core)
		o.Clock = func() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) }
	})
	f.do("GET", "/version?x=%0Ay", "User-Agent", "pulsar\"admin")
	entries := logs.All()
	require.Equal(t, `192.0.2.1 - - [21/Nov/2026:10:00:00 +0000] "GET /version?x=%0Ay HTTP/1.1" 200 19 "-" "pulsar\"admin" 0`, entries[len(entries)-1].Message)
	require.Equal(t, "RequestLog", entries[len(entries)-1].LoggerName)
}

func TestAuthenticationContexts(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.Authenticate = func(context string, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(map[string]int{"admin": 401, "root": 402}[context])
			})
		}
	})
	for path, want := range map[string]int{"/metrics": 402, "/metrics/": 402, "/version": 402, "/initialized": 402, "/livez": 200, "/readyz": 200, one: 401, "/nosuch": 401, "//metrics": 401} {
		require.Equal(t, want, f.do("GET", path).Code, path)
	}
}

func TestShutdownWaitsForRequests(t *testing.T) {
	f, _ := registered(t, func(o *Options) { o.TriggerTimeout = 200 * time.Millisecond })
	var running atomic.Bool
	f.server.opts.Trigger = triggerFunc(func(ctx context.Context) error { running.Store(true); <-ctx.Done(); return fmt.Errorf("x") })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(context.Background(), l, nil) }()
	contentType, body := multipartBody(t, part{name: "data", value: "x"})
	code := make(chan int, 1)
	go func() {
		resp, err := http.Post("http://"+l.Addr().String()+one+"/trigger", contentType, body)
		if err != nil {
			code <- 0
			return
		}
		_ = resp.Body.Close()
		code <- resp.StatusCode
	}()
	require.Eventually(t, running.Load, 2*time.Second, time.Millisecond)
	require.NoError(t, f.server.Shutdown(context.Background()))
	require.Equal(t, 408, <-code)
	require.NoError(t, <-served)
	require.NoError(t, f.server.Shutdown(context.Background()), "twice is harmless")
	http.DefaultClient.CloseIdleConnections()
}

type triggerFunc func(context.Context) error

func (f triggerFunc) Trigger(ctx context.Context, _ TriggerRequest) ([]byte, bool, error) {
	return nil, false, f(ctx)
}
