// Package conformance compares the answers of the built worker with those that the Java worker 4.0.8 gave to the same
// requests (testdata/golden_*.json, recorded with testdata/conformance.py). The function instances are stand-ins that
// record their command lines (testdata/fakebin), so that a hundred functions start no JVM.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// different names the cases in which this worker answers otherwise on purpose; docs/differences.md gives the reasons.
var different = map[string]string{}

type lab struct {
	dir, url, workerID        string
	port                      int
	serviceURL, webURL, home  string
	python, packages, capture string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{
		serviceURL: os.Getenv("PULSAR_TEST_SERVICE_URL"), webURL: os.Getenv("PULSAR_TEST_WEB_URL"), home: os.Getenv("PULSAR_HOME"),
		python: filepath.Join(os.Getenv("PULSAR_TEST_VENV"), "bin", "python3"), dir: t.TempDir(), workerID: "java-1",
	}
	if l.serviceURL == "" || l.webURL == "" || l.home == "" || os.Getenv("FUNCTIONS_WORKER_BIN") == "" {
		t.Skip("needs a broker, the Pulsar distribution and the built worker: run scripts/test.sh conformance")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.port = listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	l.url = fmt.Sprintf("http://localhost:%d", l.port)
	l.packages, l.capture = filepath.Join(l.dir, "packages"), filepath.Join(l.dir, "capture")
	for _, d := range []string{l.packages, l.capture, filepath.Join(l.dir, "connectors")} {
		require.NoError(t, os.MkdirAll(d, 0o755))
	}
	l.link(t, filepath.Join(l.home, "examples", "api-examples.jar"), l.packages, "api-examples.jar")
	l.link(t, filepath.Join(l.home, "examples", "python-examples", "exclamation_function.py"), l.packages, "exclamation_function.py")
	goFunction, err := os.ReadFile(filepath.Join("testdata", "fakebin", "java"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(l.packages, "go-function"), goFunction, 0o755))
	cache := filepath.Join("..", "..", ".cache", "connectors")
	if dir := os.Getenv("PULSAR_TEST_CONNECTORS"); dir != "" {
		cache = dir
	}
	for _, name := range []string{"data-generator", "kafka"} {
		file := "pulsar-io-" + name + "-4.0.8.nar"
		l.link(t, filepath.Join(cache, file), filepath.Join(l.dir, "connectors"), file)
		l.link(t, filepath.Join(cache, file), l.packages, file)
	}
	return l
}

func (l *lab) link(t *testing.T, from, dir, name string) {
	t.Helper()
	from, err := filepath.Abs(from)
	require.NoError(t, err)
	require.FileExists(t, from)
	require.NoError(t, os.Symlink(from, filepath.Join(dir, name)))
}

// startWorker runs the worker with the configuration of the recordings.
func (l *lab) startWorker(t *testing.T, file string, environment ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	config := strings.NewReplacer("@LAB@", l.dir, "localhost:6650", strings.TrimPrefix(l.serviceURL, "pulsar://"),
		"http://localhost:8080", l.webURL, "http://localhost:6750", l.url, "workerPort: 6750", fmt.Sprintf("workerPort: %d", l.port),
		"public/functions", fmt.Sprintf("public/conformance-%d", time.Now().UnixNano())).Replace(string(data))
	path := filepath.Join(l.dir, "functions_worker.yml")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	fakebin, err := filepath.Abs(filepath.Join("testdata", "fakebin"))
	require.NoError(t, err)
	log, err := os.Create(filepath.Join(l.dir, "worker.log"))
	require.NoError(t, err)
	cmd := exec.Command(os.Getenv("FUNCTIONS_WORKER_BIN"), "-c", path)
	cmd.Env = append(os.Environ(), "PATH="+fakebin+":"+os.Getenv("PATH"), "CAPTURE_DIR="+l.capture, "PULSAR_HOME="+l.home)
	cmd.Env = append(cmd.Env, environment...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = l.home // as bin/pulsar does
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the worker's log ends with\n%s", text[max(0, len(text)-4000):])
		}
	})
	require.Eventually(t, func() bool {
		res, err := http.Get(l.url + "/admin/v2/worker/cluster/leader/ready")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	}, 60*time.Second, 50*time.Millisecond, "the worker does not lead")
}

// golden writes the recordings with this run's addresses in place of the recorded ones.
func (l *lab) golden(t *testing.T, name string) (path string, cases []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	text := strings.NewReplacer("pulsar://localhost:6650", l.serviceURL, "http://localhost:8080", l.webURL,
		`"port": 6750`, fmt.Sprintf(`"port": %d`, l.port)).Replace(string(data))
	path = filepath.Join(l.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	var recorded map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &recorded))
	for name := range recorded {
		cases = append(cases, name)
	}
	sort.Strings(cases)
	return path, cases
}

var failLine = regexp.MustCompile(`^FAIL (\S+)`)

// check runs the comparison and makes a subtest of every recorded case.
func (l *lab) check(t *testing.T, script, recording string, more ...string) {
	golden, cases := l.golden(t, recording)
	kubectl, err := filepath.Abs(filepath.Join("testdata", "kubebin"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.python, append([]string{filepath.Join("testdata", "conformance.py"), "check", "--target", l.url,
		"--cases", filepath.Join("testdata", script), "--golden", golden, "--packages", l.packages, "--download-dir", filepath.Join(l.dir, "worker", "download"),
		"--worker-id", l.workerID, "--pulsar-home", l.home, "--log-dir", filepath.Join(l.dir, "worker", "logs"), "--connectors-dir", filepath.Join(l.dir, "connectors")}, more...)...)
	cmd.Env = append(os.Environ(), "PATH="+kubectl+":"+os.Getenv("PATH"))
	out, _ := cmd.CombinedOutput()
	failed := map[string]string{}
	var last string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if m := failLine.FindStringSubmatch(lines.Text()); m != nil {
			last = m[1]
			failed[last] = ""
		} else if last != "" && strings.HasPrefix(lines.Text(), "    ") {
			failed[last] += lines.Text() + "\n"
		}
	}
	require.Regexp(t, `\d+ passed, \d+ failed`, string(out), "the comparison did not come to its end")
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			differences, isDifferent := failed[name]
			if reason, allowed := different[name]; allowed {
				require.True(t, isDifferent, "docs/differences.md names a difference that is none: %s", reason)
				return
			}
			require.False(t, isDifferent, "%s", differences)
		})
	}
}

func TestRESTAnswers(t *testing.T) {
	l := newLab(t)
	l.startWorker(t, "worker-process.yml")
	l.check(t, "cases_open.py", "golden_open.json")
}

func TestCommandLines(t *testing.T) {
	l := newLab(t)
	l.startWorker(t, "worker-process.yml")
	l.check(t, "cases_process.py", "golden_process.json", "--capture-dir", l.capture)
}

// TestKubernetesObjects: the same cases with the Kubernetes runtime, with the objects that the API server holds for them.
func TestKubernetesObjects(t *testing.T) {
	kubeconfig := os.Getenv("PULSAR_TEST_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("needs a Kubernetes control plane: run scripts/test.sh kubernetes")
	}
	l := newLab(t)
	l.startWorker(t, "worker-kubernetes.yml", "KUBECONFIG="+kubeconfig)
	l.check(t, "cases_open.py", "golden_open.json", "--kubeconfig", kubeconfig)
}
