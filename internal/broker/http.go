package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// maxRedirects is how many hops a call may take: the Java client's number (rest-api contract, section 8.1).
const maxRedirects = 5

// NewHTTPClient makes an HTTP client with the worker's trust and credentials. Credentials are added below the redirect
// handling, to every request, so that a 307 from one member of the cluster to another keeps them; a redirect from https
// to http is refused. There is no timeout but the request's context.
//
// Use it only towards the broker and other workers, never for URLs that come from a caller.
func NewHTTPClient(cfg Config) (*http.Client, error) {
	creds, err := newCredentials(cfg)
	if err != nil {
		return nil, err
	}
	tlsConf, err := tlsConfig(cfg, creds)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     &authTransport{next: newTransport(tlsConf), creds: creds},
		CheckRedirect: checkRedirect,
	}, nil
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return errors.New("refused a redirect from https to " + request.URL.Scheme)
	}
	return nil
}

func newTransport(tlsConf *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: keepAlive}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		TLSClientConfig:       tlsConf,
		TLSHandshakeTimeout:   connectTimeout,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       60 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// authTransport adds the credentials to each request it carries.
type authTransport struct {
	next  http.RoundTripper
	creds credentials
}

func (t *authTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.creds.method != "" {
		request = request.Clone(request.Context()) // a round tripper must not change its request
		if err := t.creds.sign(request); err != nil {
			if request.Body != nil {
				request.Body.Close()
			}
			return nil, err
		}
	}
	return t.next.RoundTrip(request)
}

// sign adds the headers.
func (c credentials) sign(request *http.Request) error {
	request.Header.Set("X-Pulsar-Auth-Method-Name", c.method)
	if c.authorize == nil {
		return nil
	}
	if err := c.authorize(request.Context(), request.Header); err != nil {
		return fmt.Errorf("credentials of this worker: %w", err)
	}
	return nil
}

// CloseIdleConnections lets http.Client close the connections of the transport below.
func (t *authTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// tlsConfig is the trust of outgoing connections (security-and-metrics contract, section 4.3). The client certificate is
// read at each handshake.
func tlsConfig(cfg Config, creds credentials) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TrustCertsFile != "" {
		pem, err := readSecret(cfg.TrustCertsFile)
		if err != nil {
			return nil, fmt.Errorf("reading the trusted certificates: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the trusted certificates: %s holds no PEM certificate", cfg.TrustCertsFile)
		}
	}
	if creds.certificate != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return creds.certificate()
		}
	}
	switch {
	case cfg.AllowInsecure:
		conf.InsecureSkipVerify = true
	case !cfg.HostnameVerification:
		// Go checks chain and name together or not at all; Java's default is the chain alone.
		conf.InsecureSkipVerify = true
		roots := conf.RootCAs
		conf.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, roots) }
	}
	return conf, nil
}

func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}

// Sign puts the credentials of cfg into a request the way they would have reached a server: as headers, or as the certificate of the
// client in request.TLS. False: cfg has none.
func Sign(cfg Config, request *http.Request) (bool, error) {
	creds, err := newCredentials(cfg)
	if err != nil || creds.method == "" {
		return false, err
	}
	if err := creds.sign(request); err != nil {
		return false, err
	}
	if creds.certificate == nil {
		return true, nil
	}
	pair, err := creds.certificate()
	if err != nil {
		return false, err
	}
	request.TLS = &tls.ConnectionState{}
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return false, fmt.Errorf("credentials of this worker: the client certificate: %w", err)
		}
		request.TLS.PeerCertificates = append(request.TLS.PeerCertificates, cert)
	}
	return true, nil
}
