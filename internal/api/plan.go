package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
	"google.golang.org/protobuf/proto"
)

// drainLimit is how much of a request body is read before an early refusal, so that clients which send first and read
// later see the answer instead of a broken connection.
const drainLimit = 16 << 20

func drainBody(r *http.Request, err error) error {
	if r.Body != nil {
		_, _ = io.CopyN(io.Discard, r.Body, drainLimit)
	}
	return err
}

// packageRef is where one package (the main one, or a sink's transform function) comes from and goes to.
type packageRef struct {
	local    string                      // the file that validation reads; "" when none is needed
	location *pb.PackageLocationMetaData // recorded as it is, unless store is set
	store    bool                        // local is to be stored under a new key
	fileName string                      // recorded with a stored package
	temp     *upload                     // removed when done
}

// recordedName is the file name that the metadata will have for the package, or what stands for it.
func (p packageRef) recordedName() string {
	if p.fileName != "" {
		return p.fileName
	}
	return cmp.Or(p.location.GetOriginalFileName(), path.Base(p.location.GetPackagePath()))
}

func (p *packageRef) recordAs(name string) {
	p.fileName = name
	if !p.store {
		p.location = proto.CloneOf(p.location)
		p.location.OriginalFileName = name
	}
}

func (p packageRef) isMissing() bool { return p.location == nil && !p.store }

// packagePlan is what a register or update does about packages.
type packagePlan struct {
	files     PackageFiles
	main      packageRef
	transform packageRef
}

func (p *packagePlan) close() {
	p.main.temp.remove()
	p.transform.temp.remove()
}

// Forms of package paths; the tests are for whole schemes, so a tenant may be called httpd or builtins.
func isHTTP(path string) bool {
	return strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://")
}
func isFile(path string) bool    { return strings.HasPrefix(path, "file:") }
func isBuiltin(path string) bool { return strings.HasPrefix(path, "builtin://") }
func isPackageURL(path string) bool {
	for _, scheme := range []string{"function://", "sink://", "source://"} {
		if strings.HasPrefix(path, scheme) {
			return true
		}
	}
	return false
}

// planPackages finds the packages of a submission and makes them readable; the caller closes the plan.
func (s *Server) planPackages(sub *submission) (*packagePlan, error) {
	plan := &packagePlan{}
	err := s.planMain(sub, &plan.main)
	if err == nil {
		err = s.planTransform(sub, &plan.transform)
	}
	if err != nil {
		plan.close()
		return nil, err
	}
	plan.files = PackageFiles{Main: plan.main.local, Transform: plan.transform.local, Name: plan.main.recordedName()}
	return plan, nil
}

// planMain: a URL beats an upload, which beats a built-in, which beats the package already stored.
func (s *Server) planMain(sub *submission, ref *packageRef) error {
	archive := sub.config.Package()
	stored := sub.existing.GetPackageLocation()
	switch {
	case sub.url != "":
		if err := s.allowPackage(sub.request, sub.url); err != nil {
			return err
		}
		return s.planURL(sub.request.Context(), sub.kind, sub.url, sub.config.NeedsPackage(), ref)
	case strings.HasPrefix(archive, "builtin") && (sub.file == nil || sub.existing == nil):
		name := strings.TrimPrefix(archive, "builtin://")
		if err := s.planBuiltin(sub.kind, name, unknownBuiltin(sub.kind, archive), ref); err != nil {
			return err
		}
		if stored.GetPackagePath() != "" && builtinOf(sub.existing) == name {
			ref.location, ref.store = stored, false
		}
		return nil
	case sub.file != nil && sub.file.fileName == "":
		return fail(http.StatusBadRequest, "The data part has no file name in its Content-Disposition header")
	case sub.file != nil:
		*ref = packageRef{local: sub.file.path, store: true, fileName: sub.file.fileName}
		return nil
	case stored.GetPackagePath() != "":
		return s.planStored(sub, stored, ref)
	}
	return nil
}

// builtinOf is the name of the built-in that a stored component runs, "" for none.
func builtinOf(meta *pb.FunctionMetaData) string {
	d := meta.GetFunctionDetails()
	switch KindOf(meta) {
	case Sink:
		return d.GetSink().GetBuiltin()
	case Source:
		return d.GetSource().GetBuiltin()
	default:
		return d.GetBuiltin()
	}
}

