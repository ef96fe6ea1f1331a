package authn

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBasic(t *testing.T) {
	users := "alice:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n\nbob:abNANd1rDfiNc\n# a remark\n"
	var seen []Outcome
	a, err := New(Options{Methods: []Method{Basic}, Properties: map[string]string{"basicAuthConf": inline([]byte(users))}, Observe: func(o Outcome) { seen = append(seen, o) }})
	require.NoError(t, err)
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	tests := map[string]struct {
		header     string
		want       string
		wantReason string
	}{
		"right":              {"Basic " + encode("alice:secret"), "alice", ""},
		"right again":        {"Basic " + encode("alice:secret"), "alice", ""},
		"small letters":      {"basic " + encode("bob:secret"), "bob", ""},
		"wrong password":     {"Basic " + encode("alice:secrets"), "", "INVALID_TOKEN"},
		"unknown user":       {"Basic " + encode("carol:secret"), "", "INVALID_TOKEN"},
		"colon in password":  {"Basic " + encode("alice:sec:ret"), "", "INVALID_AUTH_DATA"},
		"no password":        {"Basic " + encode("alice"), "", "INVALID_AUTH_DATA"},
		"no base64":          {"Basic ***", "", "INVALID_AUTH_DATA"},
		"no header":          {"", "", "EMPTY_AUTH_DATA"},
		"another scheme":     {"Bearer x", "", "INVALID_HEADER"},
		"scheme alone":       {"Basic", "", "INVALID_HEADER"},
		"an endless attempt": {"Basic " + encode("alice:"+string(make([]byte, 5000))), "", "INVALID_TOKEN"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			seen = nil
			r := httptest.NewRequest(http.MethodGet, "/x", nil)
			if tc.header != "" {
				r.Header.Set("Authorization", tc.header)
			}
			id, err := a.Authenticate(r)
			require.Equal(t, tc.want == "", err != nil)
			require.Equal(t, tc.want, id.Role)
			require.Equal(t, []Outcome{{"AuthenticationProviderBasic", "basic", tc.wantReason}}, seen)
		})
	}
	for _, bad := range []string{"alice", "alice:", ":x", "alice:a:b", "alice:{SHA}x"} {
		_, err := New(Options{Methods: []Method{Basic}, Properties: map[string]string{"basicAuthConf": "data:," + bad}})
		require.ErrorContains(t, err, "line 1", bad)
	}
	_, err = New(Options{Methods: []Method{Basic}})
	require.ErrorContains(t, err, "basicAuthConf")
}

func certificate(t *testing.T, name pkix.Name, until time.Time) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	data, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(data)
	require.NoError(t, err)
	return cert
}

// TestTLS: a role comes only from a certificate that was verified and is valid now.
func TestTLS(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	alice := certificate(t, pkix.Name{CommonName: "alice", Organization: []string{"o"}}, soon)
	tests := map[string]struct {
		cert     *x509.Certificate
		verified bool
		want     string
	}{
		"verified":       {alice, true, "alice"},
		"not verified":   {alice, false, ""},
		"expired":        {certificate(t, pkix.Name{CommonName: "alice"}, time.Now().Add(-time.Minute)), true, ""},
		"no common name": {certificate(t, pkix.Name{Organization: []string{"o"}}, soon), true, ""},
		"a comma":        {certificate(t, pkix.Name{CommonName: "admin,x"}, soon), true, ""},
		"a backslash":    {certificate(t, pkix.Name{CommonName: `admin\`}, soon), true, ""},
		"a line break":   {certificate(t, pkix.Name{CommonName: "admin\n"}, soon), true, ""},
		"no certificate": {nil, true, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/x", nil)
			r.TLS = &tls.ConnectionState{}
			if tc.cert != nil {
				r.TLS.PeerCertificates = []*x509.Certificate{tc.cert}
			}
			if tc.verified && tc.cert != nil {
				r.TLS.VerifiedChains = [][]*x509.Certificate{{tc.cert}}
			}
			byHandshake, err := New(Options{Methods: []Method{TLS}})
			require.NoError(t, err)
			now, err := New(Options{Methods: []Method{TLS}, VerifyClient: func(*http.Request) error {
				if !tc.verified {
					return errors.New("unknown authority")
				}
				return nil
			}})
			require.NoError(t, err)
			for _, a := range []*Authenticator{byHandshake, now} {
				id, err := a.Authenticate(r)
				require.Equal(t, tc.want == "", err != nil, "%v", err)
				require.Equal(t, tc.want, id.Role)
			}
		})
	}
	a, err := New(Options{Methods: []Method{TLS}})
	require.NoError(t, err)
	_, err = a.Authenticate(httptest.NewRequest(http.MethodGet, "/x", nil))
	require.Error(t, err, "plain HTTP")
}
