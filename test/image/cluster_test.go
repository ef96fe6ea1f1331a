// Package image runs the image's file system in pods of a real control plane, from the manifests of charts.
package image

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/functions-worker/functions-worker/test/podrunner"
	"github.com/functions-worker/functions-worker/test/pulsaradmin"
	"github.com/functions-worker/functions-worker/test/standalone"
)

const (
	namespace  = "pulsar"
	chartImage = "apachepulsar/pulsar-all:4.0.12" // what the official chart's renderings name, for the worker and for functions
	ourImage   = "functions-worker:test"
)

// broker is how this machine reaches the broker under test.
type broker struct {
	service, web string // URLs
	home         string
	extra        map[int]string // more ports that pods find on their loopback
	token        string         // of a superuser, where the broker wants one
	ca           string         // file with the certificate that the worker's is signed with, "" without TLS
}

// chartBroker starts a broker of the cluster that the chart's values name.
func chartBroker(t *testing.T, token string, lines ...string) broker {
	t.Helper()
	home := os.Getenv("PULSAR_HOME")
	if home == "" {
		t.Skip("needs the Pulsar distribution: run scripts/test.sh image")
	}
	if err := podrunner.Supported(); err != nil {
		t.Skip(err)
	}
	b := standalone.Start(t, "../..", append([]string{"clusterName=pulsar"}, lines...), token)
	return broker{service: b.ServiceURL, web: b.WebURL, home: home, token: token}
}

// rootfs puts the image together once per test run.
func rootfs(t *testing.T) string {
	t.Helper()
	worker := os.Getenv("FUNCTIONS_WORKER_BIN")
	busybox, err := exec.LookPath("busybox")
	if worker == "" || err != nil {
		t.Skip("needs the built worker and busybox (Debian package busybox): run scripts/test.sh image")
	}
	root := filepath.Join(t.TempDir(), "rootfs")
	out, err := exec.Command("../../deploy/image/rootfs.sh", root, worker, busybox).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return root
}

// cluster is a namespace of the control plane whose pods run on this machine.
type cluster struct {
	t      *testing.T
	client kubernetes.Interface
	config *rest.Config
	runner *podrunner.Runner
	broker broker
	dir    string
	worker string // the pod that is asked about functions

	discovery discovery.CachedDiscoveryInterface
	http      *http.Client // knows the names of pods and services, to which workers redirect
}

func newCluster(t *testing.T, b broker) *cluster {
	t.Helper()
	kubeconfig := os.Getenv("PULSAR_TEST_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("PULSAR_TEST_KUBECONFIG is not set: run scripts/test.sh image")
	}
	if err := podrunner.Supported(); err != nil {
		t.Skip(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	c := &cluster{t: t, client: client, config: config, broker: b, dir: t.TempDir(), worker: workerPod, discovery: memory.NewMemCacheClient(client.Discovery())}
	c.makeNamespace()
	api, err := url.Parse(config.Host)
	require.NoError(t, err)
	certificate, err := os.ReadFile(filepath.Join(filepath.Dir(kubeconfig), "certificates", "apiserver.crt"))
	require.NoError(t, err)
	forward := map[int]string{standalone.PortOf(t, config.Host): api.Host}
	if b.service != "" {
		for _, u := range []string{b.service, b.web} {
			forward[standalone.PortOf(t, u)] = net.JoinHostPort("127.0.0.1", strconv.Itoa(standalone.PortOf(t, u)))
		}
		forward[6650], forward[8080] = forward[standalone.PortOf(t, b.service)], forward[standalone.PortOf(t, b.web)]
	}
	for from, to := range b.extra {
		forward[from] = to
	}
	root := rootfs(t)
	worker := podrunner.Image{Root: root, WorkingDir: "/pulsar", UID: 10000, Env: []string{"PATH=/pulsar/bin:/bin:/usr/bin", "HOME=/pulsar/data", "PULSAR_HOME=/pulsar"}}
	functions := podrunner.Image{Root: "/", WorkingDir: "/pulsar", Mounts: map[string]string{"/pulsar": b.home},
		Env: []string{"PATH=" + os.Getenv("PATH"), "PULSAR_MEM=-Xmx128m -XX:TieredStopAtLevel=1"}}
	if java := os.Getenv("JAVA_HOME"); java != "" {
		functions.Env = append(functions.Env, "JAVA_HOME="+java)
	}
	c.runner, err = podrunner.Start(context.Background(), podrunner.Options{
		Client: client, Namespace: namespace, Dir: c.dir, Images: map[string]podrunner.Image{ourImage: worker, chartImage: functions},
		Forward: forward, Hosts: map[string]string{"pulsar-broker": "127.0.0.1"}, APIServer: api.Host, CA: certificate, Log: t.Logf,
	})
	require.NoError(t, err)
	names := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(c.runner.Resolver(), "53"))
	}}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Resolver: names}).DialContext}
	if b.ca != "" {
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(read(t, b.ca)))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	c.http = &http.Client{Transport: transport}
	t.Cleanup(func() {
		if t.Failed() {
			for _, file := range must(filepath.Glob(filepath.Join(c.dir, "*.log"))) {
				data, _ := os.ReadFile(file)
				t.Logf("%s:\n%s", filepath.Base(file), data[max(0, len(data)-6000):])
			}
		}
		c.removeNamespace()
		c.runner.Stop()
	})
	return c
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (c *cluster) makeNamespace() {
	c.t.Helper()
	require.Eventually(c.t, func() bool { // the one of an earlier test may still be ending
		_, err := c.client.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		return err == nil
	}, 60*time.Second, 200*time.Millisecond)
	require.Eventually(c.t, func() bool {
		_, err := c.client.CoreV1().ServiceAccounts(namespace).Get(context.Background(), "default", metav1.GetOptions{})
		return err == nil
	}, 30*time.Second, 100*time.Millisecond)
}

