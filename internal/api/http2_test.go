package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHTTP2: the HTTPS port speaks HTTP/2 to those who offer it, with the same limits.
func TestHTTP2(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil)
	cert, root := borrowed.TLS.Certificates[0], borrowed.Certificate()
	borrowed.Close()
	f := newFixture(t, func(o *Options) { o.Limits.BodyIdleTimeout = 100 * time.Millisecond })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- f.server.Serve(context.Background(), l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
	}()
	roots := x509.NewCertPool()
	roots.AddCert(root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, f.server.Shutdown(ctx))
		require.NoError(t, <-done)
	})
	url := "https://" + l.Addr().String()
	send := func(method, path, header string, body io.Reader, contentType string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, body)
		require.NoError(t, err)
		req.Header.Set("A", header)
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		require.NoError(t, res.Body.Close())
		require.Equal(t, "HTTP/2.0", res.Proto)
		return res
	}
	require.Equal(t, 200, send("GET", "/version", "", nil, "").StatusCode)
	require.Equal(t, 200, send("GET", "/version", strings.Repeat("a", 7000), nil, "").StatusCode)
	require.Equal(t, 431, send("GET", "/version", strings.Repeat("a", 8180), nil, "").StatusCode, "above the limit, below what the connection announces")

	never, w := io.Pipe() // a body that never goes on
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "--x\r\n") }()
	require.Equal(t, 408, send("POST", one, "", never, "multipart/form-data; boundary=x").StatusCode)

	// A client without HTTP/2 is served on the same port, and the limit of the head is the same there.
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}})
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: "+strings.Repeat("a", 9000)+"\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(answer), "HTTP/1.1 431 ")
}
