package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
)

// pointAvro is the schema of the function move's type.
const pointAvro = `{"type":"record","name":"point","fields":[{"name":"x","type":["null","int"],"default":null},{"name":"name","type":["null","string"],"default":null}]}`

// pulsarClientTool runs the distribution's pulsar-client, a Java client.
func pulsarClientTool(t *testing.T, e env, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(e.pulsarHome, "bin", "pulsar-client"), append([]string{"--url", e.serviceURL}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// TestAvro goes from a Java producer through functions over AVRO and AUTO_CONSUME to a Java consumer.
func TestAvro(t *testing.T) {
	for kind, overrides := range map[string]map[string]any{"thread": thread(), "process": nil} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := startOwnWorker(t, overrides)
			move, auto := unique("avro-move"), unique("avro-auto")
			submit := func(name, builtin, in, schemaType, out, more string) (int, []byte) {
				return w.post("POST", name, fmt.Sprintf(`{"tenant":"public","namespace":"default","name":%q,"jar":"builtin://%s","inputSpecs":{%q:{"schemaType":%q}},"output":%q,"subscriptionPosition":"Earliest"%s}`,
					name, builtin, named(in), schemaType, named(out), more))
			}
			code, body := submit(move, "move", move+"-in", "AVRO", move+"-out", `,"outputSchemaType":"AVRO"`)
			require.Equal(t, http.StatusNoContent, code, string(body))
			code, body = submit(auto, "identity", move+"-out", "AUTO_CONSUME", auto+"-out", "")
			require.Equal(t, http.StatusNoContent, code, string(body))
			w.awaitRunning(move, 1, 60*time.Second)
			w.awaitRunning(auto, 1, 60*time.Second)

			broken, err := pulsarClient(t, w.env).CreateProducer(pulsar.ProducerOptions{Topic: named(move + "-in"), Schema: pulsar.NewAvroSchema(pointAvro, nil)})
			require.NoError(t, err)
			_, err = broken.Send(context.Background(), &pulsar.ProducerMessage{Payload: []byte("\x02\x02\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")}) // a text of nearly 2^63 bytes
			require.NoError(t, err)
			broken.Close()
			pulsarClientTool(t, w.env, "produce", named(move+"-in"), "-vs", "avro:"+pointAvro, "-s", ";", "-m", `{"x":{"int":41},"name":{"string":"a"}}`)

			got := subscribe(t, w.env, named(auto+"-out"))
			require.JSONEq(t, `{"x":42,"name":"a"}`, string(got.next(60*time.Second).Payload()))
			text := pulsarClientTool(t, w.env, "consume", named(move+"-out"), "-s", "java", "-p", "Earliest", "-n", "1", "-st", "auto_consume")
			require.Regexp(t, `x[=":]+42`, text)
			code, body = request(http.MethodGet, w.env.webURL+"/admin/v2/schemas/public/default/bytes-"+move+"-out/schema", "", nil)
			require.Equal(t, http.StatusOK, code, string(body))
			var schema struct{ Type, Data string }
			require.NoError(t, json.Unmarshal(body, &schema))
			require.Equal(t, "AVRO", schema.Type)
			require.JSONEq(t, pointAvro, schema.Data)
			s := w.awaitRunning(move, 1, 60*time.Second)
			require.GreaterOrEqual(t, s.Instances[0].Status.NumUserExceptions, int64(1), "the broken message, each time that it comes")
			require.EqualValues(t, 1, s.Instances[0].Status.NumSuccessfullyProcessed)

			code, body = submit(unique("refused"), "exclamation", move+"-in", "AVRO", move+"-other", `,"outputSchemaType":"AVRO"`)
			require.Equal(t, http.StatusBadRequest, code, string(body))
			require.Contains(t, string(body), "needs a struct as the type of the result, of fields that Avro can write; it is string")
			code, body = submit(unique("refused"), "seconds", move+"-in", "AVRO", move+"-other", "")
			require.Equal(t, http.StatusBadRequest, code, string(body))
			require.Contains(t, string(body), "which *durationpb.Duration is not read from")
		})
	}
}