func (c *cluster) removeNamespace() {
	_ = c.client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	for range 300 {
		if _, err := c.client.CoreV1().Namespaces().Get(context.Background(), namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Error("the namespace does not go away")
}

// apply creates what a chart has rendered, with the worker's image swapped.
func (c *cluster) apply(file string) {
	c.t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(c.t, err)
	c.applyText(string(data))
}

func (c *cluster) applyText(text string) {
	c.t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var u unstructured.Unstructured
		if err := decoder.Decode(&u.Object); err == io.EOF {
			return
		} else {
			require.NoError(c.t, err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if u.GetKind() == "StatefulSet" {
			swapImages(c.t, &u)
		}
		_, err := c.create(&u, metav1.CreateOptions{})
		require.NoError(c.t, err, "%s %s", u.GetKind(), u.GetName())
	}
}

// create makes one object of any kind that the API server knows.
func (c *cluster) create(u *unstructured.Unstructured, o metav1.CreateOptions) (*unstructured.Unstructured, error) {
	resource, err := c.resource(u)
	if err != nil {
		return nil, err
	}
	return resource.Create(context.Background(), u, o)
}

// gone says whether an object of this kind and name is not there.
func (c *cluster) gone(u *unstructured.Unstructured) bool {
	resource, err := c.resource(u)
	require.NoError(c.t, err)
	_, err = resource.Get(c.t.Context(), u.GetName(), metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

func (c *cluster) resource(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := u.GroupVersionKind()
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	resource := dynamic.NewForConfigOrDie(c.config).Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return resource.Namespace(namespace), nil
	}
	return resource, nil
}

// swapImages is the one line that a team changes: images.function_worker, which the init container uses too.
func swapImages(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	for _, list := range []string{"initContainers", "containers"} {
		containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", list)
		require.NoError(t, err)
		for _, item := range containers {
			item.(map[string]any)["image"] = ourImage
		}
		if len(containers) > 0 {
			require.NoError(t, unstructured.SetNestedSlice(u.Object, containers, "spec", "template", "spec", list))
		}
	}
}

// awaitReady waits for a pod's readiness probe and returns the base URL of its port 6750.
func (c *cluster) awaitReady(pod string, limit time.Duration) string {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.ready(pod) }, limit, 100*time.Millisecond, "pod %s is not ready", pod)
	return "http://" + net.JoinHostPort(c.runner.Address(pod), "6750")
}

func (c *cluster) ready(name string) bool {
	pod, err := c.client.CoreV1().Pods(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil || pod.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *cluster) restarts(name string) int {
	pod, err := c.client.CoreV1().Pods(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil || len(pod.Status.ContainerStatuses) == 0 {
		return -1
	}
	return int(pod.Status.ContainerStatuses[0].RestartCount)
}

// awaitRestarts waits until the pod has been restarted so often and is ready again.
func (c *cluster) awaitRestarts(name string, n int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.restarts(name) >= n && c.ready(name) }, 60*time.Second, 100*time.Millisecond)
}

func (c *cluster) log(pod, container string) string {
	data, _ := os.ReadFile(c.runner.LogFile(pod, container))
	return string(data)
}

func (c *cluster) awaitLog(pod, container, want string, limit time.Duration) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Contains(c.log(pod, container), want) }, limit, 50*time.Millisecond, "%s does not say %q", pod, want)
}

func (c *cluster) get(base, path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	require.NoError(c.t, err)
	if c.broker.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.broker.token)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// admin runs the distribution's pulsar-admin, which must succeed.
