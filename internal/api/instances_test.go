package api

import (
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/stretchr/testify/require"
)

// peer is a second worker that a server under test asks.
func peer(t *testing.T, f *fixture, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	f.cluster.members = append(f.cluster.members, cluster.WorkerInfo{WorkerID: "w2", Hostname: host, Port: n})
}

const unscheduled = `{"running":false,"error":"Function has not been scheduled","numRestarts":0,"numReceived":0,"numSuccessfullyProcessed":0,
	"numUserExceptions":0,"latestUserExceptions":null,"numSystemExceptions":0,"latestSystemExceptions":null,"averageLatency":0.0,"lastInvocationTime":0,"workerId":null}`

func exception(text string) []*pb.FunctionStatus_ExceptionInformation {
	return []*pb.FunctionStatus_ExceptionInformation{{ExceptionString: text, MsSinceEpoch: 7}}
}

func busy() *pb.FunctionStatus {
	return &pb.FunctionStatus{Running: true, NumRestarts: 1, NumReceived: 10, NumSuccessfullyProcessed: 9, AverageLatency: 2, LastInvocationTime: 99,
		NumUserExceptions: 1, LatestUserExceptions: exception("u"), NumSystemExceptions: 2, LatestSystemExceptions: exception("s"),
		NumSourceExceptions: 3, LatestSourceExceptions: exception("so"), NumSinkExceptions: 4, LatestSinkExceptions: exception("si")}
}

func TestStatusOfAll(t *testing.T) {
	f, meta := registered(t)
	f.want(f.do("GET", one+"/status"), 200, `{"numInstances":0,"numRunning":0,"instances":[]}`)
	f.cluster.assign(meta, "w2", 1)
	f.cluster.assign(meta, "gone", 2)
	f.cluster.assign(meta, "w1", 0)
	f.instances.status["public/default/f:0"] = busy()
	peer(t, f, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/admin/v3/functions/public/default/f/1/status", r.URL.Path)
		_, _ = w.Write([]byte(`{"running":true,"error":"","workerId":"w2","future":1}`))
	})
	f.want(f.do("GET", one+"/status"), 200, `{"numInstances":3,"numRunning":2,"instances":[
		{"instanceId":0,"status":{"running":true,"error":"","numRestarts":1,"numReceived":10,"numSuccessfullyProcessed":9,"numUserExceptions":1,
			"latestUserExceptions":[{"exceptionString":"u","timestampMs":7}],"numSystemExceptions":9,
			"latestSystemExceptions":[{"exceptionString":"s","timestampMs":7},{"exceptionString":"so","timestampMs":7},{"exceptionString":"si","timestampMs":7}],
			"averageLatency":2.0,"lastInvocationTime":99,"workerId":"w1"}},
		{"instanceId":1,"status":{"running":true,"error":"","workerId":"w2","future":1}},
		{"instanceId":2,"status":`+unscheduled+`}]}`)
	require.Contains(t, f.do("GET", one+"/status").Body.String(), `"averageLatency":2.0`)
	require.Contains(t, f.do("GET", "/admin/v2/functions/public/default/f/status").Body.String(), "\n  \"functionStatusList\": [")
}

func TestPeerFailuresDegrade(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte(`{"reason":"boom"}`))
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) },
		"slow":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"cut":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			f, meta := registered(t, func(o *Options) { o.PeerTimeout = 50 * time.Millisecond })
			f.cluster.assign(meta, "w2", 0, 1)
			peer(t, f, handler)
			rec := f.do("GET", one+"/status")
			require.Equal(t, 200, rec.Code)
			var answer struct {
				NumInstances, NumRunning int
				Instances                []struct{ Status functionStatusView }
			}
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &answer))
			require.Equal(t, 2, answer.NumInstances)
			require.Zero(t, answer.NumRunning)
			require.NotEmpty(t, answer.Instances[0].Status.Error)
			require.Equal(t, "w2", *answer.Instances[0].Status.WorkerID)
			require.Equal(t, 200, f.do("GET", "/admin/v2/functions/public/default/f/status").Code)
			require.Equal(t, 200, f.do("GET", one+"/stats").Code)
		})
	}
}

