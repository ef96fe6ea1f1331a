package function_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	pulsarlog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// env is a broker with a namespace of the test's own.
type env struct {
	service, namespace string
	client             pulsar.Client
}

func newEnv(t *testing.T) *env {
	t.Helper()
	service, web := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL")
	if service == "" || web == "" {
		t.Skip("needs a broker: set PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL (make test does)")
	}
	e := &env{service: service, namespace: fmt.Sprintf("public/function-%08x", rand.Uint32())}
	admin := func(method, path string) []byte {
		request, err := http.NewRequestWithContext(context.Background(), method, web+"/admin/v2/"+path, nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Less(t, response.StatusCode, 300, "%s %s: %s", method, path, body)
		return body
	}
	admin(http.MethodPut, "namespaces/"+e.namespace)
	t.Cleanup(func() {
		var topics []string
		require.NoError(t, json.Unmarshal(admin(http.MethodGet, "persistent/"+e.namespace), &topics))
		for _, topic := range topics {
			admin(http.MethodDelete, strings.Replace(topic, "://", "/", 1)+"?force=true")
		}
		admin(http.MethodDelete, "namespaces/"+e.namespace)
	})
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: service, Logger: pulsarlog.DefaultNopLogger()})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	e.client = client
	return e
}

func (e *env) topic(name string) string { return "persistent://" + e.namespace + "/" + name }

func (e *env) send(t *testing.T, topic string, messages ...*pulsar.ProducerMessage) []pulsar.MessageID {
	t.Helper()
	p, err := e.client.CreateProducer(pulsar.ProducerOptions{Topic: topic})
	require.NoError(t, err)
	defer p.Close()
	var ids []pulsar.MessageID
	for _, m := range messages {
		id, err := p.Send(t.Context(), m)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

func (e *env) reader(t *testing.T, topic string) pulsar.Reader {
	t.Helper()
	r, err := e.client.CreateReader(pulsar.ReaderOptions{Topic: topic, StartMessageID: pulsar.EarliestMessageID()})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func next(t *testing.T, r pulsar.Reader) pulsar.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := r.Next(ctx)
	require.NoError(t, err)
	return m
}

// process is a function program as a worker starts it.
type process struct {
	cmd           *exec.Cmd
	out           *lockedBuffer
	port, metrics int
	exited        chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func build(t *testing.T, example string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), example)
	out, err := exec.Command("go", "build", "-o", binary, "../../examples/go/"+example).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

func freePorts(t *testing.T) (int, int) {
	t.Helper()
	var ports []int
	for range 2 {
		l, err := net.Listen("tcp", ":0")
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports[0], ports[1]
}

func (e *env) start(t *testing.T, binary string, d *pb.FunctionDetails) *process {
	t.Helper()
	details, err := protojson.Marshal(d)
	require.NoError(t, err)
	p := &process{out: &lockedBuffer{}, exited: make(chan struct{})}
	p.port, p.metrics = freePorts(t)
	conf, err := json.Marshal(map[string]any{
		"pulsarServiceURL": e.service, "instanceID": 0, "funcID": "id", "funcVersion": "v", "port": p.port, "metricsPort": p.metrics,
		"clusterName": "test", "expectedHealthCheckInterval": 30, "tenant": d.Tenant, "nameSpace": d.Namespace, "name": d.Name,
		"subscriptionType": 0, "functionDetails": string(details),
	})
	require.NoError(t, err)
	p.cmd = exec.Command(binary, "-instance-conf", string(conf))
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // the test asks for the state
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // has usually ended
		<-p.exited
		if t.Failed() {
			t.Logf("output of the function:\n%s", p.out)
		}
	})
	return p
}

func (p *process) status(t *testing.T) *pb.FunctionStatus {
	t.Helper()
	connection, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", p.port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	status, err := pb.NewInstanceControlClient(connection).GetFunctionStatus(t.Context(), &emptypb.Empty{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	return status
}

func (p *process) scrape(t *testing.T) string {
	t.Helper()
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", p.metrics))
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// stop sends SIGTERM and wants an orderly end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		t.Fatal("the function did not end after SIGTERM")
	}
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.out.String(), "instance stopped")
}

