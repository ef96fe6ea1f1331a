package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
	"go.uber.org/zap"
)

// Options are everything a Server needs. Fields without a default that are nil switch the feature off, where said.
type Options struct {
	Cluster   Cluster
	Instances Instances
	Runtime   Runtime
	Broker    Broker
	Store     PackageStore
	Cleanups  Cleanups
	Packages  PackageSource
	URLs      URLRules
	Catalog   Catalog // nil: no built-ins
	Codecs    map[Kind]Codec
	Trigger   Triggerer        // nil: triggering is answered with 503
	State     State            // nil: no state store is configured
	Authz     Authorizer       // nil: everything is allowed
	AuthData  AuthData         // nil: credentials of submitters are not kept
	Metrics   http.Handler     // nil: GET /metrics is empty
	Peers     *http.Client     // asks other workers; it applies this worker's credentials. Default: a plain client
	Log       *zap.Logger      // nil: no log
	Clock     func() time.Time // nil: time.Now

	// Authenticate wraps all endpoints, or those of the named context only: "admin" or "root". nil: no authentication.
	Authenticate func(context string, next http.Handler) http.Handler
	// Outermost wraps everything, the request log too: client addresses of proxies, the audit log. nil: nothing.
	Outermost func(next http.Handler) http.Handler
	// LogAddresses is what the request log says about the addresses of a connection. nil: nothing.
	LogAddresses func(*http.Request) string

	Version        string // what GET /version answers; default "4.0.8"
	FunctionsName  string // pulsarFunctionsCluster, for the second form of the namespace check
	PeerTLS        bool   // workers advertise their TLS port: redirects and peer calls use https
	PeerTimeout    time.Duration
	TriggerTimeout time.Duration

	PackageManagement bool // function:// URLs may be used (functionsWorkerEnablePackageManagement)
	// CheckPackage refuses the package of a function when it is submitted, and gives the file name to record for it; nil:
	// nothing beyond the usual is checked. file is "" when the package stays as it is.
	CheckPackage   func(details *pb.FunctionDetails, file, name string) (recordAs string, err error)
	UploadBuiltins bool // Kubernetes: built-in archives are uploaded (uploadBuiltinSinksSources)
	TempDir        string
	MaxPackageSize int64 // bytes; default 2 GiB

	Limits Limits
}

// Limits of the listener (rest-api contract, section 12). Zero values take the defaults unless said otherwise.
type Limits struct {
	MaxConcurrentRequests int           // 0: no limit
	QueueTimeout          time.Duration // how long a request above the limit waits before 503; default 30 s
	RequestsPerSecond     float64       // 0: no limit
	MaxConnections        int           // further connections wait in the accept backlog; default 2048
	HeaderBytes           int           // request head; default 8192, above it 431
	HeaderTimeout         time.Duration // until the request head, and before it the TLS handshake, is there; default 30 s
	IdleTimeout           time.Duration // of a keep-alive connection; default 30 s
	BodyIdleTimeout       time.Duration // without a byte of the request body; default 60 s
}

func (o *Options) setDefaults() {
	setDefault(&o.Version, "4.0.8")
	setDefault(&o.PeerTimeout, 5*time.Second)
	setDefault(&o.TriggerTimeout, 10*time.Second)
	setDefault(&o.MaxPackageSize, int64(2)<<30)
	setDefault(&o.Limits.QueueTimeout, 30*time.Second)
	setDefault(&o.Limits.MaxConnections, 2048)
	setDefault(&o.Limits.HeaderBytes, 8192)
	setDefault(&o.Limits.HeaderTimeout, 30*time.Second)
	setDefault(&o.Limits.IdleTimeout, 30*time.Second)
	setDefault(&o.Limits.BodyIdleTimeout, 60*time.Second)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Peers == nil {
		o.Peers = &http.Client{}
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server answers the REST API on any number of listeners.
type Server struct {
	opts    Options
	http    *http.Server
	https   *http.Server
	log     *zap.Logger
	started time.Time

	mu     sync.Mutex
	closed bool
}

// New checks that everything the API cannot do without is there and builds the handler.
func New(opts Options) (*Server, error) {
	for name, missing := range map[string]bool{
		"Cluster": opts.Cluster == nil, "Instances": opts.Instances == nil, "Runtime": opts.Runtime == nil,
		"Broker": opts.Broker == nil, "Store": opts.Store == nil, "Cleanups": opts.Cleanups == nil, "Packages": opts.Packages == nil,
		"URLs": opts.URLs == nil, "Codecs": len(opts.Codecs) == 0,
	} {
		if missing {
			return nil, fmt.Errorf("making the REST API: %s is not given", name)
		}
	}
	opts.setDefaults()
	s := &Server{opts: opts, log: opts.Log, started: opts.Clock()}
	h := s.handler()
	// net/http reads 4 KiB more of an HTTP/1 head than it is told before it answers 431; HTTP/2 counts exactly, so that there
	// the limit is the whole one, and limitHeads does the rest.
	s.http = s.newHTTPServer(h, max(opts.Limits.HeaderBytes-4096, 1))
	s.https = s.newHTTPServer(h, opts.Limits.HeaderBytes)
	s.https.Protocols.SetHTTP2(true)
	return s, nil
}

func (s *Server) newHTTPServer(h http.Handler, headerBytes int) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.opts.Limits.HeaderTimeout,
		IdleTimeout:       s.opts.Limits.IdleTimeout,
		MaxHeaderBytes:    headerBytes,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100, SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: writeTimeout},
		ErrorLog:          zap.NewStdLog(s.opts.Log.Named("http")),
	}
}

