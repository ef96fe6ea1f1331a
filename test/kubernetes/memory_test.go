package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/test/standalone"
)

// mostMemory is what a worker may take with all its functions, in bytes.
const mostMemory = 250 << 20

// TestMemoryOfManyFunctions lets a worker find 5,000 functions in its metadata topic and measures it: while their objects are made, once they
// are all there, and again after it has been restarted. It takes many minutes and loads the control plane, so it runs only when it is asked for.
func TestMemoryOfManyFunctions(t *testing.T) {
	if os.Getenv("FUNCTIONS_TEST_FULL") != "1" {
		t.Skip("FUNCTIONS_TEST_FULL=1 runs it; FUNCTIONS_TEST_FUNCTIONS is how many functions, 5000 by default")
	}
	functions := 5000
	if text := os.Getenv("FUNCTIONS_TEST_FUNCTIONS"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		functions = n
	}
	l := newLab(t)
	l.own = "goWorker: {kubernetes: {workerImage: " + workerImage + "}}\n"
	port := standalone.FreePort(t)
	w := l.goWorker("go-1", port, "")
	require.NoError(t, w.register("f0", l.topic("in")))
	w.stop()
	l.multiply(functions)

	began := time.Now()
	w = l.goWorker("go-1", port, "")
	most := int64(0)
	require.Eventually(t, func() bool {
		most = max(most, residentOf(t, w.cmd))
		sets, services := l.count("statefulsets"), l.count("services")
		return sets == functions && services == functions
	}, 30*time.Minute, time.Second, "not all objects were made")
	t.Logf("all objects of %d functions there after %s, at most %d MiB resident until then", functions, time.Since(began).Round(time.Second), most>>20)
	require.Less(t, most, int64(mostMemory), "while they were made")
	small := func(when string, w *process) {
		rss := residentOf(t, w.cmd)
		t.Logf("%s: %d MiB resident with %d functions", when, rss>>20, functions)
		require.Less(t, rss, int64(mostMemory), when)
	}
	small("after they were made", w)
	w.stop()
	w = l.goWorker("go-1", port, "")
	require.Eventually(t, func() bool { return w.status("functions", fmt.Sprintf("f%d", functions-1)).NumInstances == 1 }, 5*time.Minute, time.Second)
	time.Sleep(time.Minute) // it looks at all of them
	small("a minute after a restart", w)
}

// multiply registers copies of the function f0, as its worker would have, by writing to the metadata topic while no worker leads.
func (l *lab) multiply(functions int) {
	l.t.Helper()
	topic := "persistent://" + l.functions + "/metadata"
	reader, err := l.client.CreateReader(pulsar.ReaderOptions{Topic: topic, StartMessageID: pulsar.EarliestMessageID()})
	require.NoError(l.t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	first, err := reader.Next(ctx)
	require.NoError(l.t, err)
	var request pb.ServiceRequest
	require.NoError(l.t, proto.Unmarshal(first.Payload(), &request))
	producer, err := l.client.CreateProducer(pulsar.ProducerOptions{Topic: topic})
	require.NoError(l.t, err)
	defer producer.Close()
	failed := make(chan error, functions)
	for i := 1; i < functions; i++ {
		request.FunctionMetaData.FunctionDetails.Name = fmt.Sprintf("f%d", i)
		payload, err := proto.Marshal(&request)
		require.NoError(l.t, err)
		producer.SendAsync(ctx, &pulsar.ProducerMessage{Payload: payload, Properties: first.Properties()},
			func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { failed <- err })
	}
	for i := 1; i < functions; i++ {
		require.NoError(l.t, <-failed)
	}
}

// register makes a function that has no package.
func (p *process) register(name, topic string) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	header := textproto.MIMEHeader{}
	header.Set("Content-Disposition", `form-data; name="functionConfig"`)
	header.Set("Content-Type", "application/json")
	part, err := form.CreatePart(header)
	if err != nil {
		return err
	}
	fmt.Fprintf(part, `{"tenant":"public","namespace":"default","name":%q,"jar":"builtin://transform","inputs":[%q],"userConfig":{"input":"text","map":"msg"}}`, name, topic)
	if err := form.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/admin/v3/functions/public/default/"+name, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("%s: %d %s", name, answer.StatusCode, text)
	}
	return nil
}

func (l *lab) count(kind string) int {
	one := metav1.ListOptions{Limit: 1}
	switch kind {
	case "statefulsets":
		list, err := l.api.AppsV1().StatefulSets(l.namespace).List(context.Background(), one)
		if err != nil {
			return -1
		}
		return counted(len(list.Items), list.RemainingItemCount)
	default:
		list, err := l.api.CoreV1().Services(l.namespace).List(context.Background(), one)
		if err != nil {
			return -1
		}
		return counted(len(list.Items), list.RemainingItemCount)
	}
}

func counted(first int, rest *int64) int {
	if rest == nil {
		return first
	}
	return first + int(*rest)
}

// residentOf is the resident memory of a worker, in bytes.
func residentOf(t *testing.T, cmd *exec.Cmd) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "VmRSS:")
	require.True(t, found)
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kib << 10
}
