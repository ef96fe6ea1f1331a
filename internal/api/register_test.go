package api

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/stretchr/testify/require"
)

func TestRegisterStoresPackageAndMetadata(t *testing.T) {
	f, meta := registered(t)
	require.Equal(t, uint64(0), meta.GetVersion())
	require.InDelta(t, time.Now().UnixMilli(), meta.GetCreateTime(), 60_000)
	require.Equal(t, "m.py", meta.GetPackageLocation().GetOriginalFileName())
	require.Equal(t, []string{meta.GetPackageLocation().GetPackagePath()}, f.store.keys())
	require.Equal(t, "class F: pass", string(f.store.blobs[meta.GetPackageLocation().GetPackagePath()]))
	require.Equal(t, pb.FunctionDetails_PYTHON, meta.GetFunctionDetails().GetRuntime())
	require.Equal(t, int32(2), meta.GetFunctionDetails().GetParallelism())

	f.wantReason(f.send(http.MethodPost, one, config1(python), pythonFile), 400, "Function f already exists")
	f.wantReason(f.send(http.MethodPost, "/admin/v3/sink/public/default/f", part{name: "sinkConfig", value: "{}", contentType: "application/json"}), 400, "Sink f already exists")
	require.Len(t, f.store.keys(), 1)
}

func TestRegisterRefusals(t *testing.T) {
	brokerDown := &broker.Error{Op: "x", Code: 503, Reason: "down"}
	for name, tc := range map[string]struct {
		path       string
		parts      []part
		setup      func(*fixture)
		opts       func(*Options)
		wantStatus int
		wantReason string
	}{
		"no config":         {parts: []part{pythonFile}, wantStatus: 400, wantReason: "Function config is not provided"},
		"null config":       {parts: []part{config1(" null ")}, wantStatus: 400, wantReason: "Function config is not provided"},
		"sink no config":    {path: "/admin/v3/sinks/public/default/f", parts: []part{pythonFile}, wantStatus: 400, wantReason: "Sink config is not provided"},
		"source no config":  {path: "/admin/v3/source/public/default/f", parts: []part{pythonFile}, wantStatus: 400, wantReason: "Source config is not provided"},
		"unknown tenant":    {path: "/admin/v3/functions/nosuch/default/f", parts: []part{config1(python)}, wantStatus: 400, wantReason: "Tenant does not exist"},
		"unknown namespace": {path: "/admin/v3/functions/public/nosuch/f", parts: []part{config1(python)}, wantStatus: 400, wantReason: "Namespace does not exist"},
		"broker refuses": {parts: []part{config1(python)}, setup: func(f *fixture) { f.broker.err = &broker.Error{Code: 401} },
			wantStatus: 401, wantReason: "Client is not authorized to perform operation"},
		"broker down":  {parts: []part{config1(python)}, setup: func(f *fixture) { f.broker.err = brokerDown }, wantStatus: 500, wantReason: brokerDown.Error()},
		"not started":  {parts: []part{config1(python)}, setup: func(f *fixture) { f.cluster.starting = true }, wantStatus: 503, wantReason: textNotInitialized},
		"no package":   {parts: []part{config1(python)}, wantStatus: 400, wantReason: "Function Package is not provided"},
		"java package": {parts: []part{config1(strings.Replace(python, "PYTHON", "JAVA", 1))}, wantStatus: 400, wantReason: "Function package is not provided"},
		"no runtime": {parts: []part{config1(`{"className":"m.F","inputs":["a"]}`), pythonFile}, wantStatus: 400,
			wantReason: "Function language runtime is either not set or cannot be determined"},
		"parallelism": {parts: []part{config1(strings.Replace(python, ":2", ":0", 1)), pythonFile}, wantStatus: 400, wantReason: "Function parallelism must be a positive number"},
		"http URL":    {parts: []part{config1(python), {name: "url", value: "http://evil/x.py"}}, wantStatus: 400, wantReason: "Function Package url is not valid.supported url (http/https/file)"},
		"builtin URL": {parts: []part{config1(python), {name: "url", value: "builtin://x"}}, wantStatus: 400, wantReason: "Function Package url is not valid.supported url (http/https/file)"},
		"package URL": {parts: []part{config1(python), {name: "url", value: "function://a/b/c@1"}}, wantStatus: 400,
			wantReason: "Function Package management service is disabled. Please enable it to use function://a/b/c@1"},
		"builtin unknown": {parts: []part{config1(`{"jar":"builtin://nosuch","inputs":["a"]}`)}, wantStatus: 400, wantReason: "No Function nosuch found"},
		"builtin sink unknown": {path: "/admin/v3/sink/public/default/f", parts: []part{{name: "sinkConfig", value: `{"archive":"builtin://nosuch","inputs":["a"]}`, contentType: "application/json"}},
			wantStatus: 400, wantReason: "Built-in sink is not available"},
		"builtin source unknown": {path: "/admin/v3/sources/public/default/f", parts: []part{{name: "sourceConfig", value: `{"archive":"builtin://nosuch"}`, contentType: "application/json"}},
			wantStatus: 400, wantReason: "Built-in source is not available"},
		"not admitted": {parts: []part{config1(python), pythonFile}, setup: func(f *fixture) { f.runtime.refuse = errors.New("too big") },
			wantStatus: 400, wantReason: "Function f cannot be admitted:- too big"},
		"store fails": {parts: []part{config1(python), pythonFile}, setup: func(f *fixture) { f.store.putErr = errors.New("disk full") },
			wantStatus: 500, wantReason: "storing the package public/default/f/1-m.py: disk full"},
		"leader not ready": {parts: []part{config1(python), pythonFile}, setup: func(f *fixture) { f.cluster.writeErr = cluster.ErrLeaderNotReady },
			wantStatus: 503, wantReason: "Leader not yet ready. Please retry again"},
		"leader answers": {parts: []part{config1(python), pythonFile}, setup: func(f *fixture) { f.cluster.writeErr = cluster.RemoteError{Status: 400, Reason: "outdated"} },
			wantStatus: 400, wantReason: "outdated"},
		"no file name": {parts: []part{config1(python), {name: "data", value: "x"}}, wantStatus: 400, wantReason: "The data part has no file name in its Content-Disposition header"},
		"java no zip": {parts: []part{config1(strings.Replace(python, "PYTHON", "JAVA", 1)), {name: "data", file: "x.jar", value: "no zip at all"}}, wantStatus: 400,
			wantReason: "java.util.zip.ZipException: zip END header not found"},
		"slash in name": {path: "/admin/v3/functions/public/default/a%2Fb", parts: []part{config1(python), pythonFile}, wantStatus: 400,
			wantReason: `Function name "a/b" is not valid: it must be 1 to 255 characters, without slashes, colons and control characters`},
		"dots as name": {path: "/admin/v3/functions/public/default/%2e%2e", parts: []part{config1(python), pythonFile}, wantStatus: 400,
			wantReason: `Function name ".." is not valid: it must be 1 to 255 characters, without slashes, colons and control characters`},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*Options)
			if tc.opts != nil {
				change = append(change, tc.opts)
			}
			f := newFixture(t, change...)
			if tc.setup != nil {
				tc.setup(f)
			}
			path := tc.path
			if path == "" {
				path = one
			}
			f.wantReason(f.send(http.MethodPost, path, tc.parts...), tc.wantStatus, tc.wantReason)
			require.Empty(t, f.store.keys(), "a refused register left a package")
			require.Empty(t, f.cluster.functions)
		})
	}
}

