package image

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/functions-worker/functions-worker/test/certificates"
)

const chartDir = "../../deploy/helm/functions-worker"

// everything switches on all that the chart can make.
var everything = []string{"auth.enabled=true", "auth.keySecret.name=keys", "auth.tokenSecret.name=token", "auth.superUserRoles={admin,worker}",
	"broker.serviceUrl=pulsar+ssl://pulsar-broker:6651", "broker.webServiceUrl=https://pulsar-broker:8443", "broker.caSecret.name=ca",
	"tls.enabled=true", "tls.certManager.enabled=true", "tls.certManager.issuerRef.name=issuer", "networkPolicy.enabled=true",
	"metrics.podMonitor.enabled=true", "metrics.podMonitor.tokenSecret.name=metrics", "podLabels.team=data", "extraEnv[0].name=PF_functionsDirectory", "extraEnv[0].value=/pulsar/functions"}

// helm runs the real one.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary := os.Getenv("HELM")
	if binary == "" {
		t.Skip("HELM is not set: run scripts/test.sh image, or scripts/helm.sh to get one")
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func render(t *testing.T, values ...string) string {
	t.Helper()
	args := []string{"template", "functions-worker", chartDir, "--namespace", namespace}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	out, err := helm(t, args...)
	require.NoError(t, err, out)
	return out
}

// list holds the objects of a rendering.
func list(t *testing.T, text string) (all []*unstructured.Unstructured) {
	t.Helper()
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var u unstructured.Unstructured
		if err := decoder.Decode(&u.Object); err == io.EOF {
			return all
		} else {
			require.NoError(t, err)
		}
		if len(u.Object) > 0 {
			all = append(all, &u)
		}
	}
}

// objects are those by kind and name.
func objects(t *testing.T, text string) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, u := range list(t, text) {
		all[u.GetKind()+"/"+u.GetName()] = u
	}
	return all
}

func typed[T any](t *testing.T, u *unstructured.Unstructured) (out T) {
	t.Helper()
	require.NotNil(t, u)
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out))
	return out
}

// ownChart installs the project's chart as its documentation says: two workers with read-only root file systems lead, hand over,
// run a function, are upgraded and go.
func ownChart(t *testing.T, b broker, authority *certificates.Authority) {
	values := []string{"image.tag=test", "functions.image=" + chartImage, "functions.restricted=false", // here functions' files belong to root
		"config.goWorker.auditLog=stdout"}
	c := newCluster(t, b)
	c.worker = "functions-worker-0"
	c.dryRun(render(t, everything...))
	c.release("install", values...)
	c.awaitWorkers()
	f := c.createExclamation(ownService)
	f.exchange("one")

	// The leader gets SIGTERM, as in a roll-out: the other one leads, the function's pod stays.
	leader := c.awaitLeader()
	c.worker = map[string]string{"functions-worker-0": "functions-worker-1", "functions-worker-1": "functions-worker-0"}[leader]
	started := time.Now()
	require.NoError(t, c.client.CoreV1().Pods(namespace).Delete(t.Context(), leader, metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return c.leader(c.worker) == c.worker }, 30*time.Second, 50*time.Millisecond)
	t.Logf("%s leads %.1f s after %s got SIGTERM", c.worker, time.Since(started).Seconds(), leader)
	f.exchange("two")
	f.awaitRunning(1)
	c.awaitLog(leader, "functions-worker", "stopped", 30*time.Second) // it has left by itself
	c.awaitWorkers()

	// An upgrade replaces one pod after the other. This one switches TLS on, without authentication, and so replaces the function's pod
	// too: it gets the certificates that it needs from now on.
	workers := &secured{broker: broker{ca: authority.File}, authority: authority}
	c.createSecrets(map[string]map[string][]byte{"ca": {"ca.crt": read(t, authority.File)},
		"functions-worker-tls": workers.certificateFor(t, "functions-worker", "functions-worker."+namespace+".svc", "*.functions-worker-headless."+namespace+".svc.cluster.local")})
	before, plain := c.uids(), c.serves(f)
	require.Contains(t, plain, "pulsar://pulsar-broker:6650")
	values = append(values, "tls.enabled=true", "broker.caSecret.name=ca", "broker.serviceUrl=pulsar+ssl://pulsar-broker:6651", "broker.webServiceUrl=https://pulsar-broker:8443")
	c.release("upgrade", values...)
	require.Eventually(t, func() bool {
		now := c.uids()
		return len(now) == 2 && now["functions-worker-0"] != before["functions-worker-0"] && now["functions-worker-1"] != before["functions-worker-1"]
	}, 180*time.Second, 100*time.Millisecond)
	c.awaitWorkers()
	require.Eventually(t, func() bool { return strings.Contains(c.serves(f), "pulsar+ssl://pulsar-broker:6651") }, 120*time.Second, 100*time.Millisecond)
	f.awaitRunning(1)
	f.exchange("three")
	require.NotContains(t, c.log("functions-worker-1", "functions-worker"), "read-only file system")
	f.base = "https://functions-worker:6751"
	f.delete()

	c.release("uninstall")
	for _, u := range list(t, render(t, values...)) {
		require.Eventually(t, func() bool { return c.gone(u) }, 30*time.Second, 100*time.Millisecond, "%s %s", u.GetKind(), u.GetName())
	}
}

