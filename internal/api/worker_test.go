package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

var other = cluster.WorkerInfo{WorkerID: "w2", Hostname: "host2", Port: 6751}

func TestWorkerEndpoints(t *testing.T) {
	f, meta := registered(t)
	f.cluster.members = []cluster.WorkerInfo{self, other}
	f.cluster.assign(meta, "w1", 1, 0)
	f.cluster.drainStatus = cluster.ProcessStatus{Status: "ERROR", LastError: "Worker w9 not found in drain records"}
	for name, tc := range map[string]struct {
		method, path string
		status       int
		body         string
	}{
		"cluster":      {"GET", "/admin/v2/worker/cluster", 200, `[{"workerId":"w1","workerHostname":"host1","port":6750},{"workerId":"w2","workerHostname":"host2","port":6751}]`},
		"leader":       {"GET", "/admin/v2/worker/cluster/leader", 200, `{"workerId":"w1","workerHostname":"host1","port":6750}`},
		"leader ready": {"GET", "/admin/worker/cluster/leader/ready", 200, `true`},
		"assignments":  {"GET", "/admin/v2/worker/assignments", 200, `{"w1":["public/default/f:0","public/default/f:1"]}`},
		"rebalance":    {"PUT", "/admin/v2/worker/rebalance", 204, ""},
		"drain":        {"PUT", "/admin/v2/worker/drain?workerId=ignored", 204, ""},
		"leader drain": {"PUT", "/admin/v2/worker/leader/drain?workerId=w2", 204, ""},
		"empty drain":  {"PUT", "/admin/v2/worker/leader/drain?workerId=", 204, ""},
		"drain status": {"GET", "/admin/v2/worker/leader/drain?workerId=w9", 200, `{"status":"ERROR","lastError":"Worker w9 not found in drain records"}`},
		"connectors": {"GET", "/admin/v2/worker/connectors", 200, `[{"name":"data-generator","description":"Test","sourceClass":"g.Source","sinkClass":null,"sourceConfigClass":"g.Config","sinkConfigClass":null},
			{"name":"zeta","description":null,"sourceClass":null,"sinkClass":"z.Sink","sourceConfigClass":null,"sinkConfigClass":null}]`},
		"builtin sinks": {"GET", "/admin/v3/sinks/builtinsinks", 200, `[{"name":"zeta","description":null,"sourceClass":null,"sinkClass":"z.Sink","sourceConfigClass":null,"sinkConfigClass":null}]`},
		"builtins":      {"GET", "/admin/v3/functions/builtins", 200, `[{"name":"exclaim","description":null,"functionClass":"x.Exclaim"}]`},
		"config fields": {"GET", "/admin/v3/source/builtinsources/data-generator/configdefinition", 200, `[{"fieldName":"sleep","typeName":"long","attributes":{}}]`},
		"no fields":     {"GET", "/admin/v3/sink/builtinsinks/data-generator/configdefinition", 404, `{"reason":"builtin sink does not exist"}`},
		"no connector":  {"GET", "/admin/v3/source/builtinsources/nosuch/configdefinition", 404, `{"reason":"builtin source does not exist"}`},
		"reload":        {"POST", "/admin/v3/source/reloadBuiltInSources", 204, ""},
		"reload 2":      {"POST", "/admin/v3/functions/builtins/reload", 204, ""},
		"version":       {"GET", "/version", 200, `{"version":"4.0.8"}`},
		"initialized":   {"GET", "/initialized", 200, "true"},
		"livez":         {"GET", "/livez", 200, "ok\n"},
		"readyz":        {"GET", "/readyz", 200, "ok\n"},
	} {
		t.Run(name, func(t *testing.T) { f.want(f.do(tc.method, tc.path), tc.status, tc.body) })
	}
	require.ElementsMatch(t, []string{"w1", "w2", "w1", "w9"}, f.cluster.drained)

	rec := f.do("GET", "/initialized", "Accept", "application/json")
	f.want(rec, 200, "true")
	require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
}

func TestBeforeInitialization(t *testing.T) {
	f := newFixture(t)
	f.cluster.starting, f.cluster.notReady = true, true
	f.wantReason(f.do("GET", "/admin/v3/functions/public/default"), 503, textNotInitialized)
	f.wantReason(f.do("GET", "/admin/v2/worker/cluster"), 503, textNotInitialized)
	require.Equal(t, 503, f.do("GET", "/initialized").Code)
	require.Equal(t, 503, f.do("GET", "/readyz").Code)
	for _, path := range []string{"/livez", "/version", "/metrics"} {
		require.Equal(t, 200, f.do("GET", path).Code)
	}
	f.cluster.starting = false
	f.wantReason(f.do("GET", "/admin/v2/worker/cluster/leader/ready"), 503, textNotInitialized)
}

