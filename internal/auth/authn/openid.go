package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
)

// openIDProvider is AuthenticationProviderOpenID: tokens of issuers whose keys are found by discovery. Issuers are asked
// when the first token of theirs comes, not at start.
type openIDProvider struct {
	issuers   map[string]*issuer
	audiences []string
	roleClaim string
	leeway    time.Duration
	now       func() time.Time
}

var openIDAlgorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}

func newOpenIDProvider(o Options) (*openIDProvider, error) {
	get := func(name string) string { return strings.TrimSpace(o.Properties[name]) }
	p := &openIDProvider{issuers: map[string]*issuer{}, audiences: list(get("openIDAllowedAudiences")), roleClaim: get("openIDRoleClaim"), now: o.Now}
	if p.roleClaim == "" {
		p.roleClaim = "sub"
	}
	if mode := get("openIDFallbackDiscoveryMode"); mode != "" && mode != "DISABLED" {
		return nil, fmt.Errorf("openIDFallbackDiscoveryMode: %q is not available in this worker; name the issuer of the Kubernetes API server in openIDAllowedTokenIssuers", mode)
	}
	if len(p.audiences) == 0 {
		return nil, errors.New("Missing configured value for: openIDAllowedAudiences")
	}
	names := list(get("openIDAllowedTokenIssuers"))
	if len(names) == 0 {
		return nil, errors.New("Missing configured value for: openIDAllowedTokenIssuers")
	}
	var err error
	if p.leeway, err = seconds(get("openIDAcceptedTimeLeewaySeconds"), "openIDAcceptedTimeLeewaySeconds"); err != nil {
		return nil, err
	}
	template, err := newIssuerSettings(get, o)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		u, err := url.Parse(name)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, fmt.Errorf("openIDAllowedTokenIssuers: %q is no URL", name)
		}
		if u.Scheme != "https" && get("openIDRequireIssuersUseHttps") != "false" {
			return nil, fmt.Errorf("openIDAllowedTokenIssuers: Issuer URL must use https, but was: %s; only openIDRequireIssuersUseHttps: false allows another scheme", name)
		}
		p.issuers[name] = &issuer{name: name, issuerSettings: template}
	}
	return p, nil
}

func list(text string) (out []string) {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func (p *openIDProvider) method() string { return "token" }
func (p *openIDProvider) class() string  { return "AuthenticationProviderOpenID" }

func (p *openIDProvider) authenticate(r *http.Request) (Identity, error) {
	token, err := bearer(r)
	if err != nil {
		return Identity{}, err
	}
	unverified := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, unverified); err != nil {
		return Identity{}, refuse("INVALID_TOKEN", "the token cannot be read")
	}
	name, _ := unverified["iss"].(string) // only to find whose keys to use; the claim is checked again below
	from, ok := p.issuers[name]
	if !ok {
		return Identity{}, refuse("INVALID_TOKEN", "the issuer of the token is not allowed")
	}
	payload, err := from.verify(r.Context(), token)
	if err != nil {
		return Identity{}, refuse("INVALID_TOKEN", "%v", err)
	}
	var claims jwt.MapClaims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return Identity{}, refuse("INVALID_TOKEN", "the claims of the token cannot be read")
	}
	if err := p.check(claims, name); err != nil {
		return Identity{}, err
	}
	roles, err := rolesOf(claims, p.roleClaim)
	if err != nil {
		return Identity{}, err
	}
	if len(roles) == 0 {
		return Identity{}, refuse("INVALID_TOKEN", "the token has no claim %s", p.roleClaim)
	}
	return Identity{Role: roles[0], Roles: roles, Method: "token", Token: token}, nil
}

// check wants all claims that the Java provider wants (contract, section 2.5).
func (p *openIDProvider) check(claims jwt.MapClaims, issuer string) error {
	for _, name := range []string{"iss", "aud", "iat", "exp", "nbf", "sub"} {
		if claims[name] == nil {
			return refuse("INVALID_TOKEN", "the token has no claim %s", name)
		}
	}
	validator := jwt.NewValidator(jwt.WithLeeway(p.leeway), jwt.WithTimeFunc(p.now), jwt.WithIssuedAt(), jwt.WithExpirationRequired(), jwt.WithIssuer(issuer))
	if err := validator.Validate(claims); err != nil {
		return refuse("INVALID_TOKEN", "the token is not valid: %v", err)
	}
	for _, audience := range p.audiences {
		if holds(claims["aud"], audience) {
			return nil
		}
	}
	return refuse("INVALID_AUDIENCES", "the token is for another audience")
}

// issuerSettings are the same for all issuers.
type issuerSettings struct {
	client                    *http.Client
	refresh, expire, missWait time.Duration
	now                       func() time.Time
}