func TestInstanceStatus(t *testing.T) {
	f, meta := registered(t)
	f.want(f.do("GET", one+"/0/status"), 200, unscheduled)
	f.wantReason(f.do("GET", one+"/2/status"), 400, "Function f doesn't have instance with id 2")
	f.wantReason(f.do("GET", one+"/-1/status"), 400, "Function f doesn't have instance with id -1")
	f.wantReason(f.do("GET", one+"/x/status"), 400, `The instance id "x" is not a number between -2147483648 and 2147483647`)
	f.wantReason(f.do("GET", "/admin/v3/sinks/public/default/f/0/status"), 404, "Sink f doesn't exist")
	f.cluster.members = append(f.cluster.members, other)
	f.cluster.assign(meta, "w2", 0)
	f.cluster.assign(meta, "w1", 1)
	rec := f.do("GET", one+"/0/status?x=y")
	require.Equal(t, 307, rec.Code)
	require.Equal(t, "http://host2:6751"+one+"/0/status?x=y", rec.Header().Get("Location"))
	require.Equal(t, "http://host2:6751/admin/v2/functions/public/default/f/0/status", f.do("GET", "/admin/v2/functions/public/default/f/0/status").Header().Get("Location"))
	require.Contains(t, f.do("GET", one+"/1/status").Body.String(), `"running":false,"error":"","numRestarts":0`, "no runtime yet")
	f.cluster.membersErr = errors.New("broker down")
	require.Equal(t, 500, f.do("GET", one+"/0/status").Code)
}

func TestExternalRuntime(t *testing.T) {
	f, meta := registered(t)
	f.runtime.external = true
	f.want(f.do("GET", one+"/status"), 200, `{"numInstances":2,"numRunning":0,"instances":[{"instanceId":0,"status":`+unscheduled+`},{"instanceId":1,"status":`+unscheduled+`}]}`)
	f.cluster.assign(meta, "w1", -1)
	f.instances.status["public/default/f:-1#1"] = &pb.FunctionStatus{Running: true}
	rec := f.do("GET", one+"/status")
	require.Contains(t, rec.Body.String(), `"numInstances":2,"numRunning":1`)
	require.Contains(t, f.do("GET", one+"/1/status").Body.String(), `"running":true`)
	f.wantReason(f.do("POST", one+"/0/restart"), 501, "Externally managed schedulers can't do per instance stop")
	f.want(f.do("POST", one+"/restart"), 204, "")
	require.Equal(t, []string{"public/default/f:-1"}, f.instances.restarted)

	f.cluster.assigned[0].WorkerId = "w2"
	f.cluster.members = append(f.cluster.members, other)
	for _, path := range []string{"/status", "/stats", "/0/status", "/0/stats"} {
		rec := f.do("GET", one+path)
		require.Equal(t, 307, rec.Code)
		require.Equal(t, "http://host2:6751"+one+path, rec.Header().Get("Location"))
	}
}

