package instance

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	latestErrors    = 10   // errors kept for the status, per kind
	maxErrorText    = 2048 // bytes of an error text that are kept
	maxUserMetrics  = 500  // names of user metrics
	maxUserMetric   = 256  // bytes of such a name
	tumblingWindow  = time.Minute
	summaryErrorTop = 0.001
)

// quantiles are those of the Java instance.
func quantiles() []float64 { return []float64{0.5, 0.9, 0.99, 0.999} }

// objectives are the quantiles with the tolerated error of each.
func objectives() map[float64]float64 {
	return map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001, 0.999: summaryErrorTop / 10}
}

// Stats counts what an instance does. It is a Prometheus collector, and the source of status and metrics of the
// control service (process contract, sections 6 and 7). Safe for concurrent use.
type Stats struct {
	labels     prometheus.Labels
	instanceID string
	prefix     string // of the metrics
	edge       string // "sink" or "source"; "" of a function

	mu                 sync.Mutex
	total, minute      counts
	lastInvocation     time.Time
	userErrors         recent
	systemErrors       recent
	edgeErrors         recent
	userMetrics        *prometheus.SummaryVec
	userMetricNames    map[string]bool
	userMetricsDropped int64
}

// counts is one set of counters.
type counts struct {
	received, processed, userErrors, systemErrors, edgeErrors int64
	latencies                                                 *latencies // nil until something is observed: many functions are idle
}

// averageLatency is in milliseconds.
func (c counts) averageLatency() float64 {
	if c.latencies == nil {
		return 0
	}
	return c.latencies.sum / float64(c.latencies.count)
}

// recent holds the latest errors of one kind.
type recent []failure

type failure struct {
	text string
	at   time.Time
}

func (r *recent) add(text string, at time.Time) {
	*r = append(*r, failure{text: errorText(text), at: at})
	if len(*r) > latestErrors {
		*r = append(recent{}, (*r)[len(*r)-latestErrors:]...)
	}
}

// errorText makes any text fit for protobuf and Prometheus.
func errorText(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// NewStats makes the counters of one instance.
func NewStats(cfg *Config) *Stats {
	d := cfg.Details
	kind := strings.ToLower(kindOf(d).String())
	s := &Stats{
		prefix:     "pulsar_" + kind + "_",
		instanceID: strconv.Itoa(cfg.InstanceID),
		labels: prometheus.Labels{
			"tenant": d.GetTenant(), "namespace": d.GetTenant() + "/" + d.GetNamespace(), "name": d.GetName(),
			"instance_id": strconv.Itoa(cfg.InstanceID), "cluster": cfg.ClusterName, "fqfn": pb.FullyQualifiedName(d),
		},
	}
	if kindOf(d) != pb.FunctionDetails_FUNCTION {
		s.edge = kind
	}
	s.resetMinute()
	s.resetUserMetrics()
	return s
}

// Labels are the labels of all series of this instance.
func (s *Stats) Labels() prometheus.Labels { return s.labels }

// The summaries of the time that the function takes.
const (
	latencyName, latencyHelp             = "process_latency_ms", "Time of the function per message, in milliseconds."
	latencyMinuteName, latencyMinuteHelp = "process_latency_ms_1min", "Time of the function per message since the last full minute, in milliseconds."
)

func (s *Stats) resetMinute() {
	s.minute = counts{}
}

func (s *Stats) resetUserMetrics() {
	s.userMetricNames = map[string]bool{}
	name := s.prefix + "user_metric"
	if s.edge != "" {
		name += "_" // only Java has had sources and sinks, and this is its spelling
	}
	s.userMetrics = prometheus.NewSummaryVec(prometheus.SummaryOpts{
		Name: name, Help: "Values that the function recorded.", ConstLabels: s.labels, Objectives: objectives(),
	}, []string{"metric"})
}

// Received counts a message that is about to be handled.
func (s *Stats) Received(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.received++
	s.minute.received++
	s.lastInvocation = at
}

// Handled records how long the handler took, whatever came out, and when it returned.
func (s *Stats) Handled(d time.Duration, at time.Time) {
	ms := float64(d) / float64(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range [...]*counts{&s.total, &s.minute} {
		if c.latencies == nil {
			c.latencies = &latencies{}
		}
		c.latencies.observe(ms, at)
	}
}

// Processed counts a message whose result is stored, or that has none.
func (s *Stats) Processed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.processed++
	s.minute.processed++
}

// UserError counts an error of the handler.
func (s *Stats) UserError(err error, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.userErrors++
	s.minute.userErrors++
	s.userErrors.add(err.Error(), at)
}

// SystemError counts an error around the handler.
func (s *Stats) SystemError(err error, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.systemErrors++
	s.minute.systemErrors++
	s.systemErrors.add(err.Error(), at)
}

// EdgeError counts an error of the source or of the sink itself.
func (s *Stats) EdgeError(err error, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.edgeErrors++
	s.minute.edgeErrors++
	s.edgeErrors.add(err.Error(), at)
}

// RecordMetric observes a value of the function. NaN and infinite values, and names beyond the limit of 500, are dropped.
func (s *Stats) RecordMetric(name string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	name = strings.ToValidUTF8(name, "\uFFFD")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.userMetricNames[name] {
		if len(s.userMetricNames) >= maxUserMetrics || len(name) > maxUserMetric {
			s.userMetricsDropped++
			return
		}
		s.userMetricNames[name] = true
	}
	s.userMetrics.WithLabelValues(name).Observe(value)
}

// Tumble starts a new minute.
func (s *Stats) Tumble() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetMinute()
}

