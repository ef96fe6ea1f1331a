package image

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/test/certificates"
)

// TestCharts: the official chart and the project's own, with one broker.
func TestCharts(t *testing.T) {
	authority := certificates.New(t)
	lines, ports := withTLS(t, authority)
	b := chartBroker(t, "", lines...)
	t.Run("own", func(t *testing.T) {
		b := b
		b.extra, b.ca = ports, authority.File
		ownChart(t, b, authority)
	})
	t.Run("official", func(t *testing.T) { officialChart(t, b) })
	t.Run("official with a public key", func(t *testing.T) { officialChartPublicKey(t, b) })
}

// officialChart runs the worker as the official chart's function worker component would, with its command, environment, mounts
// and rights, and nothing but the image swapped: it starts, runs a function in a pod of the Pulsar image, and loses nothing.
func officialChart(t *testing.T, b broker) {
	for _, rendering := range []string{"chart-plain.yaml", "chart-ci.yaml"} {
		t.Run(rendering, func(t *testing.T) {
			c := newCluster(t, b)
			c.apply(filepath.Join("testdata", rendering))
			worker := c.awaitReady("pulsar-function-worker-0", 60*time.Second)

			// The worker is who the chart says it is.
			require.Eventually(t, func() bool { // the port opens before it joins
				_, members := c.get(worker, "/admin/v2/worker/cluster")
				return strings.Contains(members, `"workerId":"pulsar-function-worker-0"`) &&
					strings.Contains(members, `"workerHostname":"pulsar-function-worker-0.pulsar-function-worker-headless.pulsar.svc.cluster.local"`)
			}, 30*time.Second, 100*time.Millisecond)
			require.Contains(t, c.log("pulsar-function-worker-0", "pulsar-function-worker"), "JVM options", "the command shows conf/pulsar_env.sh")
			status, metrics := c.get(worker, "/metrics")
			require.Equal(t, http.StatusOK, status)
			require.Contains(t, metrics, "pulsar_function_worker_")

			f := c.createExclamation(worker)
			f.exchange("one")

			// SIGTERM, as when a pod is replaced: gone within ten seconds, the function's pod stays, the next life goes on.
			started := time.Now()
			require.NoError(t, c.runner.Signal("pulsar-function-worker-0", "pulsar-function-worker", syscall.SIGTERM))
			c.awaitLog("pulsar-function-worker-0", "pulsar-function-worker", "stopped", 10*time.Second)
			t.Logf("stopped %.1f s after SIGTERM", time.Since(started).Seconds())
			f.exchange("two")
			c.awaitRestarts("pulsar-function-worker-0", 1)
			f.awaitRunning(1)

			require.NoError(t, c.runner.Signal("pulsar-function-worker-0", "pulsar-function-worker", syscall.SIGKILL))
			c.awaitRestarts("pulsar-function-worker-0", 2)
			f.awaitRunning(1)
			require.Equal(t, 0, c.restarts(f.pod()), "the function's pod has outlived both")
			f.exchange("three")
			f.delete()
		})
	}
}

// TestTools: what the charts' commands and scripts use is in the image, for any user id of group 0.
func TestTools(t *testing.T) {
	c := newCluster(t, broker{})
	tests := map[string]struct{ command, want string }{
		"host name":            {"hostname", "tools-0"},
		"full host name":       {"hostname -f", "tools-0.tools.pulsar.svc.cluster.local"},
		"search domains":       {"nslookup tools && echo known", "known"},
		"a name that is not":   {"nslookup nobody >/dev/null 2>&1 || echo unknown", "unknown"},
		"a name with dots":     {"nslookup tools.pulsar.svc && echo known", "known"},
		"time-outs":            {"timeout 1 sleep 5; echo $?", "143"},
		"bash for scripts":     {"printf '#!/bin/bash\\nset -e\\ndiff a a\\necho done' >/tmp/s.sh; touch /tmp/a; cd /tmp; chmod +x s.sh; ./s.sh", "done"},
		"numeric user":         {"id -u; id -g", "12345\n0"},
		"variables into file":  {"cd /pulsar; PF_workerPort=1234 bin/gen-yml-from-env.py conf/functions_worker.yml; grep workerPort: conf/functions_worker.yml", "workerPort: 1234"},
		"directories":          {"cd /pulsar; for d in conf logs download data; do touch $d/x && echo $d; done", "conf\nlogs\ndownload\ndata"},
		"not the binary":       {"touch /pulsar/bin/functions-worker 2>&1 || true", "Permission denied"},
		"nor its directory":    {"touch /pulsar/bin/x 2>&1 || true", "Permission denied"},
		"a wrong home":         {"cd /; PULSAR_HOME=/nowhere /pulsar/bin/pulsar functions-worker version && echo fine", "fine"},
		"another command":      {"/pulsar/bin/pulsar broker 2>&1 || true", "this image has only 'functions-worker'"},
		"certificates":         {"grep -c BEGIN /etc/ssl/certs/ca-certificates.crt", ""},
		"version":              {"functions-worker version", ""},
		"nohup, mv, rm, touch": {"cd /tmp; touch m; mv m n; rm n; nohup sh -c 'kill -HUP $$; echo goes on'; echo $?", "goes on\n0"},
	}
	var script strings.Builder
	names := []string{}
	for name, tt := range tests {
		names = append(names, name)
		script.WriteString("echo '== " + name + "'; ( " + tt.command + " )\n")
	}
	script.WriteString("echo '== end'; exec sleep 1000\n")
	c.applyText(toolsPod(script.String()))
	c.awaitLog("tools-0", "tools", "== end", 30*time.Second)
	answers := map[string]string{}
	for _, part := range strings.Split(c.log("tools-0", "tools"), "== ")[1:] {
		name, answer, _ := strings.Cut(part, "\n")
		answers[name] = strings.TrimSpace(answer)
	}
	for _, name := range names {
		require.Contains(t, answers[name], tests[name].want, name)
		require.NotEmpty(t, answers[name], name)
	}
}
