package api

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/pb"
	"google.golang.org/protobuf/proto"
)

// target is the component that a path names.
type target struct {
	kind                    Kind
	tenant, namespace, name string
}

func (t target) fqfn() string { return t.tenant + "/" + t.namespace + "/" + t.name }

// targetOf reads the path parameters and checks that the caller may work with components of this kind there.
func (s *Server) targetOf(r *http.Request, k Kind) (target, error) {
	t := target{kind: k}
	for name, dst := range map[string]*string{"tenant": &t.tenant, "namespace": &t.namespace, "name": &t.name} {
		value, err := param(r, name)
		if err != nil {
			return t, err
		}
		*dst = value
	}
	return t, s.allow(r, Access{Right: RightComponent, Kind: k, Tenant: t.tenant, Namespace: t.namespace})
}

// existing is the metadata of the component, or 404 when it is unknown or of another kind.
func (s *Server) existing(t target) (*pb.FunctionMetaData, error) {
	meta, ok := s.opts.Cluster.Function(t.tenant, t.namespace, t.name)
	if !ok || KindOf(meta) != t.kind {
		return nil, failf(http.StatusNotFound, "%s %s doesn't exist", t.kind, t.name)
	}
	return meta, nil
}

// known combines targetOf and existing.
func (s *Server) known(r *http.Request, k Kind) (target, *pb.FunctionMetaData, error) {
	t, err := s.targetOf(r, k)
	if err != nil {
		return t, nil, err
	}
	meta, err := s.existing(t)
	return t, meta, err
}

// instanceID reads the {id} of a path; the Java worker answers 500 to a text that is no number.
func instanceID(r *http.Request) (int32, error) {
	text, err := param(r, "id")
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, failf(http.StatusBadRequest, "The instance id %q is not a number between %d and %d", text, math.MinInt32, math.MaxInt32)
	}
	return int32(id), nil
}

// knownInstance combines known and instanceID and checks that the component has such an instance.
func (s *Server) knownInstance(r *http.Request, k Kind) (t target, meta *pb.FunctionMetaData, id int32, err error) {
	if t, meta, err = s.known(r, k); err != nil {
		return t, nil, 0, err
	}
	if id, err = instanceID(r); err != nil {
		return t, nil, 0, err
	}
	if id < 0 || id >= meta.GetFunctionDetails().GetParallelism() {
		return t, nil, 0, failf(http.StatusBadRequest, "%s %s doesn't have instance with id %d", k, t.name, id)
	}
	return t, meta, id, nil
}

// get answers the config of a component.
func (s *Server) get(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		_, meta, err := s.known(r, k)
		if err != nil {
			return err
		}
		config, err := s.opts.Codecs[k].Of(meta)
		if err != nil {
			return fail(http.StatusInternalServerError, err.Error())
		}
		writeJSON(w, http.StatusOK, config)
		return nil
	}
}

// list answers the names of all components of one kind in a namespace, [] for an unknown one.
func (s *Server) list(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := s.targetOf(r, k)
		if err != nil {
			return err
		}
		names := []string{}
		for _, meta := range s.opts.Cluster.Functions(t.tenant, t.namespace) {
			if KindOf(meta) == k {
				names = append(names, meta.GetFunctionDetails().GetName())
			}
		}
		slices.Sort(names)
		writeJSON(w, http.StatusOK, names)
		return nil
	}
}

// deregister deletes a component: its metadata and state at once; what else it leaves is removed when its instances have
// ended, by whichever worker.
func (s *Server) deregister(k Kind, success int) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, meta, err := s.known(r, k)
		if err != nil {
			return err
		}
		gone := proto.CloneOf(meta)
		gone.Version++
		ctx, cancel := s.writeContext(r)
		defer cancel()
		s.opts.Cleanups.Add(ctx, cleanup.Deleted(meta)) // before, so that dying in between loses nothing
		if err := s.opts.Cluster.Write(ctx, gone, true); err != nil {
			return err
		}
		if s.opts.State != nil {
			if err := s.opts.State.Cleanup(ctx, t.tenant, t.namespace, t.name); err != nil {
				s.log.Warn("the state of a deleted function could not be removed", logTarget(t), logError(err))
			}
		}
		void(w, success)
		return nil
	}
}

// void answers success without a body.
func void(w http.ResponseWriter, status int) {
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
}

// The two desired states that start and stop set.
const (
	start = pb.FunctionState_RUNNING
	stop  = pb.FunctionState_STOPPED
)

// errNotPermitted answers a start or stop that would change nothing.
var errNotPermitted = errors.New("Operation not permitted")

// changeState starts or stops one instance, or all of them when the path has no {id} or a negative one.
func (s *Server) changeState(k Kind, want pb.FunctionState, success int) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, meta, err := s.known(r, k)
		if err != nil {
			return err
		}
		id := int32(-1)
		if _, single := routeParam(r, "id"); single {
			if id, err = instanceID(r); err != nil {
				return err
			}
		}
		if id < -1 || id >= meta.GetFunctionDetails().GetParallelism() {
			return failf(http.StatusBadRequest, "%s %s doesn't have instance with id %d", k, t.name, id)
		}
		changed, err := withState(meta, id, want)
		if err != nil {
			return fail(http.StatusBadRequest, err.Error())
		}
		ctx, cancel := s.writeContext(r)
		defer cancel()
		if err := s.opts.Cluster.Write(ctx, changed, false); err != nil {
			return err
		}
		void(w, success)
		return nil
	}
}

// withState is the metadata after a start or stop of one instance (id >= 0) or of all (-1): an empty map means that
// all run, a non-empty one is the truth (rest-api contract, section 6.4).
func withState(meta *pb.FunctionMetaData, id int32, want pb.FunctionState) (*pb.FunctionMetaData, error) {
	states := meta.GetInstanceStates()
	if !statesDiffer(states, id, want) {
		return nil, errNotPermitted
	}
	changed := proto.CloneOf(meta)
	changed.Version++
	if changed.InstanceStates == nil {
		changed.InstanceStates = map[int32]pb.FunctionState{}
	}
	if len(states) == 0 {
		for i := range pb.InstanceCount(meta.GetFunctionDetails()) {
			changed.InstanceStates[i] = pb.FunctionState_RUNNING
		}
	}
	if id >= 0 {
		changed.InstanceStates[id] = want
		return changed, nil
	}
	for i := range changed.InstanceStates {
		changed.InstanceStates[i] = want
	}
	for i := range pb.InstanceCount(meta.GetFunctionDetails()) { // instances that were added after a stop
		changed.InstanceStates[i] = want
	}
	return changed, nil
}

func statesDiffer(states map[int32]pb.FunctionState, id int32, want pb.FunctionState) bool {
	if len(states) == 0 {
		return want == pb.FunctionState_STOPPED
	}
	if id >= 0 {
		state, listed := states[id]
		return listed && state != want
	}
	for _, state := range states {
		if state != want {
			return true
		}
	}
	return false
}
