// Package kubernetes takes functions the whole way through the Kubernetes runtime: real control plane, real commands of the
// pods, real instances, real broker (test/podrunner stands in for the nodes).
package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/functions-worker/functions-worker/test/podrunner"
	"github.com/functions-worker/functions-worker/test/pulsaradmin"
	"github.com/functions-worker/functions-worker/test/standalone"
)

const (
	functionImage = "pulsar:test"
	workerImage   = "functions-worker:test"
)

// lab is a broker, a Kubernetes namespace and the places of the parts.
type lab struct {
	t                                           *testing.T
	service, web, home, venv, worker, connector string
	kubeconfig, namespace, functions            string // functions: the Pulsar namespace of the workers
	own                                         string // more of the configuration
	token                                       string // what the worker is asked with, "" where it asks nobody
	reach                                       string // where pods find the broker's binary port; "" = where it is
	api                                         clientset.Interface
	client                                      pulsar.Client
	dir                                         string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir()}
	for name, to := range map[string]*string{"PULSAR_TEST_SERVICE_URL": &l.service, "PULSAR_TEST_WEB_URL": &l.web, "PULSAR_HOME": &l.home, "PULSAR_TEST_VENV": &l.venv,
		"FUNCTIONS_WORKER_BIN": &l.worker, "PULSAR_TEST_CONNECTORS": &l.connector, "PULSAR_TEST_KUBECONFIG": &l.kubeconfig} {
		if *to = os.Getenv(name); *to == "" {
			t.Skipf("%s is not set: run scripts/test.sh kubernetes", name)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig)
	require.NoError(t, err)
	config.QPS, config.Burst = 100, 200
	l.api = clientset.NewForConfigOrDie(config)
	l.namespace = fmt.Sprintf("life-%d", rand.Uint32())
	l.functions = fmt.Sprintf("public/kubernetes-%d", time.Now().UnixNano())
	_, err = l.api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = l.api.CoreV1().Namespaces().Delete(context.Background(), l.namespace, metav1.DeleteOptions{})
	})
	l.client, err = pulsar.NewClient(pulsar.ClientOptions{URL: l.service, Logger: plog.DefaultNopLogger()})
	require.NoError(t, err)
	t.Cleanup(l.client.Close)
	return l
}

// config writes a worker's configuration, which a Java worker can read too.
func (l *lab) config(id string, port int) string {
	text := fmt.Sprintf(`workerId: %s
workerHostname: localhost
workerPort: %d
pulsarServiceUrl: %s
pulsarWebServiceUrl: %s
pulsarFunctionsNamespace: %s
pulsarFunctionsCluster: standalone
numFunctionPackageReplicas: 1
downloadDirectory: download/pulsar_functions
connectorsDirectory: %s
functionMetadataTopicName: metadata
clusterCoordinationTopicName: coordinate
functionAssignmentTopicName: assignments
schedulerClassName: org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler
failureCheckFreqMs: 3000
rescheduleTimeoutMs: 3000
initialBrokerReconnectMaxRetries: 60
assignmentWriteMaxRetries: 60
instanceLivenessCheckFreqMs: 30000
functionRuntimeFactoryClassName: org.apache.pulsar.functions.runtime.kubernetes.KubernetesRuntimeFactory
functionRuntimeFactoryConfigs:
  jobNamespace: %s
  pulsarDockerImageName: %s
  pulsarRootDir: /pulsar
  functionInstanceClassPath: "/pulsar/conf:::/pulsar/lib/*:" # a Java worker would name its own home
  pulsarAdminUrl: http://127.0.0.1:%d
  submittingInsidePod: false
%s`, id, port, l.service, l.web, l.functions, l.connector, l.namespace, functionImage, port, l.own)
	path := filepath.Join(l.dir, id+".yml")
	require.NoError(l.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// process is a worker of either kind.
type process struct {
	l    *lab
	url  string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
}

func (l *lab) run(id string, port int, cmd *exec.Cmd) *process {
	l.t.Helper()
	log, err := os.Create(filepath.Join(l.dir, id+".log"))
	require.NoError(l.t, err)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+l.kubeconfig, "PULSAR_HOME="+l.home)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, l.home
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{l: l, url: fmt.Sprintf("http://127.0.0.1:%d", port), cmd: cmd, log: log, done: make(chan struct{})}
	require.NoError(l.t, cmd.Start())
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	l.t.Cleanup(func() {
		p.stop()
		if l.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			l.t.Logf("the log of %s ends with\n%s", id, text[max(0, len(text)-5000):])
		}
		_ = log.Close()
	})
	require.Eventually(l.t, func() bool {
		code, _ := p.get("/admin/v2/worker/cluster/leader/ready")
		return code == http.StatusOK
	}, 2*time.Minute, 200*time.Millisecond, "%s does not lead", id)
	return p
}

