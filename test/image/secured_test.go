package image

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/test/certificates"
	"github.com/functions-worker/functions-worker/test/standalone"
)

const (
	workerPod  = "pulsar-function-worker-0"
	workerName = "pulsar-function-worker" // of the chart's Service and of the container
	overHTTPS  = "https://" + workerName + ":6751"
)

// secured is a broker with tokens, authorization and TLS, and what the chart's Secrets hold for it.
type secured struct {
	broker
	authority *certificates.Authority
	key       []byte
}

// securedBroker has the superusers of the chart, and answers pods under the name of the chart's broker.
func securedBroker(t *testing.T) *secured {
	t.Helper()
	s := &secured{authority: certificates.New(t), key: make([]byte, 32)}
	_, err := rand.Read(s.key)
	require.NoError(t, err)
	lines, ports := withTLS(t, s.authority)
	admin := s.tokenOf(t, "admin")
	s.broker = chartBroker(t, admin, append(lines,
		"authenticationEnabled=true", "authorizationEnabled=true", "superUserRoles=admin,broker-admin,manager-admin,proxy-admin", "proxyRoles=proxy-admin",
		"authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken", "tokenSecretKey=data:;base64,"+base64.StdEncoding.EncodeToString(s.key),
		"brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken", "brokerClientAuthenticationParameters=token:"+admin)...)
	s.ca, s.extra = s.authority.File, ports
	return s
}

// withTLS is what a broker's configuration needs for TLS under the name of the chart's broker, and the ports that pods then find.
func withTLS(t *testing.T, authority *certificates.Authority) (lines []string, ports map[int]string) {
	t.Helper()
	cert, key := authority.Issue(t, "broker", time.Hour, "pulsar-broker", "pulsar-broker."+namespace+".svc.cluster.local")
	service, web := standalone.FreePort(t), standalone.FreePort(t)
	lines = []string{fmt.Sprintf("brokerServicePortTls=%d", service), fmt.Sprintf("webServicePortTls=%d", web), "tlsCertificateFilePath=" + cert, "tlsKeyFilePath=" + key}
	local := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	return lines, map[int]string{6651: local(service), service: local(service), 8443: local(web), web: local(web)}
}

func (s *secured) tokenOf(t *testing.T, role string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": role}).SignedString(s.key)
	require.NoError(t, err)
	return text
}

// certificate is what cert-manager puts into the Secret of the chart's Certificate: for the Service, not for the pods.
func (s *secured) certificate(t *testing.T) map[string][]byte {
	t.Helper()
	local := workerName + "." + namespace + ".svc.cluster.local"
	return s.certificateFor(t, "*."+local, local, workerName)
}

func (s *secured) certificateFor(t *testing.T, names ...string) map[string][]byte {
	t.Helper()
	cert, key := s.authority.Issue(t, "worker", time.Hour, names...)
	return map[string][]byte{"tls.crt": read(t, cert), "tls.key": read(t, key), "ca.crt": read(t, s.ca)}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}

// createSecrets makes the Secrets that the chart's users make beforehand, and cert-manager.
func (s *secured) createSecrets(t *testing.T, c *cluster) {
	t.Helper()
	c.createSecrets(map[string]map[string][]byte{
		"pulsar-token-symmetric-key": {"SECRETKEY": s.key},
		"pulsar-token-broker-admin":  {"TOKEN": []byte(s.tokenOf(t, "broker-admin")), "TYPE": []byte("symmetric")},
		"pulsar-ca-tls":              {"ca.crt": read(t, s.ca)},
		"pulsar-tls-function-worker": s.certificate(t),
	})
}

func (c *cluster) createSecrets(all map[string]map[string][]byte) {
	c.t.Helper()
	for name, data := range all {
		_, err := c.client.CoreV1().Secrets(namespace).Create(c.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{})
		require.NoError(c.t, err)
	}
}

// TestSecuredCharts: both charts with a broker that wants tokens and speaks TLS.
func TestSecuredCharts(t *testing.T) {
	s := securedBroker(t)
	t.Run("own", func(t *testing.T) { ownChartSecured(t, s) })
	t.Run("official", func(t *testing.T) { officialChartSecured(t, s) })
}

