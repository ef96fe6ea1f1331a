package api

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/functions-worker/functions-worker/internal/packages"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// uploadPackage stores a file under a path that the caller chooses.
func (s *Server) uploadPackage(success int) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
			return drainBody(r, err)
		}
		f, err := s.readForm(r, formSpec{texts: []string{"path"}, file: "data"})
		if err != nil {
			return drainBody(r, err)
		}
		defer f.file.remove()
		path := f.text("path")
		if f.file == nil || path == "" {
			if !f.has("path") {
				path = "null"
			}
			return failf(http.StatusBadRequest, "Function Package is not provided %s", path)
		}
		if err := checkStorePath(path); err != nil {
			return err
		}
		ctx, cancel := s.writeContext(r)
		defer cancel()
		if err := s.storeFile(ctx, path, f.file.path, f.file.fileName); err != nil {
			return fail(http.StatusInternalServerError, err.Error())
		}
		void(w, success)
		return nil
	}
}

// checkStorePath refuses paths that are no key of a package store: URLs of other forms and ways out of it.
func checkStorePath(path string) error {
	bad := len(path) > 1024 || strings.HasPrefix(path, "/") || isHTTP(path) || isFile(path) || isBuiltin(path) ||
		strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' })
	for _, part := range strings.Split(path, "/") {
		bad = bad || part == ".." || part == "."
	}
	if bad {
		return failf(http.StatusBadRequest, "The path %q is not the path of a package", path)
	}
	return nil
}

// downloadByPath streams a package of any location. A path of four parts belongs to a namespace (its first two), all
// others are for superusers.
func (s *Server) downloadByPath(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Query().Get("path")
	access := Access{Right: RightSuperuser}
	if parts := strings.Split(path, "/"); len(parts) == 4 {
		access = Access{Right: RightComponent, Kind: Function, Tenant: parts[0], Namespace: parts[1]}
	}
	if err := s.allow(r, access); err != nil {
		return err
	}
	if path == "" {
		return fail(http.StatusBadRequest, "The query parameter path is not given")
	}
	if !isHTTP(path) && !isFile(path) && !isBuiltin(path) && !isPackageURL(path) {
		if err := checkStorePath(path); err != nil {
			return err
		}
	}
	return s.stream(w, r, anyKind, &pb.PackageLocationMetaData{PackagePath: path}, s.opts.URLs.Allowed(false, path) || s.opts.URLs.Allowed(true, path))
}

// downloadByName streams the package of a component of any kind: pods fetch connectors through this path too.
func (s *Server) downloadByName(w http.ResponseWriter, r *http.Request) error {
	t, err := s.targetOf(r, Function)
	if err != nil {
		return err
	}
	meta, exists := s.opts.Cluster.Function(t.tenant, t.namespace, t.name)
	if !exists {
		return failf(http.StatusNotFound, "Function %s doesn't exist", t.name)
	}
	kind, loc := KindOf(meta), meta.GetPackageLocation()
	if r.URL.Query().Get("transform-function") == "true" {
		kind, loc = Function, meta.GetTransformFunctionPackageLocation()
	}
	if loc.GetPackagePath() == "" {
		return failf(http.StatusNotFound, "Function %s has no such package", t.name)
	}
	return s.stream(w, r, kind, loc, s.opts.URLs.Allowed(isConnector(kind), loc.GetPackagePath()))
}

// stream answers the bytes of a package. The first bytes are read before the status is sent, so that a package which
// cannot be read is an error and not an empty file; a later failure cuts the connection.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, k Kind, loc *pb.PackageLocationMetaData, allowedURL bool) error {
	path := loc.GetPackagePath()
	shown := packages.Redact(path)
	if (isHTTP(path) || isFile(path)) && !allowedURL {
		return failf(http.StatusBadRequest, "Invalid package url: %s", shown)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if r.Header.Get(packages.PeerHeader) != "" { // two workers that both lack it would ask each other in circles
		ctx = packages.WithoutPeers(ctx)
	}
	body, err := s.opts.Packages.Open(ctx, k, loc)
	if err != nil {
		return failf(http.StatusInternalServerError, "The package %s cannot be read: %v", shown, err)
	}
	defer body.Close()
	first := make([]byte, 64<<10)
	n, err := readFirst(body, first)
	if err != nil && err != io.EOF {
		return failf(http.StatusInternalServerError, "The package %s cannot be read: %v", shown, err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := w.Write(first[:n]); err != nil {
		panic(http.ErrAbortHandler)
	}
	if err == nil { // there may be more
		if _, err := io.Copy(onlyWriter{w}, body); err != nil {
			s.log.Warn("a download was cut", logError(err))
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}

// readFirst fills buf. Unlike io.ReadFull it gives a shorter source's own error: io.EOF is its end, and
// io.ErrUnexpectedEOF a source that broke off.
func readFirst(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var read int
		read, err = r.Read(buf[n:])
		n += read
	}
	return n, err
}

// onlyWriter hides ReadFrom, so that every write passes through the recorder and its deadline.
type onlyWriter struct{ io.Writer }
