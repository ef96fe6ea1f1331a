package instance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// workerConf is the object as a worker writes it, with every key (process contract, section 3.7).
func workerConf(change map[string]any) string {
	values := map[string]any{
		"pulsarServiceURL": "pulsar://localhost:6650", "stateStorageServiceUrl": "", "pulsarWebServiceUrl": "", "instanceID": 1,
		"funcID": "id", "funcVersion": "version", "maxBufTuples": 1024, "port": 11, "clusterName": "c", "killAfterIdleMs": 0,
		"expectedHealthCheckInterval": 30, "tenant": "t", "nameSpace": "n", "name": "f", "className": "", "logTopic": "log",
		"processingGuarantees": 0, "secretsMap": "{}", "userConfig": `{"k":"v"}`, "clientAuthenticationPlugin": "", "clientAuthenticationParameters": "",
		"tlsTrustCertsFilePath": "", "tlsHostnameVerificationEnable": false, "tlsAllowInsecureConnection": true, "runtime": 3, "autoAck": true,
		"parallelism": 2, "subscriptionType": 0, "timeoutMs": 5000, "subscriptionName": "", "cleanupSubscription": true, "subscriptionPosition": 1,
		"sourceInputSpecs": map[string]string{"in": `{"receiverQueueSize":{"value":7}}`}, "sourceSpecsTopic": "in", "sourceSchemaType": "", "receiverQueueSize": 0,
		"sinkSpecsTopic": "out", "sinkSchemaType": "", "cpu": 1.5, "ram": 1073741824, "disk": 2, "maxMessageRetries": 0, "deadLetterTopic": "",
		"metricsPort": 12, "functionDetails": "", "regexPatternSubscription": false,
	}
	for key, value := range change {
		values[key] = value
	}
	data, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	return string(data)
}

const fromDetails = `{"tenant":"dt","namespace":"dn","name":"df","unknownField":{"a":[1]},"autoAck":true,
	"source":{"subscriptionType":"FAILOVER","timeoutMs":"9000","inputSpecs":{"x":{}}}}`

func TestParseConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		text      string
		wantFQFN  string
		wantErr   string
		wantWarn  string
		wantQueue int32
	}{
		"single keys":            {text: workerConf(nil), wantFQFN: "t/n/f", wantQueue: 7},
		"in quotes":              {text: "'" + workerConf(nil) + "'", wantFQFN: "t/n/f", wantQueue: 7},
		"details win":            {text: workerConf(map[string]any{"functionDetails": fromDetails}), wantFQFN: "dt/dn/df"},
		"details in quotes":      {text: workerConf(map[string]any{"functionDetails": "'" + fromDetails + "'"}), wantFQFN: "dt/dn/df"},
		"details as an object":   {text: workerConf(map[string]any{"functionDetails": json.RawMessage(fromDetails)}), wantFQFN: "dt/dn/df"},
		"broken details":         {text: workerConf(map[string]any{"functionDetails": "{"}), wantFQFN: "t/n/f", wantWarn: "the single keys are used", wantQueue: 7},
		"unknown keys":           {text: workerConf(map[string]any{"new": []int{1}}), wantFQFN: "t/n/f", wantQueue: 7},
		"no JSON":                {text: "{", wantErr: "reading the instance configuration of -instance-conf: unexpected end of JSON input"},
		"wrong type":             {text: workerConf(map[string]any{"port": "x"}), wantErr: `key "port": a JSON string does not fit int`},
		"no name":                {text: workerConf(map[string]any{"name": ""}), wantErr: "tenant, nameSpace and name"},
		"no broker":              {text: workerConf(map[string]any{"pulsarServiceURL": ""}), wantErr: "pulsarServiceURL is not set"},
		"negative instance":      {text: workerConf(map[string]any{"instanceID": -1}), wantErr: "instanceID -1"},
		"impossible port":        {text: workerConf(map[string]any{"metricsPort": 70000}), wantErr: "70000"},
		"negative interval":      {text: workerConf(map[string]any{"expectedHealthCheckInterval": -1}), wantErr: "expectedHealthCheckInterval"},
		"a list for user config": {text: workerConf(map[string]any{"userConfig": []int{}}), wantErr: "must be a string of JSON, or an object"},
		"nothing":                {text: "", wantErr: "tenant, nameSpace and name"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := ParseConfig("", tc.text)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.wantFQFN, pb.FullyQualifiedName(cfg.Details))
			require.Equal(t, tc.wantQueue, cfg.Details.GetSource().GetInputSpecs()["in"].GetReceiverQueueSize().GetValue())
			if tc.wantWarn != "" {
				require.ErrorContains(t, cfg.DetailsError, tc.wantWarn)
			} else {
				require.NoError(t, cfg.DetailsError)
			}
			require.Equal(t, []int{1, 11, 12}, []int{cfg.InstanceID, cfg.Port, cfg.MetricsPort})
			require.Equal(t, 30*time.Second, cfg.HealthInterval)
			require.True(t, cfg.AllowInsecure)
		})
	}
}

