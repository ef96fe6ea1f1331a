package integration

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// makeKeys writes a pair of keys for functions of public/default.
func makeKeys(t *testing.T, name string) (directory, public, private string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	directory = t.TempDir()
	at := filepath.Join(directory, "public", "default")
	require.NoError(t, os.MkdirAll(at, 0o700))
	public, private = filepath.Join(at, name+".public.pem"), filepath.Join(at, name+".private.pem")
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
	return directory, public, private
}

// TestEncryption goes from a Java producer that encrypts through a function that decrypts and encrypts to a Java consumer
// that decrypts.
func TestEncryption(t *testing.T) {
	directory, public, private := makeKeys(t, "orders")
	for kind, overrides := range map[string]map[string]any{"thread": thread(), "process": {}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			overrides["goWorker"] = map[string]any{"encryptionKeysDirectory": directory}
			w := startOwnWorker(t, overrides)
			name := unique("encrypted")
			in, out := named(name+"-in"), named(name+"-out")
			config := func(class string) string {
				return fmt.Sprintf(`{"tenant":"public","namespace":"default","name":%q,"jar":"builtin://exclamation","output":%q,"subscriptionPosition":"Earliest",
					"inputSpecs":{%q:{"cryptoConfig":{"cryptoKeyReaderClassName":%q}}},
					"producerConfig":{"cryptoConfig":{"cryptoKeyReaderClassName":%q,"encryptionKeys":["orders"]}}}`, name, out, in, class, class)
			}
			code, body := w.post("POST", name, config("com.example.Keys"))
			require.Equal(t, http.StatusBadRequest, code, string(body))
			require.Contains(t, string(body), "com.example.Keys cannot be loaded")
			code, body = w.post("POST", name, config("FileKeyReader"))
			require.Equal(t, http.StatusNoContent, code, string(body))
			w.awaitRunning(name, 1, 60*time.Second)
			pulsarClientTool(t, w.env, "produce", in, "-ekn", "orders", "-ekv", "file://"+public, "-m", "secret")

			eavesdropper, err := pulsarClient(t, w.env).Subscribe(pulsar.ConsumerOptions{Topic: out, SubscriptionName: "eavesdropper", SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest})
			require.NoError(t, err)
			eavesdropper.Close()
			text := pulsarClientTool(t, w.env, "consume", out, "-s", "java", "-p", "Earliest", "-n", "1", "-ekv", "file://"+private)
			require.Contains(t, text, "secret!")
			code, body = request(http.MethodGet, w.env.webURL+"/admin/v2/persistent/public/default/bytes-"+name+"-out/subscription/eavesdropper/position/1", "", nil)
			require.Equal(t, http.StatusOK, code, string(body))
			require.NotEmpty(t, body)
			require.NotContains(t, string(body), "secret", "what the broker keeps is encrypted")
		})
	}
}
