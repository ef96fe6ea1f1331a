// Package metrics holds the numbers of the worker process under the names that the Java worker gave them, and writes
// the /metrics page: the worker's own families, then those that its instances report, merged so that each family is
// declared once (security-and-metrics contract, section 6).
//
// A Worker is made once at start; the parts of the worker report to it as they work. It has no goroutines.
package metrics

import (
	"context"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const prefix = "pulsar_function_worker_"

// Options say where the numbers come from that are read at each scrape. Functions must be quick and must not block on
// the broker; nil ones leave their families out.
type Options struct {
	Cluster string // value of the label cluster (pulsarFunctionsCluster)
	// Instances is the number of instances assigned to this worker.
	Instances func() int
	// Leader tells the numbers of the leader; false on other workers.
	Leader func() (LeaderNumbers, bool)
	// Scrape writes the Prometheus text of all instances; nil with an external runtime.
	Scrape func(ctx context.Context, w io.Writer) error
	// Standard adds the families of the process and of the Go runtime (includeStandardPrometheusMetrics).
	Standard bool
	// ScrapeTimeout bounds asking the instances; default 10 s.
	ScrapeTimeout time.Duration
}

// LeaderNumbers are shown by the leader only.
type LeaderNumbers struct {
	Functions         int // registered components
	ExpectedInstances int // sum of their parallelism
}

// Worker is the set of families of one worker. It observes the cluster and the supervisor; durations are recorded in
// milliseconds.
type Worker struct {
	opts     Options
	registry *prometheus.Registry

	startUp, schedule, scheduleStrategy, rebalance, rebalanceStrategy, drain, startInstance, stopInstance prometheus.Summary
	rejected                                                                                              prometheus.Counter
}

// NewWorker makes the families.
func NewWorker(opts Options) *Worker {
	if opts.ScrapeTimeout <= 0 {
		opts.ScrapeTimeout = 10 * time.Second
	}
	w := &Worker{opts: opts, registry: prometheus.NewRegistry()}
	quantiles := map[float64]float64{0.5: 0.01, 0.9: 0.01, 1: 0.01}
	w.startUp = w.summary("start_up_time_ms", "Worker service startup time in milliseconds.", nil)
	w.schedule = w.summary("schedule_execution_time_total_ms", "Total execution time of schedule in milliseconds.", quantiles)
	w.scheduleStrategy = w.summary("schedule_strategy_execution_time_ms", "Execution time of schedule strategy in milliseconds.", quantiles)
	w.rebalance = w.summary("rebalance_execution_time_total_ms", "Total execution time of a rebalance in milliseconds.", quantiles)
	w.rebalanceStrategy = w.summary("rebalance_strategy_execution_time_ms", "Execution time of rebalance strategy in milliseconds.", quantiles)
	w.stopInstance = w.summary("stop_instance_process_time_ms", "Stopping instance process time in milliseconds.", quantiles)
	w.startInstance = w.summary("start_instance_process_time_ms", "Starting instance process time in milliseconds.", quantiles)
	w.drain = w.summary("drain_execution_time_total_ms", "Total execution time of a drain in milliseconds.", quantiles)
	w.registry.MustRegister(newScraped(opts))
	if opts.Standard {
		w.rejected = prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pulsar_broker_http_rejected_requests_total", Help: "Requests that the rate limit refused.",
		})
		w.registry.MustRegister(w.rejected, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return w
}

func (w *Worker) summary(name, help string, quantiles map[float64]float64) prometheus.Summary {
	s := prometheus.NewSummary(prometheus.SummaryOpts{
		Name: prefix + name, Help: help, Objectives: quantiles, MaxAge: 10 * time.Minute,
		ConstLabels: prometheus.Labels{"cluster": w.opts.Cluster},
	})
	w.registry.MustRegister(s)
	return s
}

func observe(s prometheus.Summary, d time.Duration) {
	s.Observe(float64(d) / float64(time.Millisecond))
}

// Started records how long the worker took to start; once.
func (w *Worker) Started(took time.Duration) { observe(w.startUp, took) }

// Scheduled records one scheduling run and the placement decision inside it.
func (w *Worker) Scheduled(total, strategy time.Duration) {
	observe(w.schedule, total)
	observe(w.scheduleStrategy, strategy)
}

// Rebalanced records one rebalance and the decision inside it.
func (w *Worker) Rebalanced(total, strategy time.Duration) {
	observe(w.rebalance, total)
	observe(w.rebalanceStrategy, strategy)
}

// Drained records one drain.
func (w *Worker) Drained(took time.Duration) { observe(w.drain, took) }

// InstanceStarted records the start of an instance.
func (w *Worker) InstanceStarted(_ string, took time.Duration) { observe(w.startInstance, took) }

// InstanceStopped records the stop of an instance.
func (w *Worker) InstanceStopped(_ string, took time.Duration) { observe(w.stopInstance, took) }

// RequestRejected counts a request that the rate limit refused.
func (w *Worker) RequestRejected() {
	if w.rejected != nil {
		w.rejected.Inc()
	}
}

// Registry takes further families of the process.
func (w *Worker) Registry() prometheus.Registerer { return w.registry }

// scraped collects what is known only at the moment of a scrape.
type scraped struct {
	opts                                     Options
	instances, functions, expected, isLeader *prometheus.Desc
}

func newScraped(opts Options) *scraped {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, nil, prometheus.Labels{"cluster": opts.Cluster})
	}
	return &scraped{
		opts:      opts,
		instances: desc("instance_count", "Number of instances run by this worker."),
		functions: desc("total_function_count", "Number of registered functions, sinks and sources."),
		expected:  desc("total_expected_instance_count", "Number of instances that should run in the cluster."),
		isLeader:  desc("is_leader", "1 on the leader, absent elsewhere."),
	}
}

// Describe implements prometheus.Collector.
func (s *scraped) Describe(out chan<- *prometheus.Desc) {
	out <- s.instances
	out <- s.functions
	out <- s.expected
	out <- s.isLeader
}

// Collect implements prometheus.Collector.
func (s *scraped) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value int) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value))
	}
	if s.opts.Instances != nil {
		gauge(s.instances, s.opts.Instances())
	}
	if s.opts.Leader == nil {
		return
	}
	if numbers, leader := s.opts.Leader(); leader {
		gauge(s.functions, numbers.Functions)
		gauge(s.expected, numbers.ExpectedInstances)
		gauge(s.isLeader, 1)
	}
}
