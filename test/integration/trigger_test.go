package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// avroObject encodes an AvroTestObject of the distribution's examples, a record of a nullable int and a nullable string.
func avroObject(base int64, object string) string {
	data := binary.AppendVarint([]byte{2}, base)
	data = binary.AppendVarint(append(data, 2), int64(len(object)))
	return string(data) + object
}

// TestTriggerSchemas triggers functions over bytes, text, JSON and Avro, through this worker and through a Java worker of the same
// cluster: both answer the same, also to data that does not fit the topic's schema.
func TestTriggerSchemas(t *testing.T) {
	e := requireEnv(t)
	namespace := "public/" + unique("functions")
	packages := map[string]any{"functionsWorkerEnablePackageManagement": true}
	ours := startWorker(t, e, workerOptions{namespace: namespace, overrides: packages})
	ours.awaitLeader(30 * time.Second)
	java := javaWorker(t, e, namespace, packages)

	create := func(name string, args ...string) (string, string) {
		name, in := unique(name), topic(name+"-in")
		args = append([]string{"functions", "create", "--name", name, "--output", topic(name + "-out")}, args...)
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "INPUT", in)
		}
		require.Contains(t, ours.admin(args...), "Created successfully")
		return name, in
	}
	jar := func(class string) []string {
		return []string{"--jar", e.examplesJar(), "--classname", javaExample(class), "--runtime-flags=" + quickJVM}
	}
	text, _ := create("trigger-text", append(jar("ExclamationFunction"), "--inputs", "INPUT")...)
	asJSON, _ := create("trigger-json", append(jar("CustomBaseToBaseFunction"), "--inputs", "INPUT")...)
	asAvro, _ := create("trigger-avro", append(jar("AvroSchemaTestFunction"), "--custom-schema-inputs", `{"INPUT":"{\"schemaType\":\"AVRO\"}"}`, "--schema-type", "AVRO")...)
	asBytes, _ := create("trigger-bytes", "--py", filepath.Join(e.pulsarHome, "examples/python-examples/native_exclamation_function.py"), "--classname", "native_exclamation_function", "--inputs", "INPUT")
	for _, name := range []string{text, asJSON, asAvro, asBytes} {
		ours.awaitRunning(name, 1, 120*time.Second)
	}

	tests := map[string]struct {
		function, data string
		status         int
		want           string
	}{
		"text":            {text, "hällo", http.StatusOK, "hällo!"},
		"bytes":           {asBytes, "raw", http.StatusOK, "raw!"},
		"JSON":            {asJSON, `{"baseValue":7}`, http.StatusOK, `{"baseValue":107}`},
		"JSON cut off":    {asJSON, `{"baseValue":`, http.StatusBadRequest, "Failed to serialize input with error"},
		"text for JSON":   {asJSON, `hello`, http.StatusBadRequest, "Failed to serialize input with error"},
		"Avro":            {asAvro, avroObject(5, "x"), http.StatusOK, avroObject(15, "x")},
		"Avro cut off":    {asAvro, avroObject(5, "long text")[:6], http.StatusBadRequest, "Failed to serialize input with error"},
		"text for Avro":   {asAvro, "hello", http.StatusBadRequest, "Failed to serialize input with error"},
		"nothing at all":  {asAvro, "", http.StatusBadRequest, "Failed to serialize input with error"},
		"JSON for a text": {text, `{"a":1}`, http.StatusOK, `{"a":1}!`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, w := range []*worker{ours, java} {
				contentType, body := multipartBody(t, part{"data", "", "text/plain", tt.data})
				var status int
				var answer []byte
				require.Eventually(t, func() bool { // an instance reports that it runs before it has subscribed and made its producer
					status, answer = request(http.MethodPost, fmt.Sprintf("%s/admin/v3/functions/public/default/%s/trigger", w.url, tt.function), contentType, bytes.NewReader(body))
					return status != http.StatusRequestTimeout && !strings.Contains(string(answer), "is not ready")
				}, 60*time.Second, 100*time.Millisecond)
				require.Equal(t, tt.status, status, "%s: %s", w.id, answer)
				require.Contains(t, string(answer), tt.want, w.id)
			}
		})
	}

	file := filepath.Join(t.TempDir(), "record.avro")
	require.NoError(t, os.WriteFile(file, []byte(avroObject(30, "from a file")), 0o600))
	require.Contains(t, ours.admin("functions", "trigger", "--name", asAvro, "--trigger-file", file), avroObject(40, "from a file")[2:])

	// A function that does not answer: a time-out after ten seconds, not before.
	ours.admin("functions", "stop", "--name", text)
	ours.awaitRunning(text, 0, 30*time.Second)
	start := time.Now()
	require.Contains(t, ours.adminFails("functions", "trigger", "--name", text, "--trigger-value", "x"), "Request Timed Out")
	require.GreaterOrEqual(t, time.Since(start), 9*time.Second)
}