// ownChartSecured: the chart's values for authentication and TLS are enough for both workers, for calls between them, and for the pods
// of functions, which speak TLS to the broker too.
func ownChartSecured(t *testing.T, s *secured) {
	c := newCluster(t, s.broker)
	c.worker = "functions-worker-0"
	c.createSecrets(map[string]map[string][]byte{
		"keys": {"SECRETKEY": s.key}, "token": {"TOKEN": []byte(s.tokenOf(t, "broker-admin"))}, "ca": {"ca.crt": read(t, s.ca)},
		"functions-worker-tls": s.certificateFor(t, "functions-worker", "functions-worker."+namespace+".svc", "*.functions-worker-headless."+namespace+".svc.cluster.local"),
	})
	c.applyText(render(t, "image.tag=test", "functions.image="+chartImage, "functions.restricted=false", "auth.enabled=true", "auth.superUserRoles={admin,broker-admin}",
		"auth.keySecret.name=keys", "auth.tokenSecret.name=token", "tls.enabled=true", "broker.caSecret.name=ca",
		"broker.serviceUrl=pulsar+ssl://pulsar-broker:6651", "broker.webServiceUrl=https://pulsar-broker:8443"))
	c.awaitWorkers()
	require.NotContains(t, c.log("functions-worker-0", "functions-worker"), "until the worker's role is complete", "the chart's role has the Secrets")
	other := map[string]string{"functions-worker-0": "functions-worker-1", "functions-worker-1": "functions-worker-0"}[c.awaitLeader()]
	f := c.createExclamation("https://" + other + ".functions-worker-headless." + namespace + ".svc.cluster.local:6751") // the leader writes
	f.exchange("one")
	require.Len(t, c.tokenSecrets(), 1)
	base := "http://" + c.runner.Address(c.worker) + ":6750"
	require.Equal(t, http.StatusUnauthorized, c.anonymous(base, "/metrics"))
	status, _ := c.get(base, "/metrics")
	require.Equal(t, http.StatusOK, status, "with a token, as the PodMonitor's Secret holds")
	f.base = "https://functions-worker:6751"
	f.delete()
	require.Eventually(t, func() bool { return len(c.tokenSecrets()) == 0 }, 30*time.Second, 100*time.Millisecond)
}

