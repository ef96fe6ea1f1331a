package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// maxPeerCalls is how many instances are asked at the same time for one answer.
const maxPeerCalls = 16

func sortedAssignments(list []*pb.Assignment) []*pb.Assignment {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *pb.Assignment) int {
		return int(a.GetInstance().GetInstanceId()) - int(b.GetInstance().GetInstanceId())
	})
	return list
}

// notScheduled is the report of an instance that no live worker runs.
func notScheduled(k Kind) *pb.FunctionStatus {
	return &pb.FunctionStatus{FailureException: k.String() + " has not been scheduled"}
}

// each runs f for every index, some at a time, and returns when all are done.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxPeerCalls)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// status answers the status of all instances. Instances that cannot be asked are reported as not running, with the
// reason; they never fail the whole answer.
func (s *Server) status(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, meta, err := s.known(r, k)
		if err != nil {
			return err
		}
		reports, err := s.reports(r.Context(), t, meta, s.localReport, s.peerReport)
		if err != nil {
			return err
		}
		answer := componentStatus{NumInstances: len(reports), Instances: reports}
		for _, report := range reports {
			if report.running {
				answer.NumRunning++
			}
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

type (
	// localAsk reports an instance that runs here, or nowhere (p is nil or has no owner).
	localAsk func(ctx context.Context, t target, p *place, id int32) instanceReport
	// peerAsk asks the owner of an instance.
	peerAsk func(ctx context.Context, t target, p place) instanceReport
)

// reports asks all instances of a component, here and at other workers, concurrently, sorted by id. With an external
// runtime only the owner of the one assignment can answer: others get a RedirectError.
func (s *Server) reports(ctx context.Context, t target, meta *pb.FunctionMetaData, local localAsk, peer peerAsk) ([]instanceReport, error) {
	places, err := s.places(ctx, t.fqfn())
	if err != nil {
		return nil, err
	}
	if s.opts.Runtime.ExternallyManaged() {
		whole := placeOf(places, -1)
		if whole != nil && whole.owner != nil {
			return nil, cluster.RedirectError{To: *whole.owner}
		}
		reports := make([]instanceReport, pb.InstanceCount(meta.GetFunctionDetails()))
		each(len(reports), func(i int) { reports[i] = local(ctx, t, whole, int32(i)) })
		return reports, nil
	}
	reports := make([]instanceReport, len(places))
	each(len(places), func(i int) {
		if p := places[i]; p.owner != nil {
			reports[i] = peer(ctx, t, p)
		} else {
			reports[i] = local(ctx, t, &p, p.id)
		}
	})
	return reports, nil
}

// localReport is the status of an instance that runs here or nowhere.
func (s *Server) localReport(ctx context.Context, t target, p *place, id int32) instanceReport {
	st, workerID := s.localStatus(ctx, t, p, id)
	return instanceReport{InstanceID: id, Status: statusView(t.kind, st, workerID), running: st.GetRunning()}
}

func (s *Server) localStatus(ctx context.Context, t target, p *place, id int32) (*pb.FunctionStatus, *string) {
	if p == nil || !p.mine {
		return notScheduled(t.kind), nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.PeerTimeout)
	defer cancel()
	st := s.opts.Instances.Status(ctx, p.key, id)
	if st == nil {
		st = &pb.FunctionStatus{}
	}
	return st, &p.workerID
}

// peerReport asks the owner of an instance for its status; the answer is passed on as it is.
func (s *Server) peerReport(ctx context.Context, t target, p place) instanceReport {
	_, body, err := s.askPeer(ctx, http.MethodGet, *p.owner, componentPath(t)+"/"+itoa(p.id)+"/status")
	var brief struct {
		Running bool `json:"running"`
	}
	if err == nil {
		err = json.Unmarshal(body, &brief)
	}
	if err != nil {
		st := &pb.FunctionStatus{FailureException: err.Error()}
		return instanceReport{InstanceID: p.id, Status: statusView(t.kind, st, &p.workerID)}
	}
	return instanceReport{InstanceID: p.id, Status: json.RawMessage(body), running: brief.Running}
}

// instanceStatus answers the status of one instance; its owner answers for itself.
func (s *Server) instanceStatus(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, _, id, err := s.knownInstance(r, k)
		if err != nil {
			return err
		}
		p, err := s.place(r.Context(), t, id)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, s.localReport(r.Context(), t, p, id).Status)
		return nil
	}
}

// place finds the assignment that covers one instance; a RedirectError says that another worker has it.
func (s *Server) place(ctx context.Context, t target, id int32) (*place, error) {
	places, err := s.places(ctx, t.fqfn())
	if err != nil {
		return nil, err
	}
	assigned := id
	if s.opts.Runtime.ExternallyManaged() {
		assigned = -1
	}
	p := placeOf(places, assigned)
	if p != nil && p.owner != nil {
		return nil, cluster.RedirectError{To: *p.owner}
	}
	return p, nil
}
