package broker

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCVE_2022_33681_33682_33683_HostNameBeforeCredentials: with tlsEnableHostnameVerification a server of another name, although of a
// trusted authority, never sees the token.
func TestCVE_2022_33681_33682_33683_HostNameBeforeCredentials(t *testing.T) {
	var seen atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			seen.Add(1)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	trust := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	client, err := NewHTTPClient(Config{TrustCertsFile: trust, HostnameVerification: true, AuthPlugin: javaAuth + "AuthenticationToken", AuthParams: "token:abc"})
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	_, err = client.Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1)) // the certificate names example.com and 127.0.0.1
	require.ErrorContains(t, err, "not localhost")
	require.Zero(t, seen.Load())
	response, err := client.Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.EqualValues(t, 1, seen.Load(), "the right name does")
}

// TestCVE_2026_105945_PackageNames: a name that would lead elsewhere in the storage of the broker never gets there.
func TestCVE_2026_105945_PackageNames(t *testing.T) {
	for _, name := range []string{
		"function://t/n/f@../../x", "function://t/n/f@..", "function://t/n/..@v", "function://../n/f@v", "function://t/../f@v", "function://t/n/f@a/b", "function://t/n/f@a\\b",
	} {
		_, err := ParsePackageName(name)
		require.Error(t, err, name)
	}
	_, err := ParsePackageName("function://t/n/f@1.0")
	require.NoError(t, err)
}
