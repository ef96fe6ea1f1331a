package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const minimal = `
workerId: w-1
workerHostname: localhost
workerPort: 6750
pulsarServiceUrl: pulsar://localhost:6650
pulsarWebServiceUrl: http://localhost:8080
pulsarFunctionsNamespace: public/functions
pulsarFunctionsCluster: standalone
functionRuntimeFactoryClassName: org.apache.pulsar.functions.runtime.process.ProcessRuntimeFactory
`

// load reads the minimal file with further lines, which win because the last of two equal keys counts.
func load(t *testing.T, more string, env ...string) (*Worker, Report, error) {
	t.Helper()
	return Load(Sources{Content: []byte(minimal + more), Env: env, Hostname: func() (string, error) { return "host.example.org", nil }})
}

func problemsOf(t *testing.T, err error) string {
	t.Helper()
	var e *Error
	require.True(t, errors.As(err, &e), "want *Error, got %v", err)
	return e.Error()
}

func TestDistributedFile(t *testing.T) {
	home := os.Getenv("PULSAR_HOME")
	if home == "" {
		t.Skip("PULSAR_HOME is unset: it must name a Pulsar 4.0.8 distribution")
	}
	w, r, err := Load(Sources{Path: filepath.Join(home, "conf", "functions_worker.yml"), Env: []string{"PULSAR_HOME=" + home}})
	require.NoError(t, err)
	require.Empty(t, r.Warnings, "the distributed file must load without a warning")
	require.Equal(t, "standalone", w.WorkerID)
	require.Equal(t, 6750, *w.WorkerPort)
	require.False(t, w.Computed.TLS)
	require.Equal(t, 6750, w.Computed.Port)
	require.Equal(t, RuntimeProcess, w.Computed.Runtime)
	require.Equal(t, filepath.Join(home, "logs"), w.Computed.Process.LogDirectory)
	require.FileExists(t, w.Computed.Process.JavaInstanceJar)
	require.FileExists(t, w.Computed.Process.PythonInstanceFile)
	require.FileExists(t, w.Computed.Process.LogConf)
	require.Equal(t, filepath.Join(home, "connectors"), w.Computed.Files.ConnectorsDirectory)
	require.Empty(t, w.SuperUserRoles)
	require.Empty(t, w.ProxyRoles)
	for _, k := range Keys() {
		if origin := r.Origin[k.Path]; origin != "" && k.Dist == "" && k.Default != "" {
			require.NotEmpty(t, origin)
		}
	}
}

// The facts of the distributed file that must hold without having it at hand.
func TestFactsOfTheDistributedFile(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "distributed.yml"))
	require.NoError(t, err)
	w, r, err := Load(Sources{Content: data})
	require.NoError(t, err)
	require.Empty(t, r.Warnings)
	require.Equal(t, "persistent://public/functions/metadata", w.Computed.MetadataTopic)
	require.Equal(t, "persistent://public/functions/coordinate", w.Computed.CoordinationTopic)
	require.Equal(t, "persistent://public/functions/assignments", w.Computed.AssignmentTopic)
	require.EqualValues(t, 30000, w.FailureCheckFreqMs)
	require.EqualValues(t, -1, w.RebalanceCheckFreqSec)
	require.Nil(t, w.AuthenticationProviders)
	require.Equal(t, "topic", w.Computed.PackageStore)
}

func TestMinimal(t *testing.T) {
	w, r, err := load(t, "")
	require.NoError(t, err)
	require.Empty(t, r.Warnings)
	require.EqualValues(t, 30000, w.FailureCheckFreqMs, "0 is unusable, so the distributed value is the default")
	require.True(t, w.AuthenticateMetricsEndpoint)
	require.True(t, w.ForwardSourceMessageProperty)
	require.Equal(t, "http://localhost:6750", w.Computed.WebAddress)
	require.Equal(t, "http://localhost:6750", w.Computed.FunctionsURL)
	require.True(t, strings.HasSuffix(w.Computed.Process.InstanceClassPath, "/lib/*:"))
}
