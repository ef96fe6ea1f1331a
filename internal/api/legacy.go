package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/functions-worker/functions-worker/internal/pb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// writeProto answers protobuf JSON: defaults left out, 64-bit numbers as strings, two spaces of indent. It is labelled
// as text unless the client asks for JSON.
func writeProto(w http.ResponseWriter, r *http.Request, m proto.Message) error {
	data, err := protojson.Marshal(m)
	if err != nil {
		return fail(http.StatusInternalServerError, err.Error())
	}
	var compact, pretty bytes.Buffer // protojson varies its blanks on purpose
	if err := json.Compact(&compact, data); err != nil {
		return fail(http.StatusInternalServerError, err.Error())
	}
	if err := json.Indent(&pretty, compact.Bytes(), "", "  "); err != nil {
		return fail(http.StatusInternalServerError, err.Error())
	}
	writeText(w, r, pretty.String())
	return nil
}

// legacyGet answers the stored details themselves.
func (s *Server) legacyGet(w http.ResponseWriter, r *http.Request) error {
	_, meta, err := s.known(r, Function)
	if err != nil {
		return err
	}
	return writeProto(w, r, meta.GetFunctionDetails())
}

// legacyStatus is the status of all instances as protobuf JSON.
func (s *Server) legacyStatus(w http.ResponseWriter, r *http.Request) error {
	t, meta, err := s.known(r, Function)
	if err != nil {
		return err
	}
	reports, err := s.reports(r.Context(), t, meta, s.legacyLocal, s.legacyPeer)
	if err != nil {
		return err
	}
	list := &pb.FunctionStatusList{}
	for _, report := range reports {
		list.FunctionStatusList = append(list.FunctionStatusList, report.Status.(*pb.FunctionStatus))
	}
	return writeProto(w, r, list)
}

func (s *Server) legacyInstanceStatus(w http.ResponseWriter, r *http.Request) error {
	t, _, id, err := s.knownInstance(r, Function)
	if err != nil {
		return err
	}
	p, err := s.place(r.Context(), t, id)
	if err != nil {
		return err
	}
	return writeProto(w, r, s.legacyLocal(r.Context(), t, p, id).Status.(*pb.FunctionStatus))
}

func (s *Server) legacyLocal(ctx context.Context, t target, p *place, id int32) instanceReport {
	st, _ := s.localStatus(ctx, t, p, id)
	return instanceReport{InstanceID: id, Status: s.legacyView(st, id)}
}

// legacyView keeps the fields that version 2 fills; numReceived is not among them, and the worker is the one that answers.
func (s *Server) legacyView(st *pb.FunctionStatus, id int32) *pb.FunctionStatus {
	return &pb.FunctionStatus{
		Running: st.GetRunning(), FailureException: st.GetFailureException(), NumRestarts: st.GetNumRestarts(),
		NumSuccessfullyProcessed: st.GetNumSuccessfullyProcessed(),
		NumUserExceptions:        st.GetNumUserExceptions(), LatestUserExceptions: st.GetLatestUserExceptions(),
		NumSystemExceptions:    st.GetNumSystemExceptions() + st.GetNumSourceExceptions() + st.GetNumSinkExceptions(),
		LatestSystemExceptions: append(append(append([]*pb.FunctionStatus_ExceptionInformation{}, st.GetLatestSystemExceptions()...), st.GetLatestSourceExceptions()...), st.GetLatestSinkExceptions()...),
		AverageLatency:         st.GetAverageLatency(), LastInvocationTime: st.GetLastInvocationTime(),
		InstanceId: itoa(id), WorkerId: s.opts.Cluster.Self().WorkerID,
	}
}

// legacyPeer asks the owner in the current form and translates.
func (s *Server) legacyPeer(ctx context.Context, t target, p place) instanceReport {
	_, body, err := s.askPeer(ctx, http.MethodGet, *p.owner, componentPath(t)+"/"+itoa(p.id)+"/status")
	var view functionStatusView
	if err == nil {
		err = json.Unmarshal(body, &view)
	}
	if err != nil {
		view = functionStatusView{Error: err.Error()}
	}
	st := &pb.FunctionStatus{
		Running: view.Running, FailureException: view.Error, NumRestarts: view.NumRestarts,
		NumSuccessfullyProcessed: view.NumSuccessfullyProcessed, NumUserExceptions: view.NumUserExceptions,
		NumSystemExceptions: view.NumSystemExceptions, AverageLatency: float64(view.AverageLatency), LastInvocationTime: view.LastInvocationTime,
		LatestUserExceptions: protoExceptions(view.LatestUserExceptions), LatestSystemExceptions: protoExceptions(view.LatestSystemExceptions),
	}
	return instanceReport{InstanceID: p.id, Status: s.legacyView(st, p.id)}
}

func protoExceptions(views []exceptionView) []*pb.FunctionStatus_ExceptionInformation {
	var list []*pb.FunctionStatus_ExceptionInformation
	for _, v := range views {
		list = append(list, &pb.FunctionStatus_ExceptionInformation{ExceptionString: v.ExceptionString, MsSinceEpoch: v.TimestampMs})
	}
	return list
}
