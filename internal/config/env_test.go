package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEnvironment(t *testing.T) {
	w, _, err := load(t, "workerPort: 1\nproperties:\n",
		"PF_workerPort=6750", "PF_workerPortTls=6751", "PF_tlsEnabled=true", "PF_tlsCertificateFilePath=/c", "PF_tlsKeyFilePath=/k",
		"PF_superUserRoles=admin, worker", "PF_rebalanceCheckFreqSec=60", "PF_functionInstanceMinResources_cpu=0.1",
		"PF_properties_tokenSecretKey=file:///key", "PF_properties_brokerClient_operationTimeoutMs=5000",
		"PF_functionRuntimeFactoryConfigs_logDirectory=/var/log/x", "PF_goWorker_logLevel=warn",
		"PF_additionalJavaRuntimeArguments=-Xmx1g,-Xss1m", "PF_webServiceTlsProtocols=TLSv1.3", "PF_numFunctionPackageReplicas=0_2",
		"PF_failureCheckFreqMs= 010 ", "pf_workerId=ignored", "NOTPF_workerId=ignored")
	require.NoError(t, err)
	require.Equal(t, 6750, *w.WorkerPort)
	require.Equal(t, 6751, *w.WorkerPortTLS, "a quoted text that becomes an integer")
	require.True(t, w.Computed.TLS)
	require.Equal(t, 6751, w.Computed.Port)
	require.Equal(t, []string{"admin", "worker"}, w.SuperUserRoles)
	require.EqualValues(t, 60, w.RebalanceCheckFreqSec)
	require.InDelta(t, 0.1, *w.FunctionInstanceMinResources.CPU, 0)
	require.Equal(t, map[string]string{"tokenSecretKey": "file:///key", "brokerClient_operationTimeoutMs": "5000"}, w.Properties)
	require.Equal(t, "/var/log/x", w.Computed.Process.LogDirectory)
	require.Equal(t, "warn", w.Go.LogLevel)
	require.Equal(t, []string{"-Xmx1g", "-Xss1m"}, w.AdditionalJavaRuntimeArguments)
	require.EqualValues(t, 2, w.NumFunctionPackageReplicas)
	require.EqualValues(t, 10, w.FailureCheckFreqMs, "decimal whatever leads, unlike in the file")
	require.Equal(t, "w-1", w.WorkerID)
}

// TestEnvironmentNames: a name with an empty part means no key; it is named and has no effect.
func TestEnvironmentNames(t *testing.T) {
	for _, name := range []string{"PF_", "PF__x", "PF_x_", "PF_properties__a"} {
		w, r, err := load(t, "", name+"=1")
		require.NoError(t, err)
		require.Empty(t, w.Properties)
		require.Len(t, r.Warnings, 1, name)
		require.Equal(t, name, r.Warnings[0].Key)
	}
}

func TestEnvironmentFailures(t *testing.T) {
	cases := map[string]struct{ file, env, want string }{
		"no number":         {env: "PF_workerPort=many", want: "the environment variable PF_workerPort is not a whole number"},
		"hexadecimal":       {env: "PF_workerPort=0x10", want: "not a whole number"},
		"level below text":  {env: "PF_workerId_x=1", want: "needs a map there"},
		"quoted yes":        {env: "PF_tlsEnabled=yes", want: `tlsEnabled: "yes": it is neither true nor false (PF_tlsEnabled)`},
		"number in another": {env: "PF_maxPendingAsyncRequests=ten", want: "maxPendingAsyncRequests"},
		"deep":              {env: "PF_" + strings.Repeat("a_", 1000) + "b=1", want: "parts"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, c.file, c.env)
			require.Contains(t, problemsOf(t, err), c.want)
		})
	}
}

func TestContainerFactory(t *testing.T) {
	legacy := `
functionRuntimeFactoryClassName: ""
containerFactory: x
processContainerFactory: {logDirectory: /l}
threadContainerFactory: {threadGroupName: t}
kubernetesContainerFactory: {jobNamespace: ns}
`
	cases := map[string]struct {
		env  []string
		want RuntimeKind
	}{
		"none: the thread runtime is looked for first": {want: RuntimeThread},
		"process": {env: []string{"PF_containerFactory=process"}, want: RuntimeProcess},
		"k8s":     {env: []string{"PF_containerFactory=k8s"}, want: RuntimeKubernetes},
		"thread":  {env: []string{"PF_containerFactory=thread"}, want: RuntimeThread},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, r, err := load(t, legacy, c.env...)
			require.NoError(t, err)
			require.Equal(t, c.want, w.Computed.Runtime)
			for _, warning := range r.Warnings {
				require.NotEqual(t, "containerFactory", warning.Key)
			}
		})
	}
	_, r, err := load(t, "", "PF_containerFactory=kubernetes")
	require.NoError(t, err)
	require.Contains(t, r.Warnings[len(r.Warnings)-1].String(), "known are k8s, process and thread")
}

// The official chart puts the Kubernetes keys beside the process keys of the distributed file.
func TestChart(t *testing.T) {
	env := []string{"PF_workerId=pod-0", "PF_workerHostname=pod-0.svc", "PF_containerFactory=k8s",
		"PF_functionRuntimeFactoryClassName=org.apache.pulsar.functions.runtime.kubernetes.KubernetesRuntimeFactory"}
	for _, name := range []string{"functionRuntimeFactoryConfigs", "kubernetesContainerFactory"} {
		for _, value := range []string{"pulsarRootDir=/pulsar", "pulsarDockerImageName=apachepulsar/pulsar:4.0.8", "imagePullPolicy=Always", "submittingInsidePod=true",
			"installUserCodeDependencies=true", "jobNamespace=pulsar", "expectedMetricsCollectionInterval=30", "pulsarAdminUrl=http://f:6750/", "pulsarServiceUrl=pulsar://b:6650/", "grpcPort=9095"} {
			env = append(env, "PF_"+name+"_"+value)
		}
	}
	w, r, err := load(t, "functionRuntimeFactoryConfigs: {logDirectory: logs/, javaInstanceJarLocation: }\n", env...)
	require.NoError(t, err)
	for _, warning := range r.Warnings {
		require.Contains(t, warning.Text, "written twice")
	}
	k := w.Computed.Kubernetes
	require.Equal(t, "pulsar", k.JobNamespace)
	require.Equal(t, 9095, k.GRPCPort)
	require.Equal(t, 9094, *k.MetricsPort)
	require.True(t, k.SubmittingInsidePod)
	require.Equal(t, "http://f:6750/", k.PulsarAdminURL)
	require.Equal(t, FunctionAuthSecret, w.Computed.FunctionAuth)
	require.Equal(t, "pod-0", w.WorkerID)
}

func TestOverridesWin(t *testing.T) {
	w, r, err := Load(Sources{Content: []byte(minimal), Env: []string{"PF_workerPort=1"}, Overrides: map[string]string{
		"workerPort": "2", "goWorker.logLevel": "error", "properties.a.b": "c", "workerHostname": ""}, Hostname: func() (string, error) { return "h", nil }})
	require.NoError(t, err)
	require.Equal(t, 2, *w.WorkerPort)
	require.Equal(t, "error", w.Go.LogLevel)
	require.Equal(t, map[string]string{"a.b": "c"}, w.Properties)
	require.Equal(t, "h", w.WorkerHostname)
	require.Equal(t, "the command line (workerPort)", r.Origin["workerPort"])
}
