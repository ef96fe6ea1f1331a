package state

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseURL(t *testing.T) {
	cases := map[string]struct {
		url     string
		want    []string
		wantErr string
	}{
		"one":                {url: "bk://host:1234", want: []string{"host:1234"}},
		"default port":       {url: " BK://host/ ", want: []string{"host:4181"}},
		"several":            {url: "bk://a:1,b;c:3", want: []string{"a:1", "b:4181", "c:3"}},
		"user part and path": {url: "bk://u:secret@h:1/x/y", want: []string{"h:1"}},
		"IPv6":               {url: "bk://[::1]:5,[::2]", want: []string{"[::1]:5", "[::2]:4181"}},
		"no scheme":          {url: "host:4181", wantErr: "no scheme"},
		"metadata store":     {url: "zk:secret:2181", wantErr: "no scheme"},
		"other scheme":       {url: "bk+zk://secret:2181/ledgers", wantErr: `"bk+zk" is not known`},
		"no host":            {url: "bk:///x", wantErr: "0 hosts"},
		"empty host":         {url: "bk://:4181", wantErr: "names no host"},
		"port":               {url: "bk://h:x", wantErr: "no port"},
		"port too large":     {url: "bk://h:65536", wantErr: "no port"},
		"port zero":          {url: "bk://h:0", wantErr: "no port"},
		"two colons":         {url: "bk://h:1:2", wantErr: "no HOST:PORT"},
		"blank":              {url: "bk://h h:1", wantErr: "names no host"},
		"too many":           {url: "bk://" + strings.Repeat("h,", 65), wantErr: "65 hosts"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseURL(c.url)
			if c.wantErr != "" {
				require.ErrorContains(t, err, c.wantErr)
				require.NotContains(t, err.Error(), "secret")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"bk://h:1", "bk://[::1]", "bk://a,b;c", "bk://u@h:1/x", "bk://[h:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addresses, err := parseURL(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, addresses)
		for _, a := range addresses {
			host, port, err := net.SplitHostPort(a)
			require.NoError(t, err)
			require.NotEmpty(t, host)
			require.NotEmpty(t, port)
		}
	})
}

func TestTableNamespace(t *testing.T) {
	require.Equal(t, "a_b_c_d", tableNamespace("a-b", "c-d"))
}
