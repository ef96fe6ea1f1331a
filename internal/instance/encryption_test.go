package instance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar/crypto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestKeyFiles(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	write(filepath.Join(dir, "t", "n", "k.public.pem"), "public")
	write(filepath.Join(dir, "t", "n", "k.private.pem"), "private")
	write(filepath.Join(dir, "t", "n", "large.public.pem"), strings.Repeat("x", maxKeyFile+1))
	write(filepath.Join(dir, "other", "n", "theirs.private.pem"), "not ours")
	write(filepath.Join(outside, "far.private.pem"), "not ours")
	require.NoError(t, os.Symlink(filepath.Join(outside, "far.private.pem"), filepath.Join(dir, "t", "n", "far.private.pem")))
	d := &pb.FunctionDetails{Tenant: "t", Namespace: "n"}
	keys := NewKeyFiles(dir, d)
	key, err := keys.PublicKey("k", map[string]string{"v": "1"})
	require.NoError(t, err)
	require.Equal(t, "k public 1", key.Name()+" "+string(key.Key())+" "+key.Metadata()["v"])
	key, err = keys.PrivateKey("k", nil)
	require.NoError(t, err)
	require.Equal(t, "private", string(key.Key()))
	for name, want := range map[string]string{
		"../../other/n/theirs": "without a path", "/etc/passwd": "without a path", "..": "cannot be used", "": "cannot be used", ".hidden": "cannot be used",
		strings.Repeat("k", 201): "at most 200 bytes", "far": "reading the encryption key far", "missing": "no such file",
	} {
		_, err := keys.PrivateKey(name, nil)
		require.ErrorContains(t, err, want, name)
	}
	_, err = keys.PublicKey("large", nil)
	require.ErrorContains(t, err, "more than 65536 bytes")
	_, err = NewKeyFiles(dir, &pb.FunctionDetails{Tenant: "..", Namespace: filepath.Base(outside)}).PrivateKey("far", nil)
	require.Error(t, err, "a name never leads out")
	_, err = NewKeyFiles("", d).PublicKey("k", nil)
	require.EqualError(t, err, "end-to-end encryption needs goWorker.encryptionKeysDirectory, which is not set")
}

// TestEncryptionIsNeverLeftOut: what cannot be encrypted or decrypted is refused.
func TestEncryptionIsNeverLeftOut(t *testing.T) {
	reader := func(class, more string) string { return `{"cryptoKeyReaderClassName":"` + class + `"` + more + `}` }
	for name, tc := range map[string]struct{ in, out, wantErr string }{
		"input":                    {in: reader("a.B", ""), wantErr: "input in: the crypto key reader class a.B cannot be loaded, as there is no JVM: use FileKeyReader"},
		"output":                   {out: reader("a.B", `,"producerEncryptionKeyName":["k"]`), wantErr: "output: the crypto key reader class a.B cannot be loaded"},
		"output without keys":      {out: reader(FileKeyReader, ""), wantErr: "output: Missing encryption key name"},
		"a key with a path":        {out: reader(FileKeyReader, `,"producerEncryptionKeyName":["../k"]`), wantErr: `the encryption key name "../k" cannot be used`},
		"settings":                 {in: reader(FileKeyReader, `,"cryptoKeyReaderConfig":"{\"path\":\"/etc\"}"`), wantErr: "takes no cryptoKeyReaderConfig"},
		"both":                     {in: reader(FileKeyReader, `,"cryptoKeyReaderConfig":"{}","consumerCryptoFailureAction":"DISCARD"`), out: reader(FileKeyReader, `,"producerEncryptionKeyName":["k"]`)},
		"sent in clear on request": {out: reader(FileKeyReader, `,"producerEncryptionKeyName":["gone"],"producerCryptoFailureAction":"SEND"`)},
	} {
		t.Run(name, func(t *testing.T) {
			text := `{"source":{"inputSpecs":{"in":{}}},"sink":{"topic":"out"}}`
			if tc.in != "" {
				text = strings.Replace(text, `"in":{}`, `"in":{"cryptoSpec":`+tc.in+`}`, 1)
			}
			if tc.out != "" {
				text = strings.Replace(text, `"topic":"out"`, `"topic":"out","producerSpec":{"cryptoSpec":`+tc.out+`}`, 1)
			}
			d := &pb.FunctionDetails{}
			require.NoError(t, protojson.Unmarshal([]byte(text), d))
			d.Tenant, d.Namespace, d.Name = "t", "n", "f"
			plan, err := NewPlan(&Config{Details: d}, "host")
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.ErrorContains(t, CheckKeys(d, ""), "encryptionKeysDirectory")
			require.NoError(t, CheckKeys(d, "/keys"))
			dir := t.TempDir()
			bare, c := NewPulsarClient(nil, Schemas{}, nil), NewPulsarClient(nil, Schemas{}, nil).WithKeys(NewKeyFiles(dir, d))
			_, err = bare.encryption(plan.Output.Encrypt)
			require.ErrorContains(t, err, "encryptionKeysDirectory")
			info, err := c.encryption(plan.Output.Encrypt)
			if plan.Output.Encrypt.Action == pb.CryptoSpec_SEND {
				require.NoError(t, err)
				require.Equal(t, crypto.ProducerCryptoFailureActionSend, info.ProducerCryptoFailureAction)
				return
			}
			require.ErrorContains(t, err, "reading the encryption key k", "seen at the start")
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "t", "n"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "t", "n", "k.public.pem"), []byte("x"), 0o600))
			info, err = c.encryption(plan.Output.Encrypt)
			require.NoError(t, err)
			require.Equal(t, []string{"k"}, info.Keys)
			_, err = bare.decryption(plan.Inputs[0].Decrypt)
			require.ErrorContains(t, err, "encryptionKeysDirectory")
			decryption, err := c.decryption(plan.Inputs[0].Decrypt)
			require.NoError(t, err)
			require.Equal(t, crypto.ConsumerCryptoFailureActionDiscard, decryption.ConsumerCryptoFailureAction)
		})
	}
	require.NoError(t, CheckKeys(&pb.FunctionDetails{}, ""))
}