func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

func (l *lab) goWorker(id string, port int, resolver string) *process {
	l.t.Helper()
	file := l.config(id, port)
	cmd := exec.Command(l.worker, "-c", file)
	if resolver != "" { // the names of pods, for this process only
		conf := filepath.Join(l.dir, "resolv.conf")
		require.NoError(l.t, os.WriteFile(conf, []byte("nameserver "+resolver+"\n"), 0o644))
		cmd = exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && exec "$2" -c "$3"`, "worker", conf, l.worker, file)
	}
	cmd.Env = os.Environ()
	return l.run(id, port, cmd)
}

func (p *process) get(path string) (int, []byte) {
	return requestAs(p.l.token, http.MethodGet, p.url+path)
}

func request(method, address string) (int, []byte) { return requestAs("", method, address) }

func requestAs(token, method, address string) (int, []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return 0, []byte(err.Error())
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return res.StatusCode, data
}

// admin runs the distribution's pulsar-admin, which must succeed.
func (p *process) admin(args ...string) string {
	p.l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := pulsaradmin.Tool{Home: p.l.home}.Command(ctx, append([]string{"--admin-url", p.url}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(p.l.t, cmd.Run(), "pulsar-admin %s\n%s", strings.Join(args, " "), &out)
	return out.String()
}

// status is what `status` of a component says.
type status struct {
	NumInstances int `json:"numInstances"`
	NumRunning   int `json:"numRunning"`
	Instances    []struct {
		Status struct {
			Running     bool   `json:"running"`
			Error       string `json:"error"`
			NumReceived int64  `json:"numReceived"`
			NumWritten  int64  `json:"numWritten"`
		} `json:"status"`
	} `json:"instances"`
}

func (p *process) status(kind, name string) (s status) {
	code, body := p.get("/admin/v3/" + kind + "/public/default/" + name + "/status")
	if code != http.StatusOK || json.Unmarshal(body, &s) != nil {
		return status{}
	}
	return s
}

// awaitRunning waits until so many instances answer, and no others are there.
func (p *process) awaitRunning(kind, name string, n int) {
	p.l.t.Helper()
	var s status
	require.Eventually(p.l.t, func() bool {
		s = p.status(kind, name)
		return s.NumInstances == n && s.NumRunning == n
	}, 4*time.Minute, 500*time.Millisecond, "%s: %d instances do not run", name, n)
}

// workerImage has nothing but the worker's program in its home, and is not root.
func (l *lab) workerImage() podrunner.Image {
	l.t.Helper()
	program, err := os.ReadFile(l.worker)
	require.NoError(l.t, err)
	home := filepath.Join(l.dir, "worker-home")
	require.NoError(l.t, os.MkdirAll(filepath.Join(home, "bin"), 0o755))
	require.NoError(l.t, os.WriteFile(filepath.Join(home, "bin", "functions-worker"), program, 0o755))
	return podrunner.Image{Root: "/", WorkingDir: "/pulsar", Mounts: map[string]string{"/pulsar": home}, UID: 10000}
}

// runner runs the namespace's pods with the distribution as their image.
func (l *lab) runner(port int) *podrunner.Runner {
	l.t.Helper()
	if err := podrunner.Supported(); err != nil {
		l.t.Skip(err)
	}
	forward := map[int]string{}
	for _, p := range []int{standalone.PortOf(l.t, l.service), standalone.PortOf(l.t, l.web), port} {
		forward[p] = net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
	}
	if l.reach != "" {
		forward[standalone.PortOf(l.t, l.service)] = l.reach
	}
	image := podrunner.Image{Root: "/", WorkingDir: "/pulsar", Mounts: map[string]string{"/pulsar": l.home}, ReadOnly: []string{l.venv},
		Env: []string{"PATH=" + filepath.Join(l.venv, "bin") + ":" + os.Getenv("PATH"), "PULSAR_MEM=-Xmx128m -XX:TieredStopAtLevel=1"}}
	if java := os.Getenv("JAVA_HOME"); java != "" {
		image.Env = append(image.Env, "JAVA_HOME="+java)
	}
	r, err := podrunner.Start(context.Background(), podrunner.Options{Client: l.api, Namespace: l.namespace, Dir: l.dir,
		Images: map[string]podrunner.Image{functionImage: image, workerImage: l.workerImage()}, Forward: forward, Log: l.t.Logf})
	require.NoError(l.t, err)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(l.dir, "pf-*.log"))
			for _, file := range logs {
				data, _ := os.ReadFile(file)
				l.t.Logf("%s:\n%s", filepath.Base(file), data[max(0, len(data)-3000):])
			}
		}
		r.Stop()
	})
	return r
}
