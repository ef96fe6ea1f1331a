package app

import (
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/auth/audit"
	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/auth/authz"
	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/listener"
)

// newAudit opens the audit log of the configuration; nil when there is none.
func newAudit(cfg *config.Worker, log *zap.Logger) (*audit.Log, error) {
	name := cfg.Go.AuditLog
	switch name {
	case "none":
		return nil, nil
	case "":
		if !cfg.AuthenticationEnabled {
			return nil, nil
		}
		name = "stdout"
	case "stdout", "stderr":
	default:
		name = cfg.Path(name)
	}
	sink, err := audit.OpenSink(name)
	if err != nil {
		return nil, fmt.Errorf("goWorker.auditLog: %w", err)
	}
	return audit.New(cfg.WorkerID, sink, func(err error) { log.Error("a line of the audit log is lost", zap.Error(err)) }), nil
}

// addresses are those of the caller, and of the connection where a proxy named another.
func addresses(r *http.Request) (client, peer string) { return r.RemoteAddr, listener.Peer(r) }

// outermost puts the address of the client and the audit log around the API.
func (s *security) outermost(cfg *config.Worker) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if s.audit != nil {
			next = s.audit.Wrap(addresses, next)
		}
		if cfg.WebServiceTrustXForwardedFor {
			next = listener.WithForwarded(cfg.Go.TrustedProxyHops, next)
		}
		return next
	}
}

// logAddresses is the addition to the lines of the request log, in the form of the Java worker.
func logAddresses(r *http.Request) string {
	client, peer := addresses(r)
	via := ""
	if peer != "" {
		via = " via " + peer
	}
	return fmt.Sprintf(" [R:%s%s]->[L:%v]", client, via, r.Context().Value(http.LocalAddrContextKey))
}

// noteCaller tells the audit log whom authentication let pass.
func noteCaller(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := authn.FromContext(r.Context()); ok {
			audit.From(r.Context()).Caller(id.Role, id.Method)
		}
		next.ServeHTTP(w, r)
	})
}

// noteRefusal tells it whom authentication did not let pass.
func noteRefusal(r *http.Request, err error) { audit.From(r.Context()).Refused(err.Error()) }

// describe words a question to authorization for the audit log.
func describe(q authz.Question) string {
	switch {
	case q.Tenant == "":
		return "superuser"
	case q.Topic != "":
		return string(q.Action) + " on " + q.Topic
	}
	return string(q.Action) + " on " + q.Tenant + "/" + q.Namespace
}
