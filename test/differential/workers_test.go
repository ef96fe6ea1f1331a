package differential

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// workerID is the same in both clusters, which have a namespace each, so that answers need no translation.
const workerID = "worker-1"

// lab is what both workers share: the packages, the directories of built-ins and the namespace that components live in.
type lab struct {
	serviceURL, webURL, home string
	dir, packages            string
	run                      string // makes names of this run unique
	namespace                string // of the components
	java, ours               *worker
	last                     *traces // before the next submission; nil after a change
}

type worker struct {
	name, url, dir, namespace string // namespace: tenant/namespace of its topics
	temp                      string // where it puts uploads
	client                    *http.Client
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{
		serviceURL: os.Getenv("PULSAR_TEST_SERVICE_URL"), webURL: os.Getenv("PULSAR_TEST_WEB_URL"), home: os.Getenv("PULSAR_HOME"),
		dir: t.TempDir(), run: fmt.Sprintf("%06x", rand.IntN(1<<24)),
	}
	connectors := os.Getenv("PULSAR_TEST_CONNECTORS")
	if l.serviceURL == "" || l.webURL == "" || l.home == "" || connectors == "" || os.Getenv("FUNCTIONS_WORKER_BIN") == "" {
		t.Skip("needs a broker with ZooKeeper, the Pulsar distribution and the built worker: run make test-differential")
	}
	l.namespace = "diff-" + l.run
	l.packages = filepath.Join(l.dir, "packages")
	for _, d := range []string{"packages", "connectors", "functions"} {
		require.NoError(t, os.MkdirAll(filepath.Join(l.dir, d), 0o755))
	}
	l.makePackages(t, connectors)
	l.broker(t, http.MethodPut, "/admin/v2/namespaces/public/"+l.namespace)
	l.java, l.ours = l.newWorker(t, "java"), l.newWorker(t, "ours")
	t.Cleanup(func() {
		for _, namespace := range []string{"public/" + l.namespace, l.java.namespace, l.ours.namespace} {
			l.dropNamespace(t, namespace)
		}
	})
	return l
}

// dropNamespace cleans up after the workers have ended; brokers refuse to delete namespaces with topics.
func (l *lab) dropNamespace(t *testing.T, namespace string) {
	var topics []string
	mustDecode(t, l.broker(t, http.MethodGet, "/admin/v2/persistent/"+namespace), &topics)
	for _, topic := range topics {
		l.broker(t, http.MethodDelete, "/admin/v2/"+strings.Replace(topic, "://", "/", 1)+"?force=true")
	}
	l.broker(t, http.MethodDelete, "/admin/v2/namespaces/"+namespace)
}

func (l *lab) makePackages(t *testing.T, connectors string) {
	examples := filepath.Join(l.home, "examples", "api-examples.jar")
	link(t, examples, filepath.Join(l.packages, "api-examples.jar"))
	link(t, filepath.Join(l.home, "examples", "python-examples", "exclamation_function.py"), filepath.Join(l.packages, "exclamation_function.py"))
	binary, err := os.ReadFile(filepath.Join("testdata", "fakebin", "java"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(l.packages, "go-function"), binary, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(l.packages, "no-archive.jar"), []byte("this is no archive"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(l.packages, "empty.jar"), nil, 0o600))
	for _, name := range []string{"data-generator", "batch-data-generator", "file", "http", "kafka"} {
		nar := filepath.Join(connectors, "pulsar-io-"+name+"-4.0.8.nar")
		if name != "kafka" { // large: a built-in only
			link(t, nar, filepath.Join(l.packages, name+".nar"))
		}
		link(t, nar, filepath.Join(l.dir, "connectors", filepath.Base(nar)))
	}
	for name, class := range map[string]string{"exclaim": "ExclamationFunction", "record": "RecordFunction", "window": "AddWindowFunction"} {
		nar := filepath.Join(l.dir, "functions", name+".nar")
		functionNAR(t, examples, nar, fmt.Sprintf("name: %s\ndescription: an example\nfunctionClass: %s%s\n", name, examplesPackage, class))
	}
	functionNAR(t, examples, filepath.Join(l.packages, "record.nar"), "name: record\nfunctionClass: "+examplesPackage+"RecordFunction\n")
	functionNAR(t, examples, filepath.Join(l.packages, "nameless.nar"), "name: nameless\n")
	functionNAR(t, examples, filepath.Join(l.packages, "broken-yaml.nar"), "name: [\n")
}

// functionNAR adds a definition to the examples.
func functionNAR(t *testing.T, jar, nar, definition string) {
	t.Helper()
	src, err := zip.OpenReader(jar)
	require.NoError(t, err)
	defer src.Close()
	file, err := os.Create(nar)
	require.NoError(t, err)
	defer file.Close()
	out := zip.NewWriter(file)
	for _, entry := range src.File {
		require.NoError(t, out.Copy(entry))
	}
	w, err := out.Create("META-INF/services/pulsar-io.yaml")
	require.NoError(t, err)
	_, err = io.WriteString(w, definition)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

func link(t *testing.T, from, to string) {
	t.Helper()
	from, err := filepath.Abs(from)
	require.NoError(t, err)
	require.FileExists(t, from)
	require.NoError(t, os.Symlink(from, to))
}

// broker sends an admin request and expects success.
func (l *lab) broker(t *testing.T, method, path string) []byte {
	t.Helper()
	req, err := http.NewRequest(method, l.webURL+path, nil)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Less(t, resp.StatusCode, 300, "%s %s: %s", method, path, body)
	return body
}

func (l *lab) newWorker(t *testing.T, name string) *worker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	w := &worker{
		name: name, url: fmt.Sprintf("http://localhost:%d", port), dir: filepath.Join(l.dir, name), namespace: "public/diff-" + name + "-" + l.run,
		client: &http.Client{Timeout: 60 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	w.temp = filepath.Join(w.dir, "tmp")
	require.NoError(t, os.MkdirAll(w.temp, 0o755))
	data, err := os.ReadFile(filepath.Join("..", "conformance", "testdata", "worker-process.yml"))
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(string(data), "@LAB@", w.dir)), &config))
	for k, v := range map[string]any{
		"workerId": workerID, "workerPort": port, "pulsarFunctionsNamespace": w.namespace, "pulsarServiceUrl": l.serviceURL, "pulsarWebServiceUrl": l.webURL,
		"connectorsDirectory": filepath.Join(l.dir, "connectors"), "functionsDirectory": filepath.Join(l.dir, "functions"),
		"instanceLivenessCheckFreqMs": 600000, // the stand-ins never answer
	} {
		config[k] = v
	}
	data, err = yaml.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "functions_worker.yml"), data, 0o600))
	return w
}

