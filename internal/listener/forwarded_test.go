package listener

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForwarded(t *testing.T) {
	const peer = "10.0.0.1:4000"
	for name, tc := range map[string]struct {
		headers [][2]string
		hops    int
		want    string
	}{
		"no header":                      {nil, 1, peer},
		"one address":                    {[][2]string{{"X-Forwarded-For", "192.0.2.7"}}, 1, "192.0.2.7:0"},
		"with a port":                    {[][2]string{{"X-Forwarded-For", "192.0.2.7:99"}}, 1, "192.0.2.7:99"},
		"IPv6":                           {[][2]string{{"X-Forwarded-For", "2001:db8::7"}}, 1, "[2001:db8::7]:0"},
		"IPv6 in brackets":               {[][2]string{{"X-Forwarded-For", "[2001:db8::7]"}}, 1, "[2001:db8::7]:0"},
		"IPv6 with a port":               {[][2]string{{"X-Forwarded-For", "[2001:db8::7]:99"}}, 1, "[2001:db8::7]:99"},
		"the client's own claim is left": {[][2]string{{"X-Forwarded-For", "6.6.6.6, 192.0.2.7"}}, 1, "192.0.2.7:0"},
		"two proxies":                    {[][2]string{{"X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.0.0.2"}}, 2, "192.0.2.7:0"},
		"fewer entries than proxies":     {[][2]string{{"X-Forwarded-For", "192.0.2.7"}}, 3, "192.0.2.7:0"},
		"several lines are one list":     {[][2]string{{"X-Forwarded-For", "6.6.6.6"}, {"X-Forwarded-For", "192.0.2.7"}}, 1, "192.0.2.7:0"},
		"no address":                     {[][2]string{{"X-Forwarded-For", "unknown"}}, 1, peer},
		"empty":                          {[][2]string{{"X-Forwarded-For", ""}}, 1, peer},
		"a zone":                         {[][2]string{{"X-Forwarded-For", "fe80::1%eth0"}}, 1, peer},
		"text for the log":               {[][2]string{{"X-Forwarded-For", "1.2.3.4\" 200"}}, 1, peer},
		"too many":                       {[][2]string{{"X-Forwarded-For", strings.Repeat("1.1.1.1,", 100) + "192.0.2.7"}}, 1, peer},
		"Forwarded":                      {[][2]string{{"Forwarded", `proto=https;For="[2001:db8::7]:99";by=10.0.0.1`}}, 1, "[2001:db8::7]:99"},
		"Forwarded, list":                {[][2]string{{"Forwarded", `for=6.6.6.6;x="a,b;\"", for=192.0.2.7`}}, 1, "192.0.2.7:0"},
		"Forwarded, hidden":              {[][2]string{{"Forwarded", "for=_hidden"}}, 1, peer},
		"Forwarded, open quote":          {[][2]string{{"Forwarded", `for="192.0.2.7`}}, 1, peer},
		"Forwarded, twice":               {[][2]string{{"Forwarded", "for=192.0.2.7;for=192.0.2.8"}}, 1, peer},
		"a client's Forwarded beside the proxy's X-Forwarded-For": {[][2]string{{"Forwarded", "for=6.6.6.6"}, {"X-Forwarded-For", "192.0.2.7"}}, 1, "192.0.2.7:0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = peer
			for _, h := range tc.headers {
				r.Header.Add(h[0], h[1])
			}
			WithForwarded(tc.hops, http.HandlerFunc(func(_ http.ResponseWriter, seen *http.Request) {
				require.Equal(t, tc.want, seen.RemoteAddr)
				if tc.want == peer {
					require.Empty(t, Peer(seen))
				} else {
					require.Equal(t, peer, Peer(seen))
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, peer, r.RemoteAddr, "the request of the caller is not changed")
		})
	}
}

// FuzzForwarded: whatever the headers hold, the result is an address or nothing.
func FuzzForwarded(f *testing.F) {
	f.Add("192.0.2.7, 10.0.0.2", "", 1)
	f.Add("[2001:db8::7]:99", "for=1.2.3.4", 2)
	f.Add("", `for="[2001:db8::7]:99";by=x, for="a\"b"`, 1)
	f.Fuzz(func(t *testing.T, xff, forwarded string, hops int) {
		h := http.Header{}
		if xff != "" {
			h.Set("X-Forwarded-For", xff)
		}
		if forwarded != "" {
			h.Set("Forwarded", forwarded)
		}
		got, ok := forwardedFor(h, hops)
		if _, err := netip.ParseAddrPort(got); ok != (err == nil) {
			t.Fatalf("%q from %q and %q", got, xff, forwarded)
		}
	})
}
