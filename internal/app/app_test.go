package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/functions-worker/functions-worker/internal/config"
)

func load(t *testing.T, more string) *config.Worker {
	t.Helper()
	text := fmt.Sprintf(`
workerId: w
workerHostname: localhost
workerPort: 6750
pulsarServiceUrl: pulsar://127.0.0.1:1
pulsarWebServiceUrl: http://127.0.0.1:1
pulsarFunctionsNamespace: public/functions
pulsarFunctionsCluster: standalone
functionRuntimeFactoryClassName: org.apache.pulsar.functions.runtime.process.ProcessRuntimeFactory
downloadDirectory: %[1]s/download
goWorker: {tempDirectory: %[1]s}
%[2]s`, t.TempDir(), more)
	cfg, _, err := config.Load(config.Sources{Content: []byte(text), Env: []string{}})
	require.NoError(t, err)
	return cfg
}

const (
	goodKey        = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	ownCredentials = "brokerClientAuthenticationPlugin: org.apache.pulsar.client.impl.auth.AuthenticationToken\nbrokerClientAuthenticationParameters: 'token:a.b.c'\n"
)

func authenticated(key, more string) string {
	return "authenticationEnabled: true\nauthenticationProviders: [org.apache.pulsar.broker.authentication.AuthenticationProviderToken]\n" +
		"properties: {tokenSecretKey: 'data:;base64," + key + "'}\n" + more
}

func TestSupportedRefusesWhatThisWorkerCannotDo(t *testing.T) {
	for _, works := range []string{
		"", "authorizationEnabled: true", "webServiceHaProxyProtocolEnabled: true", authenticated(goodKey, ""),
		authenticated(goodKey, ownCredentials+"functionAuthProviderClassName: org.apache.pulsar.functions.auth.ClearTextFunctionTokenAuthProvider"),
	} {
		require.NoError(t, Supported(load(t, works)))
	}
	tests := map[string]struct{ more, want string }{
		"metadata state": {"stateStorageServiceUrl: zk:a:2181\nstateStorageProviderImplementation: org.apache.pulsar.functions.instance.state.PulsarMetadataStateStoreProviderImpl", "stateStorageProviderImplementation"},
		"weak token key": {authenticated("c2VjcmV0", ""), "tokenSecretKey"},
		"Kerberos":       {strings.ReplaceAll(authenticated(goodKey, ""), "ProviderToken", "ProviderSasl"), "Kerberos"},
		"shared rights":  {authenticated(goodKey, ownCredentials), "functionsUseWorkerCredentials"},
		"no certificate": {"tlsEnabled: true\nworkerPortTls: 6751\ntlsCertificateFilePath: /no/such\ntlsKeyFilePath: /no/such", "/no/such"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, Supported(load(t, tc.more)), tc.want)
		})
	}
}

func TestNewState(t *testing.T) {
	store, err := NewState(load(t, "stateStorageServiceUrl:"), nil)
	require.NoError(t, err)
	require.Nil(t, store)
	_, err = NewState(load(t, "stateStorageServiceUrl:\ngoWorker: {stateStore: bookkeeper}"), nil)
	require.ErrorContains(t, err, "goWorker.stateStore")
	for _, off := range []string{"none", "topic"} {
		store, err = NewState(load(t, "stateStorageServiceUrl: bk://127.0.0.1:1\ngoWorker: {stateStore: "+off+"}"), nil)
		require.NoError(t, err)
		require.Nil(t, store, off)
	}
	store, err = NewState(load(t, "stateStorageServiceUrl: bk://127.0.0.1:1"), nil)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	_, err = New(load(t, "stateStorageServiceUrl: 'zk://u:secret@127.0.0.1:1'"), zaptest.NewLogger(t), time.Now(), Extensions{})
	require.ErrorContains(t, err, "stateStorageServiceUrl")
	require.NotContains(t, err.Error(), "secret")
}

// TestStopWhileWaitingForTheBroker: a worker whose broker is away ends at once when it is asked to, and leaves nothing behind.
func TestStopWhileWaitingForTheBroker(t *testing.T) {
	defer goleak.VerifyNone(t)
	a, err := New(load(t, "stateStorageServiceUrl: bk://127.0.0.1:1"), zaptest.NewLogger(t), time.Now(), Extensions{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	require.NoError(t, a.Run(ctx))
	require.Less(t, time.Since(start), 5*time.Second)
}

func TestListenNamesThePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	cfg := load(t, "")
	port := taken.Addr().(*net.TCPAddr).Port
	cfg.WorkerPort, cfg.Go.ListenAddress = &port, "127.0.0.1"
	_, err = (&App{cfg: cfg}).listen(t.Context())
	require.ErrorContains(t, err, fmt.Sprintf("workerPort %d", port))
}

func TestStackStopsInReverseAndTakesEveryStep(t *testing.T) {
	var order []string
	var s stack
	for _, name := range []string{"first", "second", "third"} {
		s.push(name, func(context.Context) error {
			order = append(order, name)
			if name == "second" {
				return errors.New("it would not")
			}
			return nil
		})
	}
	err := s.run(t.Context(), zaptest.NewLogger(t))
	require.ErrorContains(t, err, "second: it would not")
	require.Equal(t, []string{"third", "second", "first"}, order)
}
