package goroutine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
	"github.com/functions-worker/functions-worker/pkg/runtime/runtimetest"
)

// others stands for the process runtime, which has tests of its own.
type others struct {
	runtime.Factory
	closed bool
}

func (*others) Kind() string { return "process" }
func (*others) Admit(d *runtime.FunctionDetails) error {
	if d.GetRuntime() == pb.FunctionDetails_PYTHON {
		return errors.New("no Python here")
	}
	return nil
}
func (*others) New(runtime.Instance) (runtime.Runtime, error) { return otherRun{}, nil }
func (o *others) Close(context.Context) error {
	o.closed = true
	return nil
}

type otherRun struct{ runtime.Runtime }

func (otherRun) Status(context.Context) (*runtime.FunctionStatus, error) {
	return &runtime.FunctionStatus{Running: true}, nil
}

func builtin(name string, f func(ctx context.Context, in []byte) (*instance.Result, error)) instance.Builtin {
	return instance.Builtin{Name: name, Load: func(context.Context, instance.Package) (instance.Program, error) {
		return instance.Handler(f), nil
	}}
}

func result(payload string) *instance.Result {
	return &instance.Result{Message: instance.Message{Payload: []byte(payload)}}
}

func newFactory(t *testing.T, change ...func(*Options)) *Factory {
	t.Helper()
	service := os.Getenv("PULSAR_TEST_SERVICE_URL")
	if service == "" {
		service = "pulsar://127.0.0.1:1"
	}
	programs, err := instance.NewPrograms(nil,
		builtin("shout", func(_ context.Context, in []byte) (*instance.Result, error) {
			switch string(in) {
			case "panic":
				panic("ouch")
			case "fail":
				return nil, errors.New("no good")
			}
			return result(string(in) + "!"), nil
		}),
		builtin("hang", func(context.Context, []byte) (*instance.Result, error) { select {} }),
		instance.Builtin{Name: "refuse", Load: func(context.Context, instance.Package) (instance.Program, error) {
			panic("while loading")
		}, Validate: func(d *pb.FunctionDetails) error {
			if d.GetUserConfig() == "" {
				return errors.New("a user config is needed")
			}
			return nil
		}},
	)
	require.NoError(t, err)
	o := Options{Programs: programs, Others: &others{}, Broker: broker.Config{ServiceURL: service}, LogDirectory: t.TempDir(),
		ClusterName: "standalone", StopGrace: 2 * time.Second, BusyLimit: 200 * time.Millisecond, Log: zaptest.NewLogger(t)}
	for _, c := range change {
		c(&o)
	}
	f, err := New(o)
	require.NoError(t, err)
	return f
}

func needBroker(t *testing.T) (namespace string) {
	t.Helper()
	web := os.Getenv("PULSAR_TEST_WEB_URL")
	if os.Getenv("PULSAR_TEST_SERVICE_URL") == "" || web == "" {
		t.Skip("needs a broker (PULSAR_TEST_SERVICE_URL, PULSAR_TEST_WEB_URL)")
	}
	namespace = "public/it-" + uuid.NewString()[:8]
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, web+"/admin/v2/namespaces/"+namespace, strings.NewReader("{}"))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	require.Less(t, response.StatusCode, 300)
	return namespace
}

func instanceOf(namespace, name string) runtime.Instance {
	d := &pb.FunctionDetails{Tenant: "public", Namespace: strings.TrimPrefix(namespace, "public/"), Name: name + "-" + uuid.NewString()[:8], ClassName: name, Builtin: name,
		AutoAck: true, Parallelism: 1, ComponentType: pb.FunctionDetails_FUNCTION, Runtime: pb.FunctionDetails_JAVA,
		Source: &pb.SourceSpec{InputSpecs: map[string]*pb.ConsumerSpec{"persistent://" + namespace + "/in": {}}, SubscriptionPosition: pb.SubscriptionPosition_EARLIEST},
		Sink:   &pb.SinkSpec{Topic: "persistent://" + namespace + "/out"}}
	return runtime.Instance{Spec: &pb.Instance{FunctionMetaData: &pb.FunctionMetaData{FunctionDetails: d}},
		FunctionID: uuid.NewString(), FunctionVersion: uuid.NewString(), PackageFile: instance.BuiltinScheme + name}
}