func TestSingleKeysMakeTheDetails(t *testing.T) {
	cfg, err := ParseConfig("", workerConf(map[string]any{"maxMessageRetries": 3, "deadLetterTopic": "dead"}))
	require.NoError(t, err)
	var want pb.FunctionDetails
	require.NoError(t, protojson.Unmarshal([]byte(`{"tenant":"t","namespace":"n","name":"f","logTopic":"log","userConfig":"{\"k\":\"v\"}","secretsMap":"{}",
		"runtime":"GO","autoAck":true,"parallelism":2,"componentType":"FUNCTION","retryDetails":{"maxMessageRetries":3,"deadLetterTopic":"dead"},
		"source":{"timeoutMs":5000,"cleanupSubscription":true,"subscriptionPosition":"EARLIEST","inputSpecs":{"in":{"receiverQueueSize":{"value":7}}}},
		"sink":{"topic":"out"},"resources":{"cpu":1.5,"ram":1073741824,"disk":2}}`), &want))
	require.Equal(t, protojson.Format(&want), protojson.Format(cfg.Details))

	cfg, err = ParseConfig("", workerConf(map[string]any{"sourceInputSpecs": map[string]string{}, "isRegexPatternSubscription": true, "receiverQueueSize": 3}))
	require.NoError(t, err)
	spec := cfg.Details.Source.InputSpecs["in"]
	require.True(t, spec.IsRegexPattern)
	require.EqualValues(t, 3, spec.ReceiverQueueSize.Value)
}

func TestConfigFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf.yaml")
	require.NoError(t, os.WriteFile(path, []byte("pulsarServiceURL: pulsar://file:6650\ntenant: t\nnameSpace: n\nname: file\nuserConfig: {Key: 1}\nport: 5\n"), 0o600))
	cfg, err := ParseConfig(path, `{"name":"text"}`)
	require.NoError(t, err)
	require.Equal(t, "text", cfg.Details.Name, "the text goes before the file")
	require.Equal(t, "pulsar://file:6650", cfg.ServiceURL)
	require.JSONEq(t, `{"Key":1}`, cfg.Details.UserConfig)

	_, err = ParseConfig(filepath.Join(t.TempDir(), "none.yaml"), "")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("a: [1"), 0o600))
	_, err = ParseConfig(path, "")
	require.ErrorContains(t, err, path)
	require.NoError(t, os.WriteFile(path, make([]byte, maxConfFile+1), 0o600))
	_, err = ParseConfig(path, "")
	require.ErrorContains(t, err, "larger than")
}

func FuzzParseConfig(f *testing.F) {
	f.Add(workerConf(nil))
	f.Add(workerConf(map[string]any{"functionDetails": fromDetails}))
	f.Add(`{"sourceInputSpecs":{"a":null}}`)
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := ParseConfig("", text)
		if err != nil {
			return
		}
		if _, err := New(Options{Config: cfg}); err != nil {
			return
		}
		NewStats(cfg).Metrics()
	})
}

// TestInstanceOfAPod: all pods of a function are told -1, and their names say which they are.
func TestInstanceOfAPod(t *testing.T) {
	const conf = `{"pulsarServiceURL":"pulsar://x:6650","instanceID":-1,"tenant":"t","nameSpace":"n","name":"f"}`
	for pod, want := range map[string]int{"pf-t-n-f-0": 0, "pf-t-n-f-12": 12} {
		t.Setenv("POD_NAME", pod)
		config, err := ParseConfig("", conf)
		require.NoError(t, err)
		require.Equal(t, want, config.InstanceID)
	}
	for _, pod := range []string{"", "pf", "pf-x"} {
		t.Setenv("POD_NAME", pod)
		_, err := ParseConfig("", conf)
		require.ErrorContains(t, err, "negative", "%q has no number", pod)
	}
}
