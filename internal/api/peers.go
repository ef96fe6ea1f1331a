package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// maxPeerAnswer bounds what is read of another worker's answer.
const maxPeerAnswer = 8 << 20

// place is where an instance is, as far as this worker knows.
type place struct {
	id       int32
	key      string // of the assignment
	workerID string
	mine     bool
	owner    *cluster.WorkerInfo // nil: mine, or the worker is not a member any more
}

// places are the assigned instances of a component, sorted by id. The members are asked for only when needed.
func (s *Server) places(ctx context.Context, fqfn string) ([]place, error) {
	var list []place
	var members []cluster.WorkerInfo
	asked := false
	for _, a := range sortedAssignments(s.opts.Cluster.FunctionAssignments(fqfn)) {
		p := place{id: a.GetInstance().GetInstanceId(), key: pb.InstanceKey(a.GetInstance()), workerID: a.GetWorkerId()}
		if p.mine = p.workerID == s.opts.Cluster.Self().WorkerID; !p.mine && !asked {
			var err error
			if members, err = s.opts.Cluster.Members(ctx); err != nil {
				return nil, fmt.Errorf("asking the broker for the members of the cluster: %w", err)
			}
			asked = true
		}
		for i := range members {
			if !p.mine && members[i].WorkerID == p.workerID {
				p.owner = &members[i]
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// placeOf is the place of one instance, nil when it is not assigned.
func placeOf(places []place, id int32) *place {
	for i := range places {
		if places[i].id == id {
			return &places[i]
		}
	}
	return nil
}

// componentPath is the path of a component in the family of its kind, as other workers know it.
func componentPath(t target) string {
	return "/admin/v3/" + kindName(t.kind) + "s/" + url.PathEscape(t.tenant) + "/" + url.PathEscape(t.namespace) + "/" + url.PathEscape(t.name)
}

// askPeer sends one request to another worker, at its own address, and returns status and body.
func (s *Server) askPeer(ctx context.Context, method string, to cluster.WorkerInfo, path string) (int, []byte, error) {
	return s.askPeerFor(ctx, s.opts.PeerTimeout, method, to, path)
}

func (s *Server) askPeerFor(ctx context.Context, timeout time.Duration, method string, to cluster.WorkerInfo, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.peerURL(to, path, ""), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("asking worker %s: %w", to.WorkerID, err)
	}
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.opts.Peers.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("asking worker %s: %w", to.WorkerID, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPeerAnswer+1))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer of worker %s: %w", to.WorkerID, err)
	}
	if len(body) > maxPeerAnswer {
		return 0, nil, fmt.Errorf("the answer of worker %s is larger than %d bytes", to.WorkerID, maxPeerAnswer)
	}
	if resp.StatusCode >= 300 {
		return resp.StatusCode, nil, fmt.Errorf("worker %s answered %d: %s", to.WorkerID, resp.StatusCode, reasonOf(body))
	}
	return resp.StatusCode, body, nil
}

// reasonOf is the text of an error answer.
func reasonOf(body []byte) string {
	var e struct{ Reason, Message string }
	if json.Unmarshal(body, &e) == nil && e.Reason+e.Message != "" {
		if e.Reason != "" {
			return e.Reason
		}
		return e.Message
	}
	text := strings.TrimSpace(string(body))
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return strconv.Quote(text)
}