func TestUnknownOutcomeKeepsThePackage(t *testing.T) {
	f := newFixture(t)
	f.cluster.writeErr = cluster.WriteError{Err: errors.New("timeout")}
	f.wantReason(f.send(http.MethodPost, one, config1(python), pythonFile), 500, "Internal Error updating function at the leader")
	require.Len(t, f.store.keys(), 1, "the function may exist: its package must not be gone")
}

func TestSecondNamespaceForm(t *testing.T) {
	f := newFixture(t)
	f.want(f.send(http.MethodPost, "/admin/v3/functions/public/old/f", config1(python), pythonFile), 204, "")
}

func TestConfigPartTypesAreLenient(t *testing.T) {
	for _, contentType := range []string{"", "text/plain", "application/json", "application/json; charset=UTF-8", "application/octet-stream"} {
		f := newFixture(t)
		f.want(f.send(http.MethodPost, one, part{name: "functionConfig", value: python, contentType: contentType}, pythonFile), 204, "")
	}
}

func TestPackageByURL(t *testing.T) {
	f := newFixture(t)
	f.store.remote["http://allowed/m.py"] = []byte("code")
	f.want(f.send(http.MethodPost, one, config1(python), part{name: "url", value: "http://allowed/m.py"}, pythonFile), 204, "")
	meta, _ := f.cluster.Function("public", "default", "f")
	require.Equal(t, "http://allowed/m.py", meta.GetPackageLocation().GetPackagePath(), "url beats data")
	require.Empty(t, meta.GetPackageLocation().GetOriginalFileName())
	require.Empty(t, f.store.keys())
	// a config-only update of a function that came by URL
	f.want(f.send(http.MethodPut, one, config1(`{"parallelism":3}`)), 204, "")
	f.want(f.do(http.MethodDelete, one), 204, "")
	require.Contains(t, f.store.remote, "http://allowed/m.py")
}