func unknownBuiltin(k Kind, archive string) string {
	switch k {
	case Sink:
		return "Built-in sink is not available"
	case Source:
		return "Built-in source is not available"
	default:
		return fmt.Sprintf("No Function %s found", strings.TrimPrefix(archive, "builtin://"))
	}
}

// planBuiltin uses a built-in archive in place.
func (s *Server) planBuiltin(k Kind, name, unknown string, ref *packageRef) error {
	path, ok := "", false
	if s.opts.Catalog != nil && k == Function {
		path, ok = s.opts.Catalog.FunctionFile(name)
	} else if s.opts.Catalog != nil {
		path, ok = s.opts.Catalog.ConnectorFile(name)
	}
	if !ok {
		return fail(http.StatusBadRequest, unknown)
	}
	*ref = packageRef{local: path, location: &pb.PackageLocationMetaData{PackagePath: "builtin://" + name}}
	if path == "" { // compiled into the workers
		return nil
	}
	if s.opts.Runtime.ExternallyManaged() {
		ref.fileName = filepath.Base(path)
		ref.location.OriginalFileName = ref.fileName
		ref.store = s.opts.UploadBuiltins
	}
	return nil
}

// planURL checks a package URL against the rules and fetches it when validation, or an external runtime, needs it.
func (s *Server) planURL(ctx context.Context, k Kind, rawURL string, needed bool, ref *packageRef) error {
	needed = needed || s.opts.Runtime.ExternallyManaged()
	*ref = packageRef{location: &pb.PackageLocationMetaData{PackagePath: rawURL}}
	switch {
	case isPackageURL(rawURL) && !s.opts.PackageManagement:
		return failf(http.StatusBadRequest, "Function Package management service is disabled. Please enable it to use %s", rawURL)
	case isPackageURL(rawURL):
	case (isHTTP(rawURL) || isFile(rawURL)) && s.opts.URLs.Allowed(isConnector(k), rawURL):
		if s.opts.Runtime.ExternallyManaged() {
			ref.store, ref.fileName = true, urlFileName(rawURL)
		}
	default:
		return fail(http.StatusBadRequest, "Function Package url is not valid.supported url (http/https/file)")
	}
	if isFile(rawURL) {
		path, err := localFile(rawURL)
		if err != nil {
			return failf(http.StatusBadRequest, "Encountered error %q when getting %s package from %s", err.Error(), k, rawURL)
		}
		ref.local = path
		return nil
	}
	if !needed {
		return nil
	}
	return s.fetch(ctx, k, ref)
}

// planStored keeps the package that an update did not replace, and fetches it when validation reads it.
func (s *Server) planStored(sub *submission, stored *pb.PackageLocationMetaData, ref *packageRef) error {
	path := stored.GetPackagePath()
	*ref = packageRef{location: stored}
	switch {
	case isBuiltin(path):
		name := strings.TrimPrefix(path, "builtin://")
		if err := s.planBuiltin(sub.kind, name, unknownBuiltin(sub.kind, name), ref); err != nil {
			return err
		}
		ref.location, ref.store = stored, false
		return nil
	case (isHTTP(path) || isFile(path)) && !s.opts.URLs.Allowed(isConnector(sub.kind), path):
		return fail(http.StatusBadRequest, "Function Package url is not valid.supported url (http/https/file)")
	case !sub.config.NeedsPackage():
		return nil
	case isFile(path):
		local, err := localFile(path)
		if err != nil {
			return failf(http.StatusBadRequest, "Encountered error %q when getting %s package from %s", err.Error(), sub.kind, path)
		}
		ref.local = local
		return nil
	}
	return s.fetch(sub.request.Context(), sub.kind, ref)
}

