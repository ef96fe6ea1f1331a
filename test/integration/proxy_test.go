package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/test/standalone"
)

// behindProxy runs the distribution's proxy in front of a broker and a worker that functionWorkerWebServiceURL names, and returns the
// worker as clients of the proxy see it.
func behindProxy(t *testing.T, w *worker, e env, lines ...string) *worker {
	t.Helper()
	dir, service, web := t.TempDir(), standalone.FreePort(t), standalone.FreePort(t)
	conf := filepath.Join(dir, "proxy.conf")
	text := append([]string{"clusterName=standalone", "brokerServiceURL=" + e.serviceURL, "brokerWebServiceURL=" + e.webURL, "functionWorkerWebServiceURL=" + w.url,
		fmt.Sprintf("servicePort=%d", service), fmt.Sprintf("webServicePort=%d", web)}, lines...)
	require.NoError(t, os.WriteFile(conf, []byte(strings.Join(text, "\n")+"\n"), 0o600))
	log, err := os.Create(filepath.Join(dir, "proxy.log"))
	require.NoError(t, err)
	cmd := exec.Command(filepath.Join(e.pulsarHome, "bin", "pulsar"), "proxy")
	cmd.Env = append(os.Environ(), "PULSAR_PROXY_CONF="+conf, "PULSAR_LOG_DIR="+dir, "PULSAR_MEM=-Xms64m -Xmx256m -XX:MaxDirectMemorySize=256m")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		<-ended
		_ = log.Close()
		if data, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("last of the proxy's log:\n%s", data[max(0, len(data)-4000):])
		}
	})
	through := w.of(t)
	through.url = fmt.Sprintf("http://localhost:%d", web)
	dead := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	require.Eventually(t, func() bool {
		code, _ := through.get("/admin/v2/clusters") // from the broker; 401 with authentication
		return code == http.StatusOK || code == http.StatusUnauthorized || dead()
	}, 60*time.Second, 100*time.Millisecond, "the proxy does not answer")
	require.False(t, dead(), "the proxy ended")
	return through
}

// TestProxy: everything about functions that is sent to a real pulsar-proxy reaches this worker, the rest the broker.
func TestProxy(t *testing.T) {
	e, namespace := requireEnv(t), "public/"+unique("functions")
	first := startWorker(t, e, workerOptions{namespace: namespace})
	second := startWorker(t, e, workerOptions{namespace: namespace})
	require.Eventually(t, func() bool {
		_, members := first.get("/admin/v2/worker/cluster")
		return strings.Contains(string(members), second.id)
	}, 30*time.Second, 100*time.Millisecond)
	first.awaitLeader(30 * time.Second)
	if leaderID(first.url) == second.id { // the broker may elect the second when it comes
		first, second = second, first
	}
	p := behindProxy(t, second, e) // not the leader

	t.Run("functions", func(t *testing.T) { functionThroughProxy(t, p.of(t), first, second) })
	t.Run("connectors", func(t *testing.T) { connectorsThroughProxy(t, p.of(t)) })
	t.Run("workers", func(t *testing.T) {
		p := p.of(t)
		require.Contains(t, p.admin("functions-worker", "get-cluster"), first.id)
		require.Contains(t, p.admin("functions-worker", "get-cluster-leader"), first.id)
		for _, path := range []string{"/admin/v2/worker/assignments", "/admin/v2/worker-stats/metrics", "/admin/v2/worker-stats/functionsmetrics", "/admin/v2/functions/public/default"} {
			code, answer := p.get(path)
			require.Equal(t, http.StatusOK, code, "%s: %s", path, answer)
			_, direct := second.get(path)
			if !strings.Contains(path, "stats") { // they change
				require.Equal(t, string(direct), string(answer), path)
			}
		}
	})
	t.Run("the broker answers as before", func(t *testing.T) {
		for _, path := range []string{"/admin/v2/clusters", "/admin/v2/namespaces/public", "/admin/v2/tenants"} {
			code, throughProxy := p.of(t).get(path)
			require.Equal(t, http.StatusOK, code)
			_, direct := request(http.MethodGet, e.webURL+path, "", nil)
			require.JSONEq(t, string(direct), string(throughProxy), path)
		}
		code, answer := request(http.MethodGet, e.webURL+"/admin/v3/functions/public/default", "", nil)
		require.Equal(t, http.StatusConflict, code, "a broker without its embedded worker has no functions")
		require.Contains(t, string(answer), "functionsWorkerEnabled is set to false")
	})
}

