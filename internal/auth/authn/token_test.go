package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

var (
	secret   = []byte(strings.Repeat("0123456789abcdef", 2)) // 256 bits
	secret64 = []byte(strings.Repeat("0123456789abcdef", 4))
)

func inline(data []byte) string { return "data:;base64," + base64.StdEncoding.EncodeToString(data) }

func sign(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	require.NoError(t, err)
	return text
}

func withToken(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/admin/v2/worker/cluster", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func newToken(t *testing.T, properties map[string]string) *Authenticator {
	t.Helper()
	a, err := New(Options{Methods: []Method{Token}, Properties: properties})
	require.NoError(t, err)
	return a
}

func der(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	data, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	return data
}

func TestTokenClaims(t *testing.T) {
	soon, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	tests := map[string]struct {
		properties map[string]string
		claims     jwt.MapClaims
		wantRole   string
		wantRoles  []string
		wantFail   bool
	}{
		"subject":                    {claims: jwt.MapClaims{"sub": "alice"}, wantRole: "alice", wantRoles: []string{"alice"}},
		"no role claim":              {claims: jwt.MapClaims{"name": "alice"}},
		"other claim":                {properties: map[string]string{"tokenAuthClaim": "role"}, claims: jwt.MapClaims{"sub": "x", "role": "alice"}, wantRole: "alice", wantRoles: []string{"alice"}},
		"first of a list":            {claims: jwt.MapClaims{"sub": []string{"alice", "bob"}}, wantRole: "alice", wantRoles: []string{"alice", "bob"}},
		"empty list":                 {claims: jwt.MapClaims{"sub": []string{}}, wantFail: true},
		"list with a number":         {properties: map[string]string{"tokenAuthClaim": "role"}, claims: jwt.MapClaims{"role": []any{"a", 1}}, wantFail: true},
		"role is a number":           {properties: map[string]string{"tokenAuthClaim": "role"}, claims: jwt.MapClaims{"role": 7}, wantFail: true},
		"expires later":              {claims: jwt.MapClaims{"sub": "alice", "exp": soon}, wantRole: "alice", wantRoles: []string{"alice"}},
		"expired":                    {claims: jwt.MapClaims{"sub": "alice", "exp": past}, wantFail: true},
		"expired, within the leeway": {properties: map[string]string{"tokenAllowedClockSkewSeconds": "7200"}, claims: jwt.MapClaims{"sub": "alice", "exp": past}, wantRole: "alice", wantRoles: []string{"alice"}},
		"not yet valid":              {claims: jwt.MapClaims{"sub": "alice", "nbf": soon}, wantFail: true},
		"expired in 1970":            {claims: jwt.MapClaims{"sub": "alice", "exp": 0}, wantFail: true},
		"exp is a text":              {claims: jwt.MapClaims{"sub": "alice", "exp": "tomorrow"}, wantFail: true},
		"audience":                   {properties: map[string]string{"tokenAudienceClaim": "aud", "tokenAudience": "w"}, claims: jwt.MapClaims{"sub": "alice", "aud": "w"}, wantRole: "alice", wantRoles: []string{"alice"}},
		"audience in a list":         {properties: map[string]string{"tokenAudienceClaim": "aud", "tokenAudience": "w"}, claims: jwt.MapClaims{"sub": "alice", "aud": []string{"v", "w"}}, wantRole: "alice", wantRoles: []string{"alice"}},
		"other audience":             {properties: map[string]string{"tokenAudienceClaim": "aud", "tokenAudience": "w"}, claims: jwt.MapClaims{"sub": "alice", "aud": "wide"}, wantFail: true},
		"no audience":                {properties: map[string]string{"tokenAudienceClaim": "aud", "tokenAudience": "w"}, claims: jwt.MapClaims{"sub": "alice"}, wantFail: true},
		"prefix":                     {properties: map[string]string{"tokenSettingPrefix": "my_", "my_tokenAuthClaim": "r"}, claims: jwt.MapClaims{"r": "alice"}, wantRole: "alice", wantRoles: []string{"alice"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			properties := map[string]string{}
			for k, v := range tc.properties {
				properties[k] = v
			}
			properties[properties["tokenSettingPrefix"]+"tokenSecretKey"] = inline(secret)
			token := sign(t, jwt.SigningMethodHS256, secret, tc.claims)
			id, err := newToken(t, properties).Authenticate(withToken(token))
			if tc.wantFail {
				require.Error(t, err)
				require.NotContains(t, err.Error(), token)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Identity{Role: tc.wantRole, Roles: tc.wantRoles, Method: "token", Token: token}, id)
		})
	}
}

