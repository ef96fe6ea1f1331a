package api

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

// limitConcurrency lets at most so many requests in; others wait for a while and then get 503.
func (s *Server) limitConcurrency(next http.Handler) http.Handler {
	if s.opts.Limits.MaxConcurrentRequests <= 0 {
		return next
	}
	slots := make(chan struct{}, s.opts.Limits.MaxConcurrentRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
		default:
			timer := time.NewTimer(s.opts.Limits.QueueTimeout)
			defer timer.Stop()
			select {
			case slots <- struct{}{}:
			case <-timer.C:
				writeError(w, r, framework(http.StatusServiceUnavailable, "Service Unavailable: too many requests are being handled"))
				return
			case <-r.Context().Done():
				return
			}
		}
		defer func() { <-slots }()
		next.ServeHTTP(w, r)
	})
}

// limitRate answers 429 above the allowed rate; one second's worth of requests may come at once.
func (s *Server) limitRate(next http.Handler) http.Handler {
	perSecond := s.opts.Limits.RequestsPerSecond
	if perSecond <= 0 {
		return next
	}
	limiter := rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond), 1))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !limiter.Allow() {
			writeError(w, r, framework(http.StatusTooManyRequests, "Too Many Requests"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics turns a defect into a 500 with a reason; the stack goes to the log.
func (s *Server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { // a download that failed half way: the connection is cut on purpose
				panic(p)
			}
			s.log.Error("a request made the worker panic", zap.String("method", r.Method), zap.String("path", r.URL.Path),
				zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler)
			}
			writeError(w, r, framework(http.StatusInternalServerError, "Request failed."))
		}()
		next.ServeHTTP(w, r)
	})
}

// limitHeads answers 431 to request heads that net/http let pass above the limit.
func (s *Server) limitHeads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := len(r.Method) + len(r.RequestURI) + len(r.Host)
		for name, values := range r.Header {
			for _, value := range values {
				size += len(name) + len(value) + len(": \r\n")
			}
		}
		if size > s.opts.Limits.HeaderBytes {
			writeError(w, r, framework(http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// boundBodies limits the size of request bodies and the time between two reads of them.
func (s *Server) boundBodies(next http.Handler) http.Handler {
	limit := s.opts.MaxPackageSize + maxPartTotal
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			body := &timedBody{body: r.Body, rc: http.NewResponseController(w), idle: s.opts.Limits.BodyIdleTimeout}
			body.extend() // a handler that refuses without reading must not leave the connection waiting
			r.Body = http.MaxBytesReader(w, body, limit)
		}
		next.ServeHTTP(w, r)
	})
}

// timedBody moves the read deadline of the connection forward with each read, so that a slow upload may take long
// and a stuck one ends. At the end of the body the deadline is lifted: the handler may take its time.
type timedBody struct {
	body io.ReadCloser
	rc   *http.ResponseController
	idle time.Duration
	err  error // the first one; a deadline that passed stays, so that nothing waits for the rest of the body
}

func (b *timedBody) extend() { _ = b.rc.SetReadDeadline(time.Now().Add(b.idle)) }

func (b *timedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.extend()
	n, err := b.body.Read(p)
	if b.err = err; err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (b *timedBody) Close() error { return b.body.Close() }

// recorder notes status and size of an answer for the request log, and bounds every write to a client that stalls.
type recorder struct {
	http.ResponseWriter
	rc     *http.ResponseController
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// logRequests writes one line per request, in the NCSA form of the Java worker.
func (s *Server) logRequests(next http.Handler) http.Handler {
	log := s.log.Named("RequestLog")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.opts.Clock()
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Time{}) // one of an earlier request on this connection may still be set
		rec := &recorder{ResponseWriter: w, rc: rc}
		defer func() {
			now := s.opts.Clock()
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			if err != nil {
				host = r.RemoteAddr
			}
			level := zapcore.InfoLevel
			switch r.URL.Path {
			case "/livez", "/readyz", "/initialized", "/metrics": // asked every few seconds by platforms
				level = zapcore.DebugLevel
			}
			addresses := ""
			if s.opts.LogAddresses != nil {
				addresses = s.opts.LogAddresses(r)
			}
			log.Log(level, fmt.Sprintf("%s - - [%s] %q %d %d %q %q %d%s", host, start.Format("02/Jan/2006:15:04:05 -0700"),
				r.Method+" "+loggedURI(r.URL)+" "+r.Proto, rec.status, rec.bytes, orDash(loggedReferer(r.Referer())), orDash(r.UserAgent()), now.Sub(start).Milliseconds(), addresses))
		}()
		next.ServeHTTP(rec, r)
	})
}

// loggedURI hides a token in the query, which is a credential.
func loggedURI(u *url.URL) string {
	uri := u.RequestURI()
	path, query, found := strings.Cut(uri, "?")
	if !found || !strings.Contains(strings.ToLower(query), "token") && !strings.Contains(query, "%") {
		return uri
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err != nil || strings.EqualFold(plain, "token") {
			parts[i] = "token=***"
		}
	}
	return path + "?" + strings.Join(parts, "&")
}

// loggedReferer leaves out the query of the page that a request came from: it may hold a token.
func loggedReferer(referer string) string {
	page, _, _ := strings.Cut(referer, "?")
	return page
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// limitListener accepts at most so many connections at once; others wait in the backlog of the system.
type limitListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newLimitListener(l net.Listener, limit int) net.Listener {
	return &limitListener{Listener: l, slots: make(chan struct{}, limit), done: make(chan struct{})}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
