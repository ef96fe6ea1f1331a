package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates of the tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	data, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(data)
	require.NoError(t, err)
	return &authority{t: t, cert: cert, key: key, next: 2}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// sign gives certificate and key as PEM.
func (a *authority) sign(name string, until time.Duration) (certPEM, keyPEM []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	a.next++
	template := &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(until), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	data, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (a *authority) pair(name string, until time.Duration) *tls.Certificate {
	c, k := a.sign(name, until)
	pair, err := tls.X509KeyPair(c, k)
	require.NoError(a.t, err)
	return &pair
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// files writes server material of an authority and gives the options for it.
func files(t *testing.T, a *authority) (TLSOptions, string) {
	dir := t.TempDir()
	c, k := a.sign("server", time.Hour)
	return TLSOptions{Certificate: write(t, dir, "cert.pem", c), Key: write(t, dir, "key.pem", k), Trust: write(t, dir, "ca.pem", a.pem()),
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}, dir
}

// serve answers requests with the error of VerifyClient.
func serve(t *testing.T, material *TLS) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%v", material.VerifyClient(r) == nil)
	}), ErrorLog: nil}
	server.ErrorLog = discard()
	go func() { _ = server.Serve(tls.NewListener(l, material.Config())) }()
	t.Cleanup(func() { _ = server.Close() })
	return "https://localhost:" + fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

func client(conf *tls.Config, keepAlive bool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: !keepAlive}, Timeout: 10 * time.Second}
}

func get(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestClientCertificates(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	good, expired, foreign := ours.pair("alice", time.Hour), ours.pair("alice", -time.Minute), other.pair("alice", time.Hour)
	tests := map[string]struct {
		require, any bool
		cert         *tls.Certificate
		want         string // answer, "" = no connection
	}{
		"optional, none":        {want: "false"},
		"optional, good":        {cert: good, want: "true"},
		"optional, foreign":     {cert: foreign},
		"required, none":        {require: true},
		"required, good":        {require: true, cert: good, want: "true"},
		"required, expired":     {require: true, cert: expired},
		"required, foreign":     {require: true, cert: foreign},
		"any, good":             {any: true, cert: good, want: "true"},
		"any, foreign":          {any: true, cert: foreign, want: "false"},
		"any, expired":          {any: true, cert: expired, want: "false"},
		"any, none":             {any: true, want: "false"},
		"required any, none":    {require: true, any: true},
		"required any, foreign": {require: true, any: true, cert: foreign, want: "false"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o, _ := files(t, ours)
			o.RequireClient, o.AcceptAny = tc.require, tc.any
			material, err := NewTLS(o)
			require.NoError(t, err)
			conf := &tls.Config{RootCAs: ours.pool(), MinVersion: tls.VersionTLS12}
			if tc.cert != nil {
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.cert, nil }
			}
			got, err := get(client(conf, false), serve(t, material))
			require.Equal(t, tc.want == "", err != nil, "%v", err)
			require.Equal(t, tc.want, got)
		})
	}
}

// TestRenewalUnderLoad: certificates are exchanged many times while requests go on; none fails, and new connections see the new one.
func TestRenewalUnderLoad(t *testing.T) {
	ours := newAuthority(t, "ours")
	o, dir := files(t, ours)
	material, err := NewTLS(o) // Refresh 0: at each handshake
	require.NoError(t, err)
	url := serve(t, material)
	var seen sync.Map
	var failures, done atomic.Int32
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			conf := &tls.Config{RootCAs: ours.pool(), MinVersion: tls.VersionTLS12, VerifyConnection: func(s tls.ConnectionState) error {
				seen.Store(s.PeerCertificates[0].Subject.CommonName, true)
				return nil
			}}
			c := client(conf, i%2 == 0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := get(c, url); err != nil {
					failures.Add(1)
					t.Log(err)
				}
				done.Add(1)
			}
		})
	}
	for n := range 10 {
		c, k := ours.sign(fmt.Sprintf("server-%d", n), time.Hour)
		write(t, dir, "cert.pem", c) // certificate and key do not fit for a moment
		time.Sleep(20 * time.Millisecond)
		write(t, dir, "key.pem", k)
		time.Sleep(50 * time.Millisecond)
	}
	write(t, dir, "key.pem", []byte("damaged"))
	time.Sleep(50 * time.Millisecond)
	close(stop)
	group.Wait()
	require.Zero(t, failures.Load(), "of %d", done.Load())
	_, last := seen.Load("server-9")
	require.True(t, last, "the last certificate was never shown")
}

// TestRefreshInterval: between two looks nothing is read; authorities are exchanged too.
func TestRefreshInterval(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	o, dir := files(t, ours)
	now := time.Now()
	o.Refresh, o.Now = time.Minute, func() time.Time { return now }
	material, err := NewTLS(o)
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	leaf, err := x509.ParseCertificate(other.pair("alice", 30*time.Second).Certificate[0])
	require.NoError(t, err)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	require.Error(t, material.VerifyClient(r))
	write(t, dir, "ca.pem", other.pem())
	require.Error(t, material.VerifyClient(r))
	later := now.Add(time.Minute)
	o.Now, now = nil, now.Add(time.Minute)
	require.ErrorContains(t, material.VerifyClient(r), "expired", "the new authority counts, and the certificate has expired meanwhile")
	now = later.Add(-45 * time.Second)
	require.NoError(t, material.VerifyClient(r))
}

