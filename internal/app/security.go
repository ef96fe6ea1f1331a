package app

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/api"
	"github.com/functions-worker/functions-worker/internal/auth/audit"
	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/auth/authz"
	"github.com/functions-worker/functions-worker/internal/auth/funcauth"
	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/listener"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
)

// security is who may call this worker, over what, and what functions may know. Nil parts are switched off.
type security struct {
	tls       *listener.TLS
	authn     *authn.Authenticator
	authz     *authz.Authorizer
	audit     *audit.Log
	tokens    *funcauth.Tokens // nil: functions get the worker's own credentials, or none when authentication is off
	podTokens *podTokens       // nil: tokens are not kept in Kubernetes
}

func newSecurity(cfg *config.Worker, policies authz.Policies, metrics prometheus.Registerer, log *zap.Logger) (*security, error) {
	s := &security{}
	var err error
	if s.tls, err = newTLS(cfg, log); err != nil {
		return nil, err
	}
	if s.authn, err = newAuthenticator(cfg, s.tls, countOutcomes(metrics), log); err != nil {
		return nil, err
	}
	if s.authz, err = newAuthorizer(cfg, policies); err != nil {
		return nil, err
	}
	if cfg.AuthenticationEnabled && cfg.Computed.FunctionAuth == config.FunctionAuthClearText {
		directory := filepath.Join(cfg.Computed.Files.TempDirectory, "functions-worker-"+cfg.WorkerID+"-credentials")
		if s.tokens, err = funcauth.NewTokens(directory, cfg.Go.FunctionsUseWorkerCredentials); err != nil {
			return nil, err
		}
	}
	if s.audit, err = newAudit(cfg, log.Named("audit")); err != nil {
		return nil, err
	}
	return s, nil
}

// close closes the audit log; nothing is answered any more.
func (s *security) close() error {
	if s.audit == nil {
		return nil
	}
	return s.audit.Close()
}

func newTLS(cfg *config.Worker, log *zap.Logger) (*listener.TLS, error) {
	if !cfg.Computed.TLS {
		return nil, nil
	}
	files := cfg.Computed.Files
	o := listener.TLSOptions{
		Certificate: files.TLSCertificate, Key: files.TLSKey, Trust: files.TLSTrustCerts,
		RequireClient: cfg.TLSRequireTrustedClientCertOnConnect, AcceptAny: cfg.TLSAllowInsecureConnection,
		Refresh: time.Duration(cfg.TLSCertRefreshCheckDurationSec) * time.Second, Ciphers: cfg.TLSCipherSuites(), Log: log.Named("tls"),
	}
	o.MinVersion, o.MaxVersion = cfg.TLSVersions()
	if cfg.TLSEnabledWithKeyStore {
		o.KeyStore, o.KeyStorePassword, o.TrustStore, o.TrustStorePassword = files.TLSKeyStore, cfg.TLSKeyStorePassword, files.TLSTrustStore, cfg.TLSTrustStorePassword
	}
	t, err := listener.NewTLS(o)
	if err != nil {
		return nil, fmt.Errorf("tlsEnabled: %w", err)
	}
	return t, nil
}

func newAuthenticator(cfg *config.Worker, t *listener.TLS, observe func(authn.Outcome), log *zap.Logger) (*authn.Authenticator, error) {
	if !cfg.AuthenticationEnabled {
		return nil, nil
	}
	o := authn.Options{Properties: cfg.Properties, Path: cfg.Path, Observe: observe, Refused: noteRefusal, Log: log.Named("authentication")}
	for _, m := range cfg.Computed.AuthenticationProviders {
		o.Methods = append(o.Methods, authn.Method(m))
	}
	if t != nil {
		o.VerifyClient = t.VerifyClient
	}
	return authn.New(o)
}

// newAuthorizer gives nil where everybody may do everything.
func newAuthorizer(cfg *config.Worker, policies authz.Policies) (*authz.Authorizer, error) {
	if !cfg.AuthorizationEnabled {
		return nil, nil
	}
	return authz.New(authz.Options{
		Superusers: cfg.SuperUserRoles, ProxyRoles: cfg.ProxyRoles, MultiRoles: cfg.Computed.Authorization == config.AuthorizationMultiRoles,
		Policies: policies, Timeout: cfg.Computed.AuthorizationTimeout, Keep: cfg.Go.AuthorizationCache,
	})
}

// countOutcomes counts authentications under the names of the Java worker (security-and-metrics contract, section 6.3).
func countOutcomes(metrics prometheus.Registerer) func(authn.Outcome) {
	success := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pulsar_authentication_success_total", Help: "Pulsar authentication success"}, []string{"provider_name", "auth_method"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pulsar_authentication_failures_total", Help: "Pulsar authentication failures"}, []string{"provider_name", "auth_method", "reason"})
	if metrics != nil {
		metrics.MustRegister(success, failures)
	}
	return func(o authn.Outcome) {
		if o.Reason == "" {
			success.WithLabelValues(o.Provider, o.Method).Inc()
			return
		}
		failures.WithLabelValues(o.Provider, o.Method, o.Reason).Inc()
	}
}

