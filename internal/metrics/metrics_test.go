package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

var _ cluster.Observer = (*Worker)(nil)

func scrape(t *testing.T, w *Worker) string {
	t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, rec.Code)
	require.Equal(t, "text/plain;charset=utf-8;version=0.0.4", rec.Header().Get("Content-Type"))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	_, err := parser.TextToMetricFamilies(strings.NewReader(rec.Body.String()))
	require.NoError(t, err, rec.Body.String())
	return rec.Body.String()
}

func TestWorkerFamilies(t *testing.T) {
	leader := false
	w := NewWorker(Options{Cluster: `a"b`, Instances: func() int { return 3 },
		Leader: func() (LeaderNumbers, bool) { return LeaderNumbers{2, 5}, leader }})
	w.Started(1500 * time.Millisecond)
	w.Scheduled(4*time.Millisecond, time.Millisecond)
	w.InstanceStarted("t/n/f:0", time.Second)
	page := scrape(t, w)
	for _, want := range []string{
		`pulsar_function_worker_start_up_time_ms_sum{cluster="a\"b"} 1500`,
		`pulsar_function_worker_schedule_execution_time_total_ms{cluster="a\"b",quantile="0.5"} 4`,
		`pulsar_function_worker_schedule_execution_time_total_ms{cluster="a\"b",quantile="1.0"} 4`,
		`# TYPE pulsar_function_worker_start_instance_process_time_ms summary`,
		`pulsar_function_worker_instance_count{cluster="a\"b"} 3`,
		`pulsar_function_worker_rebalance_strategy_execution_time_ms_count{cluster="a\"b"} 0`,
		`pulsar_function_worker_drain_execution_time_total_ms_count`, `pulsar_function_worker_stop_instance_process_time_ms_count`,
		`pulsar_function_worker_schedule_strategy_execution_time_ms_count`, `pulsar_function_worker_rebalance_execution_time_total_ms_count`,
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "is_leader")
	leader = true
	page = scrape(t, w)
	require.Contains(t, page, `pulsar_function_worker_is_leader{cluster="a\"b"} 1`)
	require.Contains(t, page, `pulsar_function_worker_total_function_count{cluster="a\"b"} 2`)
	require.Contains(t, page, `pulsar_function_worker_total_expected_instance_count{cluster="a\"b"} 5`)
}

func TestStandardFamilies(t *testing.T) {
	w := NewWorker(Options{Cluster: "c", Standard: true})
	w.RequestRejected()
	page := scrape(t, w)
	require.Contains(t, page, "process_start_time_seconds")
	require.Contains(t, page, "go_goroutines")
	require.Contains(t, page, "pulsar_broker_http_rejected_requests_total 1")
}

const instanceText = `# HELP pulsar_function_received_total Total.
# TYPE pulsar_function_received_total counter
pulsar_function_received_total{instance_id="ID",fqfn="t/n/f",} 7.0
# TYPE pulsar_function_process_latency_ms summary
pulsar_function_process_latency_ms{instance_id="ID",quantile="0.5",} NaN
pulsar_function_process_latency_ms_count{instance_id="ID",} 2.0
pulsar_function_process_latency_ms_sum{instance_id="ID",} 3.5E-4
`

func TestInstanceTextIsMerged(t *testing.T) {
	texts := []string{
		strings.ReplaceAll(instanceText, "ID", "0"),
		strings.ReplaceAll(instanceText, "ID", "1"),
		"this is } no metric\n<html>\nx{a=\"1\"} no\n",
		strings.ReplaceAll(instanceText, "ID", "1"), // a duplicate
		"# TYPE pulsar_function_received_total gauge\npulsar_function_received_total{instance_id=\"9\"} 1\n",
	}
	w := NewWorker(Options{Cluster: "c", Scrape: func(_ context.Context, out io.Writer) error {
		for _, text := range texts {
			if _, err := io.WriteString(out, text); err != nil {
				return err
			}
		}
		return errors.New("instance t/n/f:7\ndid not answer")
	}})
	page := scrape(t, w)
	require.Equal(t, 1, strings.Count(page, "# TYPE pulsar_function_received_total "))
	require.Equal(t, 1, strings.Count(page, "# TYPE pulsar_function_process_latency_ms "))
	require.Contains(t, page, `pulsar_function_received_total{instance_id="0",fqfn="t/n/f",} 7.0`)
	require.Contains(t, page, `pulsar_function_received_total{instance_id="1",fqfn="t/n/f",} 7.0`)
	require.NotContains(t, page, `instance_id="9"`)
	require.Contains(t, page, "# some instances are missing: instance t/n/f:7 did not answer")
	require.Contains(t, page, "lines of instances were left out")
}

func TestScrapeHasADeadline(t *testing.T) {
	w := NewWorker(Options{Cluster: "c", ScrapeTimeout: 20 * time.Millisecond, Scrape: func(ctx context.Context, _ io.Writer) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	require.Contains(t, scrape(t, w), "some instances are missing")
}

// Whatever instances send, the page stays readable for Prometheus.
func FuzzMerge(f *testing.F) {
	f.Add(instanceText, "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 3\na_count 1\n")
	f.Add("a 1\n# TYPE a counter\na{b=\"c\"} 2", "# HELP a x\\y\na{b=\"\\\"\"} +Inf 12")
	f.Add("# TYPE a summary\na 1\na_count 2 3 4", "a_bucket 1\n# TYPE a_count gauge\na_count 4")
	f.Fuzz(func(t *testing.T, one, two string) {
		p := newPage()
		p.add(one)
		p.add(two)
		parser := expfmt.NewTextParser(model.LegacyValidation)
		if _, err := parser.TextToMetricFamilies(strings.NewReader(p.String())); err != nil {
			t.Fatalf("%v\n%s", err, p)
		}
	})
}
