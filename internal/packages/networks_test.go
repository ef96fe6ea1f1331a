package packages

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestPublicAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true, "1.1.1.1": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "0.0.0.0": false, "::": false, "0.1.2.3": false,
		"10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "fd00:ec2::254": false, "fc00::1": false,
		"169.254.169.254": false, "169.254.170.2": false, "fe80::1": false, "168.63.129.16": false, "100.100.100.200": false, "100.64.0.1": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false, "192.0.0.192": false, "198.18.0.1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001:0:1::": false,
	} {
		require.Equal(t, want, public(netip.MustParseAddr(text)), text)
	}
}

func TestNetworks(t *testing.T) {
	got, err := ParseNetworks([]string{"10.1.2.3/8", "192.168.1.1", "fd00::/8"})
	require.NoError(t, err)
	require.Equal(t, "[10.0.0.0/8 192.168.1.1/32 fd00::/8]", fmt.Sprint(got))
	for _, bad := range []string{"10.0.0.0/99", "x", "", "localhost"} {
		_, err := ParseNetworks([]string{bad})
		require.ErrorContains(t, err, "is neither an address nor a network", bad)
	}
}

// TestCVE_2024_27894_PackageURLsCannotReachInside: a URL that a pattern allows, or a redirect from one, still does not reach this host and
// its network; and a name counts by what it resolves to.
func TestCVE_2024_27894_PackageURLsCannotReachInside(t *testing.T) {
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; fmt.Fprint(w, "secret") }))
	defer inside.Close()
	_, port, err := net.SplitHostPort(inside.Listener.Addr().String())
	require.NoError(t, err)
	open := func(t *testing.T, location string, allowed ...netip.Prefix) error {
		b := newBench(t, func(c *FetcherConfig) {
			policy, err := NewURLPolicy(URLPolicyConfig{FunctionPatterns: []string{`https?://.*`}})
			require.NoError(t, err)
			c.URLs, c.Networks = policy, allowed
		})
		body, _, err := b.Open(t.Context(), &pb.PackageLocationMetaData{PackagePath: location}, Function)
		if err == nil {
			_, err = io.Copy(io.Discard, body)
			require.NoError(t, body.Close())
		}
		return err
	}
	for _, host := range []string{"127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		require.Error(t, open(t, "http://"+host+":"+port+"/x"), host)
	}
	require.ErrorIs(t, open(t, "http://localhost:"+port+"/x"), ErrNetwork)
	require.ErrorIs(t, open(t, "http://169.254.169.254/latest/meta-data/iam/security-credentials/"), ErrNetwork)
	require.ErrorIs(t, open(t, "http://[fd00:ec2::254]/latest/meta-data/"), ErrNetwork)
	require.Zero(t, asked, "nothing may have been asked")
	require.NoError(t, open(t, "http://127.0.0.1:"+port+"/x", prefixes("127.0.0.0/8")...), "the configuration allows it")
	require.Equal(t, 1, asked)

	moved := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/", http.StatusFound))
	defer moved.Close()
	require.ErrorIs(t, open(t, moved.URL+"/x", prefixes("127.0.0.0/8")...), ErrNetwork, "redirects are checked again")
}

// TestProxiesAreTheOperators: the address of a proxy of the environment is not checked; URLs go through it.
func TestProxiesAreTheOperators(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.String()) }))
	defer proxy.Close()
	g := newGuard(nil)
	g.proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	transport := &http.Transport{Proxy: g.choose, DialContext: g.dial}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get("http://packages.example/x")
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, "http://packages.example/x", string(text))
}

// TestDownloadsEnd: a server that trickles does not hold a caller who set no deadline.
func TestDownloadsEnd(t *testing.T) {
	b := newBench(t, func(c *FetcherConfig) { c.Timeout = 200 * time.Millisecond })
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	defer slow.Close()
	policy, err := NewURLPolicy(URLPolicyConfig{FunctionPatterns: []string{`http://.*`}})
	require.NoError(t, err)
	b.cfg.URLs = policy
	body, _, err := b.Open(t.Context(), &pb.PackageLocationMetaData{PackagePath: slow.URL + "/x"}, Function)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, body)
	require.ErrorContains(t, err, "deadline exceeded")
	require.NoError(t, body.Close())
}
