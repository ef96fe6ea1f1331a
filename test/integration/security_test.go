package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/test/standalone"
)

const tokenClass = "org.apache.pulsar.client.impl.auth.AuthenticationToken"

// secured is a broker with token authentication and authorization, and a worker at it.
type secured struct {
	t      *testing.T
	env    env
	key    []byte
	config map[string]any
	worker *worker
	audit  string // file of the audit log

	zookeeper string // metadata store of the broker
}

// keyURL is the key of the tokens as configurations name it.
func (s *secured) keyURL() string { return "data:;base64," + base64.StdEncoding.EncodeToString(s.key) }

func (s *secured) token(role string, change ...func(jwt.MapClaims)) string {
	s.t.Helper()
	claims := jwt.MapClaims{"sub": role}
	for _, c := range change {
		c(claims)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.key)
	require.NoError(s.t, err)
	return text
}

// newSecured starts a broker of its own, makes a tenant with a namespace and its grants, and starts a worker. more is added to the
// broker's configuration.
func newSecured(t *testing.T, more ...string) *secured {
	t.Helper()
	e := requireEnv(t)
	s := &secured{t: t, env: e, key: make([]byte, 32), audit: filepath.Join(t.TempDir(), "audit.log")}
	_, err := rand.Read(s.key)
	require.NoError(t, err)
	broker := standalone.Start(t, "../..", append([]string{
		"authenticationEnabled=true", "authorizationEnabled=true",
		"authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
		"tokenSecretKey=" + s.keyURL(), "superUserRoles=admin,worker",
		"brokerClientAuthenticationPlugin=" + tokenClass, "brokerClientAuthenticationParameters=token:" + s.token("admin"),
	}, more...), s.token("admin"))
	s.env.serviceURL, s.env.webURL, s.zookeeper = broker.ServiceURL, broker.WebURL, broker.MetadataURL
	s.prepare()
	s.config = map[string]any{
		"authenticationEnabled": true, "authorizationEnabled": true,
		"authenticationProviders": []string{"org.apache.pulsar.broker.authentication.AuthenticationProviderToken"},
		"properties":              map[string]string{"tokenSecretKey": s.keyURL()}, "superUserRoles": []string{"admin", "worker"}, "proxyRoles": []string{"proxy"},
		"brokerClientAuthenticationPlugin": tokenClass, "brokerClientAuthenticationParameters": "token:" + s.token("worker"),
		"functionAuthProviderClassName": "org.apache.pulsar.functions.auth.ClearTextFunctionTokenAuthProvider",
		"goWorker":                      map[string]any{"authorizationCache": "200ms", "tempDirectory": t.TempDir(), "auditLog": s.audit},
		"webServiceTrustXForwardedFor":  true,
	}
	s.worker = s.startWorker("public/functions")
	return s
}

// startWorker starts a worker that checks callers; it waits for the probe that needs no credentials.
func (s *secured) startWorker(namespace string) *worker {
	s.t.Helper()
	w := newWorker(s.t, s.env, workerOptions{namespace: namespace, overrides: s.config})
	w.start()
	require.Eventually(s.t, func() bool { code, _ := w.get("/readyz"); return code == http.StatusOK || w.ended() }, 60*time.Second, 50*time.Millisecond)
	require.False(s.t, w.ended(), "the worker ended: %s", w.tail(20))
	return w
}

// prepare makes the tenant acme with the administrator tadmin, and grants in acme/app.
func (s *secured) prepare() {
	s.t.Helper()
	broker := func(method, path, body string) {
		s.t.Helper()
		code, answer := s.ask(method, s.env.webURL+path, s.token("admin"), "application/json", strings.NewReader(body), nil)
		require.Less(s.t, code, 300, "%s %s: %s", method, path, answer)
		require.NotZero(s.t, code, "%s", answer)
	}
	for _, tenant := range []string{"acme", "other"} {
		broker("PUT", "/admin/v2/tenants/"+tenant, fmt.Sprintf(`{"adminRoles":["%s-admin"],"allowedClusters":["standalone"]}`, tenant))
		broker("PUT", "/admin/v2/namespaces/"+tenant+"/app", `{}`)
	}
	broker("POST", "/admin/v2/namespaces/acme/app/permissions/deployer", `["functions","produce","consume"]`)
	broker("POST", "/admin/v2/namespaces/acme/app/permissions/operator", `["functions"]`)
	broker("POST", "/admin/v2/namespaces/acme/app/permissions/connector", `["sinks","sources"]`)
	broker("POST", "/admin/v2/namespaces/acme/app/permissions/proxy", `["functions"]`)
}

