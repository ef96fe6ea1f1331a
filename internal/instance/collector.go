package instance

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Describe sends nothing: the error series come and go, so the collector is an unchecked one.
func (s *Stats) Describe(chan<- *prometheus.Desc) {}

// Collect writes the families by the names that Java, Python and Go instances share (process contract, section 7);
// what counts is a counter, though the established Go instances show gauges.
func (s *Stats) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	families := []struct {
		name, help     string
		total, minutes int64
	}{
		{"processed_successfully", "Messages processed without error.", s.total.processed, s.minute.processed},
		{"system_exceptions", "Errors around the function.", s.total.systemErrors, s.minute.systemErrors},
		{"user_exceptions", "Errors of the function.", s.total.userErrors, s.minute.userErrors},
		{"received", "Messages received.", s.total.received, s.minute.received},
	}
	for _, f := range families {
		s.send(ch, f.name+"_total", f.help, prometheus.CounterValue, float64(f.total))
		s.send(ch, f.name+"_1min_total", f.help+" Since the last full minute.", prometheus.CounterValue, float64(f.minutes))
	}
	s.send(ch, "last_invocation", "Time of the last message, in milliseconds since the epoch.", prometheus.GaugeValue, float64(millis(s.lastInvocation)))
	s.latency.Collect(ch)
	s.latencyM.Collect(ch)
	s.userMetrics.Collect(ch)
	s.sendErrors(ch, "user_exception", "Latest errors of the function.", s.userErrors)
	s.sendErrors(ch, "system_exception", "Latest errors around the function.", s.systemErrors)
}

func (s *Stats) send(ch chan<- prometheus.Metric, name, help string, t prometheus.ValueType, value float64) {
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(metricPrefix+name, help, nil, s.labels), t, value)
}

// sendErrors has one series per different text among the latest errors, so that their number stays bounded.
func (s *Stats) sendErrors(ch chan<- prometheus.Metric, name, help string, errors recent) {
	desc := prometheus.NewDesc(metricPrefix+name, help, []string{"error"}, s.labels)
	seen := map[string]bool{}
	for _, f := range errors {
		if !seen[f.text] {
			seen[f.text] = true
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 1, f.text)
		}
	}
}
