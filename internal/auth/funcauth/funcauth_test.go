package funcauth

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/pb"
)

func meta(name, token string) *pb.FunctionMetaData {
	m := &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: name}}
	if token != "" {
		m.FunctionAuthSpec = &pb.FunctionAuthenticationSpec{Data: []byte(token)}
	}
	return m
}

func TestCache(t *testing.T) {
	tokens, err := NewTokens(filepath.Join(t.TempDir(), "a", "b"), false)
	require.NoError(t, err)
	r := httptest.NewRequest("POST", "/x", nil)
	spec, err := tokens.Cache(t.Context(), r, nil, nil)
	require.NoError(t, err)
	require.Nil(t, spec, "authentication is off")
	spec, err = tokens.Cache(t.Context(), r.WithContext(authn.NewContext(t.Context(), authn.Identity{Role: "a", Token: "j.w.t"})), nil, nil)
	require.NoError(t, err)
	require.Equal(t, "j.w.t", string(spec.GetData()))
	require.Empty(t, spec.GetProvider(), "Java never writes it")
	_, err = tokens.Cache(t.Context(), r.WithContext(authn.NewContext(t.Context(), authn.Identity{Role: "a", Method: "tls"})), nil, nil)
	require.ErrorContains(t, err, "without a token")

	// Through a proxy that authenticates as itself, the token is the proxy's.
	r.Header.Set(authn.PrincipalHeader, "a")
	_, err = tokens.Cache(t.Context(), r.WithContext(authn.NewContext(t.Context(), authn.Identity{Role: "proxy", Token: "j.w.t"})), nil, nil)
	require.ErrorContains(t, err, "the token of the request is that of the proxy (role proxy) and not that of a")
	spec, err = tokens.Cache(t.Context(), r.WithContext(authn.NewContext(t.Context(), authn.Identity{Role: "a", Token: "j.w.t"})), nil, nil)
	require.NoError(t, err, "the proxy passed on the client's token")
	require.Equal(t, "j.w.t", string(spec.GetData()))
}

// TestCredentials: each function gets its own token, and nobody else's, however many start at once.
func TestCredentials(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.MkdirAll(directory, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "old"), []byte("left behind"), 0o600))
	tokens, err := NewTokens(directory, false)
	require.NoError(t, err)
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		for range 20 {
			group.Go(func() {
				plugin, params, own, err := tokens.Credentials(meta(name, "token-"+name))
				if err != nil || own || plugin != tokenPlugin {
					t.Errorf("%s: %s %v %v", name, plugin, own, err)
					return
				}
				data, err := os.ReadFile(strings.TrimPrefix(params, "file://"))
				if err != nil || string(data) != "token-"+name {
					t.Errorf("%s got %q, %v", name, data, err)
				}
			})
		}
	}
	group.Wait()
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	_, _, _, err = tokens.Credentials(meta("d", ""))
	require.ErrorIs(t, err, ErrNoCredentials)
	sharing, err := NewTokens(directory, true)
	require.NoError(t, err)
	_, _, own, err := sharing.Credentials(meta("d", ""))
	require.NoError(t, err)
	require.True(t, own)
}

// TestFunctionsInTheWorkerNeedNoFile: they get the token itself.
func TestFunctionsInTheWorkerNeedNoFile(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "tokens")
	tokens, err := NewTokens(directory, false)
	require.NoError(t, err)
	plugin, params, own, err := tokens.InProcess(meta("a", " token-a\n"))
	require.NoError(t, err)
	require.False(t, own)
	require.Equal(t, tokenPlugin, plugin)
	require.Equal(t, "token:token-a", params)
	_, _, _, err = tokens.InProcess(meta("a", ""))
	require.ErrorIs(t, err, ErrNoCredentials)
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	require.Empty(t, entries)
	sharing, err := NewTokens(directory, true)
	require.NoError(t, err)
	_, _, own, err = sharing.InProcess(meta("a", ""))
	require.NoError(t, err)
	require.True(t, own)
}

// TestTokensEndWithTheLastInstance: the file is there as long as an instance may read it, and no longer.
func TestTokensEndWithTheLastInstance(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "tokens")
	tokens, err := NewTokens(directory, true)
	require.NoError(t, err)
	m := meta("a", "token-a")
	for range 2 {
		_, _, _, err = tokens.Credentials(m)
		require.NoError(t, err)
	}
	_, params, _, err := tokens.Credentials(meta("b", "token-b"))
	require.NoError(t, err)
	require.NoError(t, tokens.Release(m))
	require.FileExists(t, tokens.path("t/n/a"))
	require.NoError(t, tokens.Release(m))
	require.NoFileExists(t, tokens.path("t/n/a"))
	require.NoError(t, tokens.Release(meta("none", "")), "one without a token has no file")
	require.FileExists(t, strings.TrimPrefix(params, "file://"))
}
