package api

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func itoa(id int32) string { return strconv.Itoa(int(id)) }

// counters are the five numbers that exist since the start and for the last minute.
type counters struct {
	ReceivedTotal              int64       `json:"receivedTotal"`
	ProcessedSuccessfullyTotal int64       `json:"processedSuccessfullyTotal"`
	SystemExceptionsTotal      int64       `json:"systemExceptionsTotal"`
	UserExceptionsTotal        int64       `json:"userExceptionsTotal"`
	AvgProcessLatency          *javaDouble `json:"avgProcessLatency"`
}

// instanceStats is the JSON of one instance (rest-api contract, section 9.6).
type instanceStats struct {
	counters
	OneMin         counters              `json:"1min"`
	LastInvocation *int64                `json:"lastInvocation"`
	UserMetrics    map[string]javaDouble `json:"userMetrics"`
}

// componentStats is the JSON of a whole component.
type componentStats struct {
	counters
	OneMin         counters     `json:"1min"`
	LastInvocation *int64       `json:"lastInvocation"`
	Instances      []namedStats `json:"instances"`
}

type namedStats struct {
	InstanceID int32         `json:"instanceId"`
	Metrics    instanceStats `json:"metrics"`
}

// statsView maps what an instance counts to JSON: nothing processed is null, not zero; NaN is left out.
func statsView(m *pb.MetricsData) instanceStats {
	view := instanceStats{
		counters: counters{m.GetReceivedTotal(), m.GetProcessedSuccessfullyTotal(), m.GetSystemExceptionsTotal(), m.GetUserExceptionsTotal(), latency(m.GetAvgProcessLatency())},
		OneMin: counters{m.GetReceivedTotal_1Min(), m.GetProcessedSuccessfullyTotal_1Min(), m.GetSystemExceptionsTotal_1Min(),
			m.GetUserExceptionsTotal_1Min(), latency(m.GetAvgProcessLatency_1Min())},
		UserMetrics: map[string]javaDouble{},
	}
	if last := m.GetLastInvocation(); last != 0 {
		view.LastInvocation = &last
	}
	for name, value := range m.GetUserMetrics() {
		if !math.IsNaN(value) {
			view.UserMetrics[name] = javaDouble(value)
		}
	}
	return view
}

func latency(ms float64) *javaDouble {
	if ms == 0 || math.IsNaN(ms) {
		return nil
	}
	d := javaDouble(ms)
	return &d
}

// total sums the counters; latencies are averaged over the instances that have one.
func total(list []counters) counters {
	var sum counters
	var latencies, count float64
	for _, c := range list {
		sum.ReceivedTotal += c.ReceivedTotal
		sum.ProcessedSuccessfullyTotal += c.ProcessedSuccessfullyTotal
		sum.SystemExceptionsTotal += c.SystemExceptionsTotal
		sum.UserExceptionsTotal += c.UserExceptionsTotal
		if c.AvgProcessLatency != nil {
			latencies += float64(*c.AvgProcessLatency)
			count++
		}
	}
	if count > 0 {
		mean := javaDouble(latencies / count)
		sum.AvgProcessLatency = &mean
	}
	return sum
}

// totalStats puts the instances of a component together.
func totalStats(instances []namedStats) componentStats {
	answer := componentStats{Instances: instances}
	if instances == nil {
		answer.Instances = []namedStats{}
	}
	var all, minute []counters
	for _, i := range instances {
		all, minute = append(all, i.Metrics.counters), append(minute, i.Metrics.OneMin)
		if last := i.Metrics.LastInvocation; last != nil && (answer.LastInvocation == nil || *last > *answer.LastInvocation) {
			answer.LastInvocation = last
		}
	}
	answer.counters, answer.OneMin = total(all), total(minute)
	return answer
}

// stats answers the numbers of all instances; an instance that cannot be asked counts as zero.
func (s *Server) stats(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, meta, err := s.known(r, k)
		if err != nil {
			return err
		}
		reports, err := s.reports(r.Context(), t, meta, s.localStats, s.peerStats)
		if err != nil {
			return err
		}
		instances := make([]namedStats, len(reports))
		for i, report := range reports {
			instances[i] = namedStats{report.InstanceID, report.Status.(instanceStats)}
		}
		writeJSON(w, http.StatusOK, totalStats(instances))
		return nil
	}
}

func (s *Server) localStats(ctx context.Context, t target, p *place, id int32) instanceReport {
	m, _ := s.localMetrics(ctx, p, id)
	return instanceReport{InstanceID: id, Status: statsView(m)}
}

// localMetrics asks an instance that runs here; nil when there is none or it does not answer.
func (s *Server) localMetrics(ctx context.Context, p *place, id int32) (*pb.MetricsData, error) {
	if p == nil || !p.mine {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.PeerTimeout)
	defer cancel()
	return s.opts.Instances.Metrics(ctx, p.key, id)
}

func (s *Server) peerStats(ctx context.Context, t target, p place) instanceReport {
	view := statsView(nil)
	status, body, err := s.askPeer(ctx, http.MethodGet, *p.owner, componentPath(t)+"/"+itoa(p.id)+"/stats")
	if err == nil && status == http.StatusOK {
		if json.Unmarshal(body, &view) != nil {
			view = statsView(nil)
		}
	}
	return instanceReport{InstanceID: p.id, Status: view}
}

// instanceStats answers the numbers of one instance, zeros when it cannot be asked.
func (s *Server) instanceStats(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, _, id, err := s.knownInstance(r, k)
		if err != nil {
			return err
		}
		p, err := s.place(r.Context(), t, id)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, s.localStats(r.Context(), t, p, id).Status)
		return nil
	}
}

// workerInstance is one element of functionsmetrics; metrics is null when the instance could not be asked.
type workerInstance struct {
	Name    string         `json:"name"`
	Metrics *instanceStats `json:"metrics"`
}

// functionsMetrics answers the numbers of all instances that this worker runs.
func (s *Server) functionsMetrics(w http.ResponseWriter, r *http.Request) error {
	self := s.opts.Cluster.Self().WorkerID
	type question struct {
		place place
		id    int32
		name  string
	}
	var questions []question
	for key, a := range s.opts.Cluster.Assignments()[self] {
		p := place{key: key, workerID: self, mine: true, id: a.GetInstance().GetInstanceId()}
		if p.id >= 0 {
			questions = append(questions, question{p, p.id, key})
			continue
		}
		d := a.GetInstance().GetFunctionMetaData().GetFunctionDetails()
		for id := range pb.InstanceCount(d) {
			questions = append(questions, question{p, id, pb.FullyQualifiedName(d) + ":" + itoa(id)})
		}
	}
	slices.SortFunc(questions, func(a, b question) int { return strings.Compare(a.name, b.name) })
	answer := make([]workerInstance, len(questions))
	each(len(questions), func(i int) {
		answer[i].Name = questions[i].name
		if m, err := s.localMetrics(r.Context(), &questions[i].place, questions[i].id); err == nil && m != nil {
			view := statsView(m)
			answer[i].Metrics = &view
		}
	})
	writeJSON(w, http.StatusOK, answer)
	return nil
}
