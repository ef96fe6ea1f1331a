// Package listener is what the REST API is served on: the TLS side of its port, with key material that is exchanged while
// connections go on, and the PROXY protocol of load balancers.
//
// internal/app makes it from the configuration and hands it to internal/api. There is nothing to stop: renewed files are looked
// for when a connection comes.
package listener

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// TLSOptions are the settings of the HTTPS port (security-and-metrics contract, section 5).
type TLSOptions struct {
	// Certificate, Key and Trust are PEM files; Trust holds the authorities of client certificates, "" = those of the system.
	Certificate, Key, Trust string
	// KeyStore and TrustStore are used instead of the PEM files when KeyStore is set; JKS and PKCS12 are told apart by content.
	KeyStore, KeyStorePassword     string
	TrustStore, TrustStorePassword string

	RequireClient bool // clients must show a certificate
	// AcceptAny lets connections with any client certificate in. None of them is an identity before VerifyClient says so.
	AcceptAny bool

	MinVersion, MaxVersion uint16
	Ciphers                []uint16 // for TLS up to 1.2; nil: all good ones
	// Refresh is the time between looks for renewed files; 0 or less: at each handshake.
	Refresh time.Duration
	Log     *zap.Logger
	Now     func() time.Time
}

// TLS gives each handshake the material of the moment.
type TLS struct {
	o     TLSOptions
	state atomic.Pointer[material]
	mu    sync.Mutex // held while looking at the files
	next  time.Time
}

// material is what one reading of the files gave.
type material struct {
	files  [][]byte
	config *tls.Config
	roots  *x509.CertPool // nil: those of the system
}

// NewTLS reads the files and refuses what no handshake could succeed with.
func NewTLS(o TLSOptions) (*TLS, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ciphers, err := usableCiphers(o)
	if err != nil {
		return nil, err
	}
	o.Ciphers = ciphers
	t := &TLS{o: o}
	files, err := t.readFiles()
	if err != nil {
		return nil, err
	}
	m, err := t.build(files)
	if err != nil {
		return nil, err
	}
	t.state.Store(m)
	t.next = o.Now().Add(o.Refresh)
	return t, nil
}

// usableCiphers leaves out what the Java worker's server leaves out: no forward secrecy, no authenticated encryption.
func usableCiphers(o TLSOptions) ([]uint16, error) {
	named := o.Ciphers
	if len(named) == 0 {
		for _, suite := range tls.CipherSuites() {
			named = append(named, suite.ID)
		}
	}
	var usable []uint16
	for _, id := range named {
		name := tls.CipherSuiteName(id)
		weak := strings.HasPrefix(name, "TLS_RSA_") || strings.HasSuffix(name, "_SHA") || strings.HasSuffix(name, "_MD5") || strings.Contains(name, "_NULL_")
		if !weak && !slices.Contains(usable, id) {
			usable = append(usable, id)
		}
	}
	if len(usable) == 0 && o.MinVersion < tls.VersionTLS13 && o.MaxVersion < tls.VersionTLS13 {
		return nil, errors.New("webServiceTlsCiphers: no usable cipher suite is left (suites without forward secrecy or with SHA-1 are left out); remove the key, or name ECDHE suites with GCM or ChaCha20")
	}
	return usable, nil
}

// Config is for the listener; it follows the files.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         t.o.MinVersion,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current().config, nil },
	}
}

// VerifyClient checks the client certificate of a request against the authorities and the clock of this moment: the handshake
// may be long ago, or may have accepted any certificate.
func (t *TLS) VerifyClient(r *http.Request) error {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("no client certificate was presented")
	}
	options := x509.VerifyOptions{
		Roots: t.current().roots, Intermediates: x509.NewCertPool(), CurrentTime: t.o.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range r.TLS.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := r.TLS.PeerCertificates[0].Verify(options)
	return err
}

// current looks at the files when it is time to; connections that come meanwhile get what was there before.
func (t *TLS) current() *material {
	if t.mu.TryLock() {
		if now := t.o.Now(); !now.Before(t.next) {
			t.next = now.Add(t.o.Refresh)
			t.refresh()
		}
		t.mu.Unlock()
	}
	return t.state.Load()
}

func (t *TLS) refresh() {
	files, err := t.readFiles()
	if err == nil {
		if slices.EqualFunc(files, t.state.Load().files, bytes.Equal) {
			return
		}
		var m *material
		if m, err = t.build(files); err == nil {
			t.state.Store(m)
			t.o.Log.Info("the TLS key material changed and is in use for new connections")
			return
		}
	}
	t.o.Log.Warn("the TLS key material cannot be read again; what was there before stays in use", zap.Error(err))
}

func (t *TLS) readFiles() ([][]byte, error) {
	names := []string{t.o.Certificate, t.o.Key, t.o.Trust}
	if t.o.KeyStore != "" {
		names = []string{t.o.KeyStore, t.o.TrustStore}
	}
	files := make([][]byte, len(names))
	for i, name := range names {
		if name == "" {
			continue
		}
		var err error
		if files[i], err = readBounded(name); err != nil {
			return nil, fmt.Errorf("reading TLS key material: %w", err)
		}
	}
	return files, nil
}

func (t *TLS) build(files [][]byte) (*material, error) {
	m := &material{files: files}
	var cert tls.Certificate
	var err error
	if t.o.KeyStore != "" {
		if cert, err = keyStore(files[0], t.o.KeyStorePassword); err != nil {
			return nil, fmt.Errorf("tlsKeyStore %s: %w", t.o.KeyStore, err)
		}
		if t.o.TrustStore != "" {
			if m.roots, err = trustStore(files[1], t.o.TrustStorePassword); err != nil {
				return nil, fmt.Errorf("tlsTrustStore %s: %w", t.o.TrustStore, err)
			}
		}
	} else {
		if cert, err = tls.X509KeyPair(files[0], files[1]); err != nil {
			return nil, fmt.Errorf("tlsCertificateFilePath %s and tlsKeyFilePath %s: %w", t.o.Certificate, t.o.Key, err)
		}
		if t.o.Trust != "" {
			m.roots = x509.NewCertPool()
			if !m.roots.AppendCertsFromPEM(files[2]) {
				return nil, fmt.Errorf("tlsTrustCertsFilePath %s holds no PEM certificate", t.o.Trust)
			}
		}
	}
	m.config = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: m.roots, ClientAuth: t.clientAuth(),
		MinVersion: t.o.MinVersion, MaxVersion: t.o.MaxVersion, CipherSuites: t.o.Ciphers, NextProtos: t.protocols(),
	}
	return m, nil
}

// protocols offers HTTP/2 unless a suite that it prohibits (RFC 9113, appendix A: those without authenticated encryption) may be
// negotiated: clients close such connections.
func (t *TLS) protocols() []string {
	prohibited := func(id uint16) bool { return strings.Contains(tls.CipherSuiteName(id), "_CBC_") }
	if t.o.MinVersion < tls.VersionTLS13 && slices.ContainsFunc(t.o.Ciphers, prohibited) {
		return []string{"http/1.1"}
	}
	return []string{"h2", "http/1.1"}
}

func (t *TLS) clientAuth() tls.ClientAuthType {
	switch {
	case t.o.RequireClient && t.o.AcceptAny:
		return tls.RequireAnyClientCert
	case t.o.RequireClient:
		return tls.RequireAndVerifyClientCert
	case t.o.AcceptAny:
		return tls.RequestClientCert
	}
	return tls.VerifyClientCertIfGiven
}
