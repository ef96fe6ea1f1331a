package packages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The right column is what java.net.URI makes of the left one; "" is an error there, or a URL this worker never takes.
func TestNormalizeURLAsJava(t *testing.T) {
	for raw, want := range map[string]string{
		"http://h/a/../b":                     "http://h/b",
		"http://h/a/..":                       "http://h/",
		"http://h/a/b/..":                     "http://h/a/",
		"http://h/..":                         "http://h/..",
		"http://h/../a":                       "http://h/../a",
		"http://h/a/./":                       "http://h/a/",
		"http://h/a/.":                        "http://h/a/",
		"http://h//a//b":                      "http://h/a/b",
		"http://h/a//":                        "http://h/a/",
		"http://h":                            "http://h",
		"http://h/":                           "http://h/",
		"http://h/a/../../b":                  "http://h/../b",
		"http://h/a/b/../../..":               "http://h/..",
		"http://h/../":                        "http://h/../",
		"http://h/%2e%2e/a":                   "http://h/%2e%2e/a",
		"file:/a/../b":                        "file:/b",
		"file:///a/../b":                      "file:/b",
		"file:///a/b":                         "file:///a/b",
		"file:a/../b":                         "",
		"HTTP://h/a/../b":                     "HTTP://h/b",
		"http://u:p@h:80/a/../b?x=/../y#z/..": "http://u:p@h:80/b?x=/../y#z/..",
		"http://h/a b":                        "",
		"http://h/é":                          "http://h/é",
		"http://h/a|b":                        "",
		"http://h/a[b]":                       "",
		"http:///a":                           "http:///a",
		"file://host/a/../b":                  "file://host/b",
		"http://h/a\\b":                       "",
		"http://h/a%zz":                       "",
		"http://h?x=a/../b":                   "http://h?x=a/../b",
		"/a/b":                                "",
		"http://h/.":                          "http://h/",
		"http://h_x/a/../b":                   "http://h_x/b",
		"file:/..":                            "file:/..",
		"file:/../a/..":                       "file:/../",
		"http://h/a/..b/...":                  "http://h/a/..b/...",
		"http://[::1]/a/../b":                 "http://[::1]/b",
		"http://h/a/../?q":                    "http://h/?q",
	} {
		got, err := normalizeURL(raw)
		if want == "" {
			assert.Error(t, err, raw)
			continue
		}
		assert.NoError(t, err, raw)
		assert.Equal(t, want, got, raw)
	}
}

