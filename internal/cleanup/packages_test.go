package cleanup

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestStoredPackages(t *testing.T) {
	for name, tc := range map[string]struct {
		path, file string
		want       int
	}{
		"upload":                      {"httpd/n/f/1-x.py", "x.py", 1},
		"http":                        {"http://x/y.py", "", 0},
		"file":                        {"file:///x/y.py", "y.py", 0},
		"builtin":                     {"builtin://x", "x.nar", 0},
		"own package":                 {"function://httpd/n/f@0", "x.py", 1},
		"own transform":               {"function://httpd/n/f__sink-function@0", "x.jar", 1},
		"other package":               {"function://a/b/c@0", "x.py", 0},
		"a name that begins the same": {"function://httpd/n/f-lib@0", "x.py", 0},
		"no version":                  {"function://httpd/n/f", "x.py", 0},
		"by URL":                      {"function://httpd/n/f@0", "", 0},
		"by URL, on Kubernetes":       {"function://httpd/n/f@0", "function123.tmp", 0},
		"nothing":                     {"", "", 0},
		"tenant like a URL":           {"builtins/n/f/1-x.py", "x.py", 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "httpd", Namespace: "n", Name: "f"},
				PackageLocation: &pb.PackageLocationMetaData{PackagePath: tc.path, OriginalFileName: tc.file}}
			require.Len(t, storedPackages(m), tc.want)
		})
	}
}

func TestSupersededPackages(t *testing.T) {
	of := func(main, transform string) *pb.FunctionMetaData {
		return &pb.FunctionMetaData{PackageLocation: &pb.PackageLocationMetaData{PackagePath: main, OriginalFileName: "x"},
			TransformFunctionPackageLocation: &pb.PackageLocationMetaData{PackagePath: transform, OriginalFileName: "x"}}
	}
	require.Empty(t, supersededPackages(of("a", "b"), of("b", "a")))
	require.Equal(t, []string{"a"}, supersededPackages(of("a", "b"), of("c", "b")))
	require.Equal(t, []string{"a", "b"}, supersededPackages(of("a", "b"), of("c", "")))
	require.Empty(t, supersededPackages(of("", ""), of("c", "")))
}

// TestCredentialsAreCleanedUpLikePackages: only ids of Secrets are keys, and other options of a function are no other Secret.
func TestCredentialsAreCleanedUpLikePackages(t *testing.T) {
	of := func(data, options string) *pb.FunctionMetaData {
		return &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f", CustomRuntimeOptions: options},
			FunctionAuthSpec: &pb.FunctionAuthenticationSpec{Data: []byte(data)}}
	}
	const options = `{"jobNamespace":"a:b"}`
	require.Empty(t, storedPackages(of("", "")))
	require.Empty(t, storedPackages(of("eyJhbGciOiJIUzI1NiJ9.e30.x", "")), "a token must not get into an entry")
	keys := storedPackages(of("ab1cd", options))
	require.Len(t, keys, 1)
	id, got, ok := ParseCredentialKey(keys[0])
	require.True(t, ok)
	require.Equal(t, "ab1cd", id)
	require.Equal(t, options, got)
	require.Empty(t, supersededPackages(of("ab1cd", options), of("ab1cd", "")))
	require.Equal(t, keys, supersededPackages(of("ab1cd", options), of("ab2cd", options)))

	used := newWorld([]*pb.FunctionMetaData{of("ab1cd", "")}, nil)
	entry := Uploaded("t/n/f", keys[0])
	verdict, _ := used.judgePackage(entry, keys[0], 2*uploadSettle)
	require.Equal(t, keep, verdict)
	verdict, _ = newWorld(nil, nil).judgePackage(entry, keys[0], 2*uploadSettle)
	require.Equal(t, remove, verdict)
	verdict, _ = newWorld(nil, nil).judgePackage(entry, keys[0], 0)
	require.Equal(t, wait, verdict, "its registration may be under way")
}
