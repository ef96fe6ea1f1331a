package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/go-chi/chi/v5"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// changeTimeout bounds storing a package and writing the metadata: these go on when the client hangs up, because a
// half-made change helps nobody.
const changeTimeout = 5 * time.Minute

func (s *Server) writeContext(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), changeTimeout)
}

func routeParam(r *http.Request, name string) (string, bool) {
	rctx := chi.RouteContext(r.Context())
	if rctx == nil || !slices.Contains(rctx.URLParams.Keys, name) {
		return "", false
	}
	return rctx.URLParam(name), true
}

func logTarget(t target) zap.Field { return zap.String("function", t.fqfn()) }
func logError(err error) zap.Field { return zap.Error(err) }

// submission is one register or update request on its way.
type submission struct {
	target
	request  *http.Request
	config   Config
	url      string
	file     *upload
	authData bool                 // updateOptions.updateAuthData
	existing *pb.FunctionMetaData // nil: register
}

// readSubmission reads the parts of a register or update request. The caller removes sub.file.
func (s *Server) readSubmission(r *http.Request, t target, legacy bool) (*submission, error) {
	part := configPart(t.kind)
	if legacy {
		part = "functionDetails"
	}
	f, err := s.readForm(r, formSpec{texts: []string{part, "url", "updateOptions"}, file: "data"})
	if err != nil {
		return nil, err
	}
	sub := &submission{target: t, request: r, url: strings.TrimSpace(f.text("url")), file: f.file}
	if err := s.decodeParts(sub, f, part, legacy); err != nil {
		f.file.remove()
		return nil, err
	}
	return sub, nil
}

func (s *Server) decodeParts(sub *submission, f *form, part string, legacy bool) error {
	text := strings.TrimSpace(f.text(part))
	if text == "" || text == "null" {
		return failf(http.StatusBadRequest, "%s config is not provided", sub.kind)
	}
	codec := s.opts.Codecs[sub.kind]
	decode := codec.Decode
	if legacy {
		decode = codec.DecodeDetails
	}
	var err error
	if sub.config, err = decode([]byte(text)); err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	sub.config.SetName(sub.tenant, sub.namespace, sub.name)
	if options := strings.TrimSpace(f.text("updateOptions")); options != "" {
		var update struct {
			UpdateAuthData bool `json:"updateAuthData"`
		}
		if err := json.Unmarshal([]byte(options), &update); err != nil {
			return failf(http.StatusBadRequest, "The updateOptions part is not valid: %v", err)
		}
		sub.authData = update.UpdateAuthData
	}
	return nil
}

// checkNames refuses names that would break keys, topics or directories made of them.
func checkNames(t target) error {
	for _, n := range []struct{ what, value string }{{"tenant", t.tenant}, {"namespace", t.namespace}, {"name", t.name}} {
		bad := n.value == "." || n.value == ".." || strings.ContainsAny(n.value, "/\\:") ||
			strings.ContainsFunc(n.value, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' })
		if strings.TrimSpace(n.value) == "" || bad || len(n.value) > 255 {
			return failf(http.StatusBadRequest, "%s %s %q is not valid: it must be 1 to 255 characters, without slashes, colons and control characters", t.kind, n.what, n.value)
		}
	}
	return nil
}

// checkNamespace asks the broker, with the worker's credentials, whether tenant and namespace exist.
func (s *Server) checkNamespace(ctx context.Context, t target) error {
	if strings.Contains(t.tenant, "/") { // a name that the broker would refuse to look up
		return fail(http.StatusBadRequest, "Tenant does not exist")
	}
	exists, err := s.opts.Broker.TenantExists(ctx, t.tenant)
	if err != nil {
		return brokerError(err)
	}
	if !exists {
		return fail(http.StatusBadRequest, "Tenant does not exist")
	}
	namespaces, err := s.opts.Broker.Namespaces(ctx, t.tenant)
	if err != nil {
		return brokerError(err)
	}
	if slices.Contains(namespaces, t.tenant+"/"+t.namespace) ||
		slices.Contains(namespaces, t.tenant+"/"+s.opts.FunctionsName+"/"+t.namespace) {
		return nil
	}
	return fail(http.StatusBadRequest, "Namespace does not exist")
}

// receive reads what a register or update sends. The caller's rights are checked before the body is read, so that only
// those who may register can fill the disk.
func (s *Server) receive(r *http.Request, k Kind, legacy bool) (target, *submission, error) {
	t, err := s.targetOf(r, k)
	if err != nil {
		return t, nil, err
	}
	sub, err := s.readSubmission(r, t, legacy)
	return t, sub, err
}

// register is rest-api contract, section 6.1.
func (s *Server) register(k Kind, legacy bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, sub, err := s.receive(r, k, legacy)
		if err != nil {
			return drainBody(r, err)
		}
		defer sub.file.remove()
		if err := s.checkNamespace(r.Context(), t); err != nil {
			return err
		}
		if _, exists := s.opts.Cluster.Function(t.tenant, t.namespace, t.name); exists {
			return failf(http.StatusBadRequest, "%s %s already exists", k, t.name)
		}
		if err := checkNames(t); err != nil {
			return err
		}
		if err := s.submit(sub); err != nil {
			return err
		}
		void(w, successOf(legacy))
		return nil
	}
}

