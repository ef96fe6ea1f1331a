package listener

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds how many proxies a request may have passed; more is nonsense or an attack.
const maxForwarded = 64

type peerKey struct{}

// Peer is the address of the connection that a request came over, where WithForwarded replaced it; else "".
func Peer(r *http.Request) string {
	peer, _ := r.Context().Value(peerKey{}).(string)
	return peer
}

// WithForwarded takes the client's address from X-Forwarded-For or, without that, Forwarded (RFC 7239): what the hops-th
// proxy counted from this worker wrote. What stands further left came from the client and may be anything. A text that is
// no IP address changes nothing. Only trusted proxies may reach such a worker.
func WithForwarded(hops int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, ok := forwardedFor(r.Header, hops); ok {
			r = r.WithContext(context.WithValue(r.Context(), peerKey{}, r.RemoteAddr)) // a copy: the request of the caller stays
			r.RemoteAddr = client
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedFor gives address:port, with port 0 where the proxy named none.
func forwardedFor(h http.Header, hops int) (string, bool) {
	var nodes []string
	if values := h.Values("X-Forwarded-For"); len(values) > 0 {
		nodes = strings.Split(strings.Join(values, ","), ",")
	} else if values := h.Values("Forwarded"); len(values) > 0 {
		var ok bool
		if nodes, ok = forwardedNodes(strings.Join(values, ",")); !ok {
			return "", false
		}
	}
	if len(nodes) == 0 || len(nodes) > maxForwarded {
		return "", false
	}
	return address(strings.TrimSpace(nodes[max(0, len(nodes)-max(hops, 1))]))
}

// address reads 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80.
func address(node string) (string, bool) {
	if at, err := netip.ParseAddrPort(node); err == nil && at.Addr().Zone() == "" {
		return at.String(), true
	}
	if inner, ok := strings.CutPrefix(node, "["); ok {
		if node, ok = strings.CutSuffix(inner, "]"); !ok {
			return "", false
		}
	}
	ip, err := netip.ParseAddr(node)
	if err != nil || ip.Zone() != "" {
		return "", false
	}
	return net.JoinHostPort(ip.String(), "0"), true
}

// forwardedNodes takes the for parameter out of each element, "" where an element has none.
func forwardedNodes(header string) ([]string, bool) {
	elements, ok := splitQuoted(header, ',')
	if !ok {
		return nil, false
	}
	var nodes []string
	for _, element := range elements {
		pairs, ok := splitQuoted(element, ';')
		if !ok {
			return nil, false
		}
		node := ""
		for _, pair := range pairs {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if !strings.EqualFold(name, "for") {
				continue
			}
			if node != "" {
				return nil, false // twice in one element: which one counts must not depend on who reads it
			}
			if node, ok = unquote(value); !ok {
				return nil, false
			}
		}
		nodes = append(nodes, node)
	}
	return nodes, true
}

// splitQuoted splits at separators outside quoted strings; false when a quote is left open.
func splitQuoted(s string, separator byte) ([]string, bool) {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:]), !quoted
}

func unquote(value string) (string, bool) {
	inner, ok := strings.CutPrefix(value, `"`)
	if !ok {
		return value, true
	}
	if inner, ok = strings.CutSuffix(inner, `"`); !ok || strings.ContainsAny(inner, `"\`) {
		return "", false // no address needs an escape
	}
	return inner, true
}