func TestFileURL(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, func(o *Options) { o.URLs = fakeURLs{"file://" + dir} })
	missing := "file://" + filepath.Join(dir, "no.py")
	f.wantReason(f.send(http.MethodPost, one, config1(python), part{name: "url", value: missing}), 400,
		`Encountered error "`+missing+` does not exists locally" when getting Function package from `+missing)
	path := filepath.Join(dir, "m.py")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	f.want(f.send(http.MethodPost, one, config1(python), part{name: "url", value: "file://" + path}), 204, "")
	f.want(f.do(http.MethodDelete, one), 204, "")
	require.FileExists(t, path, "a referenced file is never deleted")
}

func TestExternalRuntimeStoresURLPackages(t *testing.T) {
	f := newFixture(t)
	f.runtime.external = true
	f.store.remote["http://allowed/m.py"] = []byte("code")
	f.want(f.send(http.MethodPost, one, config1(python), part{name: "url", value: "http://allowed/m.py"}), 204, "")
	meta, _ := f.cluster.Function("public", "default", "f")
	require.Equal(t, "m.py", meta.GetPackageLocation().GetOriginalFileName())
	require.Equal(t, []string{meta.GetPackageLocation().GetPackagePath()}, f.store.keys())
}

func TestUpdate(t *testing.T) {
	for name, tc := range map[string]struct {
		path       string
		parts      []part
		wantStatus int
		wantReason string
	}{
		"unknown":     {path: "/admin/v3/functions/public/default/nosuch", parts: []part{config1(python)}, wantStatus: 400, wantReason: "Function nosuch doesn't exist"},
		"other kind":  {path: "/admin/v3/sink/public/default/f", parts: []part{{name: "sinkConfig", value: `{}`}}, wantStatus: 404, wantReason: "Sink f doesn't exist"},
		"no change":   {parts: []part{config1(python)}, wantStatus: 400, wantReason: "Update contains no change"},
		"guarantee":   {parts: []part{config1(`{"processingGuarantees":"ATMOST_ONCE"}`)}, wantStatus: 400, wantReason: "Processing Guarantees cannot be altered"},
		"bad options": {parts: []part{config1(python), {name: "updateOptions", value: "{"}}, wantStatus: 400, wantReason: "The updateOptions part is not valid: unexpected end of JSON input"},
		"parallelism": {parts: []part{config1(`{"parallelism":3}`), {name: "updateOptions", value: `{"updateAuthData":false}`}}, wantStatus: 204},
		"same file":   {parts: []part{config1(python), pythonFile}, wantStatus: 204},
		"auth data":   {parts: []part{config1(python), {name: "updateOptions", value: `{"updateAuthData":true}`}}, wantStatus: 204},
	} {
		t.Run(name, func(t *testing.T) {
			f, before := registered(t)
			path := tc.path
			if path == "" {
				path = one
			}
			rec := f.send(http.MethodPut, path, tc.parts...)
			after, _ := f.cluster.Function("public", "default", "f")
			if tc.wantStatus != 204 {
				f.wantReason(rec, tc.wantStatus, tc.wantReason)
				require.Same(t, before, after)
				return
			}
			f.want(rec, 204, "")
			require.Equal(t, before.GetVersion()+1, after.GetVersion())
			require.Equal(t, before.GetCreateTime(), after.GetCreateTime())
		})
	}
}

