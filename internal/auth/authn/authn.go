// Package authn answers "who is calling?" for the REST API, by the providers and settings of the Java worker
// (security-and-metrics contract, section 2): token, OpenID Connect, basic (htpasswd) and TLS client certificates.
//
// It stands between the listener and internal/api: Wrap lets a request pass with an Identity in its context, or answers
// 401 with one and the same text, whatever was wrong; the reason goes to the log at debug level. internal/auth/authz
// decides what the identity may do. New reads keys and password files and refuses what it cannot use; token keys are read
// again when their file changes. There is nothing to stop.
package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Identity is an authenticated caller.
type Identity struct {
	// Role is what authorization goes by. A token without the role claim authenticates with no role, "", which is never
	// allowed anything.
	Role string
	// Roles are all values of the role claim of a token; nil for the other methods.
	Roles []string
	// Method is token, basic or tls.
	Method string
	// Token is the verified token itself, for functions that are to run with their submitter's credentials.
	Token string
}

// Method is an authentication provider of the configuration.
type Method string

// The providers, in the words of the configuration.
const (
	Token  Method = "token"
	TLS    Method = "tls"
	Basic  Method = "basic"
	OpenID Method = "openid"
	SASL   Method = "sasl"
	Athenz Method = "athenz"
)

// Outcome of one authentication, for the metrics of the contract, section 6.3.
type Outcome struct {
	Provider string // simple Java class name
	Method   string
	Reason   string // "" on success
}

// Options say which providers there are.
type Options struct {
	// Methods in the order in which they are tried.
	Methods []Method
	// Properties are the settings of the providers, by their Java names.
	Properties map[string]string
	// Path makes a relative path of a setting absolute; nil leaves it as it is.
	Path func(string) string
	// VerifyClient checks the client certificate of a connection against the trusted authorities, now; nil: the
	// verification of the handshake counts.
	VerifyClient func(r *http.Request) error
	// Observe is told every outcome; it must not block. nil: nobody.
	Observe func(Outcome)
	// Refused is told why a request is answered with 401; the text holds no credential. nil: nobody.
	Refused func(r *http.Request, err error)
	Log     *zap.Logger      // nil: none
	Now     func() time.Time // nil: time.Now
}

// provider checks the credentials of one kind.
type provider interface {
	// method is what X-Pulsar-Auth-Method-Name selects it by.
	method() string
	// class is the simple Java class name, for the metrics.
	class() string
	authenticate(r *http.Request) (Identity, error)
}

// refusal is why credentials were not taken; reason is the label of the metric.
type refusal struct {
	reason string
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(reason, format string, args ...any) error {
	return &refusal{reason: reason, text: fmt.Sprintf(format, args...)}
}

// Authenticator tries the configured providers.
type Authenticator struct {
	providers []provider
	observe   func(Outcome)
	refused   func(*http.Request, error)
	log       *zap.Logger
}

// New makes the providers. An error names the setting and what to do; no secret is part of it.
func New(o Options) (*Authenticator, error) {
	if len(o.Methods) == 0 {
		return nil, errors.New("authenticationProviders: none is given: every request would pass without a role")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Path == nil {
		o.Path = func(p string) string { return p }
	}
	a := &Authenticator{observe: o.Observe, refused: o.Refused, log: o.Log}
	if a.refused == nil {
		a.refused = func(*http.Request, error) {}
	}
	if a.observe == nil {
		a.observe = func(Outcome) {}
	}
	for _, m := range o.Methods {
		p, err := newProvider(m, o)
		if err != nil {
			return nil, fmt.Errorf("authenticationProviders: %s: %w", m, err)
		}
		a.providers = append(a.providers, p)
	}
	return a, nil
}

func newProvider(m Method, o Options) (provider, error) {
	switch m {
	case Token:
		return newTokenProvider(o)
	case TLS:
		return &tlsProvider{verify: o.VerifyClient, now: o.Now}, nil
	case Basic:
		return newBasicProvider(o)
	case OpenID:
		return newOpenIDProvider(o)
	case SASL:
		return nil, errors.New("Kerberos (AuthenticationProviderSasl) is not available in this worker; " +
			"remove it from the list, and let callers use a token, a client certificate or a password")
	case Athenz:
		return nil, errors.New("Athenz (AuthenticationProviderAthenz) is not available in this worker, nor is it part of the Pulsar 4.0 distribution; " +
			"remove it from the list, and let callers use a token, a client certificate or a password")
	}
	return nil, fmt.Errorf("%q is not known", m)
}

// methodHeader lets a client name the method of its credentials; then no other is tried.
const methodHeader = "X-Pulsar-Auth-Method-Name"

// Authenticate finds out who sent the request.
func (a *Authenticator) Authenticate(r *http.Request) (Identity, error) {
	wanted, named := "", false
	if values := r.Header.Values(methodHeader); len(values) > 0 {
		wanted, named = values[0], true
		if len(values) > 1 {
			return Identity{}, refuse("UNKNOWN", "the header %s is given %d times", methodHeader, len(values))
		}
	} else if r.Header.Get("SASL-Type") == "Kerberos" {
		wanted, named = "sasl", true
	}
	if len(r.Header.Values("Authorization")) > 1 { // what a proxy in front took for the credentials may be another one
		return Identity{}, refuse("UNKNOWN", "the header Authorization is given more than once")
	}
	var failures []error
	for _, p := range a.providers {
		if named && p.method() != wanted {
			continue
		}
		identity, err := p.authenticate(r)
		if err == nil {
			a.observe(Outcome{Provider: p.class(), Method: p.method()})
			return identity, nil
		}
		reason := "UNKNOWN"
		var known *refusal
		if errors.As(err, &known) {
			reason = known.reason
		}
		a.observe(Outcome{Provider: p.class(), Method: p.method(), Reason: reason})
		failures = append(failures, fmt.Errorf("%s: %w", p.class(), err))
	}
	if len(failures) == 0 {
		return Identity{}, refuse("UNKNOWN", "no provider has the method %q", wanted)
	}
	return Identity{}, errors.Join(failures...)
}

// PrincipalHeader names on whose behalf a proxy asks.
const PrincipalHeader = "X-Original-Principal"

type identityKey struct{}

// FromContext is the caller of a request that passed Wrap; false when authentication is off.
func FromContext(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}

// NewContext puts a caller into a context.
func NewContext(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// Wrap lets authenticated requests pass and answers 401 to all others.
func (a *Authenticator) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := a.Authenticate(r)
		if err != nil {
			a.log.Debug("refused a request", zap.String("client", r.RemoteAddr), zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
			a.refused(r, err)
			unauthenticated(w, r)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), id)))
	})
}

// unauthenticated answers with the one text that says nothing about the reason (contract, section 1).
func unauthenticated(w http.ResponseWriter, r *http.Request) {
	const text = "Authentication required"
	body, _ := json.Marshal(map[string]string{"reason": text, "message": text, "status": "401", "url": r.URL.EscapedPath()}) // strings always encode
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write(body)
}
