package api

import (
	"context"
	"net/http"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// trigger sends data to a function and answers its result (rest-api contract, section 6.5). empty is the status of
// the answer when the function has no output topic.
func (s *Server) trigger(empty int) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := s.targetOf(r, Function)
		if err != nil {
			return drainBody(r, err)
		}
		f, err := s.readForm(r, formSpec{texts: []string{"topic"}, blobs: []string{"data", "dataStream"}})
		if err != nil {
			return drainBody(r, err)
		}
		data, given := f.values["dataStream"]
		if !given {
			data, given = f.values["data"]
		}
		if !given {
			return fail(http.StatusBadRequest, "Trigger Data is not provided")
		}
		meta, exists := s.opts.Cluster.Function(t.tenant, t.namespace, t.name)
		if !exists {
			return failf(http.StatusNotFound, "Function %s doesn't exist", t.name)
		}
		topic, err := triggerTopic(meta.GetFunctionDetails(), f.text("topic"), f.has("topic"))
		if err != nil {
			return err
		}
		if err := s.allowProduce(r, topic); err != nil {
			return err
		}
		if s.opts.Trigger == nil {
			return fail(http.StatusServiceUnavailable, textNotInitialized)
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.opts.TriggerTimeout)
		defer cancel()
		details := meta.GetFunctionDetails()
		result, hasOutput, err := s.opts.Trigger.Trigger(ctx, TriggerRequest{Function: details, Topic: topic, Data: data, OutputTopic: details.GetSink().GetTopic()})
		switch {
		case err != nil && ctx.Err() == context.DeadlineExceeded:
			return fail(http.StatusRequestTimeout, "Request Timed Out")
		case err != nil:
			return err
		case !hasOutput:
			void(w, empty)
			return nil
		}
		writeText(w, r, string(result))
		return nil
	}
}

// triggerTopic is the input topic to use: the one named, which must be literally a key of the input specs, or the only one.
func triggerTopic(d *pb.FunctionDetails, asked string, named bool) (string, error) {
	specs := d.GetSource().GetInputSpecs()
	if !named {
		if len(specs) != 1 {
			return "", fail(http.StatusBadRequest, "Function in trigger function has more than 1 input topics")
		}
		for topic := range specs {
			asked = topic
		}
	}
	if _, known := specs[asked]; !known {
		return "", fail(http.StatusBadRequest, "Function in trigger function has unidentified topic")
	}
	return asked, nil
}

// writeText answers raw text, labelled as JSON when the client asks for JSON, as the Java worker does.
func writeText(w http.ResponseWriter, r *http.Request, text string) {
	contentType := "text/plain; charset=utf-8"
	if r.Header.Get("Accept") != "" && accepts(r, "application/json") && !accepts(r, "text/plain") {
		contentType = "application/json"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(text))
}