// apply gives the API what is switched on; an interface that holds a nil pointer would be switched on too.
func (s *security) apply(o *api.Options, cfg *config.Worker) {
	o.Outermost = s.outermost(cfg)
	if cfg.Computed.LogDetailedAddresses {
		o.LogAddresses = logAddresses
	}
	if s.authn != nil {
		o.Authenticate = func(context string, next http.Handler) http.Handler {
			if context == "root" && !cfg.AuthenticateMetricsEndpoint {
				return next
			}
			return s.authn.Wrap(noteCaller(next))
		}
	}
	if s.authz != nil {
		o.Authz = authorizer{s.authz}
	}
	switch {
	case s.tokens != nil:
		o.AuthData = s.tokens
	case s.podTokens != nil:
		o.AuthData = s.podTokens
	}
}

// authorizer puts the API's questions into the words of authz.
type authorizer struct{ rules *authz.Authorizer }

func (a authorizer) Authorize(r *http.Request, access api.Access) (bool, error) {
	q, err := questionOf(access)
	if err != nil {
		return false, err
	}
	allowed, err := a.rules.Authorize(r, q)
	audit.From(r.Context()).Asked(describe(q), allowed, err)
	return allowed, err
}

func questionOf(access api.Access) (authz.Question, error) {
	q := authz.Question{Tenant: access.Tenant, Namespace: access.Namespace, Topic: access.Topic}
	switch access.Right {
	case api.RightSuperuser:
		return authz.Question{}, nil
	case api.RightPackages:
		q.Action = authz.Packages
	case api.RightProduce:
		q.Action = authz.Produce
	case api.RightConsume:
		q.Action = authz.Consume
	case api.RightComponent:
		switch access.Kind {
		case api.Function:
			q.Action = authz.Functions
		case api.Sink:
			q.Action = authz.Sinks
		case api.Source:
			q.Action = authz.Sources
		}
	}
	if q.Action == "" {
		return q, fmt.Errorf("authorization: the right %d is not known", access.Right)
	}
	return q, nil
}

// instanceAuth is how instances reach the broker (security-and-metrics contract, section 4.4): with authentication off they
// get neither credentials nor TLS settings.
func (s *security) instanceAuth(cfg *config.Worker) (*process.Auth, func(*pb.FunctionMetaData, process.Auth) (process.Auth, error)) {
	if !cfg.AuthenticationEnabled {
		return nil, nil
	}
	c := cfg.Computed.InstanceAuth
	base := &process.Auth{
		Plugin: c.Plugin, Params: c.Params, UseTLS: cfg.UseTLS, AllowInsecure: cfg.TLSAllowInsecureConnection,
		HostnameVerification: cfg.TLSEnableHostnameVerification, TrustCertsFile: cfg.TLSTrustCertsFilePath,
	}
	if s.tokens == nil {
		return base, nil
	}
	return base, func(meta *pb.FunctionMetaData, own process.Auth) (process.Auth, error) {
		plugin, params, workers, err := s.tokens.Credentials(meta)
		if err != nil || workers {
			return own, err
		}
		own.Plugin, own.Params = plugin, params
		return own, nil
	}
}

// functionBroker is how functions in this process reach the broker: the same as instances that are processes.
func (s *security) functionBroker(cfg *config.Worker) (broker.Config, func(*pb.FunctionMetaData, broker.Config) (broker.Config, error)) {
	towards := broker.Config{ServiceURL: cfg.PulsarServiceURL, WebServiceURL: cfg.PulsarWebServiceURL}
	auth, _ := s.instanceAuth(cfg)
	if auth == nil {
		return towards, nil
	}
	towards.UseTLS, towards.AllowInsecure, towards.HostnameVerification = auth.UseTLS, auth.AllowInsecure, auth.HostnameVerification
	towards.TrustCertsFile, towards.AuthPlugin, towards.AuthParams = auth.TrustCertsFile, auth.Plugin, auth.Params
	if s.tokens == nil {
		return towards, nil
	}
	return towards, func(meta *pb.FunctionMetaData, towards broker.Config) (broker.Config, error) {
		plugin, params, workers, err := s.tokens.InProcess(meta)
		if err != nil || workers {
			return towards, err
		}
		towards.AuthPlugin, towards.AuthParams = plugin, params
		return towards, nil
	}
}

// supportedSecurity refuses what would be done only by halves.
func supportedSecurity(cfg *config.Worker) error {
	if cfg.Computed.InstanceAuth.Plugin != "" && cfg.Computed.FunctionAuth == config.FunctionAuthNone && !cfg.Go.FunctionsUseWorkerCredentials &&
		cfg.Computed.Runtime != config.RuntimeKubernetes {
		return errors.New("functionAuthProviderClassName is blank: every function would run with the worker's own credentials, which may do everything. Set " +
			"org.apache.pulsar.functions.auth.ClearTextFunctionTokenAuthProvider, so that functions run with the token of whoever submits them, " +
			"or allow the worker's credentials by goWorker.functionsUseWorkerCredentials: true")
	}
	t, err := newTLS(cfg, zap.NewNop())
	if err != nil {
		return err
	}
	_, err = newAuthenticator(cfg, t, nil, zap.NewNop())
	return err
}