func TestBadMaterial(t *testing.T) {
	ours := newAuthority(t, "ours")
	_, otherKey := ours.sign("x", time.Hour)
	tests := map[string]struct {
		change func(o *TLSOptions, dir string)
		want   string
	}{
		"missing certificate": {func(o *TLSOptions, _ string) { o.Certificate = "/no/such" }, "/no/such"},
		"key of another":      {func(o *TLSOptions, dir string) { o.Key = write(t, dir, "other.pem", otherKey) }, "tlsKeyFilePath"},
		"no authority":        {func(o *TLSOptions, dir string) { o.Trust = write(t, dir, "empty.pem", []byte("x")) }, "tlsTrustCertsFilePath"},
		"no store":            {func(o *TLSOptions, dir string) { o.KeyStore = write(t, dir, "store", []byte("x")) }, "tlsKeyStore"},
		"damaged JKS": {func(o *TLSOptions, dir string) {
			o.KeyStore = write(t, dir, "store", []byte{0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0xFF})
		}, "tlsKeyStore"},
		"weak ciphers only": {func(o *TLSOptions, _ string) {
			o.MaxVersion, o.Ciphers = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
		}, "webServiceTlsCiphers"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o, dir := files(t, ours)
			tc.change(&o, dir)
			_, err := NewTLS(o)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// TestProtocols: a scan shows exactly what is configured.
func TestProtocols(t *testing.T) {
	ours := newAuthority(t, "ours")
	o, _ := files(t, ours)
	o.MinVersion, o.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	o.Ciphers = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	material, err := NewTLS(o)
	require.NoError(t, err)
	url := serve(t, material)
	for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
		_, err := get(client(&tls.Config{RootCAs: ours.pool(), MinVersion: version, MaxVersion: version}, false), url)
		require.Equal(t, version == tls.VersionTLS12, err == nil, "%s: %v", tls.VersionName(version), err)
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		_, err := get(client(&tls.Config{RootCAs: ours.pool(), MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}}, false), url)
		require.Equal(t, suite.ID == tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, err == nil, "%s: %v", suite.Name, err)
	}
}

// TestKeyStores: stores made by keytool, of both types.
func TestKeyStores(t *testing.T) {
	keytool, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("needs keytool of a JDK")
	}
	for _, kind := range []string{"JKS", "PKCS12"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) {
				t.Helper()
				out, err := exec.Command(keytool, append(args, "-storetype", kind, "-storepass", "changeit")...).CombinedOutput()
				require.NoError(t, err, string(out))
			}
			key, trust, cert := filepath.Join(dir, "key"), filepath.Join(dir, "trust"), filepath.Join(dir, "cert.pem")
			run("-genkeypair", "-alias", "server", "-keyalg", "RSA", "-dname", "CN=alice", "-ext", "SAN=dns:localhost", "-keystore", key, "-keypass", "changeit")
			run("-exportcert", "-rfc", "-alias", "server", "-file", cert, "-keystore", key)
			run("-importcert", "-noprompt", "-alias", "ca", "-file", cert, "-keystore", trust)
			o := TLSOptions{KeyStore: key, KeyStorePassword: "changeit", TrustStore: trust, TrustStorePassword: "changeit", RequireClient: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}
			material, err := NewTLS(o)
			require.NoError(t, err)
			data, err := os.ReadFile(key)
			require.NoError(t, err)
			pair, err := keyStore(data, "changeit")
			require.NoError(t, err)
			roots := x509.NewCertPool()
			pemCert, err := os.ReadFile(cert)
			require.NoError(t, err)
			require.True(t, roots.AppendCertsFromPEM(pemCert))
			got, err := get(client(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, false), serve(t, material))
			require.NoError(t, err)
			require.Equal(t, "true", got)
			o.KeyStorePassword = "wrong"
			_, err = NewTLS(o)
			require.ErrorContains(t, err, "tlsKeyStore")
			require.NotContains(t, err.Error(), "wrong")
		})
	}
}

func FuzzStores(f *testing.F) {
	f.Add([]byte{0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1})
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = keyStore(data, "changeit")
		_, _ = trustStore(data, "changeit")
	})
}

// TestDamagedJKS: no length or number that a file states costs more memory than the file has.
func TestDamagedJKS(t *testing.T) {
	head := []byte{0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1}
	entry := func(kind byte, rest ...byte) []byte {
		return append(append(append([]byte{}, head...), 0, 0, 0, kind, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0), rest...)
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"head":                   {head[:9], "within its head"},
		"no entry":               {head, "entry 1 of 1"},
		"a key of 4 GiB":         {entry(1, 0xFF, 0xFF, 0xFF, 0xFF), "entry 1 of 1"},
		"4 billion certificates": {entry(1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF), "entry 1 of 1"},
		"a certificate of 4 GiB": {entry(2, 0, 1, 'X', 0xFF, 0xFF, 0xFF, 0xFF), "entry 1 of 1"},
		"unknown kind":           {entry(7), "no known kind"},
		"no digest":              {entry(2, 0, 1, 'X', 0, 0, 0, 1, 0), "0 bytes follow its entries"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := keyStore(tc.data, "changeit")
			runtime.ReadMemStats(&after)
			require.ErrorContains(t, err, "the JKS file is damaged")
			require.ErrorContains(t, err, tc.want)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		})
	}
}
