package listener

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

// TestProxyHeaders: both versions, before HTTP and before TLS, and connections without a header.
func TestProxyHeaders(t *testing.T) {
	ours := newAuthority(t, "ours")
	o, _ := files(t, ours)
	material, err := NewTLS(o)
	require.NoError(t, err)
	header := func(version byte) []byte {
		h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 4711}, &net.TCPAddr{IP: net.ParseIP("192.0.2.8"), Port: 80})
		data, err := h.Format()
		require.NoError(t, err)
		return data
	}
	for _, secure := range []bool{false, true} {
		plain, err := net.Listen("tcp", "localhost:0")
		require.NoError(t, err)
		l := WithProxyHeaders(plain)
		if secure {
			l = tls.NewListener(l, material.Config())
		}
		server := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: discard(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.RemoteAddr)
		})}
		go func() { _ = server.Serve(l) }()
		defer server.Close()
		for name, tc := range map[string]struct {
			header []byte
			want   string
		}{"version 1": {header(1), "192.0.2.7:4711"}, "version 2": {header(2), "192.0.2.7:4711"}, "none": {nil, "127.0.0.1:"}} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				conn, err := net.Dial("tcp", plain.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				_, err = conn.Write(tc.header)
				require.NoError(t, err)
				if secure {
					conn = tls.Client(conn, &tls.Config{RootCAs: ours.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12})
				}
				_, err = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				require.NoError(t, err)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				defer resp.Body.Close()
				var got string
				_, err = fmt.Fscan(resp.Body, &got)
				require.NoError(t, err)
				require.Contains(t, got, tc.want)
			})
		}
	}
}
