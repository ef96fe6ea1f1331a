package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/test/standalone"
)

const tokenPlugin = "org.apache.pulsar.client.impl.auth.AuthenticationToken"

// secured is a lab whose broker and worker ask everybody for a token and for rights.
type secured struct {
	*lab
	key   []byte
	wires *wires // to the broker's binary port, for the pods
}

func (s *secured) keyURL() string { return "data:;base64," + base64.StdEncoding.EncodeToString(s.key) }

func (s *secured) sign(role string) string {
	s.t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": role}).SignedString(s.key)
	require.NoError(s.t, err)
	return text
}

// newSecured starts a broker of its own, with the tenant acme and two roles that may deploy there.
func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{lab: newLab(t), key: make([]byte, 32)}
	_, _ = rand.Read(s.key) // never fails
	broker := standalone.Start(t, "../..", []string{
		"authenticationEnabled=true", "authorizationEnabled=true", "authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
		"tokenSecretKey=" + s.keyURL(), "superUserRoles=admin,worker",
		"brokerClientAuthenticationPlugin=" + tokenPlugin, "brokerClientAuthenticationParameters=token:" + s.sign("admin"),
	}, s.sign("admin"))
	s.service, s.web = broker.ServiceURL, broker.WebURL
	var err error
	s.client, err = pulsar.NewClient(pulsar.ClientOptions{URL: s.service, Authentication: pulsar.NewAuthenticationToken(s.sign("admin")), Logger: plog.DefaultNopLogger()})
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	s.own = fmt.Sprintf(`authenticationEnabled: true
authorizationEnabled: true
authenticationProviders: [org.apache.pulsar.broker.authentication.AuthenticationProviderToken]
properties: {tokenSecretKey: "%s"}
superUserRoles: [admin, worker]
brokerClientAuthenticationPlugin: %s
brokerClientAuthenticationParameters: "token:%s"
`, s.keyURL(), tokenPlugin, s.sign("worker"))
	s.broker(http.MethodPut, "tenants/acme", `{"adminRoles":[],"allowedClusters":["standalone"]}`)
	s.broker(http.MethodPut, "namespaces/acme/app", `{}`)
	for _, role := range []string{"first", "second"} {
		s.broker(http.MethodPost, "namespaces/acme/app/permissions/"+role, `["functions","produce","consume"]`)
	}
	s.wires = cuttable(t, strings.TrimPrefix(s.service, "pulsar://"))
	s.token, s.reach = s.sign("admin"), s.wires.address
	return s
}

// broker asks the broker's admin API.
func (s *secured) broker(method, path, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.web+"/admin/v2/"+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("Authorization", "Bearer "+s.sign("admin"))
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	require.Less(s.t, answer.StatusCode, 300, "%s %s: %s", method, path, text)
}

// as is pulsar-admin with the token of a role, at the worker.
func (s *secured) as(w *process, role string, args ...string) string {
	s.t.Helper()
	return w.admin(append([]string{"--auth-plugin", tokenPlugin, "--auth-params", "token:" + s.sign(role)}, args...)...)
}

// TestTokenOfTheSubmitter: a function is submitted with a token, which lies in a Secret; its pod downloads the package and works with it,
// gets another one without being restarted, and leaves no Secret when it is deleted.
func TestTokenOfTheSubmitter(t *testing.T) {
	s := newSecured(t)
	port := standalone.FreePort(t)
	runner := s.runner(port)
	w := s.goWorker("go-1", port, runner.Resolver())
	c := component{kind: "functions", name: "f", in: "persistent://acme/app/in", out: "persistent://acme/app/out"}
	of := []string{"--tenant", "acme", "--namespace", "app", "--name", "f"}

	require.Contains(t, s.as(w, "first", append([]string{"functions", "create", "--inputs", c.in, "--output", c.out, "--subs-position", "Earliest",
		"--py", filepath.Join(s.home, "examples", "python-examples", "exclamation_function.py"), "--classname", "exclamation_function.ExclamationFunction"}, of...)...), "Created successfully")
	secrets := s.secrets()
	require.Len(t, secrets, 1)
	require.Equal(t, s.sign("first"), string(secrets[0].Data["token"]))
	life{lab: s.lab, w: w, c: &c}.messages(t, "with the first token")
	pod, err := s.api.CoreV1().Pods(s.namespace).Get(t.Context(), "pf-acme-app-f-0", metav1.GetOptions{})
	require.NoError(t, err)

	require.Contains(t, s.as(w, "second", append([]string{"functions", "update", "--update-auth-data"}, of...)...), "Updated successfully")
	renewed := s.secrets()
	require.Len(t, renewed, 1)
	require.Equal(t, secrets[0].Name, renewed[0].Name)
	require.Equal(t, s.sign("second"), string(renewed[0].Data["token"]))
	s.awaitFile(pod, s.sign("second"))
	s.broker(http.MethodDelete, "namespaces/acme/app/permissions/first", "")
	s.wires.cut() // the first token may not even connect to the topics again
	life{lab: s.lab, w: w, c: &c}.messages(t, "with the second token")
	now, err := s.api.CoreV1().Pods(s.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, pod.UID, now.UID, "the pod was replaced")
	require.Zero(t, now.Status.ContainerStatuses[0].RestartCount, "the instance was restarted")

	require.Contains(t, s.as(w, "second", append([]string{"functions", "delete"}, of...)...), "Deleted successfully")
	require.Eventually(t, func() bool {
		_, err := s.api.AppsV1().StatefulSets(s.namespace).Get(context.Background(), "pf-acme-app-f", metav1.GetOptions{})
		return apierrors.IsNotFound(err) && len(s.secrets()) == 0
	}, time.Minute, 200*time.Millisecond, "something is left")
}

// secrets are the tokens of functions.
func (s *secured) secrets() (found []corev1.Secret) {
	s.t.Helper()
	list, err := s.api.CoreV1().Secrets(s.namespace).List(context.Background(), metav1.ListOptions{})
	require.NoError(s.t, err)
	for _, one := range list.Items {
		if strings.HasPrefix(one.Name, "pf-secret-") {
			found = append(found, one)
		}
	}
	return found
}

// awaitFile waits until the pod has this token in its file, as the kubelet renews it.
func (s *secured) awaitFile(pod *corev1.Pod, token string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "pods", string(pod.UID), "volumes", "function-auth", "token")
	require.Eventually(s.t, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && string(text) == token
	}, 30*time.Second, 100*time.Millisecond, "%s is not renewed", file)
}

// wires lead to a server and can be cut, upon which clients connect anew.
type wires struct {
	address string
	mu      sync.Mutex
	open    map[net.Conn]bool
}

// cuttable listens until the test ends.
func cuttable(t *testing.T, server string) *wires {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wires{address: l.Addr().String(), open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.lead(from, server) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		running.Wait()
	})
	return w
}

// lead carries bytes both ways until one end closes.
func (w *wires) lead(from net.Conn, server string) {
	to, err := net.DialTimeout("tcp", server, 10*time.Second)
	if err != nil {
		_ = from.Close()
		return
	}
	w.mu.Lock()
	w.open[from] = true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_, _ = from.Close(), to.Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, from)
}

func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Close()
	}
}
