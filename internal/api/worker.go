package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
	"google.golang.org/protobuf/proto"
)

// members answers the workers of the cluster, in the broker's order.
func (s *Server) members(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	members, err := s.opts.Cluster.Members(r.Context())
	if err != nil {
		return err
	}
	if members == nil {
		members = []cluster.WorkerInfo{}
	}
	writeJSON(w, http.StatusOK, members)
	return nil
}

func (s *Server) leader(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	leader, err := s.opts.Cluster.Leader(r.Context())
	if err != nil {
		return err
	}
	if leader == nil {
		return cluster.ErrLeaderUnknown
	}
	writeJSON(w, http.StatusOK, leader)
	return nil
}

// leaderReady is true on the leader once it is set up, 503 elsewhere, also on healthy followers.
func (s *Server) leaderReady(w http.ResponseWriter, r *http.Request) error {
	if !s.opts.Cluster.LeaderReady() {
		return fail(http.StatusServiceUnavailable, textNotInitialized)
	}
	writeJSON(w, http.StatusOK, true)
	return nil
}

func (s *Server) assignments(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	answer := map[string][]string{}
	for workerID, list := range s.opts.Cluster.Assignments() {
		keys := make([]string, 0, len(list))
		for key := range list {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		answer[workerID] = keys
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) rebalance(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	if err := s.opts.Cluster.Rebalance(r.Context()); err != nil {
		return s.notMyself(err)
	}
	void(w, http.StatusNoContent)
	return nil
}

// notMyself turns a redirect to this very worker, which was elected and is not ready yet, into 503: clients would
// follow it in circles.
func (s *Server) notMyself(err error) error {
	var redirect cluster.RedirectError
	if errors.As(err, &redirect) && redirect.To.WorkerID == s.opts.Cluster.Self().WorkerID {
		return cluster.ErrLeaderNotReady
	}
	return err
}

// drainedWorker is the worker that a request of the drain family means: the one named, or this one.
func (s *Server) drainedWorker(r *http.Request) string {
	if id := r.URL.Query().Get("workerId"); id != "" {
		path, _ := routePath(r.URL.EscapedPath())
		if len(path) > len("/leader/drain") && path[len(path)-len("/leader/drain"):] == "/leader/drain" {
			return id
		}
	}
	return s.opts.Cluster.Self().WorkerID
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	workerID := s.drainedWorker(r)
	if err := s.opts.Cluster.Drain(r.Context(), workerID); err != nil {
		return s.drainError(w, r, workerID, err)
	}
	void(w, http.StatusNoContent)
	return nil
}

func (s *Server) drainStatus(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	workerID := s.drainedWorker(r)
	status, err := s.opts.Cluster.DrainStatus(r.Context(), workerID)
	if err != nil {
		return s.drainError(w, r, workerID, err)
	}
	writeJSON(w, http.StatusOK, status)
	return nil
}

// drainError redirects to the leader, under the path that names the drained worker: "drain me" must reach it with
// the right id (rest-api contract, section 8.1).
func (s *Server) drainError(w http.ResponseWriter, r *http.Request, workerID string, err error) error {
	var redirect cluster.RedirectError
	if err = s.notMyself(err); !errors.As(err, &redirect) {
		return err
	}
	query := r.URL.Query()
	query.Set("workerId", workerID)
	s.redirect(w, r, redirect.To, "/admin/v2/worker/leader/drain", url.Values(query).Encode())
	return nil
}

// writeAsLeader applies a metadata change that another worker forwards (rest-api contract, section 8.3).
func (s *Server) writeAsLeader(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return drainBody(r, err)
	}
	f, err := s.readForm(r, formSpec{blobs: []string{"functionMetaData"}, texts: []string{"delete"}})
	if err != nil {
		return drainBody(r, err)
	}
	meta := &pb.FunctionMetaData{}
	data := f.values["functionMetaData"]
	if len(data) == 0 || proto.Unmarshal(data, meta) != nil || meta.GetFunctionDetails() == nil {
		return fail(http.StatusBadRequest, "Corrupt Function MetaData")
	}
	ctx, cancel := s.writeContext(r)
	defer cancel()
	if err := s.opts.Cluster.WriteAsLeader(ctx, meta, f.text("delete") == "true"); err != nil {
		return s.notMyself(err)
	}
	void(w, http.StatusNoContent)
	return nil
}
