package authz

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
)

// TestCVE_2023_30429_OriginalPrincipal: a proxy's rights are never the caller's, however the proxy proved who it is, and nobody else may
// name another principal.
func TestCVE_2023_30429_OriginalPrincipal(t *testing.T) {
	a, err := New(Options{Superusers: []string{"root", "root-proxy"}, ProxyRoles: []string{"root-proxy"}, Policies: &fakePolicies{}})
	require.NoError(t, err)
	functions := Question{Tenant: "t", Namespace: "n", Action: Functions}
	for _, method := range []string{"tls", "token", "basic"} {
		for original, want := range map[string]bool{"": false, "nobody": false, "root-proxy": false, "fn": true} {
			got, err := a.Authorize(request(&authn.Identity{Role: "root-proxy", Method: method}, original), functions)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s, %q", method, original)
		}
		got, err := a.Authorize(request(&authn.Identity{Role: "nobody", Method: method}, "root"), functions)
		require.NoError(t, err)
		require.False(t, got, "a principal that is no proxy's")
	}
}

// FuzzPrincipal: no header makes a role that may do nothing do something, and a proxy needs a principal that may.
func FuzzPrincipal(f *testing.F) {
	a, err := New(Options{Superusers: []string{"root", "root-proxy"}, ProxyRoles: []string{"root-proxy"}, Policies: &fakePolicies{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("root", "")
	f.Add(websocketPrincipal, "fn")
	f.Add("fn,root", " fn")
	f.Fuzz(func(t *testing.T, one, two string) {
		originals := []string{one}
		if two != "" {
			originals = append(originals, two)
		}
		q := Question{Tenant: "t", Namespace: "n", Action: Functions}
		if ok, _ := a.Authorize(request(&authn.Identity{Role: "nobody"}, originals...), q); ok {
			t.Fatalf("nobody may, by %q", originals)
		}
		may := []string{"root", "admin", "fn", websocketPrincipal}
		if ok, _ := a.Authorize(request(&authn.Identity{Role: "root-proxy"}, originals...), q); ok != (len(originals) == 1 && slices.Contains(may, one)) {
			t.Fatalf("proxy: %v, by %q (%v)", ok, originals, strings.TrimSpace(one) == "")
		}
	})
}
