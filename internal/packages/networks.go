package packages

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
)

// ErrNetwork marks hosts whose address no package may come from.
var ErrNetwork = errors.New("its host is in a network that packages may not come from; goWorker.packageUrlNetworks allows more")

// special are the networks that are not public although the standard library's predicates do not say so: shared and test
// networks, forms of IPv6 that hold an IPv4 address, and the metadata service of Azure, which has a public address.
var special = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "168.63.129.16/32",
	"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10")

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// ParseNetworks reads addresses and prefixes, such as 10.0.0.0/8.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		if ip, err := netip.ParseAddr(text); err == nil {
			all = append(all, netip.PrefixFrom(ip.Unmap().WithZone(""), ip.Unmap().BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

// public tells whether anybody on the Internet could be asked at this address: nothing of this host, of its network or of its
// cloud.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.Zone() != "" {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// guard lets connections through to public addresses and to the networks that the configuration allows. It sees the address
// after the name was resolved, for each attempt: a name that changes its mind gains nothing.
type guard struct {
	allowed []netip.Prefix
	proxy   func(*http.Request) (*url.URL, error)

	mu      sync.Mutex
	proxies map[string]bool // host:port of proxies in use; they are the operator's, wherever they are
}

func newGuard(allowed []netip.Prefix) *guard {
	return &guard{allowed: allowed, proxy: http.ProxyFromEnvironment, proxies: map[string]bool{}}
}

// choose is http.Transport.Proxy.
func (g *guard) choose(r *http.Request) (*url.URL, error) {
	u, err := g.proxy(r)
	if err != nil || u == nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proxies[net.JoinHostPort(u.Hostname(), port)] = true
	return u, nil
}

// dial is http.Transport.DialContext.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	proxy := g.proxies[address]
	g.mu.Unlock()
	d := &net.Dialer{Timeout: httpConnectTimeout}
	if !proxy {
		d.Control = g.control
	}
	return d.DialContext(ctx, network, address)
}

func (g *guard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrNetwork, address)
	}
	ip := at.Addr().Unmap()
	if public(ip) || slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNetwork, ip)
}
