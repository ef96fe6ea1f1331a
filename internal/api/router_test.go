package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/stretchr/testify/require"
)

func TestPathRules(t *testing.T) {
	f, _ := registered(t)
	f.want(f.send(http.MethodPost, "/admin/v3/functions/public/default/a%20b", config1(python), pythonFile), 204, "")
	for name, tc := range map[string]struct {
		method, path string
		headers      []string
		wantStatus   int
		wantAllow    string
	}{
		"get":                      {"GET", one, nil, 200, ""},
		"head":                     {"HEAD", one, nil, 200, ""},
		"trailing slash":           {"GET", one + "/", nil, 200, ""},
		"two trailing slashes":     {"GET", one + "//", nil, 404, ""},
		"empty segment":            {"GET", "/admin/v3/functions//public/default/f", nil, 404, ""},
		"matrix parameter":         {"GET", "/admin/v3/functions/public;a=b/default/f;x", nil, 200, ""},
		"decoded after splitting":  {"GET", "/admin/v3/functions/public/default/a%20b", nil, 200, ""},
		"encoded letter":           {"GET", "/admin/v3/functions/public/default/%66", nil, 200, ""},
		"encoded slash":            {"GET", "/admin/v3/functions/public%2Fdefault/f", nil, 200, ""}, // a list of an unknown namespace
		"case matters":             {"GET", "/admin/v3/Functions/public/default/f", nil, 404, ""},
		"unknown":                  {"GET", "/admin/v3/worker/cluster", nil, 404, ""},
		"no v2 sinks":              {"GET", "/admin/v2/sinks/public/default", nil, 404, ""},
		"no v4":                    {"GET", "/admin/v4/functions/public/default", nil, 404, ""},
		"no cluster":               {"GET", "/admin/v3/functions/cluster", nil, 404, ""},
		"wrong method":             {"PATCH", one, nil, 405, "GET,HEAD,POST,PUT,DELETE,OPTIONS"},
		"wrong method on action":   {"GET", one + "/restart", nil, 405, "POST,OPTIONS"},
		"options":                  {"OPTIONS", one, nil, 200, "GET,HEAD,POST,PUT,DELETE,OPTIONS"},
		"options unknown":          {"OPTIONS", "/nosuch", nil, 404, ""},
		"not acceptable":           {"GET", one, []string{"Accept", "text/html"}, 406, ""},
		"not acceptable by q":      {"GET", one, []string{"Accept", "application/json;q=0, text/html"}, 406, ""},
		"accept anything":          {"GET", one, []string{"Accept", "text/html, image/gif, */*; q=.2"}, 200, ""},
		"accept application":       {"GET", one, []string{"Accept", "application/*"}, 200, ""},
		"406 before 404":           {"GET", "/admin/v3/functions/public/default/nosuch", []string{"Accept", "text/html"}, 406, ""},
		"action as text":           {"POST", one + "/stop", []string{"Content-Type", "text/plain"}, 415, ""},
		"register as JSON":         {"POST", one, []string{"Content-Type", "application/json"}, 415, ""},
		"register without type":    {"POST", one, nil, 415, ""},
		"register without bound":   {"POST", one, []string{"Content-Type", "multipart/form-data"}, 400, ""},
		"register without parts":   {"POST", one, []string{"Content-Type", "multipart/form-data; boundary=x"}, 400, ""},
		"builtins reload as list":  {"GET", "/admin/v3/functions/builtins/reload", nil, 200, ""},
		"state key named status":   {"GET", one + "/state/status", nil, 503, ""},
		"state key named restart":  {"GET", one + "/state/restart", nil, 503, ""},
		"instance id is text":      {"GET", one + "/x/status", nil, 400, ""},
		"instance id too large":    {"GET", one + "/99999999999/stats", nil, 400, ""},
		"sink spelling":            {"GET", "/admin/v3/sink/public/default", nil, 200, ""},
		"sources spelling":         {"GET", "/admin/v3/sources/public/default", nil, 200, ""},
		"no stats of sinks":        {"GET", "/admin/v3/sinks/public/default/f/stats", nil, 404, ""},
		"no start in version 2":    {"POST", "/admin/v2/functions/public/default/f/start", nil, 404, ""},
		"worker alias":             {"GET", "/admin/worker/cluster", nil, 200, ""},
		"worker-stats alias":       {"GET", "/admin/worker-stats/functionsmetrics", nil, 200, ""},
		"metrics":                  {"GET", "/metrics", nil, 200, ""},
		"metrics trailing":         {"HEAD", "/metrics/", nil, 200, ""},
		"root":                     {"GET", "/", nil, 404, ""},
		"literal before parameter": {"GET", "/admin/v3/functions/connectors", nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rec := f.do(tc.method, tc.path, tc.headers...)
			require.Equal(t, tc.wantStatus, rec.Code, rec.Body.String())
			require.Equal(t, tc.wantAllow, rec.Header().Get("Allow"))
			if tc.wantStatus >= 400 {
				require.Contains(t, rec.Body.String(), `"reason":"`)
				require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
			}
		})
	}
}

// FuzzPath: whatever the path, there is an answer, and it is no 500.
func FuzzPath(f *testing.F) {
	for _, p := range []string{one, "/", "/admin/v3/functions/%2F/%2E%2E/;", "//", one + "/0/status", "/admin/v3/functions/a%00b/c/d"} {
		f.Add("GET", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || strings.ContainsAny(method, " \r\n\t") || method == "" {
			t.Skip()
		}
		s := newFixture(t).server
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.URL = method, u
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if rec.Code >= 500 && rec.Code != 503 {
			t.Fatalf("%s %q: %d %s", method, path, rec.Code, rec.Body)
		}
	})
}