// Reset clears the values of the minute and the user metrics.
func (s *Stats) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetMinute()
	s.resetUserMetrics()
}

// Status is the answer to GetFunctionStatus.
func (s *Stats) Status(running bool) *pb.FunctionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := &pb.FunctionStatus{
		Running: running, InstanceId: s.instanceID,
		NumReceived: s.total.received, NumSuccessfullyProcessed: s.total.processed,
		NumUserExceptions: s.total.userErrors, LatestUserExceptions: s.userErrors.proto(),
		NumSystemExceptions: s.total.systemErrors, LatestSystemExceptions: s.systemErrors.proto(),
		AverageLatency: s.total.averageLatency(), LastInvocationTime: millis(s.lastInvocation),
	}
	switch s.edge { // the Java instance fills the lists alone, and leaves the numbers at 0
	case "sink":
		status.NumSinkExceptions, status.LatestSinkExceptions = s.total.edgeErrors, s.edgeErrors.proto()
	case "source":
		status.NumSourceExceptions, status.LatestSourceExceptions = s.total.edgeErrors, s.edgeErrors.proto()
	}
	return status
}

func (r recent) proto() []*pb.FunctionStatus_ExceptionInformation {
	var out []*pb.FunctionStatus_ExceptionInformation
	for _, f := range r {
		out = append(out, &pb.FunctionStatus_ExceptionInformation{ExceptionString: f.text, MsSinceEpoch: millis(f.at)})
	}
	return out
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Metrics is the answer to GetMetrics.
func (s *Stats) Metrics() *pb.MetricsData {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.MetricsData{
		ReceivedTotal: s.total.received, ProcessedSuccessfullyTotal: s.total.processed,
		SystemExceptionsTotal: s.total.systemErrors, UserExceptionsTotal: s.total.userErrors,
		AvgProcessLatency: s.total.averageLatency(), LastInvocation: millis(s.lastInvocation),
		ReceivedTotal_1Min: s.minute.received, ProcessedSuccessfullyTotal_1Min: s.minute.processed,
		SystemExceptionsTotal_1Min: s.minute.systemErrors, UserExceptionsTotal_1Min: s.minute.userErrors,
		AvgProcessLatency_1Min: s.minute.averageLatency(), UserMetrics: s.userMetricValues(),
	}
}

// userMetricValues has the average under the metric's own name, as Go functions have it, and the Java names beside it.
func (s *Stats) userMetricValues() map[string]float64 {
	values := map[string]float64{}
	for name := range s.userMetricNames {
		metric, ok := s.userMetrics.WithLabelValues(name).(prometheus.Metric)
		if !ok {
			continue
		}
		var m dto.Metric
		if metric.Write(&m) != nil {
			continue
		}
		sum, count := m.GetSummary().GetSampleSum(), float64(m.GetSummary().GetSampleCount())
		values["user_metric_"+name+"_sum"], values["user_metric_"+name+"_count"] = sum, count
		if count > 0 {
			values[name] = sum / count
		}
		for _, q := range m.GetSummary().GetQuantile() {
			if !math.IsNaN(q.GetValue()) {
				values["user_metric_"+name+"_"+strconv.FormatFloat(q.GetQuantile(), 'g', -1, 64)] = q.GetValue()
			}
		}
	}
	return values
}