func (e *env) details(name string) *pb.FunctionDetails {
	tenant, namespace, _ := strings.Cut(e.namespace, "/")
	return &pb.FunctionDetails{
		Tenant: tenant, Namespace: namespace, Name: name, Runtime: pb.FunctionDetails_GO, AutoAck: true, Parallelism: 1,
		LogTopic: e.topic(name + "-log"), ComponentType: pb.FunctionDetails_FUNCTION,
		Source: &pb.SourceSpec{
			InputSpecs: map[string]*pb.ConsumerSpec{e.topic(name + "-in"): {}}, SubscriptionPosition: pb.SubscriptionPosition_EARLIEST,
			NegativeAckRedeliveryDelayMs: 1000, SubscriptionType: pb.SubscriptionType_FAILOVER,
		},
		Sink: &pb.SinkSpec{Topic: e.topic(name + "-out"), ForwardSourceMessageProperty: true},
	}
}

func TestExclamation(t *testing.T) {
	e := newEnv(t)
	d := e.details("exclamation")
	d.UserConfig = `{"suffix":"$SUFFIX_OF_TEST"}`
	t.Setenv("SUFFIX_OF_TEST", "?!")
	// several inputs: one more topic, and a receiver queue of nothing
	d.Source.InputSpecs[e.topic("exclamation-zero")] = &pb.ConsumerSpec{ReceiverQueueSize: &pb.ConsumerSpec_ReceiverQueueSize{}}
	p := e.start(t, build(t, "exclamation"), d)

	out, log := e.reader(t, e.topic("exclamation-out")), e.reader(t, e.topic("exclamation-log"))
	e.send(t, e.topic("exclamation-in"), &pulsar.ProducerMessage{Payload: []byte("a"), Key: "k", Properties: map[string]string{"p": "v"}})
	m := next(t, out)
	require.Equal(t, "a?!", string(m.Payload()))
	require.Equal(t, "k", m.Key())
	require.Equal(t, "v", m.Properties()["p"])
	require.Equal(t, e.topic("exclamation-in"), m.Properties()["__pfn_input_topic__"])
	require.NotEmpty(t, m.Properties()["__pfn_input_msg_id__"])
	for _, text := range []string{"b", "c"} {
		e.send(t, e.topic("exclamation-zero"), &pulsar.ProducerMessage{Payload: []byte(text)})
		require.Equal(t, text+"?!", string(next(t, out).Payload()))
	}
	var line pulsar.Message
	for line == nil || !strings.HasPrefix(string(line.Payload()), "exclaiming") {
		line = next(t, log)
	}
	require.Equal(t, "exclaiming input=a instance=0", string(line.Payload()))
	require.Equal(t, map[string]string{"loglevel": "INFO", "instance": "0", "fqn": e.namespace + "/exclamation"}, line.Properties())

	require.Eventually(t, func() bool { return p.status(t).NumSuccessfullyProcessed == 3 }, 5*time.Second, 50*time.Millisecond)
	require.True(t, p.status(t).Running)
	text := p.scrape(t)
	require.Contains(t, text, `pulsar_function_received_total{cluster="test",fqfn="`+e.namespace+`/exclamation",instance_id="0",name="exclamation",namespace="`+e.namespace+`",tenant="public"} 3`)
	require.Contains(t, text, `pulsar_function_user_metric_count{`)
	p.stop(t)

	// what was confirmed is acknowledged: the next run sees only what is new
	p = e.start(t, build(t, "exclamation"), d)
	e.send(t, e.topic("exclamation-in"), &pulsar.ProducerMessage{Payload: []byte("d")})
	require.Equal(t, "d?!", string(next(t, out).Payload()))
	require.EqualValues(t, 1, p.status(t).NumReceived)
	p.stop(t)
}

