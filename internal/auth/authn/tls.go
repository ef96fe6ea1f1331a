package authn

import (
	"net/http"
	"strings"
	"time"
)

// tlsProvider is AuthenticationProviderTls: the role is the common name of the client certificate.
type tlsProvider struct {
	verify func(r *http.Request) error
	now    func() time.Time
}

func (p *tlsProvider) method() string { return "tls" }
func (p *tlsProvider) class() string  { return "AuthenticationProviderTls" }

// authenticate never takes a role from a certificate that no trusted authority signed, whatever the listener accepted, and
// looks at its dates for every request, not only at the handshake.
func (p *tlsProvider) authenticate(r *http.Request) (Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Identity{}, refuse("INVALID_CERTS", "no client certificate was presented")
	}
	cert := r.TLS.PeerCertificates[0]
	if p.verify != nil {
		if err := p.verify(r); err != nil {
			return Identity{}, refuse("INVALID_CERTS", "the client certificate is not trusted: %v", err)
		}
	} else if len(r.TLS.VerifiedChains) == 0 {
		return Identity{}, refuse("INVALID_CERTS", "the client certificate was not verified")
	}
	if now := p.now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return Identity{}, refuse("INVALID_CERTS", "the client certificate is not valid at this time")
	}
	role := cert.Subject.CommonName
	switch {
	case strings.TrimSpace(role) == "":
		return Identity{}, refuse("INVALID_CN", "the client certificate has no common name")
	case strings.ContainsFunc(role, func(c rune) bool { return c < 0x20 || c == 0x7f || strings.ContainsRune(`,\+"<>;=`, c) }):
		// Java cuts such names at the comma: one name would then be two roles.
		return Identity{}, refuse("INVALID_CN", "the common name of the client certificate has a comma or another special character")
	}
	return Identity{Role: role, Method: "tls"}, nil
}