// TestAlgorithms: what a key verifies follows from the key, whatever the token says (CVE-2021-22160 and its like).
func TestAlgorithms(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rsaDER, ecDER := der(t, private.Public()), der(t, p256.Public())
	byRSA := map[string]string{"tokenPublicKey": inline(rsaDER)}
	byEC := map[string]string{"tokenPublicKey": inline(ecDER), "tokenPublicAlg": "ES256"}
	claims := jwt.MapClaims{"sub": "alice"}
	alice := sign(t, jwt.SigningMethodHS256, secret, claims)
	parts := strings.Split(alice, ".")
	encode := base64.RawURLEncoding.EncodeToString
	none := func(alg string) string { return encode([]byte(`{"alg":"`+alg+`"}`)) + "." + parts[1] + "." }
	critical := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	critical.Header["crit"] = []string{"b64"}
	criticalToken, err := critical.SignedString(secret)
	require.NoError(t, err)
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: rsaDER})
	tests := map[string]struct {
		properties map[string]string
		token      string
		want       bool
	}{
		"HS256":                       {map[string]string{"tokenSecretKey": inline(secret)}, alice, true},
		"HS512 with a short key":      {map[string]string{"tokenSecretKey": inline(secret)}, sign(t, jwt.SigningMethodHS512, secret, claims), false},
		"HS512 with a long key":       {map[string]string{"tokenSecretKey": inline(secret64)}, sign(t, jwt.SigningMethodHS512, secret64, claims), true},
		"RS256":                       {byRSA, sign(t, jwt.SigningMethodRS256, private, claims), true},
		"PS512":                       {byRSA, sign(t, jwt.SigningMethodPS512, private, claims), true},
		"ES256":                       {byEC, sign(t, jwt.SigningMethodES256, p256, claims), true},
		"ES384 against a P-256 key":   {byEC, sign(t, jwt.SigningMethodES384, p384, claims), false},
		"RS256 of another key":        {byRSA, sign(t, jwt.SigningMethodRS256, other, claims), false},
		"public key as HMAC secret":   {byRSA, sign(t, jwt.SigningMethodHS256, rsaDER, claims), false},
		"PEM text as HMAC secret":     {byRSA, sign(t, jwt.SigningMethodHS256, pemKey, claims), false},
		"none":                        {map[string]string{"tokenSecretKey": inline(secret)}, none("none"), false},
		"None":                        {map[string]string{"tokenSecretKey": inline(secret)}, none("None"), false},
		"none against a public key":   {byRSA, none("none"), false},
		"secret key beats public key": {map[string]string{"tokenSecretKey": inline(secret), "tokenPublicKey": inline(rsaDER)}, alice, true},
		"changed payload":             {map[string]string{"tokenSecretKey": inline(secret)}, parts[0] + "." + encode([]byte(`{"sub":"root"}`)) + "." + parts[2], false},
		"cut signature":               {map[string]string{"tokenSecretKey": inline(secret)}, alice[:len(alice)-2], false},
		"no signature":                {map[string]string{"tokenSecretKey": inline(secret)}, parts[0] + "." + parts[1] + ".", false},
		"critical header":             {map[string]string{"tokenSecretKey": inline(secret)}, criticalToken, false},
		"no token at all":             {map[string]string{"tokenSecretKey": inline(secret)}, "garbage", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := newToken(t, tc.properties).Authenticate(withToken(tc.token))
			require.Equal(t, tc.want, err == nil, "%v", err)
		})
	}
}

func TestTokenTransport(t *testing.T) {
	token := sign(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "alice"})
	a := newToken(t, map[string]string{"tokenSecretKey": inline(secret)})
	tests := map[string]struct {
		target string
		header http.Header
		want   bool
	}{
		"header":                 {"/x", http.Header{"Authorization": {"Bearer " + token}}, true},
		"small letters":          {"/x", http.Header{"Authorization": {"bearer " + token}}, false},
		"query":                  {"/x?token=" + token, nil, true},
		"query with the prefix":  {"/x?token=Bearer%20" + token, nil, true},
		"query beside a header":  {"/x?token=" + token, http.Header{"Authorization": {"Bearer x"}}, false},
		"two headers":            {"/x", http.Header{"Authorization": {"Bearer " + token, "Bearer " + token}}, false},
		"nothing":                {"/x", nil, false},
		"blank":                  {"/x", http.Header{"Authorization": {"Bearer  "}}, false},
		"method named":           {"/x", http.Header{"Authorization": {"Bearer " + token}, methodHeader: {"token"}}, true},
		"method in other case":   {"/x", http.Header{"Authorization": {"Bearer " + token}, methodHeader: {"Token"}}, false},
		"method that is missing": {"/x", http.Header{"Authorization": {"Bearer " + token}, methodHeader: {"tls"}}, false},
		"method that is empty":   {"/x", http.Header{"Authorization": {"Bearer " + token}, methodHeader: {""}}, false},
		"Kerberos":               {"/x", http.Header{"Authorization": {"Bearer " + token}, "Sasl-Type": {"Kerberos"}}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, tc.target, nil)
			for k, v := range tc.header {
				r.Header[http.CanonicalHeaderKey(k)] = v
			}
			w := httptest.NewRecorder()
			var got Identity
			a.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, _ = FromContext(r.Context()) })).ServeHTTP(w, r)
			if tc.want {
				require.Equal(t, http.StatusOK, w.Code)
				require.Equal(t, "alice", got.Role)
				return
			}
			require.Equal(t, http.StatusUnauthorized, w.Code)
			var body map[string]string
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			require.Equal(t, "Authentication required", body["reason"])
			require.Empty(t, w.Header().Get("WWW-Authenticate"))
		})
	}
}

