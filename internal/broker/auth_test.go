package broker

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const javaAuth = "org.apache.pulsar.client.impl.auth."

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// header gives what credentials add to a request.
func header(t *testing.T, plugin, params string) (method, authorization string, err error) {
	t.Helper()
	creds, err := newCredentials(Config{AuthPlugin: plugin, AuthParams: params})
	if err != nil || creds.authorize == nil {
		return creds.method, "", err
	}
	h := http.Header{}
	err = creds.authorize(t.Context(), h)
	return creds.method, h.Get("Authorization"), err
}

func TestAuthParameters(t *testing.T) {
	t.Setenv("BROKER_TEST_TOKEN", "env.jwt")
	file := write(t, " file.jwt\n")
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:p:w"))
	for _, tc := range []struct {
		name, plugin, params  string
		wantMethod, wantValue string
		wantErr               string
	}{
		{name: "nothing"},
		{name: "parameters without plug-in", params: "token:x"},
		{name: "plug-in without parameters", plugin: javaAuth + "AuthenticationToken", params: " "},
		{name: "disabled", plugin: javaAuth + "AuthenticationDisabled", params: "x"},
		{name: "token", plugin: javaAuth + "AuthenticationToken", params: "token:a.b.c", wantMethod: "token", wantValue: "Bearer a.b.c"},
		{name: "bare token", plugin: javaAuth + "AuthenticationToken", params: "a.b.c", wantMethod: "token", wantValue: "Bearer a.b.c"},
		{name: "token as JSON", plugin: "token", params: `{"token":"a.b.c"}`, wantMethod: "token", wantValue: "Bearer a.b.c"},
		{name: "token file", plugin: "token", params: "file://" + file, wantMethod: "token", wantValue: "Bearer file.jwt"},
		{name: "token file, one slash", plugin: "token", params: "file:" + file, wantMethod: "token", wantValue: "Bearer file.jwt"},
		{name: "token variable", plugin: "token", params: "env:BROKER_TEST_TOKEN", wantMethod: "token", wantValue: "Bearer env.jwt"},
		{name: "token variable, unset", plugin: "token", params: "env:BROKER_TEST_NONE", wantErr: "holds no token"},
		{name: "token file, missing", plugin: "token", params: "file:///no/such/file", wantErr: "no such file"},
		{name: "token empty", plugin: "token", params: "token:", wantErr: "holds no token"},
		{name: "token with a line break", plugin: "token", params: "token:secret\nX-Evil: 1", wantErr: "control characters"},
		{name: "token JSON without token", plugin: "token", params: `{"x":"secret"}`, wantErr: "no member token"},
		{name: "basic", plugin: javaAuth + "AuthenticationBasic", params: `{"userId":"me","password":"p:w"}`, wantMethod: "basic", wantValue: basic},
		{name: "basic as pairs", plugin: "basic", params: "userId:me,password:p:w", wantMethod: "basic", wantValue: basic},
		{name: "basic incomplete", plugin: "basic", params: `{"userId":"secret"}`, wantErr: "need userId"},
		{name: "basic, broken JSON", plugin: "basic", params: `{"userId":"secret"`, wantErr: "not a JSON object"},
		{name: "tls incomplete", plugin: javaAuth + "AuthenticationTls", params: "tlsCertFile:/secret", wantErr: "tlsKeyFile"},
		{name: "oauth2 without issuer", plugin: javaAuth + "oauth2.AuthenticationOAuth2", params: `{"privateKey":"secret"}`, wantErr: "issuerUrl"},
		{name: "oauth2 of another type", plugin: "oauth2", params: `{"type":"secret"}`, wantErr: "client_credentials"},
		{name: "not supported", plugin: javaAuth + "AuthenticationSasl", params: "secret", wantErr: "not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			method, value, err := header(t, tc.plugin, tc.params)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				assert.NotContains(t, err.Error(), "secret", "no parameters in errors")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.wantMethod, method)
			assert.Equal(t, tc.wantValue, value)
		})
	}
}

func TestTokenFileIsReadAgain(t *testing.T) {
	file := write(t, "first")
	creds, err := newCredentials(Config{AuthPlugin: "token", AuthParams: "file://" + file})
	require.NoError(t, err)
	for _, token := range []string{"first", "second"} {
		require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
		h := http.Header{}
		require.NoError(t, creds.authorize(t.Context(), h))
		assert.Equal(t, "Bearer "+token, h.Get("Authorization"))
	}
}