func TestReloadFails(t *testing.T) {
	f := newFixture(t)
	f.catalog.err = errors.New("no such directory")
	f.wantReason(f.do("POST", "/admin/v3/sinks/reloadBuiltInSinks"), 500, "no such directory")
}

func TestRedirectsToTheLeader(t *testing.T) {
	for name, tc := range map[string]struct {
		method, path string
		tls          bool
		want         string
	}{
		"rebalance":    {"PUT", "/admin/v2/worker/rebalance", false, "http://host2:6751/admin/v2/worker/rebalance"},
		"alias":        {"PUT", "/admin/worker/rebalance?x=1", false, "http://host2:6751/admin/worker/rebalance?x=1"},
		"TLS":          {"PUT", "/admin/v2/worker/rebalance", true, "https://host2:6751/admin/v2/worker/rebalance"},
		"drain me":     {"PUT", "/admin/worker/drain?a=b", false, "http://host2:6751/admin/v2/worker/leader/drain?a=b&workerId=w1"},
		"drain other":  {"PUT", "/admin/v2/worker/leader/drain?workerId=a%26b", false, "http://host2:6751/admin/v2/worker/leader/drain?workerId=a%26b"},
		"drain status": {"GET", "/admin/v2/worker/drain", false, "http://host2:6751/admin/v2/worker/leader/drain?workerId=w1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.PeerTLS = tc.tls })
			f.cluster.moveErr = cluster.RedirectError{To: other}
			rec := f.do(tc.method, tc.path)
			require.Equal(t, 307, rec.Code)
			require.Equal(t, tc.want, rec.Header().Get("Location"))
			require.Empty(t, rec.Body.String())
		})
	}
}

func TestLeaderEndpoint(t *testing.T) {
	meta := &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "a", Namespace: "b", Name: "c"}, Version: 3}
	data, err := proto.Marshal(meta)
	require.NoError(t, err)
	raw := part{name: "functionMetaData", value: string(data), contentType: "application/octet-stream"}
	const path = "/admin/v3/functions/leader/a/b/c"

	f := newFixture(t)
	f.want(f.send(http.MethodPut, path, raw, part{name: "delete", value: "false"}), 204, "")
	stored, ok := f.cluster.Function("a", "b", "c")
	require.True(t, ok)
	require.True(t, proto.Equal(meta, stored))
	f.wantReason(f.send(http.MethodPut, path, raw), 400, "Update request ignored because it is out of date. Please try again.")
	f.wantReason(f.send(http.MethodPut, path, raw, part{name: "delete", value: "true"}), 400, "Delete request ignored because it is out of date. Please try again.")
	for _, corrupt := range []string{"", "\xff\xff\xff", "{}"} {
		f.wantReason(f.send(http.MethodPut, path, part{name: "functionMetaData", value: corrupt}), 400, "Corrupt Function MetaData")
	}
	f.wantReason(f.send(http.MethodPut, path, part{name: "delete", value: "true"}), 400, "Corrupt Function MetaData")
	for want, err := range map[int]error{503: cluster.ErrLeaderNotReady, 500: cluster.ErrNotLeader} {
		f.cluster.leaderErr = err
		f.wantReason(f.send(http.MethodPut, path, raw), want, err.Error())
	}
	f.cluster.leaderErr = cluster.RedirectError{To: other}
	rec := f.send(http.MethodPut, path, raw)
	require.Equal(t, 307, rec.Code)
	require.Equal(t, "http://host2:6751"+path, rec.Header().Get("Location"))
}

func TestProcessMetrics(t *testing.T) {
	rec := newFixture(t).do("GET", "/admin/v2/worker-stats/metrics")
	var list []struct {
		Metrics    map[string]float64
		Dimensions map[string]string
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &list))
	require.Len(t, list, 1)
	require.Equal(t, map[string]string{"metric": "jvm_metrics"}, list[0].Dimensions)
	require.Positive(t, list[0].Metrics["jvm_heap_used"])
	require.Positive(t, list[0].Metrics["jvm_start_time"])
}