// officialChartSecured runs the chart's rendering with JWT authentication and TLS on every component. The chart's role lacks
// the Secrets: the worker says so and starts, and goes on without a restart once they are granted.
func officialChartSecured(t *testing.T, s *secured) {
	c := newCluster(t, s.broker)
	s.createSecrets(t, c)
	c.apply(filepath.Join("testdata", "chart-jwt-tls.yaml"))
	worker := c.awaitReady(workerPod, 60*time.Second)
	c.awaitLog(workerPod, workerName, "until the worker's role is complete", 30*time.Second)
	require.Contains(t, c.log(workerPod, workerName), `the verb \"create\" on secrets`)

	missing := c.tryCreate(overHTTPS)
	require.Contains(t, missing, `grant its service account the verb`)
	require.Contains(t, missing, `on secrets`)
	_, listed := c.get(worker, "/admin/v3/functions/public/default")
	require.Equal(t, "[]", listed, "what could not get its token was not created")
	c.applyText(secretRights)

	f := c.createExclamation(overHTTPS)
	f.exchange("one")
	require.Len(t, c.tokenSecrets(), 1)
	require.Equal(t, 0, c.restarts(workerPod))

	t.Run("metrics", func(t *testing.T) {
		require.Equal(t, http.StatusUnauthorized, c.anonymous(worker, "/metrics"), "as the Java worker")
		status, text := c.get(worker, "/metrics")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, text, "pulsar_function_worker_")
		c.configure(map[string]string{"PF_authenticateMetricsEndpoint": "false", "PF_tlsCertRefreshCheckDurationSec": "1"})
		require.Equal(t, http.StatusOK, c.anonymous(worker, "/metrics"), "what the documentation says for the chart's PodMonitor")
		require.Equal(t, http.StatusUnauthorized, c.anonymous(worker, "/admin/v3/functions/public/default"))
	})
	t.Run("renewal", func(t *testing.T) {
		before, restarts := s.serial(c), c.restarts(workerPod)
		secret := must(c.client.CoreV1().Secrets(namespace).Get(t.Context(), "pulsar-tls-function-worker", metav1.GetOptions{}))
		secret.Data = s.certificate(t)
		must(c.client.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}))
		require.Eventually(t, func() bool { return s.serial(c) != before }, 20*time.Second, 100*time.Millisecond)
		require.Equal(t, restarts, c.restarts(workerPod))
	})
	f.exchange("two")
	f.delete()
	require.Eventually(t, func() bool { return len(c.tokenSecrets()) == 0 }, 30*time.Second, 100*time.Millisecond, "the Secret goes with the function")
}

// tryCreate submits a function, which must fail, and returns what was said.
func (c *cluster) tryCreate(base string) string {
	c.t.Helper()
	out, errs, err := c.tryAdmin(base, "functions", "create", "--name", "refused", "--jar", filepath.Join(c.broker.home, "examples", "api-examples.jar"),
		"--classname", "org.apache.pulsar.functions.api.examples.ExclamationFunction", "--inputs", "persistent://public/default/refused")
	require.Error(c.t, err)
	return out + errs
}

// tokenSecrets are the Secrets with tokens of functions.
func (c *cluster) tokenSecrets() (names []string) {
	list, err := c.client.CoreV1().Secrets(namespace).List(context.Background(), metav1.ListOptions{})
	require.NoError(c.t, err)
	for _, one := range list.Items {
		if strings.HasPrefix(one.Name, "pf-secret-") {
			names = append(names, one.Name)
		}
	}
	return names
}

// anonymous asks without credentials, as a Prometheus would.
func (c *cluster) anonymous(base, path string) int {
	plain := *c
	plain.broker.token = ""
	status, _ := plain.get(base, path)
	return status
}

// configure adds variables to the chart's ConfigMap, as function_worker.configData does, and restarts the container.
func (c *cluster) configure(more map[string]string) {
	c.t.Helper()
	maps := c.client.CoreV1().ConfigMaps(namespace)
	live, err := maps.Get(context.Background(), workerName, metav1.GetOptions{})
	require.NoError(c.t, err)
	for name, value := range more {
		live.Data[name] = value
	}
	_, err = maps.Update(context.Background(), live, metav1.UpdateOptions{})
	require.NoError(c.t, err)
	before := c.restarts(workerPod)
	require.NoError(c.t, c.runner.Signal(workerPod, workerName, syscall.SIGTERM))
	c.awaitRestarts(workerPod, before+1)
}

// serial is that of the certificate which new connections get.
func (s *secured) serial(c *cluster) string {
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: s.authority.Pool(), ServerName: workerName}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(c.runner.Address(workerPod), "6751"))
	require.NoError(c.t, err)
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// secretRights are what the chart's role lacks.
const secretRights = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: function-tokens}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [create, update, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: function-tokens}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: function-tokens}
subjects:
- {kind: ServiceAccount, name: pulsar-function-worker-acct, namespace: pulsar}
`