func (s *secured) ask(method, url, token, contentType string, body io.Reader, header http.Header) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	require.NoError(s.t, err)
	for k, v := range header {
		req.Header[k] = v
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(data)
}

// form makes a multipart body of texts; a part of JSON is labelled as such.
func form(t *testing.T, parts map[string]string) (contentType string, body []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for name, value := range parts {
		h := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + name + `"`}}
		if strings.HasPrefix(value, "{") {
			h.Set("Content-Type", "application/json")
		}
		part, err := w.CreatePart(h)
		require.NoError(t, err)
		_, err = io.WriteString(part, value)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), buf.Bytes()
}

// Expectations of the table: who gets past authorization. Everything else is 401.
var (
	superuserOnly = []string{"admin", "worker"}
	functionRoles = []string{"admin", "worker", "acme-admin", "deployer", "operator"}
	sinkRoles     = []string{"admin", "worker", "acme-admin", "connector"}
	everyRole     = []string{"admin", "worker", "acme-admin", "other-admin", "deployer", "operator", "connector", "reader"}
)

// TestSecurity: every endpoint by every role, at a real broker with authentication and authorization.
func TestSecurity(t *testing.T) {
	s := newSecured(t)
	t.Run("endpoints by role", s.endpoints)
	t.Run("the Java worker decides alike", s.java)
	t.Run("credentials that are refused", s.refused)
	t.Run("original principal", s.principals)
	t.Run("rights change while the worker runs", s.grants)
	t.Run("functions run with their submitter's credentials", s.functions)
	t.Run("behind a proxy", s.proxied)
	t.Run("audit log", s.audited)
	t.Run("nothing leaks", s.leaks)
	t.Run("workers trust each other", s.peers)
}

// endpoint is one line of the table.
type endpoint struct {
	method, path string
	multipart    bool
	allowed      []string
}

// endpoints is the table: everything that a worker answers to.
func endpoints() (all []endpoint) {
	const app = "/acme/app"
	add := func(allowed []string, multipart bool, requests ...string) {
		for _, r := range requests {
			method, path, _ := strings.Cut(r, " ")
			all = append(all, endpoint{method, path, multipart, allowed})
		}
	}
	family := func(base string, allowed []string) {
		f := base + app + "/nope"
		add(allowed, false, "GET "+base+app, "GET "+f, "DELETE "+f, "GET "+f+"/status", "GET "+f+"/0/status",
			"POST "+f+"/start", "POST "+f+"/stop", "POST "+f+"/restart", "POST "+f+"/0/start", "POST "+f+"/0/stop", "POST "+f+"/0/restart")
		add(allowed, true, "POST "+f, "PUT "+f)
	}
	family("/admin/v3/functions", functionRoles)
	for _, base := range []string{"/admin/v3/sink", "/admin/v3/sinks", "/admin/v3/source", "/admin/v3/sources"} {
		family(base, sinkRoles)
	}
	const f = "/admin/v3/functions" + app + "/nope"
	add(functionRoles, false, "GET "+f+"/stats", "GET "+f+"/0/stats", "GET "+f+"/state/k", "GET "+f+"/download", "GET /admin/v3/functions/download?path=acme/app/nope/x",
		"GET /admin/v2/functions"+app, "GET /admin/v2/functions"+app+"/nope", "GET /admin/functions"+app)
	add(functionRoles, true, "POST "+f+"/trigger", "POST "+f+"/state/k")
	add(superuserOnly, true, "POST /admin/v3/functions/upload", "PUT /admin/v3/functions/leader/acme/app/nope")
	add(superuserOnly, false, "GET /admin/v3/functions/download?path=acme/app/nope", "GET /admin/v3/functions/builtins", "POST /admin/v3/functions/builtins/reload",
		"GET /admin/v3/functions/connectors", "GET /admin/v2/functions/connectors", "POST /admin/v3/sink/reloadBuiltInSinks", "POST /admin/v3/source/reloadBuiltInSources",
		"GET /admin/v2/worker/cluster", "GET /admin/v2/worker/cluster/leader", "GET /admin/v2/worker/assignments", "GET /admin/v2/worker/connectors",
		"GET /admin/v2/worker-stats/metrics", "GET /admin/v2/worker-stats/functionsmetrics", "GET /admin/v2/worker/drain")
	add(everyRole, false, "GET /admin/v2/worker/cluster/leader/ready", "GET /admin/v3/sink/builtinsinks", "GET /admin/v3/source/builtinsources",
		"GET /metrics", "GET /version", "GET /initialized")
	return all
}

