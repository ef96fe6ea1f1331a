// Package standalone starts brokers of their own for tests that need other settings than the shared one has.
package standalone

import (
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FreePort is a port that nobody listens on, outside the kernel's range for outgoing connections so that none takes it meanwhile.
func FreePort(t *testing.T) int {
	t.Helper()
	low := 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if n, err := strconv.Atoi(strings.Fields(string(text))[0]); err == nil {
			low = min(n, 60000)
		}
	}
	for range 200 {
		port := 10240 + rand.IntN(max(60, low-10240))
		l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		return port
	}
	require.Fail(t, "no free port found")
	return 0
}

// PortOf is the port of an address.
func PortOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	n, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	return n
}

// Broker is a running one.
type Broker struct {
	ServiceURL, WebURL string
	// MetadataURL is its ZooKeeper, which a Java worker needs.
	MetadataURL string
}

// Start runs a broker with these lines added to its configuration until the test ends. token is what a broker with authentication
// is asked with. root is the repository's root as seen from the test.
func Start(t *testing.T, root string, lines []string, token string) Broker {
	t.Helper()
	dir := t.TempDir()
	overrides, home := filepath.Join(dir, "overrides.conf"), filepath.Join(dir, "broker")
	require.NoError(t, os.WriteFile(overrides, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	script := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(root, "scripts", "pulsar.sh"), args...)
		cmd.Env = append(os.Environ(), "PULSAR_BROKER_OVERRIDES="+overrides, "PULSAR_BROKER_TOKEN="+token)
		log, err := os.Create(filepath.Join(dir, "script.log")) // a pipe would stay open as long as the broker runs
		require.NoError(t, err)
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			data, _ := os.ReadFile(log.Name())
			require.NoError(t, err, string(data))
		}
	}
	t.Cleanup(func() { script("stop", home) })
	script("start", home)
	data, err := os.ReadFile(filepath.Join(home, "env"))
	require.NoError(t, err)
	var b Broker
	for line := range strings.Lines(string(data)) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
		case "PULSAR_SERVICE_URL":
			b.ServiceURL = value
		case "PULSAR_WEB_URL":
			b.WebURL = value
		case "ZOOKEEPER_PORT":
			b.MetadataURL = "zk:localhost:" + value
		}
	}
	return b
}