// serves is the command of a function's pod as it runs now, "" between two.
func (c *cluster) serves(f *exclamation) string {
	pod, err := c.client.CoreV1().Pods(namespace).Get(c.t.Context(), f.pod(), metav1.GetOptions{})
	if err != nil || pod.DeletionTimestamp != nil {
		return ""
	}
	return strings.Join(pod.Spec.Containers[0].Command, " ")
}

const ownService = "http://functions-worker:6750"

// release runs helm as a user does: install, upgrade or uninstall.
func (c *cluster) release(verb string, values ...string) {
	c.t.Helper()
	args := []string{verb, "functions-worker"}
	if verb != "uninstall" {
		args = append(args, chartDir)
	}
	args = append(args, "--namespace", namespace, "--kubeconfig", os.Getenv("PULSAR_TEST_KUBECONFIG"))
	for _, v := range values {
		args = append(args, "--set", v)
	}
	out, err := helm(c.t, args...)
	require.NoError(c.t, err, out)
	if verb != "uninstall" {
		require.Contains(c.t, out, "pulsar-admin reaches the workers at http", "the notes")
	}
}

// awaitWorkers waits until both workers are ready and members.
func (c *cluster) awaitWorkers() {
	c.t.Helper()
	for _, pod := range []string{"functions-worker-0", "functions-worker-1"} {
		c.awaitReady(pod, 60*time.Second)
	}
	require.Eventually(c.t, func() bool {
		_, members := c.get("http://"+c.runner.Address(c.worker)+":6750", "/admin/v2/worker/cluster")
		return strings.Contains(members, `"workerHostname":"functions-worker-0.functions-worker-headless.pulsar.svc.cluster.local"`) && strings.Contains(members, `"functions-worker-1"`)
	}, 30*time.Second, 100*time.Millisecond)
}

// leader is the pod that the worker in this one takes for the leader.
func (c *cluster) leader(asked string) string {
	_, body := c.get("http://"+c.runner.Address(asked)+":6750", "/admin/v2/worker/cluster/leader")
	var member struct {
		WorkerID string `json:"workerId"`
	}
	_ = json.Unmarshal([]byte(body), &member) // the caller asks again
	return member.WorkerID
}

// awaitLeader waits until the workers have one.
func (c *cluster) awaitLeader() (leader string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { leader = c.leader(c.worker); return leader != "" }, 60*time.Second, 100*time.Millisecond)
	return leader
}

// uids tell the workers' pods from their successors of the same names.
func (c *cluster) uids() map[string]types.UID {
	pods, err := c.client.CoreV1().Pods(namespace).List(c.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=functions-worker"})
	require.NoError(c.t, err)
	all := map[string]types.UID{}
	for _, pod := range pods.Items {
		all[pod.Name] = pod.UID
	}
	return all
}

// dryRun sends objects of known kinds to the API server, which checks them strictly and keeps none; and the pod of the StatefulSet to a
// namespace of the Pod Security level "restricted".
func (c *cluster) dryRun(text string) {
	c.t.Helper()
	for name, u := range objects(c.t, text) {
		if kind := u.GetKind(); kind == "Certificate" || kind == "PodMonitor" {
			continue
		}
		_, err := c.create(u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
		require.NoError(c.t, err, name)
	}
	const restricted = "functions-worker-restricted"
	labels := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	namespaces := c.client.CoreV1().Namespaces()
	_, err := namespaces.Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: restricted, Labels: labels}}, metav1.CreateOptions{})
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, namespaces.Delete(c.t.Context(), restricted, metav1.DeleteOptions{})) }()
	set := typed[appsv1.StatefulSet](c.t, objects(c.t, text)["StatefulSet/functions-worker"])
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "try", Labels: set.Spec.Template.Labels}, Spec: set.Spec.Template.Spec}
	_, err = c.client.CoreV1().Pods(restricted).Create(c.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(c.t, err)
	pod.Spec.SecurityContext = nil
	_, err = c.client.CoreV1().Pods(restricted).Create(c.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.ErrorContains(c.t, err, "restricted", "the check itself works")
}