func TestStatusOfOtherKinds(t *testing.T) {
	w := "w1"
	for name, tc := range map[string]struct {
		kind Kind
		want string
	}{
		"sink": {Sink, `{"running":true,"error":"","numRestarts":1,"numReadFromPulsar":10,"numSystemExceptions":6,
			"latestSystemExceptions":[{"exceptionString":"u","timestampMs":7},{"exceptionString":"s","timestampMs":7},{"exceptionString":"so","timestampMs":7}],
			"numSinkExceptions":4,"latestSinkExceptions":[{"exceptionString":"si","timestampMs":7}],"numWrittenToSink":9,"lastReceivedTime":99,"workerId":"w1"}`},
		"source": {Source, `{"running":true,"error":"","numRestarts":1,"numReceivedFromSource":10,"numSystemExceptions":7,
			"latestSystemExceptions":[{"exceptionString":"u","timestampMs":7},{"exceptionString":"s","timestampMs":7},{"exceptionString":"si","timestampMs":7}],
			"numSourceExceptions":3,"latestSourceExceptions":[{"exceptionString":"so","timestampMs":7}],"numWritten":9,"lastReceivedTime":99,"workerId":"w1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := marshal(statusView(tc.kind, busy(), &w))
			require.NoError(t, err)
			require.JSONEq(t, tc.want, string(data))
		})
	}
}

const zeros = `{"receivedTotal":0,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,"userExceptionsTotal":0,"avgProcessLatency":null,
	"1min":{"receivedTotal":0,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,"userExceptionsTotal":0,"avgProcessLatency":null},"lastInvocation":null,"userMetrics":{}}`

func TestStats(t *testing.T) {
	f, meta := registered(t)
	f.want(f.do("GET", one+"/0/stats"), 200, zeros)
	f.want(f.do("GET", one+"/stats"), 200, `{"receivedTotal":0,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,"userExceptionsTotal":0,"avgProcessLatency":null,
		"1min":{"receivedTotal":0,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,"userExceptionsTotal":0,"avgProcessLatency":null},"lastInvocation":null,"instances":[]}`)
	f.cluster.assign(meta, "w1", 0)
	f.cluster.assign(meta, "w2", 1)
	f.instances.metrics["public/default/f:0"] = &pb.MetricsData{ReceivedTotal: 4, AvgProcessLatency: 2, LastInvocation: 50, ReceivedTotal_1Min: 1,
		UserMetrics: map[string]float64{"a": 1, "nan": math.NaN()}}
	peer(t, f, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"receivedTotal":6,"processedSuccessfullyTotal":5,"systemExceptionsTotal":0,"userExceptionsTotal":1,"avgProcessLatency":4.0,
			"1min":{"receivedTotal":2,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,"userExceptionsTotal":0,"avgProcessLatency":null},"lastInvocation":60,"userMetrics":{"b":2.5}}`))
	})
	rec := f.do("GET", one+"/stats")
	var total componentStats
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &total))
	require.Equal(t, int64(10), total.ReceivedTotal)
	require.Equal(t, int64(3), total.OneMin.ReceivedTotal)
	require.InDelta(t, 3.0, float64(*total.AvgProcessLatency), 0)
	require.Equal(t, int64(60), *total.LastInvocation)
	require.Equal(t, map[string]javaDouble{"a": 1}, total.Instances[0].Metrics.UserMetrics)
	require.Equal(t, map[string]javaDouble{"b": 2.5}, total.Instances[1].Metrics.UserMetrics)
	f.want(f.do("GET", "/admin/v2/worker-stats/functionsmetrics"), 200, `[{"name":"public/default/f:0","metrics":{"receivedTotal":4,"processedSuccessfullyTotal":0,
		"systemExceptionsTotal":0,"userExceptionsTotal":0,"avgProcessLatency":2.0,"1min":{"receivedTotal":1,"processedSuccessfullyTotal":0,"systemExceptionsTotal":0,
		"userExceptionsTotal":0,"avgProcessLatency":null},"lastInvocation":50,"userMetrics":{"a":1.0}}}]`)
	f.instances.err = errors.New("no answer")
	f.want(f.do("GET", "/admin/v2/worker-stats/functionsmetrics"), 200, `[{"name":"public/default/f:0","metrics":null}]`)
}