// as sends the request of a line to a worker as a role, "" without credentials.
func (s *secured) as(role string, w *worker, e endpoint) (int, string) {
	token, content, payload := "", "", io.Reader(nil)
	if role != "" {
		token = s.token(role)
	}
	if e.multipart {
		contentType, body := form(s.t, map[string]string{"functionConfig": `{"className":"x","inputs":["a"],"py":"x"}`,
			"sinkConfig": `{"className":"x","inputs":["a"],"archive":"x"}`, "sourceConfig": `{"className":"x","topicName":"a","archive":"x"}`, "data": "x"}) // Java asks for rights only where a config is given
		content, payload = contentType, bytes.NewReader(body)
	}
	return s.ask(e.method, w.url+e.path, token, content, payload, nil)
}

func (s *secured) endpoints(t *testing.T) {
	all, checked := endpoints(), 0
	for _, e := range all {
		for _, role := range append([]string{""}, everyRole...) {
			code, answer := s.as(role, s.worker, e)
			checked++
			want := slices.Contains(e.allowed, role)
			if (code != http.StatusUnauthorized) != want || code == 0 {
				t.Errorf("%s %s as %q: %d %s", e.method, e.path, role, code, answer)
			}
			if code == http.StatusUnauthorized {
				var reason struct{ Reason string }
				if json.Unmarshal([]byte(answer), &reason) != nil || (role == "") != (reason.Reason == "Authentication required") {
					t.Errorf("%s %s as %q: %s", e.method, e.path, role, answer)
				}
			}
		}
	}
	t.Logf("%d endpoints, %d requests", len(all), checked)

	code, _ := s.ask("GET", s.worker.url+"/livez", "", "", nil, nil)
	require.Equal(t, http.StatusOK, code, "probes need no credentials")
	code, answer := s.ask("GET", s.worker.url+"/admin/v3/functions/nowhere/app", s.token("reader"), "", nil, nil)
	require.Equal(t, http.StatusInternalServerError, code)
	require.Contains(t, answer, "Tenant does not exist")
}

