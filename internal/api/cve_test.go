package api

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// noOne denies everything and notes that it was asked.
type noOne struct{ asked *int }

func (n noOne) Authorize(*http.Request, Access) (bool, error) { *n.asked++; return false, nil }

// openToAll are the endpoints that need no right, only authentication; all others must ask for one.
var openToAll = []string{
	"/builtinsinks", "/builtinsources", "/configdefinition", "/cluster/leader/ready", "/metrics", "/version", "/initialized", "/livez", "/readyz",
}

// TestCVE_2023_37579_2022_34321_EveryEndpointAsks: every route that is not listed as open asks for a right before it answers anything
// else, and every one but the probes is behind authentication. A route that is added and forgets it fails here.
func TestCVE_2023_37579_2022_34321_EveryEndpointAsks(t *testing.T) {
	asked, authenticated := 0, 0
	f := newFixture(t, func(o *Options) {
		o.Authz = noOne{&asked}
		o.Authenticate = func(_ string, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { authenticated++; next.ServeHTTP(w, r) })
		}
	})
	routes := f.server.functionRoutes()
	for _, kind := range []struct {
		prefix string
		kind   Kind
	}{{"/admin/v3/sinks", Sink}, {"/admin/v3/sink", Sink}, {"/admin/v3/sources", Source}, {"/admin/v3/source", Source}} {
		routes = append(routes, f.server.connectorRoutes(kind.prefix, kind.kind)...)
	}
	for _, prefix := range []string{"/admin/v2", "/admin"} {
		routes = append(routes, f.server.legacyRoutes(prefix+"/functions")...)
		routes = append(routes, f.server.workerRoutes(prefix+"/worker")...)
		routes = append(routes, f.server.workerStatsRoutes(prefix+"/worker-stats")...)
	}
	routes = append(append(routes, f.server.rootRoutes()...), f.server.scaleRoutes()...)
	require.Greater(t, len(routes), 90)
	for _, rt := range routes {
		path := rt.pattern
		for strings.Contains(path, "{") {
			start, end := strings.Index(path, "{"), strings.Index(path, "}")
			path = path[:start] + "0" + path[end+1:]
		}
		asked, authenticated = 0, 0
		w := httptest.NewRecorder()
		r := httptest.NewRequest(rt.method, path, nil)
		if rt.body == bodyMultipart {
			contentType, body := multipartBody(t, config1(python), part{name: "data", value: "x"})
			r = httptest.NewRequest(rt.method, path, body)
			r.Header.Set("Content-Type", contentType)
		}
		f.server.Handler().ServeHTTP(w, r)
		open := false
		for _, suffix := range openToAll {
			open = open || strings.HasSuffix(path, suffix) || strings.Contains(path, suffix+"/")
		}
		if probe := path == "/livez" || path == "/readyz"; probe != (authenticated == 0) {
			t.Errorf("%s %s: authentication was asked %d times", rt.method, path, authenticated)
		}
		if !open && (asked == 0 || w.Code != http.StatusUnauthorized) {
			t.Errorf("%s %s answers %d without a right", rt.method, path, w.Code)
		}
	}
}

// TestCVE_2026_105930_PackagesOfOthers: see TestRightsForWhatTheWorkerDoes; here the way over a sink's transform function.
func TestCVE_2026_105930_PackagesOfOthers(t *testing.T) {
	functions := Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}
	f := newFixture(t, func(o *Options) { o.Authz, o.PackageManagement = denier{functions: true}, true })
	for _, location := range []string{"function://other/secret/code@1", "FUNCTION://other/secret/code@1", "sink://other/secret/code@1", "source://other/secret/code@1"} {
		res := f.send(http.MethodPost, one, config1(python), part{name: "url", value: location})
		require.GreaterOrEqual(t, res.Code, 400, location)
		require.Empty(t, f.cluster.writes, location)
	}
	sinks := Access{Right: RightComponent, Kind: Sink, Tenant: "public", Namespace: "default"}
	s := newFixture(t, func(o *Options) { o.Authz, o.PackageManagement = denier{sinks: true}, true })
	config := part{name: "sinkConfig", contentType: "application/json",
		value: `{"inputs":["a"],"className":"x","transformFunction":"function://other/secret/code@1","transformFunctionClassName":"y"}`}
	s.wantReason(s.send(http.MethodPost, "/admin/v3/sinks/public/default/s", config, part{name: "data", value: "x", file: "x.nar"}), http.StatusUnauthorized, textNotAuthorized)
}

// TestCVE_2026_105935_TriggerNeedsProduce and its sibling 105936 for the list of connectors.
func TestCVE_2026_105935_TriggerNeedsProduce(t *testing.T) {
	functions := Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}
	f := newFixture(t, func(o *Options) { o.Authz = denier{functions: true} })
	require.Equal(t, http.StatusNoContent, f.send(http.MethodPost, one, config1(python), pythonFile).Code)
	f.wantReason(f.send(http.MethodPost, one+"/trigger", part{name: "data", value: "x"}), http.StatusUnauthorized, textNotAuthorized)
}

func TestCVE_2026_105936_ConnectorsNeedASuperuser(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Authz = denier{} })
	for _, path := range []string{"/admin/v3/functions/connectors", "/admin/v2/functions/connectors", "/admin/functions/connectors", "/admin/v2/worker/connectors"} {
		f.wantReason(f.send(http.MethodGet, path), http.StatusUnauthorized, textNotAuthorized)
	}
}

// TestCVE_2024_28098_29834_NoHigherRightsForOthers: what is changed on behalf of a caller at another worker goes over the endpoint for leaders, which
// only workers, that is superusers, may use; a caller may not.
func TestCVE_2024_28098_29834_NoHigherRightsForOthers(t *testing.T) {
	functions := Access{Right: RightComponent, Kind: Function, Tenant: "public", Namespace: "default"}
	f := newFixture(t, func(o *Options) { o.Authz = denier{functions: true} })
	f.wantReason(f.send(http.MethodPut, "/admin/v3/functions/leader/public/default/f", part{name: "functionMetaData", value: "x"}, part{name: "delete", value: "true"}),
		http.StatusUnauthorized, textNotAuthorized)
	require.Empty(t, f.cluster.writes)
}

// TestCVE_2024_27135_NothingUploadedRuns: checking a package at registration runs nothing of it, in no language.
func TestCVE_2024_27135_NothingUploadedRuns(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	f := newFixture(t)
	for name, tc := range map[string][2]string{
		"go":     {`{"inputs":["in"],"go":"f"}`, "#!/bin/sh\ntouch " + trace + "\n"},
		"python": {`{"inputs":["in"],"py":"f.py","className":"f.F"}`, "open('" + trace + "', 'w')\n"},
	} {
		res := f.send(http.MethodPost, "/admin/v3/functions/public/default/"+name, part{name: "functionConfig", contentType: "application/json", value: tc[0]},
			part{name: "data", value: tc[1], file: "f"})
		require.Equal(t, http.StatusNoContent, res.Code, "%s: %s", name, res.Body)
		require.NoFileExists(t, trace)
	}
}
