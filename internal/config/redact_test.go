package config

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestRedacted(t *testing.T) {
	w, _, err := load(t, `
pulsarServiceUrl: pulsar://user:hunter2@localhost:6650
brokerClientAuthenticationPlugin: org.apache.pulsar.client.impl.auth.AuthenticationToken
brokerClientAuthenticationParameters: token:hunter2
clientAuthenticationParameters: '{"userId":"u","password":"hunter2"}'
bookkeeperClientAuthenticationParameters: hunter2
tlsKeyStorePassword: hunter2
tlsTrustStorePassword: hunter2
properties:
  tokenSecretKey: data:;base64,hunter2
  tokenPublicKey: file:///public.key
  brokerClient_tlsTrustStorePassword: hunter2
  brokerClient_listenerName: internal
  somewhere: https://u:hunter2@host/x?sig=hunter2
  bearer: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2
secretsProviderConfiguratorConfig: {password: hunter2}
runtimeCustomizerConfig: {extraAnnotations: {apiKey: hunter2, note: Plain}}
additionalJavaRuntimeArguments: [-Djavax.net.ssl.keyStorePassword=hunter2, -Xmx1g]
stateStorageServiceUrl: bk://a:hunter2@b:4181
`)
	require.NoError(t, err)
	encoded, err := json.Marshal(w)
	require.NoError(t, err)
	for _, text := range []string{w.Redacted(), fmt.Sprint(w), fmt.Sprintf("%+v %#v", w, *w), string(encoded)} {
		require.NotContains(t, text, "hunter2")
	}
	text := w.Redacted()
	for _, want := range []string{"workerId: w-1", "file:///public.key", "token:********", "internal", "-Xmx1g", "note: Plain", "scrapeTimeout: 2s", "maxPackageSize: 2GiB"} {
		require.Contains(t, text, want)
	}
	var back map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &back))
	require.Len(t, back, len(Keys()))
}

func TestBadSecretIsNotShown(t *testing.T) {
	_, _, err := load(t, "tlsKeyStorePassword: {hunter2: x}\nproperties: {brokerClient_operationTimeoutMs: 'https://u:hunter2@h'}\nbrokerClientAuthenticationParameters: [hunter2]\n")
	require.NotContains(t, problemsOf(t, err), "hunter2")
}
