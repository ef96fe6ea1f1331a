package authn

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// testIssuer is an OpenID issuer whose keys can be exchanged.
type testIssuer struct {
	*httptest.Server
	keys    atomic.Pointer[jose.JSONWebKeySet]
	fetches atomic.Int32
	down    atomic.Bool
}

func newTestIssuer(t *testing.T) *testIssuer {
	i := &testIssuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if i.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		_ = json.NewEncoder(w).Encode(i.keys.Load())
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *testIssuer) rotate(t *testing.T, id string) *rsa.PrivateKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	i.keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"}}})
	return private
}

func issue(t *testing.T, key any, id string, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = id
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

func TestOpenID(t *testing.T) {
	one, two, stranger := newTestIssuer(t), newTestIssuer(t), newTestIssuer(t)
	key1, key2, key3 := one.rotate(t, "k1"), two.rotate(t, "k1"), stranger.rotate(t, "k1")
	trust := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(trust, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Certificate().Raw}), 0o600))
	now := time.Now()
	a, err := New(Options{Methods: []Method{Token, OpenID}, Now: func() time.Time { return now }, Properties: map[string]string{
		"tokenSecretKey": inline(secret), "openIDAllowedTokenIssuers": one.URL + "," + two.URL, "openIDAllowedAudiences": "a, b", "openIDTokenIssuerTrustCertsFilePath": trust,
	}})
	require.NoError(t, err)
	claims := func(issuer string, change jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"iss": issuer, "aud": "b", "sub": "alice", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}
		for k, v := range change {
			c[k] = v
			if v == nil {
				delete(c, k)
			}
		}
		return c
	}
	tests := map[string]struct {
		token string
		want  string
	}{
		"first issuer":            {issue(t, key1, "k1", claims(one.URL, nil)), "alice"},
		"second issuer":           {issue(t, key2, "k1", claims(two.URL, nil)), "alice"},
		"an HMAC token beside":    {sign(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "bob"}), "bob"},
		"audience in a list":      {issue(t, key1, "k1", claims(one.URL, jwt.MapClaims{"aud": []string{"x", "a"}})), "alice"},
		"list of roles":           {issue(t, key1, "k1", claims(one.URL, jwt.MapClaims{"sub": []string{"alice", "x"}})), "alice"},
		"issuer not allowed":      {issue(t, key3, "k1", claims(stranger.URL, nil)), ""},
		"key of the other issuer": {issue(t, key2, "k1", claims(one.URL, nil)), ""},
		"unknown key":             {issue(t, key3, "k9", claims(one.URL, nil)), ""},
		"HMAC in its name":        {sign(t, jwt.SigningMethodHS256, []byte("x"), claims(one.URL, nil)), ""},
		"other audience":          {issue(t, key1, "k1", claims(one.URL, jwt.MapClaims{"aud": "c"})), ""},
		"expired":                 {issue(t, key1, "k1", claims(one.URL, jwt.MapClaims{"exp": now.Add(-time.Second).Unix()})), ""},
		"not yet":                 {issue(t, key1, "k1", claims(one.URL, jwt.MapClaims{"nbf": now.Add(time.Hour).Unix()})), ""},
	}
	for _, name := range []string{"aud", "iat", "exp", "nbf", "sub"} {
		tests["without "+name] = struct{ token, want string }{issue(t, key1, "k1", claims(one.URL, jwt.MapClaims{name: nil})), ""}
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			id, err := a.Authenticate(withToken(tc.token))
			require.Equal(t, tc.want == "", err != nil, "%v", err)
			require.Equal(t, tc.want, id.Role)
		})
	}
	require.EqualValues(t, 1, one.fetches.Load(), "tokens with unknown keys must not make the worker ask each time")

	// Rotation: the new key counts once the pause after the last look has passed; the old one is gone then.
	next := one.rotate(t, "k2")
	now = now.Add(301 * time.Second)
	id, err := a.Authenticate(withToken(issue(t, next, "k2", claims(one.URL, nil))))
	require.NoError(t, err)
	require.Equal(t, "alice", id.Role)
	_, err = a.Authenticate(withToken(issue(t, key1, "k1", claims(one.URL, nil))))
	require.Error(t, err)

	// An issuer that is away: known keys count until they expire.
	one.down.Store(true)
	now = now.Add(70000 * time.Second)
	_, err = a.Authenticate(withToken(issue(t, next, "k2", claims(one.URL, nil))))
	require.NoError(t, err)
	now = now.Add(30000 * time.Second)
	_, err = a.Authenticate(withToken(issue(t, next, "k2", claims(one.URL, nil))))
	require.ErrorContains(t, err, "cannot be had")
}

func TestOpenIDSettings(t *testing.T) {
	good := map[string]string{"openIDAllowedTokenIssuers": "https://issuer.example", "openIDAllowedAudiences": "a"}
	tests := map[string]struct{ key, value, want string }{
		"works":           {"openIDRoleClaim", "email", ""},
		"no audience":     {"openIDAllowedAudiences", " ", "Missing configured value for: openIDAllowedAudiences"},
		"no issuer":       {"openIDAllowedTokenIssuers", "", "Missing configured value for: openIDAllowedTokenIssuers"},
		"plain issuer":    {"openIDAllowedTokenIssuers", "http://issuer.example", "must use https"},
		"no URL":          {"openIDAllowedTokenIssuers", "issuer", "no URL"},
		"Kubernetes mode": {"openIDFallbackDiscoveryMode", "KUBERNETES_DISCOVER_PUBLIC_KEYS", "not available"},
		"number":          {"openIDCacheExpirationSeconds", "a day", "openIDCacheExpirationSeconds"},
		"trust file":      {"openIDTokenIssuerTrustCertsFilePath", "/no/such", "openIDTokenIssuerTrustCertsFilePath"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			properties := map[string]string{}
			for k, v := range good {
				properties[k] = v
			}
			properties[tc.key] = tc.value
			_, err := New(Options{Methods: []Method{OpenID}, Properties: properties})
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}