// denier allows what its map says.
type denier map[Access]bool

func (d denier) Authorize(r *http.Request, a Access) (bool, error) {
	if r.Header.Get("X-Broken") != "" {
		return false, errors.New("the broker does not answer")
	}
	return d[a], nil
}

func TestAuthorization(t *testing.T) {
	const denied = "Client is not authorized to perform operation"
	for name, tc := range map[string]struct {
		method, path string
		allowed      Access // what lets the request pass
		none         bool   // nobody needs a right
		wantReason   string
	}{
		"get":            {method: "GET", path: one, allowed: Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}},
		"unknown":        {method: "GET", path: one + "x", allowed: Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}},
		"list sinks":     {method: "GET", path: "/admin/v3/sink/a/b", allowed: Access{Right: RightComponent, Kind: Sink, Tenant: "a", Namespace: "b"}},
		"stop source":    {method: "POST", path: "/admin/v3/sources/a/b/c/stop", allowed: Access{Right: RightComponent, Kind: Source, Tenant: "a", Namespace: "b"}},
		"download":       {method: "GET", path: one + "/download", allowed: Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}},
		"state":          {method: "GET", path: one + "/state/k", allowed: Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}},
		"path of 4":      {method: "GET", path: "/admin/v3/functions/download?path=a/b/c/d", allowed: Access{Right: RightComponent, Kind: Function, Tenant: "a", Namespace: "b"}},
		"path of 3":      {method: "GET", path: "/admin/v3/functions/download?path=a/b/c", allowed: Access{Right: RightSuperuser}},
		"builtins":       {method: "GET", path: "/admin/v3/functions/builtins", allowed: Access{Right: RightSuperuser}},
		"reload":         {method: "POST", path: "/admin/v3/functions/builtins/reload", allowed: Access{Right: RightSuperuser}},
		"reload sinks":   {method: "POST", path: "/admin/v3/sink/reloadBuiltInSinks", allowed: Access{Right: RightSuperuser}, wantReason: "This operation requires super-user access"},
		"cluster":        {method: "GET", path: "/admin/v2/worker/cluster", allowed: Access{Right: RightSuperuser}},
		"worker stats":   {method: "GET", path: "/admin/v2/worker-stats/metrics", allowed: Access{Right: RightSuperuser}},
		"drain":          {method: "PUT", path: "/admin/v2/worker/drain", allowed: Access{Right: RightSuperuser}},
		"leader ready":   {method: "GET", path: "/admin/v2/worker/cluster/leader/ready", none: true},
		"connectors":     {method: "GET", path: "/admin/v3/functions/connectors", allowed: Access{Right: RightSuperuser}},
		"worker's list":  {method: "GET", path: "/admin/v2/worker/connectors", allowed: Access{Right: RightSuperuser}},
		"builtin sinks":  {method: "GET", path: "/admin/v3/sink/builtinsinks", none: true},
		"version":        {method: "GET", path: "/version", none: true},
		"v2 get":         {method: "GET", path: "/admin/v2/functions/public/default/f", allowed: Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}},
		"instance stats": {method: "GET", path: one + "/0/stats", allowed: Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}},
	} {
		t.Run(name, func(t *testing.T) {
			refuse := newFixture(t, func(o *Options) { o.Authz = denier{} })
			rec := refuse.do(tc.method, tc.path)
			if tc.none {
				require.NotEqual(t, 401, rec.Code)
				return
			}
			want := tc.wantReason
			if want == "" {
				want = denied
			}
			refuse.wantReason(rec, 401, want)
			refuse.wantReason(refuse.do(tc.method, tc.path, "X-Broken", "1"), 500, "the broker does not answer")
			allow := newFixture(t, func(o *Options) { o.Authz = denier{tc.allowed: true} })
			require.NotEqual(t, 401, allow.do(tc.method, tc.path).Code)
		})
	}
}

func TestAuthorizationOfBodies(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Authz = denier{} })
	for _, path := range []string{one, "/admin/v3/functions/upload", one + "/trigger", "/admin/v3/sink/a/b/c"} {
		f.wantReason(f.send(http.MethodPost, path, config1(python), pythonFile), 401, textNotAuthorized)
	}
	f.wantReason(f.send(http.MethodPut, "/admin/v3/functions/leader/a/b/c", config1(python)), 401, textNotAuthorized)
}

func TestErrorsOfTheCluster(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"rebalancing":  {cluster.ErrRebalanceInProgress, 400},
		"too few":      {cluster.ErrTooFewWorkers, 400},
		"draining":     {cluster.ErrDrainInProgress, 409},
		"drained":      {cluster.ErrWorkerNotDrainable{WorkerID: "x", AlreadyDrained: true}, 412},
		"no member":    {cluster.ErrWorkerNotDrainable{WorkerID: "x"}, 400},
		"no leader":    {cluster.ErrLeaderUnknown, 500},
		"not ready":    {cluster.ErrLeaderNotReady, 503},
		"anything":     {errors.New("boom"), 500},
		"to ourselves": {cluster.RedirectError{To: self}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cluster.moveErr = tc.err
			text := tc.err.Error()
			if name == "to ourselves" {
				text = cluster.ErrLeaderNotReady.Error()
			}
			f.wantReason(f.do("PUT", "/admin/v2/worker/rebalance"), tc.want, text)
			f.wantReason(f.do("PUT", "/admin/v2/worker/leader/drain?workerId=x"), tc.want, text)
			f.wantReason(f.do("GET", "/admin/v2/worker/drain"), tc.want, text)
		})
	}
}