func TestTokenSettings(t *testing.T) {
	dir := t.TempDir()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	raw := write("secret key", secret)
	pemFile := write("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der(t, private.Public())}))
	tests := map[string]struct {
		properties map[string]string
		want       string // "" = works
	}{
		"file URL":             {map[string]string{"tokenSecretKey": "file://" + strings.ReplaceAll(raw, " ", "%20")}, ""},
		"file, one slash":      {map[string]string{"tokenSecretKey": "file:" + raw}, ""},
		"plain path":           {map[string]string{"tokenSecretKey": raw}, ""},
		"base64":               {map[string]string{"tokenSecretKey": base64.StdEncoding.EncodeToString(secret)}, ""},
		"data with media type": {map[string]string{"tokenSecretKey": "data:application/octet-stream;base64," + base64.StdEncoding.EncodeToString(secret)}, ""},
		"data as text":         {map[string]string{"tokenSecretKey": "data:," + string(secret)}, ""},
		"no key":               {nil, "No secret key was provided"},
		"short key":            {map[string]string{"tokenSecretKey": inline(secret[:31])}, "248 bits"},
		"missing file":         {map[string]string{"tokenSecretKey": "file:///no/such"}, "doesn't exist"},
		"neither":              {map[string]string{"tokenSecretKey": "!no!"}, "neither data:"},
		"PEM":                  {map[string]string{"tokenPublicKey": "file://" + pemFile}, "Failed to decode public key"},
		"weak RSA":             {map[string]string{"tokenPublicKey": inline(der(t, weak.Public()))}, "1024 bits"},
		"sample algorithm":     {map[string]string{"tokenPublicKey": inline(der(t, private.Public())), "tokenPublicAlg": "RSA256"}, "invalid algorithm provided RSA256"},
		"RSA key, EC named":    {map[string]string{"tokenPublicKey": inline(der(t, private.Public())), "tokenPublicAlg": "ES256"}, "Failed to decode public key"},
		"audience claim alone": {map[string]string{"tokenSecretKey": inline(secret), "tokenAudienceClaim": "aud"}, "Token Audience Claim [aud] configured"},
		"leeway":               {map[string]string{"tokenSecretKey": inline(secret), "tokenAllowedClockSkewSeconds": "-1"}, "tokenAllowedClockSkewSeconds"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{Methods: []Method{Token}, Properties: tc.properties})
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), string(secret[:31]))
		})
	}
}

// TestKeyFileIsReadAgain: a changed key file counts within seconds; one that cannot be used leaves the old key.
func TestKeyFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, secret, 0o600))
	now := time.Now()
	a, err := New(Options{Methods: []Method{Token}, Properties: map[string]string{"tokenSecretKey": "file://" + path}, Now: func() time.Time { return now }})
	require.NoError(t, err)
	before := sign(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "a"})
	after := sign(t, jwt.SigningMethodHS256, secret64, jwt.MapClaims{"sub": "a"})
	accepts := func(token string) bool { _, err := a.Authenticate(withToken(token)); return err == nil }
	require.True(t, accepts(before))
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	now = now.Add(reloadEvery)
	require.True(t, accepts(before), "an unusable file does not lock everybody out")
	require.NoError(t, os.WriteFile(path, secret64, 0o600))
	require.False(t, accepts(after), "not looked at yet")
	now = now.Add(reloadEvery)
	require.True(t, accepts(after))
	require.False(t, accepts(before))
	require.NoError(t, os.Remove(path))
	now = now.Add(reloadEvery)
	require.True(t, accepts(after))
}

func TestProvidersThatAreMissing(t *testing.T) {
	for _, m := range []Method{SASL, Athenz, "x"} {
		_, err := New(Options{Methods: []Method{m}})
		require.ErrorContains(t, err, string(m))
	}
	_, err := New(Options{})
	require.ErrorContains(t, err, "authenticationProviders")
}

func FuzzToken(f *testing.F) {
	a, err := New(Options{Methods: []Method{Token, Basic, TLS}, Properties: map[string]string{"tokenSecretKey": inline(secret), "basicAuthConf": "data:,u:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"}})
	require.NoError(f, err)
	f.Add("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "")
	f.Add("Basic dTpzZWNyZXQ", "basic")
	f.Fuzz(func(t *testing.T, authorization, method string) {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Header["Authorization"] = []string{authorization}
		if method != "" {
			r.Header[methodHeader] = []string{method}
		}
		id, err := a.Authenticate(r)
		if err == nil && id.Role != "u" {
			t.Fatalf("%q became %+v", authorization, id)
		}
	})
}
