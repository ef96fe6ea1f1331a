package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// maxScaleBody bounds the body of a PUT, in bytes.
const maxScaleBody = 4 << 10

// scaleRoutes are of this worker only and therefore have paths of their own: the parallelism of a component for autoscalers,
// which neither send nor know the rest of its configuration.
func (s *Server) scaleRoutes() []route {
	var routes []route
	for prefix, k := range map[string]Kind{"functions": Function, "sinks": Sink, "sources": Source} {
		one := "/functions-worker/v1/" + prefix + "/{tenant}/{namespace}/{name}/scale"
		routes = append(routes,
			route{method: "GET", pattern: one, json: true, handle: s.getScale(k)},
			route{method: "PUT", pattern: one, body: bodyAction, json: true, handle: s.putScale(k)})
	}
	return routes
}

// scale is the body of both.
type scale struct {
	Parallelism *int32 `json:"parallelism"`
}

func (s *Server) getScale(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		_, meta, err := s.known(r, k)
		if err != nil {
			return err
		}
		n := meta.GetFunctionDetails().GetParallelism()
		writeJSON(w, http.StatusOK, scale{&n})
		return nil
	}
}

// putScale changes the parallelism as an update would, for callers who may update the component. The one that it has is no error:
// autoscalers repeat themselves.
func (s *Server) putScale(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, meta, err := s.known(r, k)
		if err != nil {
			return drainBody(r, err)
		}
		n, err := readScale(r.Body)
		if err != nil {
			return fail(http.StatusBadRequest, "The body is not {\"parallelism\": number}: "+err.Error())
		}
		if n == meta.GetFunctionDetails().GetParallelism() {
			void(w, http.StatusNoContent)
			return nil
		}
		changed := proto.CloneOf(meta)
		changed.Version++
		changed.FunctionDetails.Parallelism = n
		if err := s.opts.Runtime.Admit(changed.GetFunctionDetails()); err != nil {
			return failf(http.StatusBadRequest, "%s %s cannot be admitted:- %v", k, t.name, err)
		}
		ctx, cancel := s.writeContext(r)
		defer cancel()
		if err := s.opts.Cluster.Write(ctx, changed, false); err != nil {
			return err
		}
		void(w, http.StatusNoContent)
		return nil
	}
}

func readScale(body io.Reader) (int32, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxScaleBody+1))
	switch {
	case err != nil:
		return 0, err
	case len(data) > maxScaleBody:
		return 0, errors.New("it is too long")
	}
	var wanted scale
	if err := json.Unmarshal(data, &wanted); err != nil {
		return 0, err
	}
	if wanted.Parallelism == nil || *wanted.Parallelism < 1 || *wanted.Parallelism > pb.MaxParallelism {
		return 0, errors.New("parallelism must be from 1 to " + strconv.Itoa(pb.MaxParallelism))
	}
	return *wanted.Parallelism, nil
}
