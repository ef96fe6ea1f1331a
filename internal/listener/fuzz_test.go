package listener

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// onePipe is a listener with one connection.
type onePipe struct{ conn net.Conn }

func (l *onePipe) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}
func (l *onePipe) Close() error   { return nil }
func (l *onePipe) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// addressed is a pipe with addresses of TCP.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }
func (addressed) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// FuzzProxyHeader: whatever a connection begins with, there is an address that can be logged, or the connection fails.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\nGET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 192, 0, 2, 7, 192, 0, 2, 8, 0x12, 0x67, 0, 80, 'x'))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		theirs, ours := net.Pipe()
		done := make(chan struct{})
		go func() { // at the end the client closes
			defer close(done)
			_ = theirs.SetWriteDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.Copy(theirs, bytes.NewReader(data))
			_ = theirs.Close()
		}()
		conn, err := WithProxyHeaders(&onePipe{addressed{ours}}).Accept()
		if err == nil {
			text := conn.RemoteAddr().String()
			_, readErr := io.Copy(io.Discard, conn)
			if _, err := netip.ParseAddrPort(text); err != nil && readErr == nil {
				t.Logf("address %q", text) // a unix socket or the like: it goes into logs as it is
			}
			for _, c := range []byte(text) {
				if c < ' ' {
					t.Fatalf("an address with control characters: %q", text)
				}
			}
			_ = conn.Close()
		}
		_ = ours.Close()
		<-done
	})
}