func (c *cluster) admin(base string, args ...string) string {
	c.t.Helper()
	out, errs, err := c.tryAdmin(base, args...)
	require.NoError(c.t, err, "pulsar-admin %s\n%s%s", strings.Join(args, " "), out, errs)
	return out
}

// tryAdmin is admin that may fail. It finds the names of services as a pod does.
func (c *cluster) tryAdmin(base string, args ...string) (out, errs string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	flags := []string{"--admin-url", base}
	if c.broker.ca != "" {
		flags = append(flags, "--tls-trust-cert-path", c.broker.ca, "--tls-enable-hostname-verification")
	}
	if c.broker.token != "" {
		flags = append(flags, "--auth-plugin", "org.apache.pulsar.client.impl.auth.AuthenticationToken", "--auth-params", "token:"+c.broker.token)
	}
	cmd := pulsaradmin.Tool{Home: c.broker.home, JVMFlags: "-Djdk.net.hosts.file=" + c.runner.HostsFile()}.Command(ctx, append(flags, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// exclamation is the distribution's Java example, running in a pod of the Pulsar image.
type exclamation struct {
	c       *cluster
	base    string // where pulsar-admin goes
	name    string
	in, out string
	client  pulsar.Client
}

func (c *cluster) createExclamation(worker string) *exclamation {
	c.t.Helper()
	f := &exclamation{c: c, base: worker, name: fmt.Sprintf("test-%d", time.Now().UnixNano()%1e6)}
	f.in, f.out = "persistent://public/default/"+f.name+"-in", "persistent://public/default/"+f.name+"-out"
	options := pulsar.ClientOptions{URL: c.broker.service, Logger: plog.DefaultNopLogger()}
	if c.broker.token != "" {
		options.Authentication = pulsar.NewAuthenticationToken(c.broker.token)
	}
	var err error
	f.client, err = pulsar.NewClient(options)
	require.NoError(c.t, err)
	c.t.Cleanup(f.client.Close)
	require.Contains(c.t, c.admin(worker, "functions", "create", "--name", f.name, "--jar", filepath.Join(c.broker.home, "examples", "api-examples.jar"),
		"--classname", "org.apache.pulsar.functions.api.examples.ExclamationFunction", "--inputs", f.in, "--output", f.out, "--subs-position", "Earliest"), "Created successfully")
	f.awaitRunning(1)
	return f
}

// pod is the name of its only pod.
func (f *exclamation) pod() string { return "pf-public-default-" + f.name + "-0" }

func (f *exclamation) awaitRunning(n int) {
	f.c.t.Helper()
	require.Eventually(f.c.t, func() bool {
		var status struct {
			NumRunning int `json:"numRunning"`
		}
		address := f.c.runner.Address(f.c.worker)
		_, body := f.c.get("http://"+net.JoinHostPort(address, "6750"), "/admin/v3/functions/public/default/"+f.name+"/status")
		return json.Unmarshal([]byte(body), &status) == nil && status.NumRunning == n
	}, 120*time.Second, 200*time.Millisecond, "function %s does not run", f.name)
}

// exchange sends a message and waits for the answer to it.
func (f *exclamation) exchange(text string) {
	t := f.c.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	consumer, err := f.client.Subscribe(pulsar.ConsumerOptions{Topic: f.out, SubscriptionName: "test", Schema: pulsar.NewStringSchema(nil), SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest})
	require.NoError(t, err)
	defer consumer.Close()
	producer, err := f.client.CreateProducer(pulsar.ProducerOptions{Topic: f.in, Schema: pulsar.NewStringSchema(nil)})
	require.NoError(t, err)
	defer producer.Close()
	_, err = producer.Send(ctx, &pulsar.ProducerMessage{Payload: []byte(text)})
	require.NoError(t, err)
	message, err := consumer.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, consumer.Ack(message))
	require.Equal(t, text+"!", string(message.Payload()))
}

func (f *exclamation) delete() {
	t := f.c.t
	t.Helper()
	f.c.admin(f.base, "functions", "delete", "--name", f.name)
	require.Eventually(t, func() bool {
		_, err := f.c.client.AppsV1().StatefulSets(namespace).Get(context.Background(), strings.TrimSuffix(f.pod(), "-0"), metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, 30*time.Second, 100*time.Millisecond)
}

// toolsPod runs a script in the image as an arbitrary user of group 0.
func toolsPod(script string) string {
	quoted, _ := json.Marshal(script)
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: tools}
spec: {clusterIP: None, selector: {app: tools}, ports: [{port: 6750}]}
---
apiVersion: v1
kind: Pod
metadata: {name: tools-0, labels: {app: tools}}
spec:
  subdomain: tools
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 12345, runAsGroup: 0}
  containers:
  - name: tools
    image: %s
    command: [sh, -c]
    args: [%s]
`, ourImage, quoted)
}
