package listener

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

const (
	maxFile  = 16 << 20
	jksMagic = 0xFEEDFEED
)

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, nil
}

// isJKS: Java reads either form whatever the type says, so the content decides.
func isJKS(data []byte) bool { return len(data) >= 4 && binary.BigEndian.Uint32(data) == jksMagic }

// keyStore takes the private key and its chain out of a JKS or PKCS12 file.
func keyStore(data []byte, password string) (tls.Certificate, error) {
	if isJKS(data) {
		return jksKey(data, password)
	}
	key, cert, chain, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("it is no JKS file, and as PKCS12: %w", err)
	}
	out := tls.Certificate{PrivateKey: key, Leaf: cert, Certificate: [][]byte{cert.Raw}}
	for _, c := range chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out, usable(out)
}

func loadJKS(data []byte, password string) (store keystore.KeyStore, err error) {
	defer func() { // a damaged file must not end the worker
		if p := recover(); p != nil {
			err = errors.New("the JKS file is damaged")
		}
	}()
	if err := checkJKS(data); err != nil {
		return store, fmt.Errorf("the JKS file is damaged: %w", err)
	}
	store = keystore.New(keystore.WithOrderedAliases())
	if err := store.Load(bytes.NewReader(data), []byte(password)); err != nil {
		return store, fmt.Errorf("reading the JKS file: %w", err)
	}
	return store, nil
}

func jksKey(data []byte, password string) (tls.Certificate, error) {
	store, err := loadJKS(data, password)
	if err != nil {
		return tls.Certificate{}, err
	}
	for _, alias := range store.Aliases() {
		if !store.IsPrivateKeyEntry(alias) {
			continue
		}
		entry, err := store.GetPrivateKeyEntry(alias, []byte(password))
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("the key %q does not open with the password of the store: %w", alias, err)
		}
		key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("the key %q: %w", alias, err)
		}
		out := tls.Certificate{PrivateKey: key}
		for _, c := range entry.CertificateChain {
			out.Certificate = append(out.Certificate, c.Content)
		}
		return out, usable(out)
	}
	return tls.Certificate{}, errors.New("it holds no private key")
}

// usable makes sure that key and certificate belong together, so that a mistake shows at start and not at the first handshake.
func usable(cert tls.Certificate) error {
	if len(cert.Certificate) == 0 {
		return errors.New("the key has no certificate")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return errors.New("its key cannot sign")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("its key and its certificate do not belong together")
	}
	return nil
}

// trustStore takes the certificates out of a JKS or PKCS12 file.
func trustStore(data []byte, password string) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	if !isJKS(data) {
		certs, err := pkcs12.DecodeTrustStore(data, password)
		if err != nil {
			return nil, fmt.Errorf("it is no JKS file, and as PKCS12: %w", err)
		}
		for _, c := range certs {
			pool.AddCert(c)
			found = true
		}
		return pool, nonEmpty(found)
	}
	store, err := loadJKS(data, password)
	if err != nil {
		return nil, err
	}
	for _, alias := range store.Aliases() {
		if !store.IsTrustedCertificateEntry(alias) {
			continue
		}
		entry, err := store.GetTrustedCertificateEntry(alias)
		if err != nil {
			return nil, fmt.Errorf("the certificate %q: %w", alias, err)
		}
		cert, err := x509.ParseCertificate(entry.Certificate.Content)
		if err != nil {
			return nil, fmt.Errorf("the certificate %q: %w", alias, err)
		}
		pool.AddCert(cert)
		found = true
	}
	return pool, nonEmpty(found)
}

func nonEmpty(found bool) error {
	if !found {
		return errors.New("it holds no trusted certificate")
	}
	return nil
}
