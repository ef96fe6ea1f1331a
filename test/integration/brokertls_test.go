package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/test/certificates"
	"github.com/functions-worker/functions-worker/test/standalone"
)

const authPackage = "org.apache.pulsar.client.impl.auth."

// TestBrokerCredentials: a broker that wants client certificates on its TLS ports and takes tokens, certificates and passwords; this
// worker reaches it in every way that it knows, and functions do so by mutual TLS.
func TestBrokerCredentials(t *testing.T) {
	ca := certificates.New(t)
	brokerCert, brokerKey := ca.Issue(t, "broker", 24*time.Hour)
	servicePort, webPort := standalone.FreePort(t), standalone.FreePort(t)
	// htpasswd of worker:secret, by openssl passwd -apr1 -salt saltsalt
	const passwords = "worker:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n"
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(htpasswd, []byte(passwords), 0o600))
	s := newSecured(t,
		fmt.Sprintf("brokerServicePortTls=%d", servicePort), fmt.Sprintf("webServicePortTls=%d", webPort),
		"tlsCertificateFilePath="+brokerCert, "tlsKeyFilePath="+brokerKey, "tlsTrustCertsFilePath="+ca.File, "tlsRequireTrustedClientCertOnConnect=true",
		"authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken,"+
			"org.apache.pulsar.broker.authentication.AuthenticationProviderTls,org.apache.pulsar.broker.authentication.AuthenticationProviderBasic",
		"basicAuthConf=file://"+htpasswd)
	t.Run("mutual TLS", func(t *testing.T) { s.mutualTLS(t, ca, servicePort, webPort) })
	t.Run("a proxy with a certificate", func(t *testing.T) { s.certifiedProxy(t, ca, servicePort, webPort) })
	t.Run("password", func(t *testing.T) {
		s.reaches(t, map[string]any{"brokerClientAuthenticationPlugin": authPackage + "AuthenticationBasic",
			"brokerClientAuthenticationParameters": `{"userId":"worker","password":"secret"}`})
	})
	t.Run("OAuth 2.0", func(t *testing.T) { s.oauth2(t) })
	t.Run("a token file that changes", func(t *testing.T) { s.tokenFile(t) })
}

// reaches starts a worker with other credentials: ready means that it has used both the binary and the admin service.
func (s *secured) reaches(t *testing.T, change map[string]any) *worker {
	t.Helper()
	w := newWorker(t, s.env, workerOptions{overrides: with(maps.Clone(s.config), with(map[string]any{
		"goWorker": map[string]any{"functionsUseWorkerCredentials": true, "tempDirectory": t.TempDir()}}, change))})
	w.start()
	require.Eventually(t, func() bool { code, _ := w.get("/readyz"); return code == http.StatusOK || w.ended() }, 60*time.Second, 50*time.Millisecond)
	require.False(t, w.ended(), "the worker ended: %s", w.tail(20))
	code, answer := s.ask("GET", w.url+"/admin/v3/functions/acme/app", s.token("deployer"), "", nil, nil) // asks the broker for the rights
	require.Equal(t, http.StatusOK, code, answer)
	return w
}

func (s *secured) mutualTLS(t *testing.T, ca *certificates.Authority, servicePort, webPort int) {
	workerCert, workerKey := ca.Issue(t, "worker", 24*time.Hour)
	adminCert, adminKey := ca.Issue(t, "admin", 24*time.Hour)
	base := s.env
	s.env.serviceURL, s.env.webURL = fmt.Sprintf("pulsar+ssl://localhost:%d", servicePort), fmt.Sprintf("https://localhost:%d", webPort)
	w := s.reaches(t, map[string]any{
		"brokerClientAuthenticationPlugin": authPackage + "AuthenticationTls", "brokerClientAuthenticationParameters": "tlsCertFile:" + workerCert + ",tlsKeyFile:" + workerKey,
		"tlsTrustCertsFilePath": ca.File, "tlsEnableHostnameVerification": true, "functionAuthProviderClassName": "",
		"authenticationProviders": []string{"org.apache.pulsar.broker.authentication.AuthenticationProviderToken", "org.apache.pulsar.broker.authentication.AuthenticationProviderTls"},
	})
	s.env = base
	out, errs, err := w.tryAdmin("--auth-plugin", tokenClass, "--auth-params", "token:"+s.token("deployer"), "functions", "create", "--tenant", "acme", "--namespace", "app", "--name", "mtls",
		"--inputs", "persistent://acme/app/mtls-in", "--output", "persistent://acme/app/mtls-out", "--subs-position", "Earliest",
		"--py", s.env.pythonExample("native_exclamation_function.py"), "--classname", "native_exclamation_function")
	require.NoError(t, err, out+errs)
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: fmt.Sprintf("pulsar+ssl://localhost:%d", servicePort), Logger: plog.DefaultNopLogger(),
		Authentication: pulsar.NewAuthenticationTLS(adminCert, adminKey), TLSTrustCertsFilePath: ca.File})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: "persistent://acme/app/mtls-in"})
	require.NoError(t, err)
	defer producer.Close()
	_, err = producer.Send(ctx, &pulsar.ProducerMessage{Payload: []byte("hello")})
	require.NoError(t, err)
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: "persistent://acme/app/mtls-out", SubscriptionName: "test", SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest})
	require.NoError(t, err)
	defer consumer.Close()
	message, err := consumer.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, "hello!", string(message.Payload()))
}

