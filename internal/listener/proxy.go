package listener

import (
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTimeout is how long the PROXY header of a connection may take.
const proxyHeaderTimeout = 10 * time.Second

// WithProxyHeaders takes the client's address from a PROXY header, version 1 or 2, where a connection begins with one; others
// are taken as they are (rest-api contract, section 12). Only load balancers may reach such a port: anybody else could
// name any address.
func WithProxyHeaders(l net.Listener) net.Listener {
	return &proxyproto.Listener{
		Listener: l, ReadHeaderTimeout: proxyHeaderTimeout,
		ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.USE, nil },
	}
}