func TestRestart(t *testing.T) {
	f, meta := registered(t)
	f.wantReason(f.do("POST", one+"/restart"), 400, "public/default/f has not been assigned yet")
	f.wantReason(f.do("POST", one+"/0/restart"), 400, "public/default/f/0 doesn't exist")
	f.cluster.assign(meta, "w1", 0)
	f.cluster.assign(meta, "gone", 1)
	f.want(f.do("POST", one+"/0/restart"), 204, "")
	f.wantReason(f.do("POST", one+"/1/restart"), 400, "public/default/f/1 has not been assigned yet")
	f.want(f.do("POST", one+"/restart"), 204, "")
	require.Equal(t, []string{"public/default/f:0", "public/default/f:0"}, f.instances.restarted)
	f.want(f.do("POST", "/admin/v2/functions/public/default/f/restart"), 200, "")

	var asked []string
	peer(t, f, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.WriteHeader(204)
	})
	f.cluster.assign(meta, "w2", 2)
	f.want(f.do("POST", one+"/restart"), 204, "")
	require.Equal(t, []string{"POST " + one + "/2/restart"}, asked)
	require.Equal(t, 307, f.do("POST", one+"/2/restart").Code)
	f.instances.err = errors.New("it does not stop")
	f.wantReason(f.do("POST", one+"/restart"), 500, "it does not stop")
}

func TestStartAndStop(t *testing.T) {
	type states = map[int32]pb.FunctionState
	const run, halt = pb.FunctionState_RUNNING, pb.FunctionState_STOPPED
	for name, tc := range map[string]struct {
		before     states
		path       string
		wantReason string
		want       states
	}{
		"stop all of a new one":         {nil, "/stop", "", states{0: halt, 1: halt}},
		"start all of a new one":        {nil, "/start", "Operation not permitted", nil},
		"stop one of a new one":         {nil, "/1/stop", "", states{0: run, 1: halt}},
		"start one of a new one":        {nil, "/1/start", "Operation not permitted", nil},
		"start all again":               {states{0: halt, 1: run}, "/start", "", states{0: run, 1: run}},
		"stop all twice":                {states{0: halt, 1: halt}, "/stop", "Operation not permitted", nil},
		"start one":                     {states{0: halt, 1: halt}, "/0/start", "", states{0: run, 1: halt}},
		"start one twice":               {states{0: run, 1: halt}, "/0/start", "Operation not permitted", nil},
		"an instance that was added":    {states{0: run}, "/1/stop", "Operation not permitted", nil},
		"all, with one that was added":  {states{0: run}, "/stop", "", states{0: halt, 1: halt}},
		"an id too large":               {nil, "/2/stop", "Function f doesn't have instance with id 2", nil},
		"minus one is all":              {nil, "/-1/stop", "", states{0: halt, 1: halt}},
		"minus two":                     {nil, "/-2/stop", "Function f doesn't have instance with id -2", nil},
		"an id that is no number":       {nil, "/a/start", `The instance id "a" is not a number between -2147483648 and 2147483647`, nil},
		"an id larger than any integer": {nil, "/2147483648/start", `The instance id "2147483648" is not a number between -2147483648 and 2147483647`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, meta := registered(t)
			meta.InstanceStates = tc.before
			rec := f.do("POST", one+tc.path, "Content-Type", "application/json")
			after, _ := f.cluster.Function("public", "default", "f")
			if tc.wantReason != "" {
				f.wantReason(rec, 400, tc.wantReason)
				require.Same(t, meta, after)
				return
			}
			f.want(rec, 204, "")
			require.Equal(t, tc.want, after.GetInstanceStates())
			require.Equal(t, meta.GetVersion()+1, after.GetVersion())
		})
	}
}

func TestJavaDoubles(t *testing.T) {
	for in, want := range map[float64]string{0: "0.0", 1: "1.0", 2.5: "2.5", 1e7: "1.0E7", 123456789: "1.23456789E8", 1e-4: "1.0E-4", -3: "-3.0", math.Inf(1): `"Infinity"`} {
		data, err := json.Marshal(javaDouble(in))
		require.NoError(t, err)
		require.Equal(t, want, string(data))
		var back javaDouble
		require.NoError(t, json.Unmarshal(data, &back))
		require.InDelta(t, in, float64(back), 0)
	}
}