func newIssuerSettings(get func(string) string, o Options) (issuerSettings, error) {
	s := issuerSettings{now: o.Now}
	number := func(name string, fallback int, unit time.Duration, err *error) time.Duration {
		n := fallback
		if text := get(name); text != "" && *err == nil {
			var bad error
			if n, bad = strconv.Atoi(text); bad != nil || n < 0 {
				*err = fmt.Errorf("%s: %q is no number", name, text)
			}
		}
		return time.Duration(n) * unit
	}
	var err error
	s.refresh = number("openIDCacheRefreshAfterWriteSeconds", 64800, time.Second, &err)
	s.expire = number("openIDCacheExpirationSeconds", 86400, time.Second, &err)
	s.missWait = number("openIDKeyIdCacheMissRefreshSeconds", 300, time.Second, &err)
	connect := number("openIDHttpConnectionTimeoutMillis", 10000, time.Millisecond, &err)
	read := number("openIDHttpReadTimeoutMillis", 10000, time.Millisecond, &err)
	if err != nil {
		return s, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := get("openIDTokenIssuerTrustCertsFilePath"); file != "" {
		data, err := os.ReadFile(o.Path(file))
		if err != nil {
			return s, fmt.Errorf("openIDTokenIssuerTrustCertsFilePath: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(data) {
			return s, fmt.Errorf("openIDTokenIssuerTrustCertsFilePath: %s holds no PEM certificate", file)
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, DialContext: (&net.Dialer{Timeout: connect}).DialContext,
		ResponseHeaderTimeout: read, MaxIdleConnsPerHost: 1, IdleConnTimeout: 10 * time.Second,
	}
	s.client = &http.Client{Transport: transport, Timeout: connect + read, CheckRedirect: sameSecurity}
	return s, nil
}

// sameSecurity keeps a redirect of an issuer from leaving https.
func sameSecurity(r *http.Request, via []*http.Request) error {
	if len(via) > 5 || via[0].URL.Scheme != r.URL.Scheme {
		return errors.New("the issuer redirects too often or to another scheme")
	}
	return nil
}

// issuer holds the keys of one issuer.
type issuer struct {
	name string
	issuerSettings

	mu      sync.Mutex
	keys    oidc.KeySet
	fetched time.Time // when keys were found
	tried   time.Time // when they were last asked for
}

// failedWait is the pause after an issuer did not answer.
const failedWait = 5 * time.Second

// verify checks the signature; the keys are looked up anew when they are old, and when a key is unknown, but not more often
// than the settings allow: anybody can send tokens that name unknown keys.
func (i *issuer) verify(ctx context.Context, token string) ([]byte, error) {
	keys, err := i.current(false)
	if err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, i.client)
	payload, err := keys.VerifySignature(ctx, token)
	if err == nil {
		return payload, nil
	}
	renewed, renewErr := i.current(true)
	if renewErr != nil || renewed == keys {
		return nil, errors.New("the signature of the token is not valid")
	}
	if payload, err = renewed.VerifySignature(ctx, token); err != nil {
		return nil, errors.New("the signature of the token is not valid")
	}
	return payload, nil
}

func (i *issuer) current(missed bool) (oidc.KeySet, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	age := now.Sub(i.fetched)
	stale := i.keys == nil || age >= i.refresh || (missed && age >= i.missWait)
	if stale && now.Sub(i.tried) >= failedWait {
		i.tried = now
		keys, err := i.discover()
		if err == nil {
			i.keys, i.fetched, i.tried = keys, now, time.Time{}
			return keys, nil
		}
		if i.keys == nil || age >= i.expire {
			i.keys = nil
			return nil, fmt.Errorf("the keys of the issuer %s cannot be had: %w", i.name, err)
		}
	}
	if i.keys == nil {
		return nil, fmt.Errorf("the keys of the issuer %s could not be had a moment ago", i.name)
	}
	return i.keys, nil
}

// discover asks the issuer for its document and its keys.
func (i *issuer) discover() (oidc.KeySet, error) {
	ctx, cancel := context.WithTimeout(context.Background(), i.client.Timeout)
	defer cancel()
	ctx = oidc.ClientContext(ctx, i.client)
	found, err := oidc.NewProvider(ctx, i.name)
	if err != nil {
		return nil, err
	}
	var document struct {
		Keys string `json:"jwks_uri"`
	}
	if err := found.Claims(&document); err != nil {
		return nil, err
	}
	if strings.HasPrefix(i.name, "https://") && !strings.HasPrefix(document.Keys, "https://") {
		return nil, errors.New("its keys are not at an https address")
	}
	return fetchKeys(ctx, i.client, document.Keys)
}