func functionThroughProxy(t *testing.T, p, first, second *worker) {
	name, in, out := unique("proxied"), topic("bytes-in"), topic("bytes-out")
	example := p.env.pythonExample("native_exclamation_function.py")
	require.Contains(t, p.admin("functions", "create", "--name", name, "--py", example, "--classname", "native_exclamation_function", "--inputs", in, "--output", out,
		"--subs-position", "Earliest", "--parallelism", "2"), "Created successfully")
	status := p.awaitRunning(name, 2, 90*time.Second)
	owners := []string{status.Instances[0].Status.WorkerID, status.Instances[1].Status.WorkerID}
	require.ElementsMatch(t, []string{first.id, second.id}, owners)

	// One of the two is answered by a redirect, which the proxy follows.
	require.Contains(t, []int{http.StatusTemporaryRedirect}, statusWithoutRedirect(t, second.url+"/admin/v3/functions/public/default/"+name+"/"+fmt.Sprint(slices.Index(owners, first.id))+"/status"))
	for id, owner := range owners {
		code, answer := p.get(fmt.Sprintf("/admin/v3/functions/public/default/%s/%d/status", name, id))
		require.Equal(t, http.StatusOK, code)
		require.Contains(t, string(answer), owner)
	}
	require.Contains(t, p.admin("functions", "status", "--name", name, "--instance-id", fmt.Sprint(slices.Index(owners, first.id))), first.id)
	require.Equal(t, "hello!", strings.TrimSpace(p.admin("functions", "trigger", "--name", name, "--trigger-value", "hello")))
	code, answer := p.get("/admin/v3/functions/public/default/" + name + "/stats")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, string(answer), `"processedSuccessfullyTotal":1`)

	file := filepath.Join(t.TempDir(), "package.py")
	p.admin("functions", "download", "--tenant", "public", "--namespace", "default", "--name", name, "--destination-file", file)
	want, err := os.ReadFile(example)
	require.NoError(t, err)
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, want, got)

	p.remove("functions", name)
	code, _ = p.get("/admin/v3/functions/public/default/" + name)
	require.Equal(t, http.StatusNotFound, code)
}

func statusWithoutRedirect(t *testing.T, url string) int {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(url)
	require.NoError(t, err)
	defer answer.Body.Close()
	return answer.StatusCode
}

// connectorsThroughProxy submits packages of megabytes, more than the proxy holds for a second attempt.
func connectorsThroughProxy(t *testing.T, p *worker) {
	if os.Getenv("PULSAR_TEST_CONNECTORS") == "" {
		t.Skip("PULSAR_TEST_CONNECTORS is not set: no directory with the connectors that scripts/pulsar.sh fetches")
	}
	people := topic("bytes-people")
	source := p.create("sources", "generator", "--archive", connector("data-generator"), "--destination-topic-name", people)
	sink := p.create("sinks", "printer", "--archive", connector("data-generator"), "--classname", printSink, "--inputs", people)
	for kind, name := range map[string]string{"sources": source, "sinks": sink} {
		for _, spelling := range []string{kind, strings.TrimSuffix(kind, "s")} {
			code, answer := p.get("/admin/v3/" + spelling + "/public/default/" + name + "/status")
			require.Equal(t, http.StatusOK, code)
			require.Contains(t, string(answer), `"numInstances":1`)
		}
		code, answer := p.get("/admin/v3/" + kind + "/public/default")
		require.Equal(t, http.StatusOK, code)
		require.JSONEq(t, `["`+name+`"]`, string(answer))
		p.remove(kind, name)
	}
}

// proxied: a real proxy checks its clients, passes their tokens on, and names them in X-Original-Principal. So the worker decides about
// the client, and functions get the client's token, not the proxy's.
func (s *secured) proxied(t *testing.T) {
	p := behindProxy(t, s.worker, s.env, "authenticationEnabled=true", "authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
		"tokenSecretKey="+s.keyURL(), "brokerClientAuthenticationPlugin="+tokenClass, "brokerClientAuthenticationParameters=token:"+s.token("proxy"))
	ask := func(method, role, path string) (int, string) {
		return s.ask(method, p.url+path, s.token(role), "", nil, nil)
	}
	for role, want := range map[string]int{"deployer": http.StatusOK, "operator": http.StatusOK, "reader": http.StatusUnauthorized, "proxy": http.StatusUnauthorized} {
		code, answer := ask("GET", role, "/admin/v3/functions/acme/app")
		require.Equal(t, want, code, "%s: %s", role, answer)
	}
	for name, token := range map[string]string{"no": "", "a forged": "x.y.z"} {
		code, _ := s.ask("GET", p.url+"/admin/v3/functions/acme/app", token, "", nil, nil)
		require.Equal(t, http.StatusUnauthorized, code, "%s token", name)
	}
	for role, want := range map[string]int{"admin": http.StatusOK, "deployer": http.StatusUnauthorized} {
		code, answer := ask("GET", role, "/admin/v2/worker/cluster")
		require.Equal(t, want, code, "%s: %s", role, answer)
	}

	out, errs, err := p.tryAdmin("--auth-plugin", tokenClass, "--auth-params", "token:"+s.token("deployer"), "functions", "create", "--tenant", "acme", "--namespace", "app", "--name", "proxied",
		"--inputs", "persistent://acme/app/proxied-in", "--py", s.env.pythonExample("native_exclamation_function.py"), "--classname", "native_exclamation_function")
	require.NoError(t, err, out+errs)
	const function = "/admin/v3/functions/acme/app/proxied"
	require.Eventually(t, func() bool { // with the deployer's token: the proxy's role may not consume
		_, status := ask("GET", "deployer", function+"/status")
		return strings.Contains(status, `"numRunning":1`)
	}, 90*time.Second, 200*time.Millisecond)
	code, answer := ask("DELETE", "reader", function)
	require.Equal(t, http.StatusUnauthorized, code, answer)
	code, answer = ask("DELETE", "deployer", function)
	require.Less(t, code, 300, answer)
	audit, err := os.ReadFile(s.audit)
	require.NoError(t, err)
	require.Contains(t, string(audit), `"role":"deployer","originalPrincipal":"deployer"`)
}
