package node

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// flakyAdmin overrides parts of a simulated broker.
type flakyAdmin struct {
	Admin
	policies  func() (*broker.NamespacePolicies, error)
	create    func() error
	topics    atomic.Int32
	topicErr  error
	topicFrom time.Time // until then a topic's namespace is not found
	busyUntil time.Time // until then the subscription is busy
	downUntil time.Time
}

func (a *flakyAdmin) Clusters(ctx context.Context) ([]string, error) {
	if time.Now().Before(a.downUntil) {
		return nil, errCut
	}
	return a.Admin.Clusters(ctx)
}

func (a *flakyAdmin) NamespacePolicies(context.Context, string) (*broker.NamespacePolicies, error) {
	return a.policies()
}
func (a *flakyAdmin) CreateNamespace(context.Context, string, broker.NamespacePolicies) error {
	return a.create()
}
func (a *flakyAdmin) CreateTopic(context.Context, string) error {
	if time.Now().Before(a.topicFrom) {
		return status(http.StatusNotFound)
	}
	a.topics.Add(1)
	return a.topicErr
}

func (a *flakyAdmin) CreateSubscription(ctx context.Context, topic, subscription string, position broker.Position) error {
	if time.Now().Before(a.busyUntil) {
		return status(http.StatusPreconditionFailed)
	}
	return a.Admin.CreateSubscription(ctx, topic, subscription, position)
}

func status(code int) error { return &broker.Error{Op: "x", Code: code, Reason: "said so"} }

// startOn starts one node in a world of its own with a flaky broker.
func startOn(t *testing.T, a *flakyAdmin, log *zap.Logger) (*Node, error) {
	s := &simNode{world: newWorld(false)}
	n, err := New(Options{Self: cluster.WorkerInfo{WorkerID: "w", Hostname: "h", Port: 1}, Namespace: "a/b", PulsarCluster: "sim",
		MetadataTopic: "metadata", CoordinationTopic: "coordinate", AssignmentTopic: "assignments", Admin: a, Log: log,
		openLog: func(string, bool) rlog.Log { return rlog.NewMemory() }})
	require.NoError(t, err)
	s.Node = n
	a.Admin = simAdmin{s}
	if a.policies == nil {
		a.policies = func() (*broker.NamespacePolicies, error) { p := n.policies(); return &p, nil }
	}
	err = n.Start(t.Context())
	t.Cleanup(func() { require.NoError(t, n.Stop(context.Background())) })
	return n, err
}

func TestStartWaitsForTheBrokerAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		began := time.Now()
		_, err := startOn(t, &flakyAdmin{downUntil: began.Add(10 * time.Minute)}, zap.New(core))
		require.NoError(t, err)
		require.Less(t, time.Since(began), 10*time.Minute+maxPause, "it goes on soon after the broker is there")
		require.Positive(t, logs.FilterMessage("waiting for the broker: not possible yet, will try again").Len())
		require.Equal(t, 1, logs.FilterMessage("waiting for the broker: succeeded").Len())
	})
}

func TestStartCreatesWhatIsMissing(t *testing.T) {
	notFound := func() (*broker.NamespacePolicies, error) { return nil, status(http.StatusNotFound) }
	tests := map[string]struct {
		admin    func() *flakyAdmin
		wantErr  string
		wantWarn string
	}{
		"a missing namespace": {admin: func() *flakyAdmin { return &flakyAdmin{policies: notFound, create: func() error { return nil }} }},
		"somebody else was faster": {admin: func() *flakyAdmin {
			return &flakyAdmin{policies: notFound, create: func() error { return status(http.StatusConflict) }, topicErr: status(http.StatusConflict)}
		}},
		"the broker learns of the namespace later": {admin: func() *flakyAdmin {
			return &flakyAdmin{topicFrom: time.Now().Add(5 * time.Second)}
		}, wantWarn: "creating topic persistent://a/b/metadata: not possible yet, will try again"},
		"the broker never learns of the namespace": {admin: func() *flakyAdmin {
			return &flakyAdmin{topicFrom: time.Now().Add(time.Hour)}
		}, wantErr: "the broker answered 404: said so"},
		"another worker is creating the subscription": {admin: func() *flakyAdmin {
			return &flakyAdmin{busyUntil: time.Now().Add(3 * time.Second)}
		}, wantWarn: "creating subscription participants: not possible yet, will try again"},
		"the subscription stays busy": {admin: func() *flakyAdmin {
			return &flakyAdmin{busyUntil: time.Now().Add(time.Hour)}
		}, wantErr: "the broker answered 412: said so"},
		"the tenant comes a little later": {admin: func() *flakyAdmin {
			n := 0
			return &flakyAdmin{policies: notFound, create: func() error {
				if n++; n < 5 {
					return status(http.StatusNotFound)
				}
				return nil
			}}
		}, wantWarn: "the tenant of the functions namespace does not exist yet, waiting for it"},
		"the tenant never comes": {admin: func() *flakyAdmin {
			return &flakyAdmin{policies: notFound, create: func() error { return status(http.StatusNotFound) }}
		}, wantErr: "the tenant of pulsarFunctionsNamespace must exist"},
		"not allowed": {admin: func() *flakyAdmin {
			return &flakyAdmin{policies: func() (*broker.NamespacePolicies, error) { return nil, status(http.StatusForbidden) }}
		}, wantErr: "the broker answered 403: said so"},
		"an existing namespace that forgets": {admin: func() *flakyAdmin {
			return &flakyAdmin{policies: func() (*broker.NamespacePolicies, error) { return &broker.NamespacePolicies{}, nil }}
		}, wantWarn: "the functions namespace does not keep its messages for ever: registered functions can get lost; set its retention to -1 minutes and -1 MB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				a := test.admin()
				_, err := startOn(t, a, zap.New(core))
				if test.wantErr != "" {
					require.ErrorContains(t, err, test.wantErr)
					return
				}
				require.NoError(t, err)
				require.EqualValues(t, 3, a.topics.Load())
				if test.wantWarn != "" {
					require.Positive(t, logs.FilterMessage(test.wantWarn).Len())
				}
			})
		})
	}
}

func TestDrainAndRebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		defer w.stopAll(t)
		w.start(t, "w0")
		time.Sleep(5 * time.Second)
		lead := w.nodes["w0"]
		ctx := t.Context()
		require.NoError(t, lead.Write(ctx, function("f", 6, 0), false))
		require.Equal(t, cluster.RemoteError{Status: 400, Reason: "Corrupt Function MetaData"}, lead.Write(ctx, function("", 6, 0), false))
		time.Sleep(time.Second)
		require.ErrorIs(t, lead.Rebalance(ctx), cluster.ErrTooFewWorkers)
		require.ErrorIs(t, lead.Drain(ctx, "w0"), cluster.ErrTooFewWorkers)
		w.start(t, "w1")
		w.start(t, "w2")
		time.Sleep(10 * time.Second)
		var follower *simNode
		for _, n := range w.up() {
			if n.LeaderReady() {
				lead = n
			} else {
				follower = n
			}
		}
		require.Equal(t, cluster.RedirectError{To: lead.Self()}, follower.Rebalance(ctx))
		require.Equal(t, cluster.RedirectError{To: lead.Self()}, follower.WriteAsLeader(ctx, function("g", 1, 0), false))
		require.NoError(t, lead.Rebalance(ctx))
		time.Sleep(time.Second)
		for _, n := range w.up() {
			require.Len(t, n.Own(), 2)
		}
		status := func(id string) cluster.ProcessStatus {
			s, err := lead.DrainStatus(ctx, id)
			require.NoError(t, err)
			return s
		}
		require.Equal(t, cluster.ProcessStatus{Status: "ERROR", LastError: "Worker w9 not found in drain records"}, status("w9"))
		require.Equal(t, cluster.ErrWorkerNotDrainable{WorkerID: "w9"}, lead.Drain(ctx, "w9"))
		id := follower.Self().WorkerID
		require.NoError(t, lead.Drain(ctx, id))
		time.Sleep(time.Second)
		require.Equal(t, cluster.ProcessStatus{Status: "SUCCESS"}, status(id))
		require.Empty(t, follower.Own())
		require.Equal(t, cluster.ErrWorkerNotDrainable{WorkerID: id, AlreadyDrained: true}, lead.Drain(ctx, id))
		require.NoError(t, lead.Write(ctx, function("g", 4, 0), false))
		w.metadata.Fence() // a hiccup of the leader does not fill the drained worker again
		time.Sleep(time.Minute)
		require.Empty(t, follower.Own())
		w.kill(t, id)
		time.Sleep(3 * time.Minute)
		require.Equal(t, "ERROR", status(id).Status, "forgotten after it has left")
	})
}

func TestHeartbeatsOfUnknownWorkersHurtNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		defer w.stopAll(t)
		n := w.start(t, "w0")
		time.Sleep(5 * time.Second)
		for _, name := range []string{"w1", "w0"} {
			require.NoError(t, n.Write(t.Context(), &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "pulsar-function",
				Namespace: "heartbeat", Name: name, Parallelism: 1}}, false))
		}
		time.Sleep(5 * time.Second)
		require.Len(t, n.Own(), 1)
		require.True(t, n.LeaderReady())
		other := w.start(t, "w1")
		time.Sleep(10 * time.Second)
		require.Len(t, other.Own(), 1, "it gets its heartbeat when it comes")
	})
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	good := Options{Self: cluster.WorkerInfo{WorkerID: "w", Hostname: "h", Port: 1}, Namespace: "a/b", MetadataTopic: "m",
		CoordinationTopic: "c", AssignmentTopic: "s"}
	_, err := New(good)
	require.NoError(t, err)
	bad := good
	bad.Self.WorkerID = "a:b"
	_, err = New(bad)
	require.ErrorContains(t, err, "workerId")
	bad = good
	bad.MetadataTopic = ""
	_, err = New(bad)
	require.ErrorContains(t, err, "functionMetadataTopicName")
}