// update is rest-api contract, section 6.2.
func (s *Server) update(k Kind, legacy bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, sub, err := s.receive(r, k, legacy)
		if err != nil {
			return drainBody(r, err)
		}
		defer sub.file.remove()
		meta, exists := s.opts.Cluster.Function(t.tenant, t.namespace, t.name)
		if !exists {
			return failf(http.StatusBadRequest, "%s %s doesn't exist", k, t.name)
		}
		if KindOf(meta) != k {
			return failf(http.StatusNotFound, "%s %s doesn't exist", k, t.name)
		}
		sub.existing = meta
		if err := s.merge(sub); err != nil {
			return err
		}
		if err := s.submit(sub); err != nil {
			return err
		}
		void(w, successOf(legacy))
		return nil
	}
}

func successOf(legacy bool) int {
	if legacy {
		return http.StatusOK
	}
	return http.StatusNoContent
}

// merge replaces the config of an update by the existing one with the update applied.
func (s *Server) merge(sub *submission) error {
	codec := s.opts.Codecs[sub.kind]
	before, err := codec.Of(sub.existing)
	if err != nil {
		return fail(http.StatusInternalServerError, err.Error())
	}
	merged, err := codec.Merge(before, sub.config)
	if err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	if sub.url == "" && sub.file == nil && !sub.authData && codec.Equal(before, merged) {
		return fail(http.StatusBadRequest, "Update contains no change")
	}
	if p, ok := merged.(interface{ UsePackage() }); ok && (sub.url != "" || sub.file != nil) {
		p.UsePackage() // the built-in that the stored component runs no longer counts
	}
	sub.config = merged
	return nil
}

// submit validates the config against its package, stores the package and writes the metadata.
func (s *Server) submit(sub *submission) error {
	plan, err := s.planPackages(sub)
	if err != nil {
		return err
	}
	defer plan.close()
	details, err := s.opts.Codecs[sub.kind].Details(sub.config, plan.files)
	if err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	if err := s.allowCleanup(sub.request, details); err != nil {
		return err
	}
	if plan.main.isMissing() {
		return failf(http.StatusBadRequest, "%s Package is not provided", sub.kind)
	}
	if check := s.opts.CheckPackage; check != nil && sub.kind == Function {
		name := plan.main.recordedName()
		recordAs, err := check(details, plan.main.local, name)
		if err != nil {
			return fail(http.StatusBadRequest, packageError(err).Error())
		}
		if recordAs != name {
			plan.main.recordAs(recordAs)
		}
	}
	if err := s.opts.Runtime.Admit(details); err != nil {
		return failf(http.StatusBadRequest, "%s %s cannot be admitted:- %v", sub.kind, sub.name, err)
	}
	meta := &pb.FunctionMetaData{FunctionDetails: details, CreateTime: uint64(s.opts.Clock().UnixMilli())}
	if sub.existing != nil {
		meta = proto.CloneOf(sub.existing)
		meta.FunctionDetails = details
		meta.Version++
	}
	ctx, cancel := s.writeContext(sub.request)
	defer cancel()
	if err := s.cacheAuthData(ctx, sub, meta); err != nil {
		return err
	}
	return s.storeAndWrite(ctx, sub, plan, meta)
}

func (s *Server) cacheAuthData(ctx context.Context, sub *submission, meta *pb.FunctionMetaData) error {
	if s.opts.AuthData == nil || (sub.existing != nil && !sub.authData) {
		return nil
	}
	spec, err := s.opts.AuthData.Cache(ctx, sub.request, meta.GetFunctionDetails(), sub.existing.GetFunctionAuthSpec())
	if err != nil {
		return failf(http.StatusInternalServerError, "Error caching authentication data for %s %s:- %v", sub.kind, sub.name, err)
	}
	meta.FunctionAuthSpec = spec
	return nil
}

// storeAndWrite stores what is to be stored, then writes the metadata; when that fails for certain, nothing is left.
func (s *Server) storeAndWrite(ctx context.Context, sub *submission, plan *packagePlan, meta *pb.FunctionMetaData) error {
	stored, err := s.storePackages(ctx, sub, plan, meta)
	if err != nil {
		s.discard(stored)
		return fail(http.StatusInternalServerError, err.Error())
	}
	if sub.existing != nil {
		s.opts.Cleanups.Add(ctx, cleanup.Superseded(sub.existing, meta))
	}
	if err := s.opts.Cluster.Write(ctx, meta, false); err != nil {
		if outcomeUnknown(err) { // the entry made before they were stored finds out
			s.log.Warn("it is not known whether a change was written; the packages stored for it are kept as long as something may refer to them", logTarget(sub.target), zap.Strings("packages", stored), logError(err))
		} else {
			s.discard(stored)
		}
		return err
	}
	return nil
}