func TestUpdateReplacesThePackage(t *testing.T) {
	f, before := registered(t)
	old := before.GetPackageLocation().GetPackagePath()
	f.want(f.send(http.MethodPut, one, config1(python), part{name: "data", file: "n.py", value: "new"}), 204, "")
	after, _ := f.cluster.Function("public", "default", "f")
	now := after.GetPackageLocation().GetPackagePath()
	require.NotEqual(t, old, now)
	require.Contains(t, f.store.keys(), old, "assignments may still refer to it")
	require.Equal(t, []cleanup.Entry{
		cleanup.Uploaded("public/default/f", old),
		cleanup.Uploaded("public/default/f", now),
		{Function: "public/default/f", CreateTime: before.GetCreateTime(), Packages: []string{old}},
	}, f.cleanups.entries)

	f.want(f.send(http.MethodPut, one, config1(`{"runtime":"PYTHON","parallelism":3}`)), 204, "")
	require.True(t, f.cleanups.entries[len(f.cleanups.entries)-1].Empty(), "the package is the same")
}

func TestFailedUpdateLeavesNothing(t *testing.T) {
	f, before := registered(t)
	f.cluster.writeErr = cluster.ErrOutdated{}
	f.wantReason(f.send(http.MethodPut, one, config1(python), part{name: "data", file: "n.py", value: "new"}), 400,
		"Update request ignored because it is out of date. Please try again.")
	require.Equal(t, []string{before.GetPackageLocation().GetPackagePath()}, f.store.keys())
}

func TestDelete(t *testing.T) {
	f, meta := registered(t)
	f.wantReason(f.do(http.MethodDelete, "/admin/v3/functions/public/default/nosuch"), 404, "Function nosuch doesn't exist")
	f.wantReason(f.do(http.MethodDelete, "/admin/v3/sinks/public/default/f"), 404, "Sink f doesn't exist")
	f.cluster.writeErr = cluster.ErrOutdated{Delete: true}
	f.wantReason(f.do(http.MethodDelete, one), 400, "Delete request ignored because it is out of date. Please try again.")
	f.cluster.writeErr = nil
	f.want(f.do(http.MethodDelete, one), 204, "")
	require.Equal(t, "public/default/f v1 delete=true", f.cluster.writes[len(f.cluster.writes)-1])
	require.Equal(t, cleanup.Entry{Function: "public/default/f", CreateTime: meta.GetCreateTime(), Packages: f.store.keys(),
		Remove: []cleanup.Leftover{{Kind: cleanup.Subscription, Topic: "persistent://public/default/in", Subscription: "public/default/f"}},
	}, f.cleanups.entries[len(f.cleanups.entries)-1])
}

// TestDeleteIsRecordedBeforeItHappens, so that no moment exists at which the worker's death loses the clean-up.
func TestDeleteIsRecordedBeforeItHappens(t *testing.T) {
	f, _ := registered(t)
	recorded := len(f.cleanups.entries)
	f.cluster.writeErr = cluster.ErrLeaderNotReady
	require.Equal(t, 503, f.do(http.MethodDelete, one).Code)
	require.Len(t, f.cleanups.entries, recorded+1)
}
