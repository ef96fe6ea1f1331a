package integration

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestServiceAccountTokens: projected service-account tokens of a real API server are accepted, with the keys that it serves for its
// issuer; those for another audience, expired ones and those of deleted keys are not.
func TestServiceAccountTokens(t *testing.T) {
	e := requireEnv(t)
	kubeconfig := os.Getenv("PULSAR_TEST_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("needs a Kubernetes API server: scripts/kubernetes.sh, PULSAR_TEST_KUBECONFIG")
	}
	conf, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(conf)
	require.NoError(t, err)
	ctx, name := t.Context(), unique("tokens")

	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(t, err)
	// Discovery needs a right that nobody has without credentials; docs/security.md tells operators to give it.
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:service-account-issuer-discovery"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.RbacV1().ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{})
		_ = client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	_, err = client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "caller"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	token := func(audience string) string {
		seconds := int64(600)
		answer, err := client.CoreV1().ServiceAccounts(name).CreateToken(ctx, "caller", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
		require.NoError(t, err)
		return answer.Status.Token
	}

	require.NoError(t, rest.LoadTLSFiles(conf))
	trust := filepath.Join(t.TempDir(), "ca.pem")
	ca := conf.CAData
	if len(ca) == 0 { // the API server of the tests signs its own certificate
		api, err := url.Parse(conf.Host)
		require.NoError(t, err)
		ca = serverCertificate(t, api.Host)
	}
	require.NoError(t, os.WriteFile(trust, ca, 0o600))
	const issuer = "https://kubernetes.default.svc" // as every pod of a cluster reaches the API server
	proxy := apiServerProxy(t, conf.Host)
	w := newWorker(t, e, workerOptions{environ: []string{"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy}, overrides: map[string]any{
		"authenticationEnabled": true, "authenticationProviders": []string{"org.apache.pulsar.broker.authentication.oidc.AuthenticationProviderOpenID"},
		"properties":                    map[string]string{"openIDAllowedTokenIssuers": issuer, "openIDAllowedAudiences": "functions-worker", "openIDTokenIssuerTrustCertsFilePath": trust},
		"functionAuthProviderClassName": "org.apache.pulsar.functions.auth.ClearTextFunctionTokenAuthProvider", "goWorker": map[string]any{"tempDirectory": t.TempDir(), "auditLog": "stdout"},
	}})
	w.start()
	require.Eventually(t, func() bool { code, _ := w.get("/readyz"); return code == http.StatusOK || w.ended() }, 60*time.Second, 50*time.Millisecond)
	require.False(t, w.ended(), "the worker ended: %s", w.tail(20))

	ask := func(method, token string) int {
		req, err := http.NewRequestWithContext(ctx, method, w.url+"/admin/v3/functions/public/default", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	good := token("functions-worker")
	require.Equal(t, http.StatusOK, ask("GET", good), w.tail(5))
	require.Equal(t, http.StatusUnauthorized, ask("GET", token("another")))
	require.Equal(t, http.StatusUnauthorized, ask("GET", good[:len(good)-4]+"AAAA"))
	require.Equal(t, http.StatusUnauthorized, ask("GET", ""))
	require.Equal(t, http.StatusMethodNotAllowed, ask("DELETE", good))
	require.Contains(t, w.logs(), `"role":"system:serviceaccount:`+name+`:caller"`, "the role is the name of the service account")
	require.NotContains(t, w.logs(), good)
}

// apiServerProxy is an HTTP proxy that connects everything to the API server, as the DNS of a cluster does.
func apiServerProxy(t *testing.T, address string) string {
	t.Helper()
	api, err := url.Parse(address)
	require.NoError(t, err)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		server, err := net.DialTimeout("tcp", api.Host, 5*time.Second) // the name and the address that it advertises lead nowhere here
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			_ = server.Close()
			return
		}
		_, _ = fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// serverCertificate is the chain that a server shows, PEM.
func serverCertificate(t *testing.T, address string) (chain []byte) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer conn.Close()
	for _, cert := range conn.ConnectionState().PeerCertificates {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return chain
}