// Handler is the whole API, for tests and for embedding.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers on the listener until Shutdown or until ctx ends; then it returns nil. A TLS config makes it HTTPS, with
// HTTP/2 where the config offers it.
// The listener is closed in any case.
func (s *Server) Serve(ctx context.Context, listener net.Listener, tlsConfig *tls.Config) error {
	listener = newLimitListener(listener, s.opts.Limits.MaxConnections)
	server := s.http
	if tlsConfig != nil {
		listener, server = tls.NewListener(listener, tlsConfig), s.https
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	err := server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serving the REST API on %s: %w", listener.Addr(), err)
}

// Shutdown stops accepting and waits for running requests until ctx ends; then it cuts them.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var plain error
	done := make(chan struct{})
	go func() { defer close(done); plain = s.http.Shutdown(ctx) }()
	err := s.https.Shutdown(ctx)
	<-done
	if err = errors.Join(plain, err); err != nil {
		_, _ = s.http.Close(), s.https.Close()
		return fmt.Errorf("waiting for running requests to end: %w", err)
	}
	return nil
}

// handler puts the layers together, in the order of the contract: log, recovery, concurrency, rate, authentication.
func (s *Server) handler() http.Handler {
	routes := s.functionRoutes()
	for _, prefix := range []string{"/admin/v3/sinks", "/admin/v3/sink"} {
		routes = append(routes, s.connectorRoutes(prefix, Sink)...)
	}
	for _, prefix := range []string{"/admin/v3/sources", "/admin/v3/source"} {
		routes = append(routes, s.connectorRoutes(prefix, Source)...)
	}
	for _, prefix := range []string{"/admin/v2", "/admin"} {
		routes = append(routes, s.legacyRoutes(prefix+"/functions")...)
		routes = append(routes, s.workerRoutes(prefix+"/worker")...)
		routes = append(routes, s.workerStatsRoutes(prefix+"/worker-stats")...)
	}
	routes = append(routes, s.scaleRoutes()...)
	var h http.Handler = s.newRouter(append(routes, s.rootRoutes()...))
	if s.opts.Authenticate != nil {
		h = s.authenticated(h)
	}
	h = s.limitRate(h)
	h = s.limitConcurrency(h)
	h = s.recoverPanics(h)
	h = s.limitHeads(h)
	h = s.boundBodies(h)
	h = s.logRequests(h)
	if s.opts.Outermost != nil {
		h = s.opts.Outermost(h)
	}
	return h
}

// authenticated applies the authentication of the context that a path belongs to; probes of the platform need none.
func (s *Server) authenticated(next http.Handler) http.Handler {
	admin, root := s.opts.Authenticate("admin", next), s.opts.Authenticate("root", next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path, _ := routePath(r.URL.EscapedPath()); {
		case path == "/livez" || path == "/readyz":
			next.ServeHTTP(w, r)
		case path == "/metrics" || path == "/version" || path == "/initialized":
			root.ServeHTTP(w, r)
		default:
			admin.ServeHTTP(w, r)
		}
	})
}

// allow asks the authorizer; denied is the error to answer.
func (s *Server) allow(r *http.Request, access Access) error {
	return s.allowText(r, access, textNotAuthorized)
}

func (s *Server) allowText(r *http.Request, access Access, denied string) error {
	if s.opts.Authz == nil {
		return nil
	}
	ok, err := s.opts.Authz.Authorize(r, access)
	if err != nil {
		return fail(http.StatusInternalServerError, err.Error())
	}
	if !ok {
		return fail(http.StatusUnauthorized, denied)
	}
	return nil
}

// answerError writes the answer to a failed request: a redirect to the worker in charge, or status and reason.
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var redirect cluster.RedirectError
	if errors.As(err, &redirect) {
		s.redirect(w, r, redirect.To, r.URL.EscapedPath(), r.URL.RawQuery)
		return
	}
	e := toError(err)
	if e.Status >= http.StatusInternalServerError && e.Status != http.StatusServiceUnavailable {
		s.log.Warn("request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Int("status", e.Status), zap.Error(err))
	}
	writeError(w, r, e)
}

// peerURL is the address of another worker; the scheme fits the port that workers advertise.
func (s *Server) peerURL(to cluster.WorkerInfo, escapedPath, rawQuery string) string {
	scheme := "http"
	if s.opts.PeerTLS {
		scheme = "https"
	}
	target := scheme + "://" + net.JoinHostPort(to.Hostname, fmt.Sprint(to.Port)) + escapedPath
	if rawQuery != "" {
		target += "?" + rawQuery
	}
	return target
}

// redirect sends the client to another worker with 307, which keeps method and body.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, to cluster.WorkerInfo, escapedPath, rawQuery string) {
	w.Header().Set("Location", s.peerURL(to, escapedPath, rawQuery))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}
