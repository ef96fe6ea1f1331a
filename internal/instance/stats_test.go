package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/test/standalone"
)

// samples gathers everything as name{label=value,…} value, without the labels that all series have.
func samples(t *testing.T, s *Stats) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(s))
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name, labels := f.GetName(), map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			for label, want := range s.Labels() {
				require.Equal(t, want, labels[label], name)
				delete(labels, label)
			}
			for _, value := range labels {
				name += "|" + value
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetSummary().GetSampleSum()
		}
	}
	return values
}

func TestStats(t *testing.T) {
	s := NewStats(testConfig())
	at := time.UnixMilli(1_700_000_000_123)
	s.Received(at)
	s.Received(at)
	s.Handled(3*time.Millisecond, time.Now())
	s.Handled(5*time.Millisecond, time.Now())
	s.Processed()
	for i := range 12 {
		s.UserError(fmt.Errorf("bad %d", i%11), at)
	}
	s.SystemError(errors.New("broken \xff "+strings.Repeat("x", 3000)), at)
	s.RecordMetric("size", 2)
	s.RecordMetric("size", 4)
	s.RecordMetric("size", math.NaN())

	got := samples(t, s)
	for name, want := range map[string]float64{
		"received_total": 2, "received_1min_total": 2, "processed_successfully_total": 1, "processed_successfully_1min_total": 1,
		"user_exceptions_total": 12, "user_exceptions_1min_total": 12, "system_exceptions_total": 1, "system_exceptions_1min_total": 1,
		"process_latency_ms": 8, "process_latency_ms_1min": 8, "last_invocation": 1_700_000_000_123, "user_metric|size": 6, "user_exception|bad 5": 1,
	} {
		require.Equal(t, want, got["pulsar_function_"+name], name)
	}

	status := s.Status(true)
	require.Len(t, status.LatestUserExceptions, latestErrors)
	require.Equal(t, "bad 2", status.LatestUserExceptions[0].ExceptionString)
	require.LessOrEqual(t, len(status.LatestSystemExceptions[0].ExceptionString), maxErrorText+8)
	require.EqualValues(t, 1_700_000_000_123, status.LastInvocationTime)
	require.EqualValues(t, 4, status.AverageLatency)
	require.Equal(t, "1", status.InstanceId)

	m := s.Metrics()
	require.EqualValues(t, 2, m.ReceivedTotal_1Min)
	require.EqualValues(t, 4, m.AvgProcessLatency_1Min)
	require.Equal(t, 3.0, m.UserMetrics["size"])
	require.Equal(t, 6.0, m.UserMetrics["user_metric_size_sum"])
	require.Equal(t, 2.0, m.UserMetrics["user_metric_size_count"])
	require.Contains(t, m.UserMetrics, "user_metric_size_0.999")

	s.Tumble()
	got = samples(t, s)
	require.Equal(t, 2.0, got["pulsar_function_received_total"])
	require.Zero(t, got["pulsar_function_received_1min_total"])
	require.Zero(t, got["pulsar_function_process_latency_ms_1min"])
	require.Equal(t, 6.0, got["pulsar_function_user_metric|size"], "only a reset clears user metrics")
	s.Reset()
	require.Empty(t, s.Metrics().UserMetrics)

	for i := range 2 * maxUserMetrics {
		s.RecordMetric(fmt.Sprint("m", i), 1)
	}
	require.Len(t, s.userMetricNames, maxUserMetrics)
}

func TestMinuteStartsEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Options{Config: testConfig(), Program: Handler(shout), Client: newFakeClient()})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		<-e.Started()
		e.stats.Processed()
		time.Sleep(59 * time.Second)
		require.EqualValues(t, 1, e.stats.Metrics().ProcessedSuccessfullyTotal_1Min)
		time.Sleep(2 * time.Second)
		require.Zero(t, e.stats.Metrics().ProcessedSuccessfullyTotal_1Min)
		require.EqualValues(t, 1, e.stats.Metrics().ProcessedSuccessfullyTotal)
		stop()
		require.NoError(t, <-ended)
	})
}

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Options{Config: testConfig(), Program: Handler(shout), Client: newFakeClient()})
		require.NoError(t, err)
		control := NewControl(e)
		start := time.Now()
		gone := make(chan bool)
		go func() { gone <- control.Watch(t.Context(), 10*time.Second) }()
		time.Sleep(25 * time.Second)
		_, err = control.HealthCheck(t.Context(), nil)
		require.NoError(t, err)
		require.True(t, <-gone)
		require.Equal(t, 60*time.Second, time.Since(start), "three intervals after the last check, seen at the next look")

		ctx, cancel := context.WithCancel(t.Context())
		go func() { gone <- control.Watch(ctx, 10*time.Second) }()
		cancel()
		require.False(t, <-gone)
	})
}

func TestServePorts(t *testing.T) {
	cfg := testConfig()
	cfg.Port, cfg.MetricsPort = standalone.FreePort(t), standalone.FreePort(t)
	cfg.HealthInterval = time.Second
	client := newFakeClient()
	e, err := New(Options{Config: cfg, Program: Handler(shout), Client: client})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- serve(t.Context(), cfg, e, zap.NewNop()) }()
	<-e.Started()
	client.consumer("in").put("fail")

	connection, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", cfg.Port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	worker := pb.NewInstanceControlClient(connection)
	require.Eventually(t, func() bool {
		status, err := worker.GetFunctionStatus(t.Context(), &emptypb.Empty{})
		return err == nil && status.Running && status.NumUserExceptions == 1
	}, 5*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { // what a readiness probe of Kubernetes asks
		answer, err := healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil && answer.Status == healthpb.HealthCheckResponse_SERVING
	}, 5*time.Second, 10*time.Millisecond)
	health, err := worker.HealthCheck(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)
	require.True(t, health.Success)
	metrics, err := worker.GetAndResetMetrics(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)
	require.EqualValues(t, 1, metrics.ReceivedTotal_1Min)
	metrics, err = worker.GetMetrics(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)
	require.EqualValues(t, 1, metrics.ReceivedTotal)
	require.Zero(t, metrics.ReceivedTotal_1Min)
	_, err = worker.ResetMetrics(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)

	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/other": 404} {
		_, err := worker.HealthCheck(t.Context(), &emptypb.Empty{}) // it lives for three intervals from here
		require.NoError(t, err)
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(fmt.Sprintf("http://127.0.0.1:%d%s", cfg.MetricsPort, path))
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, path)
		if want == 200 {
			parser := expfmt.NewTextParser(model.UTF8Validation)
			families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
			require.NoError(t, err)
			require.Equal(t, 1.0, families["pulsar_function_received_total"].Metric[0].GetCounter().GetValue())
			require.Len(t, families["go_goroutines"].Metric[0].Label, 6, "the process' own series can be told apart")
		}
	}
	require.ErrorIs(t, <-ended, ErrOrphaned)
}

func TestServePortTaken(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	for want, cfg := range map[string]*Config{
		"opening the control port": {Port: taken},
		"opening the metrics port": {MetricsPort: taken},
	} {
		cfg.Details = testConfig().Details
		e, err := New(Options{Config: cfg, Program: Handler(shout), Client: newFakeClient()})
		require.NoError(t, err)
		require.ErrorContains(t, serve(t.Context(), cfg, e, zap.NewNop()), want)
	}
}
