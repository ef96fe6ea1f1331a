//lint:file-ignore SA1019 deprecated fields still travel

package process

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// realOptions skips the test unless a broker and a distribution are at hand.
func realOptions(t *testing.T) Options {
	service, web, home := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL"), os.Getenv("PULSAR_HOME")
	if service == "" || home == "" {
		t.Skip("needs a broker (PULSAR_TEST_SERVICE_URL, PULSAR_TEST_WEB_URL) and a Pulsar distribution (PULSAR_HOME)")
	}
	d := DefaultsFromEnvironment(os.LookupEnv, func(p string) bool { _, err := os.Stat(p); return err == nil })
	return Options{WorkerID: "it-" + uuid.NewString(), JavaInstanceJar: d.JavaInstanceJar, PythonInstanceFile: d.PythonInstanceFile, LogDirectory: t.TempDir(),
		ExtraDependenciesDir: d.ExtraDependenciesDir, FunctionsClasspath: d.FunctionsClasspath, LogConf: d.LogConf, PulsarHome: d.PulsarHome,
		PulsarServiceURL: service, PulsarWebServiceURL: web, ClusterName: "standalone", HealthCheckInterval: 2 * time.Second, Log: zaptest.NewLogger(t)}
}

func exclamation(language pb.FunctionDetails_Runtime, class, in, out string) *pb.FunctionDetails {
	return &pb.FunctionDetails{Tenant: "public", Namespace: "default", Name: "it-" + uuid.NewString()[:8], ClassName: class, Runtime: language,
		AutoAck: true, Parallelism: 1, ComponentType: pb.FunctionDetails_FUNCTION,
		Source:    &pb.SourceSpec{TypeClassName: "java.lang.String", InputSpecs: map[string]*pb.ConsumerSpec{in: {}}, CleanupSubscription: true, SubscriptionPosition: pb.SubscriptionPosition_EARLIEST},
		Sink:      &pb.SinkSpec{TypeClassName: "java.lang.String", Topic: out, ForwardSourceMessageProperty: true},
		Resources: &pb.Resources{Cpu: 1, Ram: 256 << 20}, UserConfig: `{"greeting":"it's <ü>"}`}
}

// TestRealInstances runs the distribution's own examples under this runtime against the broker.
func TestRealInstances(t *testing.T) {
	home := os.Getenv("PULSAR_HOME")
	tests := []struct {
		name     string
		language pb.FunctionDetails_Runtime
		class    string
		file     string
		isolated bool
	}{
		{"java as a user of its own, with limits", pb.FunctionDetails_JAVA, "org.apache.pulsar.functions.api.examples.ExclamationFunction", "examples/api-examples.jar", true},
		{"java", pb.FunctionDetails_JAVA, "org.apache.pulsar.functions.api.examples.ExclamationFunction", "examples/api-examples.jar", false},
		{"python", pb.FunctionDetails_PYTHON, "exclamation_function.ExclamationFunction", "examples/python-examples/exclamation_function.py", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := realOptions(t)
			if tt.isolated {
				if os.Geteuid() != 0 {
					t.Skip("only root may start processes as other users")
				}
				dir := publicDirectory(t)
				o.LogDirectory, o.Isolation = filepath.Join(dir, "logs"), Isolation{User: "61020-61029", WorkDirectory: filepath.Join(dir, "work"), MaxMemory: 2 << 30, MaxProcesses: 1000, MaxOpenFiles: 4096}
			}
			f, err := New(o)
			require.NoError(t, err)
			defer func() { require.NoError(t, f.Close(context.Background())) }()
			topic := "non-persistent://public/default/it-" + uuid.NewString()
			d := exclamation(tt.language, tt.class, topic+"-in", topic+"-out")
			r, err := f.New(runtime.Instance{Spec: &pb.Instance{FunctionMetaData: &pb.FunctionMetaData{FunctionDetails: d}},
				FunctionID: uuid.NewString(), FunctionVersion: uuid.NewString(), PackageFile: filepath.Join(home, tt.file)})
			require.NoError(t, err)
			require.NoError(t, r.Start(context.Background()))
			defer func() {
				begun := time.Now()
				require.NoError(t, r.Stop(context.Background()))
				t.Logf("stopped in %s: %s\n%s", time.Since(begun), r.Exit().Reason, r.Exit().Tail)
			}()
			begun := time.Now()
			require.Eventually(t, func() bool {
				select {
				case <-r.Done():
					t.Fatalf("the instance ended: %s\n%s", r.Exit().Reason, r.Exit().Tail)
				default:
				}
				s, err := r.Status(context.Background())
				return err == nil && s.GetRunning()
			}, time.Minute, 100*time.Millisecond)
			t.Logf("running after %s", time.Since(begun))
			exchange(t, o.PulsarServiceURL, topic)

			require.Eventually(t, func() bool {
				m, err := r.Metrics(context.Background())
				return err == nil && m.GetProcessedSuccessfullyTotal() >= 1
			}, 10*time.Second, 100*time.Millisecond)
			if tt.isolated {
				info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pidOf(r.(*run)))))
				require.NoError(t, err)
				require.Contains(t, []uint32{61020, 61021}, info.Sys().(*syscall.Stat_t).Uid)
			}
			var page bytes.Buffer
			require.NoError(t, r.Scrape(context.Background(), &page))
			require.Contains(t, page.String(), "pulsar_function_received_total{")
			time.Sleep(9 * time.Second) // more than three intervals: without health checks the instance would end itself
			_, err = r.Status(context.Background())
			require.NoError(t, err)
		})
	}
}

// exchange sends until an answer comes: with non-persistent topics what is sent before the function listens is lost.
func exchange(t *testing.T, url, topic string) {
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: url})
	require.NoError(t, err)
	defer client.Close()
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: topic + "-out", SubscriptionName: "test", Schema: pulsar.NewStringSchema(nil)})
	require.NoError(t, err)
	defer consumer.Close()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: topic + "-in", SendTimeout: -1, Schema: pulsar.NewStringSchema(nil)})
	require.NoError(t, err)
	defer producer.Close()
	for range 30 {
		_, err = producer.Send(context.Background(), &pulsar.ProducerMessage{Payload: []byte("hello")})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		m, err := consumer.Receive(ctx)
		cancel()
		if err == nil {
			require.Equal(t, "hello!", string(m.Payload()))
			return
		}
	}
	t.Fatal("no answer")
}

// TestRealJavaCrashIsExplained: the Java instance exits with 0 after a fatal error and tells why in its own log only.
func TestRealJavaCrashIsExplained(t *testing.T) {
	o := realOptions(t)
	f, err := New(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close(context.Background())) }()
	topic := "non-persistent://public/default/it-" + uuid.NewString()
	r, err := f.New(runtime.Instance{Spec: &pb.Instance{FunctionMetaData: &pb.FunctionMetaData{FunctionDetails: exclamation(pb.FunctionDetails_JAVA, "no.such.Function", topic+"-in", topic+"-out")}},
		FunctionID: uuid.NewString(), FunctionVersion: uuid.NewString(), PackageFile: filepath.Join(os.Getenv("PULSAR_HOME"), "examples/api-examples.jar")})
	require.NoError(t, err)
	require.NoError(t, r.Start(context.Background()))
	select {
	case <-r.Done():
	case <-time.After(time.Minute):
		t.Error("the instance did not end")
		require.NoError(t, r.Stop(context.Background()))
	}
	t.Logf("%s\n%s", r.Exit().Reason, r.Exit().Tail)
	require.Equal(t, "the process exited with status 0: java.lang.ClassNotFoundException: no.such.Function", r.Exit().Reason)
}