func client(t *testing.T) pulsar.Client {
	c, err := broker.NewClient(broker.Config{ServiceURL: os.Getenv("PULSAR_TEST_SERVICE_URL")}, zaptest.NewLogger(t))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func send(t *testing.T, c pulsar.Client, topic string, payloads ...string) {
	p, err := c.CreateProducer(pulsar.ProducerOptions{Topic: topic})
	require.NoError(t, err)
	defer p.Close()
	for _, payload := range payloads {
		_, err := p.Send(t.Context(), &pulsar.ProducerMessage{Payload: []byte(payload)})
		require.NoError(t, err)
	}
}

func TestContract(t *testing.T) {
	namespace := needBroker(t)
	healthy := func(*testing.T) runtime.Instance { return instanceOf(namespace, "shout") }
	refused := instanceOf(namespace, "refuse")
	runtimetest.Run(t, runtimetest.Harness{
		Factory: func(t *testing.T) runtime.Factory { return newFactory(t) },
		Healthy: healthy,
		Crashing: func(t *testing.T) (runtime.Instance, string) {
			in := instanceOf(namespace, "shout") // effectively-once ends at the first failure
			d := in.Spec.FunctionMetaData.FunctionDetails
			d.ProcessingGuarantees = pb.ProcessingGuarantees_EFFECTIVELY_ONCE
			d.Source.InputSpecs = map[string]*pb.ConsumerSpec{"persistent://" + namespace + "/crash": {}}
			send(t, client(t), "persistent://"+namespace+"/crash", "fail")
			return in, "no good"
		},
		Broken: func(t *testing.T) runtime.Instance {
			in := instanceOf(namespace, "refuse")
			in.Spec.FunctionMetaData.FunctionDetails.UserConfig = "{}"
			return in
		},
		Stubborn: func(t *testing.T) runtime.Instance {
			in := instanceOf(namespace, "hang")
			in.Spec.FunctionMetaData.FunctionDetails.Source.InputSpecs = map[string]*pb.ConsumerSpec{"persistent://" + namespace + "/hang": {}}
			send(t, client(t), "persistent://"+namespace+"/hang", "x")
			return in
		},
		Refused: refused.Spec.FunctionMetaData.FunctionDetails, WantMetric: `pulsar_function_received_total{cluster="standalone"`,
	})
}

func TestAFunctionOfThisProcess(t *testing.T) {
	namespace := needBroker(t)
	f := newFactory(t)
	in := instanceOf(namespace, "shout")
	r, err := f.New(in)
	require.NoError(t, err)
	c := client(t)
	out, err := c.Subscribe(pulsar.ConsumerOptions{Topic: "persistent://" + namespace + "/out", SubscriptionName: "s"})
	require.NoError(t, err)
	begun := time.Now()
	require.NoError(t, r.Start(t.Context()))
	<-r.(runtime.Readier).Ready()
	t.Logf("ready after %s", time.Since(begun))
	send(t, c, "persistent://"+namespace+"/in", "a", "panic", "b")
	for _, want := range []string{"a!", "b!"} {
		msg, err := out.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, string(msg.Payload()))
		require.NoError(t, out.Ack(msg))
	}
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, status.GetNumReceived())
	require.EqualValues(t, 1, status.GetNumUserExceptions())
	require.Contains(t, status.GetLatestUserExceptions()[0].GetExceptionString(), "panic: ouch")
	require.NoError(t, r.Stop(t.Context()))
	d := in.Spec.FunctionMetaData.FunctionDetails
	log, err := os.ReadFile(filepath.Join(f.o.LogDirectory, "functions", "public", d.Namespace, d.Name, d.Name+"-0.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "panic: ouch")
	require.NoError(t, f.Close(t.Context()))
	require.True(t, f.o.Others.(*others).closed)
	require.Empty(t, f.clients.groups, "the clients go with the last instance")
}

func TestAFunctionThatHangsIsReportedAndLeftBehind(t *testing.T) {
	namespace := needBroker(t)
	f := newFactory(t)
	in := instanceOf(namespace, "hang")
	send(t, client(t), "persistent://"+namespace+"/in", "x")
	r, err := f.New(in)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	require.Eventually(t, func() bool {
		status, err := r.Status(t.Context())
		return err == nil && strings.Contains(status.GetFailureException(), "has been busy with message")
	}, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, r.Stop(t.Context()))
	require.Contains(t, r.Exit().Reason, "does not return from a message")
	require.EqualValues(t, 1, f.Leftovers())
	require.NoError(t, f.Close(t.Context()), "what is left behind is not waited for")
}

func TestWhatRunsElsewhereSaysSo(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	in := instanceOf("public/n", "")
	in.PackageFile = filepath.Join(t.TempDir(), "x.jar")
	require.NoError(t, os.WriteFile(in.PackageFile, []byte("PK\x03\x04"), 0o600))
	r, err := f.New(in)
	require.NoError(t, err)
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "runs as a process: Java code cannot run inside this worker", status.GetFailureException())
	require.NoError(t, f.Admit(in.Spec.FunctionMetaData.FunctionDetails))
	d := in.Spec.FunctionMetaData.FunctionDetails
	d.Runtime = pb.FunctionDetails_PYTHON
	require.EqualError(t, f.Admit(d), "no Python here")
	require.False(t, f.first(pb.FullyQualifiedName(d)), "said once")
}

func TestAFunctionThatThisWorkerLacks(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	r, err := f.New(instanceOf("public/n", "nope"))
	require.NoError(t, err)
	require.ErrorContains(t, r.Start(t.Context()), `built-in function "nope" is not compiled into this program`)
	<-r.Done()
	require.ErrorContains(t, r.Scrape(t.Context(), &bytes.Buffer{}), "Not alive")
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := New(Options{})
	require.ErrorContains(t, err, "required")
	programs, err := instance.NewPrograms(nil)
	require.NoError(t, err)
	_, err = New(Options{Programs: programs, Others: &others{}})
	require.ErrorContains(t, err, "pulsarServiceUrl")
}

func TestClientsAreSharedPerIdentity(t *testing.T) {
	t.Parallel()
	c := newClients(2, 10, zaptest.NewLogger(t))
	cfg := broker.Config{ServiceURL: "pulsar://127.0.0.1:1"}
	a, releaseA, err := c.acquire(cfg, "f")
	require.NoError(t, err)
	again, releaseAgain, err := c.acquire(cfg, "f")
	require.NoError(t, err)
	require.Same(t, a, again)
	cfg.AuthPlugin, cfg.AuthParams = "token", "token:x"
	other, releaseOther, err := c.acquire(cfg, "f")
	require.NoError(t, err)
	require.NotSame(t, a, other)
	releaseA()
	releaseA()
	require.Len(t, c.groups, 2, "a second release is harmless")
	releaseAgain()
	releaseOther()
	require.Empty(t, c.groups)
	cfg.AuthPlugin = "no such plug-in"
	_, _, err = c.acquire(cfg, "f")
	require.Error(t, err)
	require.Empty(t, c.groups)
}
