package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteEnv(t *testing.T) {
	path := filepath.Join(t.TempDir(), "functions_worker.yml")
	before := `# comment
workerPort: 1
properties:
superUserRoles:
quoted: "8080"
yes: 'true'
processContainerFactory: {logDirectory: x}
kubernetesContainerFactory: {}
functionRuntimeFactoryConfigs:
  Keep: {Case: 1.50}
  list: [a, "2"]
`
	require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
	env := []string{"PF_workerPort=6750", "PF_workerPortTls=6751", "PF_tlsEnabled=true", "PF_superUserRoles=admin,worker", "PF_containerFactory=k8s",
		"PF_properties_tokenSecretKey=file:///k", "PF_functionInstanceMinResources_cpu=0.2", "PF_workerId=007", "OTHER=x", "PF_empty="}
	want := `empty: ""
functionInstanceMinResources:
  cpu: "0.2"
functionRuntimeFactoryConfigs:
  Keep:
    Case: 1.50
  list:
    - a
    - "2"
kubernetesContainerFactory: {}
properties:
  tokenSecretKey: file:///k
quoted: "8080"
superUserRoles:
  - admin
  - worker
tlsEnabled: "true"
workerId: "007"
workerPort: 6750
workerPortTls: "6751"
yes: "true"
`
	for range 2 { // the second time changes nothing
		warnings, err := WriteEnv(path, env)
		require.NoError(t, err)
		require.Empty(t, warnings)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(after))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

// TestWriteEnvThroughLink: a link to the file stays one, and the file gets the variables.
func TestWriteEnvThroughLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real", "worker.yml"), filepath.Join(dir, "functions_worker.yml")
	require.NoError(t, os.Mkdir(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("workerPort: 1\n"), 0o600))
	require.NoError(t, os.Symlink(filepath.Join("real", "worker.yml"), link))
	_, err := WriteEnv(link, []string{"PF_workerPort=2", "PF_=x"})
	require.NoError(t, err)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "workerPort: 2\n", string(after))
	target, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, filepath.Join("real", "worker.yml"), target)
}

// TestWriteEnvAndLoad: it makes no difference whether the variables were written into the file before.
func TestWriteEnvAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "functions_worker.yml")
	shipped, err := os.ReadFile("../../conf/functions_worker.yml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, shipped, 0o600))
	env := []string{"PF_workerId=w-0", "PF_workerHostname=w-0.headless", "PF_numFunctionPackageReplicas=1", "PF_superUserRoles=a,b",
		"PF_functionRuntimeFactoryClassName=org.apache.pulsar.functions.runtime.kubernetes.KubernetesRuntimeFactory", "PF_containerFactory=k8s",
		"PF_functionRuntimeFactoryConfigs_jobNamespace=pulsar", "PF_functionRuntimeFactoryConfigs_submittingInsidePod=true",
		"PF_kubernetesContainerFactory_jobNamespace=pulsar", "PF_functionInstanceMinResources_cpu=0.2"}
	direct, _, err := Load(Sources{Path: path, Env: env})
	require.NoError(t, err)
	_, err = WriteEnv(path, env)
	require.NoError(t, err)
	for name, env := range map[string][]string{"and the environment": env, "without the environment": {}} {
		written, _, err := Load(Sources{Path: path, Env: env})
		require.NoError(t, err, name)
		require.Equal(t, direct.Redacted(), written.Redacted(), name)
	}
}

func TestWriteEnvRefusals(t *testing.T) {
	dir := t.TempDir()
	_, err := WriteEnv(filepath.Join(dir, "none.yml"), nil)
	require.ErrorContains(t, err, "no such file")
	path := filepath.Join(dir, "functions_worker.yml")
	for content, env := range map[string]string{"a: [": "PF_a=b", "workerPort: 1": "PF_workerPort=http", "a: 1": "PF_a_b=c"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := WriteEnv(path, []string{env})
		require.Error(t, err, content)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(after), "a refused file stays as it was")
	}
}