func TestOrders(t *testing.T) {
	e := newEnv(t)
	d := e.details("orders")
	d.UserConfig = fmt.Sprintf(`{"review-topic":%q,"limit":10}`, e.topic("review"))
	d.Source.InputSpecs[e.topic("orders-in")] = &pb.ConsumerSpec{SchemaType: "JSON"}
	d.Sink.SchemaType = "JSON"
	p := e.start(t, build(t, "orders"), d)
	out, review := e.reader(t, e.topic("orders-out")), e.reader(t, e.topic("review"))

	require.Eventually(t, func() bool { return p.status(t).Running }, 10*time.Second, 50*time.Millisecond)
	schema := pulsar.NewJSONSchema(`{"type":"record","name":"order","fields":[
		{"name":"id","type":["null","string"],"default":null},{"name":"quantity","type":["null","long"],"default":null},
		{"name":"price","type":["null","double"],"default":null}]}`, nil)
	producer, err := e.client.CreateProducer(pulsar.ProducerOptions{Topic: e.topic("orders-in"), Schema: schema})
	require.NoError(t, err, "the function registered the same schema")
	defer producer.Close()
	for _, order := range []string{`{"id":"small","quantity":1,"price":2.5}`, `{"id":"none"}`, `{"id":"broken","quantity":-1}`, `{"id":"large","quantity":10,"price":5}`} {
		_, err := producer.Send(t.Context(), &pulsar.ProducerMessage{Payload: []byte(order)})
		require.NoError(t, err)
	}
	require.JSONEq(t, `{"orderId":"small","amount":2.5}`, string(next(t, out).Payload()))
	require.JSONEq(t, `{"orderId":"large","amount":50}`, string(next(t, out).Payload()))
	m := next(t, review)
	require.JSONEq(t, `{"orderId":"large","amount":50}`, string(m.Payload()))
	require.Equal(t, "large", m.Key())

	// the broken one comes again and again; the function goes on
	require.Eventually(t, func() bool { return p.status(t).NumUserExceptions >= 2 }, 20*time.Second, 100*time.Millisecond)
	status := p.status(t)
	require.Equal(t, "order broken has the quantity -1", status.LatestUserExceptions[0].ExceptionString)
	require.Zero(t, status.NumSystemExceptions)
	require.Contains(t, p.scrape(t), `error="order broken has the quantity -1"`)
	p.stop(t)
}

func TestStartsThatCannotWork(t *testing.T) {
	e := newEnv(t)
	binary := build(t, "exclamation")
	for name, tc := range map[string]struct {
		change   func(*pb.FunctionDetails)
		wantCode int
		want     string
	}{
		"windows": {change: func(d *pb.FunctionDetails) {
			d.ClassName = "org.apache.pulsar.functions.windowing.WindowFunctionExecutor"
			d.UserConfig = `{"__WINDOWCONFIGS__":{"windowLengthCount":5,"actualWindowFunctionClassName":"x"}}`
		}, wantCode: 2, want: "windowConfig: the function takes single messages"},
		"a bad topic name": {change: func(d *pb.FunctionDetails) { d.Sink.Topic = "what://is/this/topic" }, wantCode: 1, want: "opening the output topic what://is/this/topic"},
		"bad user config":  {change: func(d *pb.FunctionDetails) { d.UserConfig = "{" }, wantCode: 2, want: "user config"},
	} {
		t.Run(name, func(t *testing.T) {
			d := e.details("broken")
			tc.change(d)
			p := e.start(t, binary, d)
			select {
			case <-p.exited:
			case <-time.After(20 * time.Second):
				t.Fatal("the function did not end")
			}
			require.Equal(t, tc.wantCode, p.cmd.ProcessState.ExitCode())
			require.Contains(t, p.out.String(), tc.want)
		})
	}
}