// environment puts the stand-ins first on the PATH; bin/pulsar finds the real java through JAVA_HOME.
func (l *lab) environment(t *testing.T, w *worker) []string {
	t.Helper()
	fakebin, err := filepath.Abs(filepath.Join("testdata", "fakebin"))
	require.NoError(t, err)
	java, err := exec.LookPath("java")
	require.NoError(t, err)
	java, err = filepath.EvalSymlinks(java)
	require.NoError(t, err)
	env := append(os.Environ(), "PATH="+fakebin+":"+os.Getenv("PATH"), "PULSAR_HOME="+l.home, "TMPDIR="+w.temp)
	if os.Getenv("JAVA_HOME") == "" {
		env = append(env, "JAVA_HOME="+filepath.Dir(filepath.Dir(java)))
	}
	return append(env, "PULSAR_EXTRA_OPTS=-Djava.io.tmpdir="+w.temp)
}

// start runs both workers until the end of the test.
func (l *lab) start(t *testing.T) {
	t.Helper()
	script := func(args ...string) *exec.Cmd {
		return exec.Command(filepath.Join("..", "..", "scripts", "pulsar.sh"), args...)
	}
	up := script("java-worker", l.java.dir, filepath.Join(l.java.dir, "functions_worker.yml"))
	up.Env = l.environment(t, l.java)
	t.Cleanup(func() {
		if out, err := script("stop-java-worker", l.java.dir).CombinedOutput(); err != nil {
			t.Errorf("stopping the Java worker: %v: %s", err, out)
		}
		l.tail(t, filepath.Join(l.java.dir, "java-worker.out"))
	})
	javaUp := make(chan error, 1)
	go func() {
		out, err := up.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("the Java worker does not start: %w: %s", err, out)
		}
		javaUp <- err
	}()
	log, err := os.Create(filepath.Join(l.ours.dir, "worker.log"))
	require.NoError(t, err)
	cmd := exec.Command(os.Getenv("FUNCTIONS_WORKER_BIN"), "-c", filepath.Join(l.ours.dir, "functions_worker.yml"))
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = l.environment(t, l.ours), l.home, log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
		l.tail(t, log.Name())
	})
	require.NoError(t, <-javaUp)
	for _, w := range []*worker{l.java, l.ours} {
		require.Eventually(t, func() bool {
			resp, err := http.Get(w.url + "/admin/v2/worker/cluster/leader/ready")
			if err == nil {
				_ = resp.Body.Close()
			}
			return err == nil && resp.StatusCode == http.StatusOK
		}, 60*time.Second, 100*time.Millisecond, "%s does not lead", w.name)
	}
}

func (l *lab) tail(t *testing.T, file string) {
	if t.Failed() {
		text, _ := os.ReadFile(file)
		t.Logf("%s ends with\n%s", file, text[max(0, len(text)-3000):])
	}
}

// assigned says whether a worker has assigned an instance.
func (w *worker) assigned(ctx context.Context, instance string) bool {
	a, err := w.send(ctx, step{method: http.MethodGet, path: "/admin/v2/worker/assignments"})
	return err == nil && strings.Contains(string(a.body), `"`+instance+`"`)
}