// planTransform finds the transform function of a sink.
func (s *Server) planTransform(sub *submission, ref *packageRef) error {
	transform := sub.config.Transform()
	stored := sub.existing.GetTransformFunctionPackageLocation()
	switch {
	case strings.TrimSpace(transform) == "": // one given by URL is not part of the rebuilt config: it stays as it is
		ref.location = stored
		return nil
	case strings.HasPrefix(transform, "builtin"):
		name := strings.TrimPrefix(transform, "builtin://")
		if err := s.planBuiltin(Function, name, "Built-in SINK is not available", ref); err != nil {
			return err
		}
		if ref.local == "" {
			return failf(http.StatusBadRequest, "%s is compiled into the workers and cannot run inside a sink: deploy it as a function, whose output is the sink's input", transform)
		}
		if stored.GetPackagePath() != "" && sub.existing.GetFunctionDetails().GetBuiltin() == name {
			ref.location, ref.store = stored, false
		}
		return nil
	}
	if err := s.allowPackage(sub.request, transform); err != nil {
		return err
	}
	return s.planURL(sub.request.Context(), Function, transform, true, ref)
}

// fetch copies a package to a temporary file, bounded in size.
func (s *Server) fetch(ctx context.Context, k Kind, ref *packageRef) error {
	path := ref.location.GetPackagePath()
	temp, err := s.fetchTo(ctx, k, ref.location)
	var own *Error
	if errors.As(err, &own) && own.Status == http.StatusInternalServerError {
		return own // this worker's disk, not the package
	}
	if err != nil {
		return failf(http.StatusBadRequest, "Encountered error \"%s\" when getting %s package from %s", err, k, path)
	}
	ref.temp, ref.local = temp, temp.path
	return nil
}

func (s *Server) fetchTo(ctx context.Context, k Kind, loc *pb.PackageLocationMetaData) (*upload, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	body, err := s.opts.Packages.Open(ctx, k, loc)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return s.spoolReader(body, s.opts.MaxPackageSize)
}

// localFile is the path of a file: URL; it must name a regular file.
func localFile(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || (u.Host != "" && u.Host != "localhost") {
		return "", fmt.Errorf("%s is not a valid file URL", rawURL)
	}
	path := u.Path
	if path == "" {
		path = u.Opaque
	}
	path = filepath.Clean(path)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s does not exists locally", rawURL) // the words of the Java worker
	}
	return path, nil
}

func urlFileName(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "package"
	}
	if name := filepath.Base(u.Path); name != "." && name != "/" {
		return name
	}
	return "package"
}

// storePackages stores what the plan says and records the locations in meta. It returns the new keys, also on failure.
func (s *Server) storePackages(ctx context.Context, sub *submission, plan *packagePlan, meta *pb.FunctionMetaData) (keys []string, err error) {
	for _, p := range []struct {
		ref  *packageRef
		kind Kind
		name string
		dst  **pb.PackageLocationMetaData
	}{
		{&plan.main, sub.kind, sub.name, &meta.PackageLocation},
		{&plan.transform, Function, sub.name + "__sink-function", &meta.TransformFunctionPackageLocation},
	} {
		*p.dst = p.ref.location
		if !p.ref.store {
			continue
		}
		key := s.opts.Store.NewKey(p.kind, sub.tenant, sub.namespace, p.name, p.ref.fileName)
		keys = append(keys, key)
		s.opts.Cleanups.Add(ctx, cleanup.Uploaded(sub.fqfn(), key)) // before, so that dying in between leaves nothing behind
		if err := s.storeFile(ctx, key, p.ref.local, p.ref.fileName); err != nil {
			return keys, err
		}
		*p.dst = &pb.PackageLocationMetaData{PackagePath: key, OriginalFileName: p.ref.fileName}
	}
	return keys, nil
}

func (s *Server) storeFile(ctx context.Context, key, path, fileName string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("storing the package: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("storing the package: %w", err)
	}
	if err := s.opts.Store.Put(ctx, key, file, fileName, info.Size()); err != nil {
		return fmt.Errorf("storing the package %s: %w", key, err)
	}
	return nil
}

// outcomeUnknown reports whether a change may have been written although it failed.
func outcomeUnknown(err error) bool {
	var (
		write    cluster.WriteError
		remote   cluster.RemoteError
		outdated cluster.ErrOutdated
		redirect cluster.RedirectError
	)
	switch {
	case errors.As(err, &write):
		return true
	case errors.As(err, &remote):
		return remote.Status >= http.StatusInternalServerError && remote.Reason == write.Error()
	case errors.As(err, &outdated), errors.As(err, &redirect), errors.Is(err, cluster.ErrLeaderNotReady),
		errors.Is(err, cluster.ErrNotLeader), errors.Is(err, cluster.ErrLeaderUnknown):
		return false
	}
	return true
}
