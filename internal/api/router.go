package api

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
)

// body says which request body an endpoint takes.
type body int

const (
	bodyNone      body = iota // whatever comes is ignored
	bodyAction                // JSON or nothing; the content is ignored
	bodyMultipart             // multipart/form-data
)

// route is one endpoint.
type route struct {
	method, pattern string
	body            body
	json            bool // answers JSON only: an Accept header that excludes it is refused
	early           bool // answered before the worker is initialised too
	handle          func(w http.ResponseWriter, r *http.Request) error
}

// segments of a path that the router is asked with, one optional trailing slash and matrix parameters removed.
// ok is false for paths with empty segments, which nothing matches.
func routePath(escaped string) (path string, ok bool) {
	if escaped == "" || escaped[0] != '/' {
		return "", false
	}
	if len(escaped) > 1 {
		escaped = strings.TrimSuffix(escaped, "/")
	}
	parts := strings.Split(escaped[1:], "/")
	for i, part := range parts {
		if cut := strings.IndexByte(part, ';'); cut >= 0 {
			parts[i] = part[:cut]
		}
		if parts[i] == "" && len(parts) > 1 {
			return "", false
		}
	}
	return "/" + strings.Join(parts, "/"), true
}

// newRouter makes the handler of all routes. Segments are percent-decoded after splitting, so %2F may be inside one.
func (s *Server) newRouter(routes []route) http.Handler {
	mux := chi.NewRouter()
	for _, rt := range routes {
		h := s.endpoint(rt)
		mux.Method(rt.method, rt.pattern, h)
		if rt.method == http.MethodGet {
			mux.Method(http.MethodHead, rt.pattern, h)
		}
	}
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, r, framework(http.StatusNotFound, "Not Found"))
	})
	mux.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(allowedMethods(mux, chi.RouteContext(r.Context()).RoutePath), ","))
		if r.Method == http.MethodOptions {
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusOK)
			return
		}
		writeError(w, r, framework(http.StatusMethodNotAllowed, "Method Not Allowed"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := routePath(r.URL.EscapedPath())
		if !ok {
			writeError(w, r, framework(http.StatusNotFound, "Not Found"))
			return
		}
		rctx := chi.NewRouteContext()
		rctx.Routes, rctx.RoutePath = mux, path
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, rctx)))
	})
}

// allowedMethods lists what the Allow header of a path says.
func allowedMethods(mux chi.Routes, path string) []string {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if mux.Match(chi.NewRouteContext(), m, path) {
			allowed = append(allowed, m)
		}
	}
	return append(allowed, http.MethodOptions)
}

// endpoint wraps a handler with the checks that depend on headers alone, in the order of JAX-RS: content type, Accept.
func (s *Server) endpoint(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e := checkContentType(rt.body, r); e != nil {
			writeError(w, r, e)
			return
		}
		if rt.json && !accepts(r, "application/json") {
			writeError(w, r, framework(http.StatusNotAcceptable, "Not Acceptable"))
			return
		}
		if !rt.early && !s.opts.Cluster.Initialized() {
			writeError(w, r, fail(http.StatusServiceUnavailable, textNotInitialized))
			return
		}
		if err := rt.handle(w, r); err != nil {
			s.answerError(w, r, err)
		}
	})
}

// checkContentType refuses bodies of a type that the endpoint does not take.
func checkContentType(b body, r *http.Request) *Error {
	header := r.Header.Get("Content-Type")
	switch b {
	case bodyAction:
		if header == "" {
			return nil
		}
		if t, _, err := mime.ParseMediaType(header); err != nil || t != "application/json" {
			return framework(http.StatusUnsupportedMediaType, "Unsupported Media Type")
		}
	case bodyMultipart:
		t, params, err := mime.ParseMediaType(header)
		if header == "" || (err != nil && t == "") || t != "multipart/form-data" {
			return framework(http.StatusUnsupportedMediaType, "Unsupported Media Type")
		}
		if params["boundary"] == "" {
			return framework(http.StatusBadRequest, "The multipart/form-data request has no boundary parameter")
		}
	}
	return nil
}

// accepts reports whether the Accept headers allow the media type; none at all allows everything.
func accepts(r *http.Request, mediaType string) bool {
	values := r.Header.Values("Accept")
	if len(values) == 0 {
		return true
	}
	major, _, _ := strings.Cut(mediaType, "/")
	best, quality := -1, true // the most specific matching range decides
	seen := false
	for _, item := range strings.Split(strings.Join(values, ","), ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		seen = true
		t, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		rank := slices.Index([]string{"*/*", major + "/*", mediaType}, t)
		if rank > best {
			q, err := strconv.ParseFloat(params["q"], 64)
			best, quality = rank, err != nil || q > 0
		}
	}
	return !seen || (best >= 0 && quality)
}

// param is a decoded path parameter; it may hold slashes.
func param(r *http.Request, name string) (string, error) {
	raw := chi.URLParam(r, name)
	value, err := url.PathUnescape(raw)
	if err != nil {
		return "", failf(http.StatusBadRequest, "The path segment %q is not validly percent-encoded", raw)
	}
	return value, nil
}
