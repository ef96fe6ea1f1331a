package state

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

const (
	defaultPort = "4181"
	maxHosts    = 64
)

// parseURL gives the addresses in bk://HOST[:PORT][,HOST[:PORT]…]. Separators, the default port, and the user part that
// is passed over are those of BookKeeper's service URIs. The error does not repeat the URL, which may hold a password.
func parseURL(text string) ([]string, error) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(text), "://")
	if !found {
		return nil, fmt.Errorf("it has no scheme; give it as bk://HOST:%s", defaultPort)
	}
	if !strings.EqualFold(scheme, "bk") {
		return nil, fmt.Errorf("the scheme %q is not known; give it as bk://HOST:%s, with the hosts of the table service themselves", scheme, defaultPort)
	}
	authority, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		authority = authority[i+1:]
	}
	hosts := strings.FieldsFunc(authority, func(r rune) bool { return r == ',' || r == ';' })
	if len(hosts) == 0 || len(hosts) > maxHosts {
		return nil, fmt.Errorf("it names %d hosts; between 1 and %d are possible", len(hosts), maxHosts)
	}
	addresses := make([]string, 0, len(hosts))
	for _, h := range hosts {
		address, err := withPort(strings.TrimSpace(h))
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil { // no port, or an IPv6 address without one
		name, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), defaultPort
		if strings.Contains(name, ":") && net.ParseIP(name) == nil {
			return "", fmt.Errorf("%q is no HOST:PORT", host)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has no port between 1 and 65535", host)
	}
	if name == "" || strings.ContainsAny(name, " \t[]") {
		return "", fmt.Errorf("%q names no host", host)
	}
	return net.JoinHostPort(name, port), nil
}