func TestURLPolicy(t *testing.T) {
	defaults := URLPolicyConfig{ConnectorsDirectory: "/srv/connectors", FunctionsDirectory: "/srv/functions",
		ReferenceConnectors: true, ReferenceFunctions: true}
	patterns := defaults
	patterns.ConnectorPatterns = []string{`https://repo\.example/.*\.nar`, `http://a/x|http://b/y`}
	patterns.FunctionPatterns = []string{`file:///opt/code/.*`}
	off := defaults
	off.ReferenceConnectors = false
	for _, tc := range []struct {
		name                        string
		cfg                         URLPolicyConfig
		url                         string
		wantConnector, wantFunction bool
	}{
		{"a file in the connectors directory", defaults, "file:///srv/connectors/a.nar", true, false},
		{"a file in the functions directory", defaults, "file:/srv/functions/sub/a.jar", false, true},
		{"a directory that only begins alike", defaults, "file:///srv/connectors2/a.nar", false, false},
		{"out of the directory with dots", defaults, "file:///srv/connectors/../../etc/passwd", false, false},
		{"out of the directory with encoded dots", defaults, "file:///srv/connectors/%2e%2e/%2e%2e/etc/passwd", false, false},
		{"out of the directory with encoded slashes", defaults, "file:///srv/connectors/..%2f..%2fetc/passwd", false, false},
		{"a file on another host", defaults, "file://host/srv/connectors/a.nar", false, false},
		{"scheme in capitals", defaults, "FILE:///srv/connectors/a.nar", false, false},
		{"an embedded zero", defaults, "file:///srv/connectors/a%00.nar", false, false},
		{"http by default", defaults, "http://repo.example/a.nar", false, false},
		{"https by default", defaults, "https://repo.example/a.nar", false, false},
		{"other schemes", defaults, "ftp://repo.example/a.nar", false, false},
		{"references off", off, "file:///srv/connectors/a.nar", false, false},
		{"a pattern", patterns, "https://repo.example/x/a.nar", true, false},
		{"a pattern matches the whole URL", patterns, "https://repo.example/x/a.nar?evil", false, false},
		{"alternatives are whole too", patterns, "http://a/xx", false, false},
		{"an alternative", patterns, "http://b/y", true, false},
		{"patterns see the normalised URL", patterns, "file:///opt/code/../../etc/passwd", false, false},
		{"patterns see the path that is opened, dots", patterns, "file:///opt/code/%2e%2e/secret/f.py", false, false},
		{"patterns see the path that is opened, slashes", patterns, "file:///opt/code/..%2fsecret%2ff.py", false, false},
		{"an escaped blank", patterns, "file:///opt/code/a%20b.py", false, true},
		{"a file by pattern, written otherwise", patterns, "file:/opt/code/f.py", false, false},
		{"a file by pattern", patterns, "file:///opt/code/f.py", false, true},
		{"user info does not fool a pattern", patterns, "https://repo.example@evil/a.nar", false, false},
		{"nonsense", patterns, "://", false, false},
		{"empty", patterns, "", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := NewURLPolicy(tc.cfg)
			require.NoError(t, err)
			assert.Equal(t, tc.wantConnector, p.Allowed(true, tc.url), "connector")
			assert.Equal(t, tc.wantFunction, p.Allowed(false, tc.url), "function")
			_, err = p.check(AnyKind, tc.url)
			assert.Equal(t, tc.wantConnector || tc.wantFunction, err == nil, "any kind")
		})
	}
	_, err := NewURLPolicy(URLPolicyConfig{FunctionPatterns: []string{"("}})
	require.ErrorContains(t, err, "additionalEnabledFunctionsUrlPatterns")
	_, err = NewURLPolicy(URLPolicyConfig{ConnectorPatterns: []string{"a(?=b)"}})
	require.ErrorContains(t, err, "additionalEnabledConnectorUrlPatterns")
}

func FuzzURLPolicy(f *testing.F) {
	for _, seed := range []string{"file:///srv/connectors/a.nar", "file:/srv/connectors/%2e%2e/x", "http://h/a/../b", "https://u:p@h/..?x#y", "file:a"} {
		f.Add(seed)
	}
	p, err := NewURLPolicy(URLPolicyConfig{ConnectorsDirectory: "/srv/connectors", ReferenceConnectors: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if permit, err := p.check(Sink, raw); err == nil {
			path := filepath.Clean(permit.url.Path)
			if permit.url.Scheme != "file" || path != "/srv/connectors" && !strings.HasPrefix(path, "/srv/connectors/") {
				t.Fatalf("%q was allowed as %v", raw, permit.url)
			}
		}
		if normal, err := normalizeURL(raw); err == nil {
			again, err := normalizeURL(normal)
			if err != nil || again != normal {
				t.Fatalf("%q became %q, then %q %v", raw, normal, again, err)
			}
		}
	})
}

// TestLinksAreFollowed: a link may lead only to where a pattern or the directory allows.
func TestLinksAreFollowed(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	file := func(path string) string {
		path = filepath.Join(base, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		return path
	}
	inside, secret := file("code/f.py"), file("secret/s.py")
	link := func(name, to string) string {
		require.NoError(t, os.Symlink(to, filepath.Join(base, "code", name)))
		return "file://" + filepath.Join(base, "code", name)
	}
	policy, err := NewURLPolicy(URLPolicyConfig{FunctionPatterns: []string{"file://" + regexp.QuoteMeta(base) + "/code/.*"}})
	require.NoError(t, err)
	f := &Fetcher{cfg: FetcherConfig{URLs: policy}}
	got, err := f.localFile(link("good.py", inside), Function)
	require.NoError(t, err)
	require.Equal(t, inside, got)
	for _, bad := range []string{link("bad.py", secret), link("dir", filepath.Dir(secret)) + "/s.py"} {
		_, err = f.localFile(bad, Function)
		require.ErrorIs(t, err, ErrNotAllowed)
		require.ErrorContains(t, err, "a symbolic link leads out of")
	}
}