// java runs the table against the Java worker with the same security settings: it lets in whom this worker lets in.
func (s *secured) java(t *testing.T) {
	settings := maps.Clone(s.config)
	delete(settings, "goWorker")
	settings["configurationMetadataStoreUrl"], settings["authenticateMetricsEndpoint"] = s.zookeeper, false // so that the script can see when it is ready
	java := javaWorker(t, s.env, "public/"+unique("java"), settings)
	improved := []string{"GET /admin/v3/functions/connectors", "GET /admin/v2/functions/connectors"} // CVE-2026-105936: Java lets everybody in
	compared, better := 0, 0
	for _, e := range endpoints() {
		if slices.Contains([]string{"/metrics", "/version", "/initialized"}, e.path) {
			continue
		}
		for _, role := range append([]string{""}, everyRole...) {
			ours, ourAnswer := s.as(role, s.worker, e)
			theirs, theirAnswer := s.as(role, java, e)
			compared++
			switch {
			case (ours == http.StatusUnauthorized) == (theirs == http.StatusUnauthorized) && theirs != 0:
			case slices.Contains(improved, e.method+" "+e.path) && ours == http.StatusUnauthorized:
				better++
			case theirs == http.StatusServiceUnavailable && strings.HasSuffix(e.path, "/state/k"): // Java says that there is no state store before it asks for rights
			default:
				t.Errorf("%s %s as %q: %d %s; the Java worker: %d %s", e.method, e.path, role, ours, ourAnswer, theirs, theirAnswer)
			}
		}
	}
	require.Positive(t, better, "the Java worker has mended what is listed as an improvement")
	for _, tc := range []struct{ role, principal string }{
		{"proxy", ""}, {"proxy", "proxy"}, {"proxy", "deployer"}, {"proxy", "reader"}, {"deployer", "deployer"}, {"deployer", "admin"}, {"admin", "deployer"},
		{"deployer", "__websocket_dummy_original_principle"}, {"proxy", "__websocket_dummy_original_principle"},
	} {
		header := http.Header{"X-Original-Principal": {tc.principal}}
		ours, _ := s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app", s.token(tc.role), "", nil, header)
		theirs, answer := s.ask("GET", java.url+"/admin/v3/functions/acme/app", s.token(tc.role), "", nil, header)
		require.Equal(t, theirs, ours, "%+v: %s", tc, answer)
	}
	for name, token := range map[string]string{
		"expired":       s.token("admin", func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"not yet valid": s.token("admin", func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"garbage":       "x.y.z",
	} {
		ours, _ := s.ask("GET", s.worker.url+"/admin/v2/worker/cluster", token, "", nil, nil)
		theirs, _ := s.ask("GET", java.url+"/admin/v2/worker/cluster", token, "", nil, nil)
		require.Equal(t, theirs, ours, name)
	}
	t.Logf("%d requests to both; in %d the Java worker lets in whom this worker does not", compared, better)
}

func (s *secured) refused(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	other, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "admin"}).SignedString(make([]byte, 32))
	require.NoError(t, err)
	for name, token := range map[string]string{
		"expired":       s.token("admin", func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"not yet valid": s.token("admin", func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"forged":        other,
		"none":          encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"sub":"admin"}`)) + ".",
		"garbage":       "x.y.z",
	} {
		code, answer := s.ask("GET", s.worker.url+"/admin/v2/worker/cluster", token, "", nil, nil)
		require.Equal(t, http.StatusUnauthorized, code, name)
		require.Contains(t, answer, "Authentication required", name)
	}
	for _, method := range []string{"tls", "Token", ""} {
		code, _ := s.ask("GET", s.worker.url+"/version", s.token("admin"), "", nil, http.Header{"X-Pulsar-Auth-Method-Name": {method}})
		require.Equal(t, http.StatusUnauthorized, code, method)
	}
	code, _ := s.ask("GET", s.worker.url+"/version", s.token("admin"), "", nil, http.Header{"X-Pulsar-Auth-Method-Name": {"token"}})
	require.Equal(t, http.StatusOK, code)
	code, _ = s.ask("GET", s.worker.url+"/version?token="+s.token("reader"), "", "", nil, nil)
	require.Equal(t, http.StatusOK, code)
}

func (s *secured) principals(t *testing.T) {
	for _, tc := range []struct {
		role, principal string
		want            bool
	}{
		{"proxy", "", false}, {"proxy", "proxy", false}, {"proxy", "deployer", true}, {"proxy", "reader", false},
		{"deployer", "deployer", true}, {"deployer", "admin", false}, {"admin", "deployer", false},
	} {
		code, answer := s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app", s.token(tc.role), "", nil, http.Header{"X-Original-Principal": {tc.principal}})
		require.Equal(t, tc.want, code == http.StatusOK, "%+v: %d %s", tc, code, answer)
	}
}

// grants: a right that is given or taken counts within the time that policies are kept.
func (s *secured) grants(t *testing.T) {
	allowed := func() bool {
		code, _ := s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app", s.token("late"), "", nil, nil)
		return code == http.StatusOK
	}
	require.False(t, allowed())
	code, answer := s.ask("POST", s.env.webURL+"/admin/v2/namespaces/acme/app/permissions/late", s.token("admin"), "application/json", strings.NewReader(`["functions"]`), nil)
	require.Less(t, code, 300, answer)
	require.Eventually(t, allowed, 5*time.Second, 50*time.Millisecond)
	code, answer = s.ask("DELETE", s.env.webURL+"/admin/v2/namespaces/acme/app/permissions/late", s.token("admin"), "", nil, nil)
	require.Less(t, code, 300, answer)
	require.Eventually(t, func() bool { return !allowed() }, 5*time.Second, 50*time.Millisecond)
}

// admin runs pulsar-admin with the token of a role.
func (s *secured) admin(role string, args ...string) (string, error) {
	out, errs, err := s.worker.tryAdmin(append([]string{"--auth-plugin", tokenClass, "--auth-params", "token:" + s.token(role)}, args...)...)
	return out + errs, err
}

func (s *secured) functions(t *testing.T) {
	deploy := func(role, name string, language ...string) (string, error) {
		return s.admin(role, append([]string{"functions", "create", "--tenant", "acme", "--namespace", "app", "--name", name,
			"--inputs", "persistent://acme/app/" + name + "-in", "--output", "persistent://acme/app/" + name + "-out", "--subs-position", "Earliest"}, language...)...)
	}
	python := []string{"--py", s.env.pythonExample("native_exclamation_function.py"), "--classname", "native_exclamation_function"}
	java := []string{"--jar", s.env.examplesJar(), "--classname", javaExample("JavaNativeExclamationFunction")}
	out, err := deploy("reader", "py", python...)
	require.Error(t, err)
	require.Contains(t, out, "Client is not authorized to perform operation")
	out, err = deploy("deployer", "py", python...)
	require.NoError(t, err, out)
	out, err = deploy("deployer", "java", java...)
	require.NoError(t, err, out)

	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: s.env.serviceURL, Logger: plog.DefaultNopLogger(), Authentication: pulsar.NewAuthenticationToken(s.token("deployer"))})
	require.NoError(t, err)
	defer client.Close()
	for _, name := range []string{"py", "java"} {
		var status string
		require.Eventually(t, func() bool {
			_, status = s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app/"+name+"/status", s.token("deployer"), "", nil, nil)
			return strings.Contains(status, `"numRunning":1`)
		}, 90*time.Second, 200*time.Millisecond, "%s does not run: %s", name, &status)
		topic := "persistent://acme/app/" + name
		var schema pulsar.Schema
		if name == "java" {
			schema = pulsar.NewStringSchema(nil)
		}
		consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: topic + "-out", Schema: schema, SubscriptionName: "test", SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest})
		require.NoError(t, err)
		defer consumer.Close()
		producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: topic + "-in", Schema: schema})
		require.NoError(t, err)
		defer producer.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		_, err = producer.Send(ctx, &pulsar.ProducerMessage{Payload: []byte("hello")})
		require.NoError(t, err)
		message, err := consumer.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, "hello!", string(message.Payload()))
	}

	// Triggering sends with the worker's rights: who may not produce may not trigger either.
	contentType, body := form(t, map[string]string{"data": "x"})
	trigger := s.worker.url + "/admin/v3/functions/acme/app/py/trigger"
	code, answer := s.ask("POST", trigger, s.token("operator"), contentType, bytes.NewReader(body), nil)
	require.Equal(t, http.StatusUnauthorized, code, answer)
	code, answer = s.ask("POST", trigger, s.token("deployer"), contentType, bytes.NewReader(body), nil)
	require.Equal(t, http.StatusOK, code, answer)
	require.Equal(t, "x!", answer)
}

// leaks: no credential is in the log, on a command line of an instance, or in what the API tells.
func (s *secured) leaks(t *testing.T) {
	_, config := s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app/py", s.token("admin"), "", nil, nil)
	processes, err := exec.Command("ps", "-eo", "args", "-ww").Output()
	require.NoError(t, err)
	var instances []string
	for line := range strings.Lines(string(processes)) {
		if strings.Contains(line, "--client_auth_params") && strings.Contains(line, `"acme"`) && !strings.Contains(line, "pulsar-admin") {
			instances = append(instances, line)
		}
	}
	require.NotEmpty(t, instances, "no instance with credentials was found")
	for _, role := range []string{"worker", "deployer", "reader"} {
		token := s.token(role)
		require.NotContains(t, s.worker.logs(), token, role)
		require.NotContains(t, config, token, role)
		require.NotContains(t, s.trail(), token, role)
		require.NotContains(t, strings.Join(instances, ""), token, role)
	}
	require.NotContains(t, s.worker.logs(), base64.StdEncoding.EncodeToString(s.key))
}

// peers: a follower forwards changes and asks for status with its own credentials, whoever the caller is.
func (s *secured) peers(t *testing.T) {
	follower := s.startWorker("public/functions")
	const f = "/admin/v3/functions/acme/app/py"
	code, answer := s.ask("POST", follower.url+f+"/stop", s.token("operator"), "application/json", nil, nil)
	require.Equal(t, http.StatusNoContent, code, answer)
	require.Eventually(t, func() bool {
		_, answer = s.ask("GET", follower.url+f+"/status", s.token("operator"), "", nil, nil)
		return strings.Contains(answer, `"numRunning":0`)
	}, 30*time.Second, 100*time.Millisecond, &answer)
	code, answer = s.ask("GET", follower.url+"/admin/v3/functions/acme/app/java/status", s.token("operator"), "", nil, nil)
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, answer, `"numRunning":1`)
	code, answer = s.ask("POST", follower.url+f+"/start", s.token("reader"), "application/json", nil, nil)
	require.Equal(t, http.StatusUnauthorized, code, answer)
}

func (s *secured) trail() string {
	data, err := os.ReadFile(s.audit)
	require.NoError(s.t, err)
	return string(data)
}

// audited: who, from where, what and the outcome are in the audit log, for changes, refusals and denials, also after the file
// was moved away.
func (s *secured) audited(t *testing.T) {
	require.NoError(t, os.Rename(s.audit, s.audit+".1"))
	time.Sleep(1100 * time.Millisecond) // the file's name is looked at once a second
	const f = "/admin/v3/functions/acme/app/audited"
	from := http.Header{"X-Forwarded-For": {"6.6.6.6, 192.0.2.7"}}
	s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app", s.token("deployer"), "", nil, from) // a read: no line
	s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app?token=garbage", "", "", nil, from)
	s.ask("GET", s.worker.url+"/admin/v3/functions/acme/app", s.token("reader"), "", nil, from)
	s.ask("DELETE", s.worker.url+f, s.token("deployer"), "", nil, from)
	proxied := from.Clone()
	proxied.Set("X-Original-Principal", "deployer")
	s.ask("POST", s.worker.url+f+"/stop", s.token("proxy"), "application/json", nil, proxied)
	type line struct {
		Worker, Client, Peer, Role, OriginalPrincipal, Authentication, Method, Path, Outcome, Reason string
		Status                                                                                       int
		Rights                                                                                       []string
	}
	var got []line
	for text := range strings.Lines(s.trail()) {
		var l line
		require.NoError(t, json.Unmarshal([]byte(text), &l), text)
		require.Equal(t, s.worker.id, l.Worker)
		require.Equal(t, "192.0.2.7:0", l.Client, "the address that the proxy saw, not the one that the client claims")
		require.NotEmpty(t, l.Peer)
		l.Worker, l.Client, l.Peer, l.Reason = "", "", "", ""
		got = append(got, l)
	}
	needed := []string{"functions on acme/app"}
	require.Equal(t, []line{
		{Method: "GET", Path: "/admin/v3/functions/acme/app", Outcome: "unauthenticated", Status: 401},
		{Role: "reader", Authentication: "token", Method: "GET", Path: "/admin/v3/functions/acme/app", Outcome: "denied", Status: 401, Rights: needed},
		{Role: "deployer", Authentication: "token", Method: "DELETE", Path: f, Outcome: "failed", Status: 404, Rights: needed},
		{Role: "proxy", OriginalPrincipal: "deployer", Authentication: "token", Method: "POST", Path: f + "/stop", Outcome: "failed", Status: 404, Rights: needed},
	}, got)
	before, err := os.ReadFile(s.audit + ".1")
	require.NoError(t, err)
	require.Contains(t, string(before), `"path":"/admin/v3/functions/acme/app/py","rights":["functions on acme/app"],"outcome":"success","status":204`, "the function that was created")
}
