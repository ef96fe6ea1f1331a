package api

import (
	"github.com/functions-worker/functions-worker/internal/pb"
)

// exceptionView is ExceptionInformation (rest-api contract, section 9.2).
type exceptionView struct {
	ExceptionString string `json:"exceptionString"`
	TimestampMs     int64  `json:"timestampMs"`
}

// functionStatusView, sinkStatusView and sourceStatusView are section 9.5, in the order of the fields.
type functionStatusView struct {
	Running                  bool            `json:"running"`
	Error                    string          `json:"error"`
	NumRestarts              int64           `json:"numRestarts"`
	NumReceived              int64           `json:"numReceived"`
	NumSuccessfullyProcessed int64           `json:"numSuccessfullyProcessed"`
	NumUserExceptions        int64           `json:"numUserExceptions"`
	LatestUserExceptions     []exceptionView `json:"latestUserExceptions"`
	NumSystemExceptions      int64           `json:"numSystemExceptions"`
	LatestSystemExceptions   []exceptionView `json:"latestSystemExceptions"`
	AverageLatency           javaDouble      `json:"averageLatency"`
	LastInvocationTime       int64           `json:"lastInvocationTime"`
	WorkerID                 *string         `json:"workerId"`
}

type sinkStatusView struct {
	Running                bool            `json:"running"`
	Error                  string          `json:"error"`
	NumRestarts            int64           `json:"numRestarts"`
	NumReadFromPulsar      int64           `json:"numReadFromPulsar"`
	NumSystemExceptions    int64           `json:"numSystemExceptions"`
	LatestSystemExceptions []exceptionView `json:"latestSystemExceptions"`
	NumSinkExceptions      int64           `json:"numSinkExceptions"`
	LatestSinkExceptions   []exceptionView `json:"latestSinkExceptions"`
	NumWrittenToSink       int64           `json:"numWrittenToSink"`
	LastReceivedTime       int64           `json:"lastReceivedTime"`
	WorkerID               *string         `json:"workerId"`
}

type sourceStatusView struct {
	Running                bool            `json:"running"`
	Error                  string          `json:"error"`
	NumRestarts            int64           `json:"numRestarts"`
	NumReceivedFromSource  int64           `json:"numReceivedFromSource"`
	NumSystemExceptions    int64           `json:"numSystemExceptions"`
	LatestSystemExceptions []exceptionView `json:"latestSystemExceptions"`
	NumSourceExceptions    int64           `json:"numSourceExceptions"`
	LatestSourceExceptions []exceptionView `json:"latestSourceExceptions"`
	NumWritten             int64           `json:"numWritten"`
	LastReceivedTime       int64           `json:"lastReceivedTime"`
	WorkerID               *string         `json:"workerId"`
}

// instanceReport is one instance in the status of a whole component.
type instanceReport struct {
	InstanceID int32 `json:"instanceId"`
	Status     any   `json:"status"`
	running    bool
}

// componentStatus is the status of a whole component.
type componentStatus struct {
	NumInstances int              `json:"numInstances"`
	NumRunning   int              `json:"numRunning"`
	Instances    []instanceReport `json:"instances"`
}

// answered: lists of exceptions are [] for an instance that answered, null for one that did not.
func exceptionViews(answered bool, lists ...[]*pb.FunctionStatus_ExceptionInformation) []exceptionView {
	if !answered {
		return nil
	}
	views := []exceptionView{}
	for _, list := range lists {
		for _, e := range list {
			views = append(views, exceptionView{e.GetExceptionString(), e.GetMsSinceEpoch()})
		}
	}
	return views
}

// statusView maps what an instance reports to the JSON of its kind (rest-api contract, section 7). One that was asked and
// failed to answer has empty lists of exceptions, one that was not asked has none.
func statusView(k Kind, st *pb.FunctionStatus, workerID *string) any {
	answered := st.GetRunning() || workerID != nil && st.GetFailureException() != ""
	user, system := st.GetLatestUserExceptions(), st.GetLatestSystemExceptions()
	source, sink := st.GetLatestSourceExceptions(), st.GetLatestSinkExceptions()
	switch k {
	case Sink:
		return sinkStatusView{
			Running: st.GetRunning(), Error: st.GetFailureException(), NumRestarts: st.GetNumRestarts(),
			NumReadFromPulsar:      st.GetNumReceived(),
			NumSystemExceptions:    st.GetNumSystemExceptions() + st.GetNumUserExceptions() + st.GetNumSourceExceptions(),
			LatestSystemExceptions: exceptionViews(answered, user, system, source),
			NumSinkExceptions:      st.GetNumSinkExceptions(), LatestSinkExceptions: exceptionViews(answered, sink),
			NumWrittenToSink: st.GetNumSuccessfullyProcessed(), LastReceivedTime: st.GetLastInvocationTime(), WorkerID: workerID,
		}
	case Source:
		return sourceStatusView{
			Running: st.GetRunning(), Error: st.GetFailureException(), NumRestarts: st.GetNumRestarts(),
			NumReceivedFromSource:  st.GetNumReceived(),
			NumSystemExceptions:    st.GetNumSystemExceptions() + st.GetNumUserExceptions() + st.GetNumSinkExceptions(),
			LatestSystemExceptions: exceptionViews(answered, user, system, sink),
			NumSourceExceptions:    st.GetNumSourceExceptions(), LatestSourceExceptions: exceptionViews(answered, source),
			NumWritten: st.GetNumSuccessfullyProcessed(), LastReceivedTime: st.GetLastInvocationTime(), WorkerID: workerID,
		}
	default:
		return functionStatusView{
			Running: st.GetRunning(), Error: st.GetFailureException(), NumRestarts: st.GetNumRestarts(),
			NumReceived: st.GetNumReceived(), NumSuccessfullyProcessed: st.GetNumSuccessfullyProcessed(),
			NumUserExceptions: st.GetNumUserExceptions(), LatestUserExceptions: exceptionViews(answered, user),
			NumSystemExceptions:    st.GetNumSystemExceptions() + st.GetNumSourceExceptions() + st.GetNumSinkExceptions(),
			LatestSystemExceptions: exceptionViews(answered, system, source, sink),
			AverageLatency:         javaDouble(st.GetAverageLatency()), LastInvocationTime: st.GetLastInvocationTime(), WorkerID: workerID,
		}
	}
}
