package kubernetes

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// recordedOptions are those of the Java worker that testdata/recorded.json was recorded from.
func recordedOptions(t *testing.T) Options {
	t.Helper()
	o, err := Options{
		JobNamespace: "default", GRPCPort: 9093, MetricsPort: 9094, PercentMemoryPadding: 10,
		PulsarAdminURL: "http://localhost:6750", PulsarServiceURL: "pulsar://localhost:6650", Image: "apachepulsar/pulsar:4.0.8",
		DownloadDirectory: "/download", ClusterName: "standalone",
	}.withDefaults()
	require.NoError(t, err)
	return o
}

type recording struct {
	StatefulSet appsv1.StatefulSet `json:"statefulset"`
	Service     corev1.Service     `json:"service"`
}

func recordings(t *testing.T) map[string]recording {
	t.Helper()
	data, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	data = []byte(strings.NewReplacer("<download>", "/download", "<worker>", "http://localhost:6750").Replace(string(data)))
	var out map[string]recording
	require.NoError(t, json.Unmarshal(data, &out))
	require.Len(t, out, 21)
	return out
}

// recordedFunction takes the function out of the recorded command.
func recordedFunction(t *testing.T, r recording) *pb.FunctionMetaData {
	t.Helper()
	command := r.StatefulSet.Spec.Template.Spec.Containers[0].Command[2]
	var text string
	if _, conf, isGo := strings.Cut(command, "-instance-conf '"); isGo {
		var c struct {
			FunctionDetails string `json:"functionDetails"`
		}
		require.NoError(t, json.Unmarshal([]byte(strings.TrimSuffix(conf, "'")), &c))
		text = c.FunctionDetails
	} else {
		_, rest, _ := strings.Cut(command, "--function_details '")
		text, _, _ = strings.Cut(rest, "'")
	}
	d := &pb.FunctionDetails{}
	require.NoError(t, protojson.Unmarshal([]byte(text), d))
	_, file, _ := strings.Cut(command, "--destination-file /download/")
	file, _, _ = strings.Cut(file, " ")
	return &pb.FunctionMetaData{FunctionDetails: d, PackageLocation: &pb.PackageLocationMetaData{PackagePath: "x", OriginalFileName: file}}
}

var uuids = regexp.MustCompile(anyUUID)

// uuidHoles are where the recording blanks the ids.
var uuidHoles = regexp.MustCompile("<uuid>")

// TestRecordedObjects compares with what a Java worker 4.0.8 created and the API server made of it.
func TestRecordedObjects(t *testing.T) {
	for name, want := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			o := recordedOptions(t)
			got, err := o.build(recordedFunction(t, want))
			require.NoError(t, err)

			command := got.set.Spec.Template.Spec.Containers[0].Command
			require.Equal(t, got.version, ourVersion(command[2]))
			command[2] = strings.ReplaceAll(uuids.ReplaceAllString(command[2], "<uuid>"), got.version, "<uuid>")
			if diff := cmp.Diff(want.StatefulSet.Spec.Template, got.set.Spec.Template); diff != "" {
				t.Errorf("pod template (-recorded +built)\n%s", diff)
			}
			if diff := cmp.Diff(want.StatefulSet.ObjectMeta, got.set.ObjectMeta); diff != "" {
				t.Errorf("StatefulSet (-recorded +built)\n%s", diff)
			}
			require.Equal(t, want.StatefulSet.Spec.Replicas, got.set.Spec.Replicas)
			require.Equal(t, want.StatefulSet.Spec.ServiceName, got.set.Spec.ServiceName)
			require.Equal(t, want.StatefulSet.Spec.Selector, got.set.Spec.Selector)
			require.Equal(t, want.StatefulSet.Spec.PodManagementPolicy, got.set.Spec.PodManagementPolicy)
			if diff := cmp.Diff(want.Service.ObjectMeta, got.service.ObjectMeta); diff != "" {
				t.Errorf("Service (-recorded +built)\n%s", diff)
			}
			require.Equal(t, want.Service.Spec.Ports, got.service.Spec.Ports)
			require.Equal(t, want.Service.Spec.Selector, got.service.Spec.Selector)
			require.Equal(t, corev1.ClusterIPNone, got.service.Spec.ClusterIP)
		})
	}
}
