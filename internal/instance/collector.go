package instance

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Describe sends nothing: the error series come and go, so the collector is an unchecked one.
func (s *Stats) Describe(chan<- *prometheus.Desc) {}

// Collect writes the families by the names that Java, Python and Go instances share (process contract, section 7);
// what counts is a counter, though the established Go instances show gauges.
func (s *Stats) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.families() {
		s.send(ch, f.name+"_total", f.help, prometheus.CounterValue, float64(f.total))
		s.send(ch, f.name+"_1min_total", f.help+" Since the last full minute.", prometheus.CounterValue, float64(f.minute))
	}
	s.send(ch, "last_invocation", "Time of the last message, in milliseconds since the epoch.", prometheus.GaugeValue, float64(millis(s.lastInvocation)))
	s.userMetrics.Collect(ch)
	s.sendErrors(ch, "system_exception", "Latest errors around the "+s.what()+".", s.systemErrors)
	if s.edge != "" {
		s.sendErrors(ch, s.edge+"_exception", "Latest errors of the "+s.edge+".", s.edgeErrors)
		return
	}
	s.sendLatencies(ch, s.total.latencies, latencyName, latencyHelp)
	s.sendLatencies(ch, s.minute.latencies, latencyMinuteName, latencyMinuteHelp)
	s.sendErrors(ch, "user_exception", "Latest errors of the function.", s.userErrors)
}

func (s *Stats) what() string {
	if s.edge != "" {
		return s.edge
	}
	return "function"
}

// family is a counter and the one of its minute.
type family struct {
	name, help    string
	total, minute int64
}

func (s *Stats) families() []family {
	list := []family{
		{"received", "Messages received.", s.total.received, s.minute.received},
		{"system_exceptions", "Errors around the " + s.what() + ".", s.total.systemErrors, s.minute.systemErrors},
	}
	if s.edge != "" {
		return append(list, family{"written", "Messages written.", s.total.processed, s.minute.processed},
			family{s.edge + "_exceptions", "Errors of the " + s.edge + ".", s.total.edgeErrors, s.minute.edgeErrors})
	}
	return append(list, family{"processed_successfully", "Messages processed without error.", s.total.processed, s.minute.processed},
		family{"user_exceptions", "Errors of the function.", s.total.userErrors, s.minute.userErrors})
}

func (s *Stats) sendLatencies(ch chan<- prometheus.Metric, l *latencies, name, help string) {
	if l == nil {
		l = &latencies{}
	}
	ch <- l.metric(prometheus.NewDesc(s.prefix+name, help, nil, s.labels), time.Now())
}

func (s *Stats) send(ch chan<- prometheus.Metric, name, help string, t prometheus.ValueType, value float64) {
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(s.prefix+name, help, nil, s.labels), t, value)
}

// sendErrors has one series per different text among the latest errors, so that their number stays bounded.
func (s *Stats) sendErrors(ch chan<- prometheus.Metric, name, help string, errors recent) {
	desc := prometheus.NewDesc(s.prefix+name, help, []string{"error"}, s.labels)
	seen := map[string]bool{}
	for _, f := range errors {
		if !seen[f.text] {
			seen[f.text] = true
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 1, f.text)
		}
	}
}