// certifiedProxy: a proxy that presents a certificate of its own to the worker, and names the client whose certificate it has checked.
func (s *secured) certifiedProxy(t *testing.T, ca *certificates.Authority, servicePort, webPort int) {
	const byCertificate = "org.apache.pulsar.broker.authentication.AuthenticationProviderTls"
	cert, key := ca.Issue(t, "worker", 24*time.Hour)
	audit, port := filepath.Join(t.TempDir(), "audit.log"), standalone.FreePort(t)
	w := s.reaches(t, map[string]any{"tlsEnabled": true, "workerPortTls": port, "tlsCertificateFilePath": cert, "tlsKeyFilePath": key, "tlsTrustCertsFilePath": ca.File,
		"authenticationProviders": []string{byCertificate, "org.apache.pulsar.broker.authentication.AuthenticationProviderToken"},
		"goWorker":                map[string]any{"functionsUseWorkerCredentials": true, "tempDirectory": t.TempDir(), "auditLog": audit}})
	proxyCert, proxyKey := ca.Issue(t, "proxy", 24*time.Hour)
	webTLS := standalone.FreePort(t)
	behindProxy(t, w, s.env, "tlsEnabledWithBroker=true", fmt.Sprintf("brokerServiceURLTLS=pulsar+ssl://localhost:%d", servicePort), fmt.Sprintf("brokerWebServiceURLTLS=https://localhost:%d", webPort),
		fmt.Sprintf("functionWorkerWebServiceURLTLS=https://localhost:%d", port), fmt.Sprintf("webServicePortTls=%d", webTLS), "tlsHostnameVerificationEnabled=true",
		"tlsCertificateFilePath="+proxyCert, "tlsKeyFilePath="+proxyKey, "tlsTrustCertsFilePath="+ca.File, "brokerClientTrustCertsFilePath="+ca.File,
		"authenticationEnabled=true", "authenticationProviders="+byCertificate,
		"brokerClientAuthenticationPlugin="+authPackage+"AuthenticationTls", "brokerClientAuthenticationParameters=tlsCertFile:"+proxyCert+",tlsKeyFile:"+proxyKey)
	for role, want := range map[string]int{"deployer": http.StatusOK, "reader": http.StatusUnauthorized, "proxy": http.StatusUnauthorized} {
		pair, err := tls.LoadX509KeyPair(ca.Issue(t, role, 24*time.Hour))
		require.NoError(t, err)
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}}}}
		answer, err := client.Get(fmt.Sprintf("https://localhost:%d/admin/v3/functions/acme/app", webTLS))
		require.NoError(t, err)
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		require.Equal(t, want, answer.StatusCode, "%s: %s", role, text)
	}
	log, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Contains(t, string(log), `"role":"proxy","originalPrincipal":"reader"`)
}

// oauth2: the test is the issuer; its tokens are signed with the key that the broker knows.
func (s *secured) oauth2(t *testing.T) {
	asked := make(chan string, 100)
	mux := http.NewServeMux()
	issuer := httptest.NewServer(mux)
	defer issuer.Close()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer.URL, "token_endpoint": issuer.URL + "/token"})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.FormValue("grant_type") + " " + r.FormValue("client_id") + " " + r.FormValue("client_secret") + " " + r.FormValue("audience")
		token := s.token("worker", func(c jwt.MapClaims) { c["exp"] = time.Now().Add(time.Hour).Unix() })
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 3600, "token_type": "Bearer"})
	})
	key := filepath.Join(t.TempDir(), "key.json")
	require.NoError(t, os.WriteFile(key, []byte(`{"type":"client_credentials","client_id":"me","client_secret":"s3cret"}`), 0o600))
	params, err := json.Marshal(map[string]string{"issuerUrl": issuer.URL, "privateKey": "file://" + key, "audience": "pulsar"})
	require.NoError(t, err)
	w := s.reaches(t, map[string]any{"brokerClientAuthenticationPlugin": authPackage + "oauth2.AuthenticationOAuth2", "brokerClientAuthenticationParameters": string(params)})
	require.Equal(t, "client_credentials me s3cret pulsar", <-asked)
	require.NotContains(t, w.logs(), "s3cret")
}

// tokenFile: the token of the worker's file is exchanged while it runs, by the atomic rename of Kubernetes and of careful people.
func (s *secured) tokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	put := func(token string) {
		require.NoError(t, os.WriteFile(file+".new", []byte(token+"\n"), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	put(s.token("worker"))
	w := s.reaches(t, map[string]any{"brokerClientAuthenticationParameters": "file://" + file})
	allowed := func() int {
		code, _ := s.ask("GET", w.url+"/admin/v3/functions/other/app", s.token("other-admin"), "", nil, nil)
		return code
	}
	require.Equal(t, http.StatusOK, allowed())
	put(s.token("nobody")) // may not read policies: the file is read at each use
	require.Eventually(t, func() bool { return allowed() == http.StatusInternalServerError }, 20*time.Second, 100*time.Millisecond)
	put(strings.Repeat(" ", 3) + s.token("admin"))
	require.Eventually(t, func() bool { return allowed() == http.StatusOK }, 20*time.Second, 100*time.Millisecond)
}