func TestOAuth2(t *testing.T) {
	exchanges := 0
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /realm/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"token_endpoint": server.URL + "/token"})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("client_id") != "id" ||
			r.PostFormValue("client_secret") != "key" || r.PostFormValue("audience") != "urn:a" || r.PostFormValue("scope") != "s1 s2" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		exchanges++
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "tok" + strings.Repeat("!", exchanges), "expires_in": 100})
	})
	key := `{"client_id":"id","client_secret":"key"}`
	for name, ref := range map[string]string{
		"file": "file://" + write(t, key),
		"data": "data:application/json;base64," + base64.StdEncoding.EncodeToString([]byte(key)),
	} {
		params, _ := json.Marshal(map[string]string{"issuerUrl": server.URL + "/realm/", "privateKey": ref, "audience": "urn:a", "scope": "s1 s2"})
		method, value, err := header(t, javaAuth+"oauth2.AuthenticationOAuth2", string(params))
		require.NoError(t, err, name)
		assert.Equal(t, "token", method)
		assert.Contains(t, value, "Bearer tok")
	}
	now := time.Now()
	flow := &clientFlow{issuer: server.URL + "/realm", audience: "urn:a", scope: "s1 s2", http: http.DefaultClient,
		key: func() ([]byte, error) { return []byte(key), nil }, now: func() time.Time { return now }}
	first, err := flow.Token(t.Context())
	require.NoError(t, err)
	now = now.Add(69 * time.Second)
	again, err := flow.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, first, again, "kept")
	now = now.Add(2 * time.Second)
	later, err := flow.Token(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, first, later, "renewed before its end")
	flow = &clientFlow{issuer: server.URL + "/none", key: flow.key, http: http.DefaultClient, now: time.Now}
	_, err = flow.Token(t.Context())
	require.ErrorContains(t, err, "404")
}

func TestCredentialsSurviveRedirects(t *testing.T) {
	var got []string
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Pulsar-Auth-Method-Name"))
	}))
	t.Cleanup(second.Close)
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, second.URL+"/x", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(first.Close)
	client, err := NewHTTPClient(Config{AuthPlugin: "token", AuthParams: "token:abc"})
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, first.URL, strings.NewReader("body"))
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, []string{"PUT Bearer abc token"}, got)
	assert.Empty(t, request.Header, "the caller's request is not changed")
}

func TestTrust(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, "http://"+r.Host+"/", http.StatusTemporaryRedirect)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	server.StartTLS()
	t.Cleanup(server.Close)
	trust := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	byOtherName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // the certificate names example.com and 127.0.0.1
	for _, tc := range []struct {
		name, url string
		cfg       Config
		wantErr   string
	}{
		{"unknown authority", server.URL, Config{}, "certificate signed by unknown authority"},
		{"insecure", server.URL, Config{AllowInsecure: true}, ""},
		{"trusted", server.URL, Config{TrustCertsFile: trust}, ""},
		{"trusted, other name: not checked by default", byOtherName, Config{TrustCertsFile: trust}, ""},
		{"trusted, name checked", server.URL, Config{TrustCertsFile: trust, HostnameVerification: true}, ""},
		{"trusted, other name checked", byOtherName, Config{TrustCertsFile: trust, HostnameVerification: true}, "not localhost"},
		{"down to http", server.URL + "/down", Config{TrustCertsFile: trust}, "refused a redirect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, err := NewHTTPClient(tc.cfg)
			require.NoError(t, err)
			defer client.CloseIdleConnections()
			response, err := client.Get(tc.url)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			response.Body.Close()
		})
	}
	_, err := NewHTTPClient(Config{TrustCertsFile: write(t, "no PEM")})
	require.ErrorContains(t, err, "holds no PEM certificate")
	_, err = NewHTTPClient(Config{TrustCertsFile: "/no/such/file"})
	require.ErrorContains(t, err, "/no/such/file")
}

func TestClientCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	// the test server's own pair serves as the client's
	cert := server.TLS.Certificates[0]
	key, err := x509PKCS8(cert)
	require.NoError(t, err)
	certFile := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
	keyFile := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	client, err := NewHTTPClient(Config{AllowInsecure: true, AuthPlugin: javaAuth + "AuthenticationTls",
		AuthParams: "tlsCertFile:" + certFile + ",tlsKeyFile:" + keyFile})
	require.NoError(t, err)
	response, err := client.Get(server.URL)
	require.NoError(t, err)
	response.Body.Close()
	without, err := NewHTTPClient(Config{AllowInsecure: true})
	require.NoError(t, err)
	_, err = without.Get(server.URL)
	require.Error(t, err)
}

func FuzzAuthParams(f *testing.F) {
	for _, seed := range []string{"token:x", "file:///x", "env:X", `{"token":"x"}`, "userId:a,password:b", `{"userId":"a","password":"b"}`, "file:", "{"} {
		for _, plugin := range []string{"token", "basic", "tls", "oauth2"} {
			f.Add(plugin, seed)
		}
	}
	f.Fuzz(func(t *testing.T, plugin, params string) {
		if strings.Contains(params, "file:") || strings.Contains(params, "tlsCertFile") || strings.Contains(params, "file\"") {
			return // not to read files by chance
		}
		creds, err := newCredentials(Config{AuthPlugin: plugin, AuthParams: params})
		if err != nil || creds.authorize == nil || plugin == "oauth2" || strings.Contains(plugin, "OAuth2") {
			return
		}
		h := http.Header{}
		if creds.authorize(context.Background(), h) == nil && strings.ContainsAny(h.Get("Authorization"), "\r\n") {
			t.Fatalf("%q makes two headers", params)
		}
	})
}
