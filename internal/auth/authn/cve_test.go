package authn

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// TestCVE_2021_22160_TokensWithoutSignature: whatever a token says about its algorithm, the key decides.
func TestCVE_2021_22160_TokensWithoutSignature(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public := der(t, private.Public())
	encode := base64.RawURLEncoding.EncodeToString
	for _, properties := range []map[string]string{{"tokenSecretKey": inline(secret)}, {"tokenPublicKey": inline(public)}} {
		a := newToken(t, properties)
		for _, algorithm := range []string{"none", "None", "NONE", "nOnE", "", "HS256"} {
			head, payload := encode([]byte(`{"alg":"`+algorithm+`"}`)), encode([]byte(`{"sub":"admin"}`))
			for _, token := range []string{head + "." + payload + ".", head + "." + payload, head + "." + payload + "." + encode([]byte("x"))} {
				_, err := a.Authenticate(withToken(token))
				require.Error(t, err, token)
			}
		}
		_, err = a.Authenticate(withToken(sign(t, jwt.SigningMethodHS256, public, jwt.MapClaims{"sub": "admin"}))) // the public key as a secret
		require.Error(t, err)
	}
}

// TestCVE_2023_31007_ExpiryOnALivingConnection: a connection that once was authenticated does not stay so; token and certificate are
// looked at with each request.
func TestCVE_2023_31007_ExpiryOnALivingConnection(t *testing.T) {
	now := time.Now()
	a, err := New(Options{Methods: []Method{Token}, Properties: map[string]string{"tokenSecretKey": inline(secret)}, Now: func() time.Time { return now }})
	require.NoError(t, err)
	connections := map[string]bool{}
	server := httptest.NewServer(a.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { connections[r.RemoteAddr] = true })))
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+sign(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "a", "exp": now.Add(time.Minute).Unix()}))
	ask := func() int {
		res, err := server.Client().Do(request)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	require.Equal(t, http.StatusOK, ask())
	require.Equal(t, http.StatusOK, ask())
	require.Len(t, connections, 1)
	now = now.Add(2 * time.Minute)
	require.Equal(t, http.StatusUnauthorized, ask())

	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Minute)}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	p := &tlsProvider{now: func() time.Time { return now }}
	_, err = p.authenticate(r)
	require.NoError(t, err)
	now = now.Add(2 * time.Minute)
	_, err = p.authenticate(r)
	require.Error(t, err)
}

// TestCVE_2023_51437_ComparisonsOfSecrets: SASL, whose role tokens Java compared byte by byte, is refused; the comparisons that are left
// take the same time for a hash that differs early and for one that differs late.
func TestCVE_2023_51437_ComparisonsOfSecrets(t *testing.T) {
	_, err := New(Options{Methods: []Method{SASL}})
	require.ErrorContains(t, err, "not available")
	// A comparison that ends at the first difference is a thousand times faster here.
	long := strings.Repeat("a", 1<<20)
	early, late := "!"+long, long+"!"
	measure := func(sum string) (best time.Duration) {
		best = time.Hour
		for range 50 {
			start := time.Now()
			require.False(t, equalSecrets(sum, long+"a"))
			best = min(best, time.Since(start))
		}
		return best
	}
	a, b := measure(early), measure(late)
	require.InDelta(t, 1, float64(a)/float64(b), 0.5, "%v against %v", a, b)
	h := apr1Hash{salt: "saltsalt", sum: apr1("password", "saltsalt")}
	require.True(t, h.matches("password"))
	require.False(t, h.matches("Password"))
}

// TestGuessesOfPasswords: nobody learns from the time which users there are, and guesses do not take all processors.
func TestGuessesOfPasswords(t *testing.T) {
	users, err := parsePasswords([]byte("alice:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\ncarol:$2y$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n" +
		"dave:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n"))
	require.NoError(t, err)
	require.Equal(t, users["dave"], slowest(users))
	require.IsType(t, apr1Hash{}, slowest(nil))

	r := newRemembered()
	for range cap(r.hashing) {
		r.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, r.check(ctx, users["alice"], "alice", "x"), "it waits for a place until its client has gone")
	<-r.hashing
	require.False(t, r.check(t.Context(), users["alice"], "alice", "x"))
}

func FuzzHtpasswd(f *testing.F) {
	f.Add([]byte("alice:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\nbob:saszXxSaFNmEQ\n# comment\n"), "secret")
	f.Add([]byte("carol:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n"), "x")
	f.Add([]byte("a:$apr1$$\nb:\x00:\n:"), "")
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		users, err := parsePasswords(data)
		if err != nil || len(users) > 2 || len(password) > maxPassword || bytes.Contains(data, []byte("$2")) {
			return // bcrypt is slow on purpose
		}
		for _, hash := range users {
			if hash.matches(password) && hash.matches(password+"\x01x") && len(password) > 8 {
				if _, traditional := hash.(apr1Hash); traditional {
					t.Fatal("two passwords fit one hash")
				}
			}
		}
	})
}

func FuzzAuthorizationHeader(f *testing.F) {
	users := inline([]byte("alice:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n"))
	a, err := New(Options{Methods: []Method{Token, Basic}, Properties: map[string]string{"tokenSecretKey": inline(secret), "basicAuthConf": users}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Basic "+base64.StdEncoding.EncodeToString([]byte("alice:secret")), "", "")
	f.Add("Bearer a.b.c", "token", "token=a.b.c")
	f.Add("basic  YTpi", "basic", "")
	f.Fuzz(func(t *testing.T, header, method, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		if method != "" {
			r.Header.Set(methodHeader, method)
		}
		r.URL.RawQuery = query
		if id, err := a.Authenticate(r); err == nil && (id.Role != "alice" || id.Method != "basic") { // no token here is signed
			t.Fatalf("%+v by %q %q %q", id, header, method, query)
		}
	})
}
