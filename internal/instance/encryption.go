package instance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// FileKeyReader is the cryptoKeyReaderClassName of keys in files that the operator has put down: those of a function are
// TENANT/NAMESPACE/NAME.public.pem and NAME.private.pem below one directory. There is no JVM that could load another.
const FileKeyReader = "FileKeyReader"

// maxKeyFile bounds a key, in bytes.
const maxKeyFile = 64 << 10

// Encryption is what is to be encrypted, or decrypted.
type Encryption struct {
	// Keys are names; of an output alone.
	Keys []string
	// Action is what to do when it fails.
	Action pb.CryptoSpec_FailureAction
}

// encryption reads a part of the details; nil: there is to be none. It is never left out silently.
func encryption(spec *pb.CryptoSpec, where string) (*Encryption, error) {
	switch class := spec.GetCryptoKeyReaderClassName(); {
	case spec == nil || class == "":
		return nil, nil
	case class != FileKeyReader:
		return nil, fmt.Errorf("%s: the crypto key reader class %s cannot be loaded, as there is no JVM: use %s, which reads keys from files that the operator of the worker has put down", where, class, FileKeyReader)
	}
	if settings := strings.TrimSpace(spec.GetCryptoKeyReaderConfig()); settings != "" && settings != "{}" {
		return nil, fmt.Errorf("%s: the crypto key reader %s takes no cryptoKeyReaderConfig: its files have fixed places", where, FileKeyReader)
	}
	for _, name := range spec.GetProducerEncryptionKeyName() {
		if err := checkKeyName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
	}
	return &Encryption{Keys: spec.GetProducerEncryptionKeyName(), Action: spec.GetConsumerCryptoFailureAction()}, nil
}

// outputEncryption is encryption of results.
func outputEncryption(spec *pb.CryptoSpec) (*Encryption, error) {
	e, err := encryption(spec, "output")
	if e != nil {
		if len(e.Keys) == 0 {
			return nil, errors.New("output: Missing encryption key name for producer crypto key reader")
		}
		e.Action = spec.GetProducerCryptoFailureAction()
	}
	return e, err
}

// checkKeyName: messages name keys too, so a name must not lead anywhere else.
func checkKeyName(name string) error {
	if name == "" || len(name) > 200 || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("the encryption key name %q cannot be used: it must be the beginning of a file name, of at most 200 bytes, without a path", name)
	}
	return nil
}

// KeyFiles reads the keys of one function.
type KeyFiles struct{ directory, function string }

var _ crypto.KeyReader = (*KeyFiles)(nil)

// NewKeyFiles reads keys of the function's tenant and namespace below the operator's directory; "" has none.
func NewKeyFiles(directory string, d *pb.FunctionDetails) *KeyFiles {
	return &KeyFiles{directory: directory, function: path.Join(d.GetTenant(), d.GetNamespace())}
}

// PublicKey encrypts.
func (k *KeyFiles) PublicKey(name string, meta map[string]string) (*crypto.EncryptionKeyInfo, error) {
	return k.read(name, ".public.pem", meta)
}

// PrivateKey decrypts.
func (k *KeyFiles) PrivateKey(name string, meta map[string]string) (*crypto.EncryptionKeyInfo, error) {
	return k.read(name, ".private.pem", meta)
}

// read does not leave the operator's directory, by symbolic links neither.
func (k *KeyFiles) read(name, suffix string, meta map[string]string) (*crypto.EncryptionKeyInfo, error) {
	if err := checkKeyName(name); err != nil {
		return nil, err
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(k.directory)
	if err != nil {
		return nil, fmt.Errorf("opening goWorker.encryptionKeysDirectory: %w", err)
	}
	defer root.Close()
	file := path.Join(k.function, name+suffix)
	f, err := root.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the encryption key %s: %w", name, err)
	}
	defer f.Close()
	key, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the encryption key %s: %w", name, err)
	case len(key) > maxKeyFile:
		return nil, fmt.Errorf("reading the encryption key %s: the file has more than %d bytes", name, maxKeyFile)
	}
	return crypto.NewEncryptionKeyInfo(name, key, meta), nil
}

func (k *KeyFiles) check() error {
	if k == nil || k.directory == "" {
		return errors.New("end-to-end encryption needs goWorker.encryptionKeysDirectory, which is not set")
	}
	return nil
}

// CheckKeys refuses a function that needs keys where there is no directory of them.
func CheckKeys(d *pb.FunctionDetails, directory string) error {
	if directory != "" {
		return nil
	}
	needs := d.GetSink().GetProducerSpec().GetCryptoSpec().GetCryptoKeyReaderClassName() == FileKeyReader
	for _, spec := range d.GetSource().GetInputSpecs() {
		needs = needs || spec.GetCryptoSpec().GetCryptoKeyReaderClassName() == FileKeyReader
	}
	if needs {
		return NewKeyFiles("", d).check()
	}
	return nil
}

// WithKeys gives the client the keys of its function.
func (c *PulsarClient) WithKeys(keys *KeyFiles) *PulsarClient {
	c.keys = keys
	return c
}

// decryption of an input; nil: none.
func (c *PulsarClient) decryption(e *Encryption) (*pulsar.MessageDecryptionInfo, error) {
	if e == nil {
		return nil, nil
	}
	if err := c.keys.check(); err != nil {
		return nil, err
	}
	actions := map[pb.CryptoSpec_FailureAction]int{
		pb.CryptoSpec_DISCARD: crypto.ConsumerCryptoFailureActionDiscard, pb.CryptoSpec_CONSUME: crypto.ConsumerCryptoFailureActionConsume,
	}
	return &pulsar.MessageDecryptionInfo{KeyReader: c.keys, ConsumerCryptoFailureAction: actions[e.Action]}, nil
}

// encryption of an output; nil: none. The keys are read before anything is sent, so that a missing one is seen at the start.
func (c *PulsarClient) encryption(e *Encryption) (*pulsar.ProducerEncryptionInfo, error) {
	if e == nil {
		return nil, nil
	}
	if err := c.keys.check(); err != nil {
		return nil, err
	}
	info := &pulsar.ProducerEncryptionInfo{KeyReader: c.keys, Keys: e.Keys}
	if e.Action == pb.CryptoSpec_SEND {
		info.ProducerCryptoFailureAction = crypto.ProducerCryptoFailureActionSend
		return info, nil
	}
	for _, name := range e.Keys {
		if _, err := c.keys.PublicKey(name, nil); err != nil {
			return nil, err
		}
	}
	return info, nil
}
