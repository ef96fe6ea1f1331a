package command

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDownload against a server that misbehaves; the whole way from a real worker is in test/kubernetes.
func TestDownload(t *testing.T) {
	const path = "/admin/v3/functions/t%20/n/f/download"
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}
	good := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "package") }
	refuse := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"reason":"why"}`)
		}
	}
	for name, tt := range map[string]struct {
		answers []http.HandlerFunc
		args    []string
		query   string
		token   string
		wantErr string
		mode    os.FileMode
	}{
		"a package":                              {answers: []http.HandlerFunc{good}, mode: 0o644},
		"a program":                              {answers: []http.HandlerFunc{good}, args: []string{"--executable"}, mode: 0o755},
		"a transform function":                   {answers: []http.HandlerFunc{good}, args: []string{"--transform-function"}, query: "transform-function=true", mode: 0o644},
		"with a token":                           {answers: []http.HandlerFunc{good}, args: []string{"--auth-plugin", "org.apache.pulsar.client.impl.auth.AuthenticationToken", "--auth-params", "token:abc"}, token: "Bearer abc", mode: 0o644},
		"a worker that is busy, then breaks off": {answers: []http.HandlerFunc{refuse(503), cut, good}, mode: 0o644},
		"no such function":                       {answers: []http.HandlerFunc{refuse(404)}, wantErr: "answered 404: why"},
		"it always breaks off":                   {answers: []http.HandlerFunc{cut, cut, cut}, wantErr: "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, path, r.URL.EscapedPath())
				require.Equal(t, tt.query, r.URL.RawQuery)
				require.Equal(t, tt.token, r.Header.Get("Authorization"))
				asked++
				tt.answers[asked-1](w, r)
			}))
			defer server.Close()
			dir := t.TempDir()
			file := filepath.Join(dir, "made", "f.jar")
			d := download{attempts: 3}
			cmd := d.command()
			cmd.SetArgs(append([]string{"--admin-url", server.URL, "--tenant", "t ", "--namespace", "n", "--name", "f", "--destination-file", file}, tt.args...))
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			err := cmd.ExecuteContext(t.Context())
			require.Equal(t, len(tt.answers), asked)
			left, globErr := filepath.Glob(filepath.Join(dir, "made", ".*"))
			require.NoError(t, globErr)
			require.Empty(t, left)
			if tt.wantErr != "" {
				require.ErrorContains(t, err, tt.wantErr)
				require.ErrorContains(t, err, "downloading the package of t /n/f")
				require.NoFileExists(t, file)
				return
			}
			require.NoError(t, err)
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, "package", string(data))
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, tt.mode, info.Mode().Perm())
			require.Equal(t, len(tt.answers)-1, strings.Count(out.String(), "trying again"))
		})
	}
}

func TestDownloadNeedsItsOptions(t *testing.T) {
	d := download{attempts: 1}
	cmd := d.command()
	cmd.SetArgs([]string{"--tenant", "t"})
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	require.ErrorContains(t, cmd.Execute(), `"admin-url"`)
}
