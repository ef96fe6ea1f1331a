package component

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// createFunction makes the details of the base function with changes.
func createFunction(t *testing.T, change map[string]any) *pb.FunctionDetails {
	t.Helper()
	cfg, err := ParseFunctionConfig(with(t, baseFunction, change))
	require.NoError(t, err)
	d, err := defaultOptions.FunctionDetails(cfg, exampleClasses())
	require.NoError(t, err)
	return d
}

// updateFunction merges an update, given as the members beside the name, into details.
func updateFunction(t *testing.T, d *pb.FunctionDetails, update map[string]any) (existing, merged *FunctionConfig, err error) {
	t.Helper()
	existing, err = FunctionConfigOf(d)
	require.NoError(t, err)
	u, err := ParseFunctionConfig(with(t, `{"tenant":"public","namespace":"default","name":"f"}`, update))
	require.NoError(t, err)
	merged, err = MergeFunction(existing, u)
	return existing, merged, err
}

func TestFunctionUpdatesThatAreRefused(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name    string
		update  m
		wantErr string
	}{
		{"tenant", m{"tenant": "x"}, "Tenants differ"},
		{"namespace", m{"namespace": "x"}, "Namespaces differ"},
		{"name", m{"name": "x"}, "Function Names differ"},
		{"another input", m{"inputs": []string{"other"}}, "Input Topics cannot be altered"},
		{"another input by pattern", m{"topicsPattern": "other"}, "Input Topics cannot be altered"},
		{"input becomes a pattern", m{"topicsPattern": "in"}, "isRegexPattern for input topic in cannot be altered"},
		{"serde", m{"outputSerdeClassName": "X"}, "Output Serde mismatch"},
		{"schema", m{"outputSchemaType": "X"}, "Output Schema mismatch"},
		{"guarantee", m{"processingGuarantees": "MANUAL"}, "Processing Guarantees cannot be altered"},
		{"ordering", m{"retainOrdering": true}, "Retain Ordering cannot be altered"},
		{"key ordering", m{"retainKeyOrdering": true}, "Retain Key Ordering cannot be altered"},
		{"runtime", m{"runtime": "PYTHON"}, "Runtime cannot be altered"},
		{"auto ack", m{"autoAck": false}, "AutoAck cannot be altered"},
		{"subscription", m{"subName": "x"}, "Subscription Name cannot be altered"},
		{"the order of checks", m{"subName": "x", "outputSchemaType": "X", "inputs": []string{"in"}}, "Output Schema mismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := updateFunction(t, createFunction(t, nil), c.update)
			require.EqualError(t, err, c.wantErr)
		})
	}
}

func TestFunctionUpdatesKeepWhatTheyDoNotName(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name   string
		create m
		update m
		same   bool // "Update contains no change"
		want   func(*pb.FunctionDetails)
	}{
		{"nothing", nil, m{}, true, func(*pb.FunctionDetails) {}},
		{"the same inputs", nil, m{"inputs": []string{"in"}}, true, func(*pb.FunctionDetails) {}},
		{"only an input's spec", nil, m{"inputSpecs": m{"in": m{"receiverQueueSize": 0}}}, false, func(d *pb.FunctionDetails) {
			d.Source.InputSpecs["in"].ReceiverQueueSize = &pb.ConsumerSpec_ReceiverQueueSize{}
		}},
		{"properties of an input stay", m{"inputs": nil, "inputSpecs": m{"in": m{"consumerProperties": m{"a": "b"}}}},
			m{"parallelism": 2, "inputs": []string{"in"}}, false, func(d *pb.FunctionDetails) { d.Parallelism = 2 }},
		{"an input's spec as it was created", m{"inputs": nil, "inputSpecs": m{"in": m{"consumerProperties": m{"a": "b"}}}},
			m{"inputSpecs": m{"in": m{"consumerProperties": m{"a": "b"}}}}, true, func(*pb.FunctionDetails) {}},
		{"properties of an input change", m{"inputs": nil, "inputSpecs": m{"in": m{"consumerProperties": m{"a": "b"}}}},
			m{"inputSpecs": m{"in": m{"consumerProperties": m{"c": "d"}}}}, false,
			func(d *pb.FunctionDetails) {
				d.Source.InputSpecs["in"].ConsumerProperties = map[string]string{"c": "d"}
			}},
		{"skipToLatest, schema outputs and forwarding stay", m{"skipToLatest": true, "forwardSourceMessageProperty": false,
			"customSchemaOutputs": m{"out": `{"schemaType":"JSON","schemaProperties":{"a":"b"}}`}},
			m{"logTopic": "log"}, false, func(d *pb.FunctionDetails) { d.LogTopic = "log" }},
		{"type names of a Python function stay", m{"runtime": "PYTHON", "inputTypeClassName": "A", "outputTypeClassName": "B"},
			m{"timeoutMs": 5}, false, func(d *pb.FunctionDetails) {
				d.Source.TimeoutMs, d.Source.NegativeAckRedeliveryDelayMs = 5, 5
			}},
		{"a built-in stays built in", m{"jar": "builtin://ex"}, m{"output": "out2"}, false, func(d *pb.FunctionDetails) { d.Sink.Topic = "out2" }},
		{"a built-in named again", m{"jar": "builtin://ex"}, m{"jar": "builtin://ex"}, true, func(*pb.FunctionDetails) {}},
		{"resources that are not named", m{"resources": m{"cpu": 2, "disk": 7}}, m{"resources": m{"ram": 5}}, false,
			func(d *pb.FunctionDetails) { d.Resources.Ram = 5 }},
		{"integers of the user config", m{"userConfig": m{"n": 12345678901}}, m{"parallelism": 3}, false, func(d *pb.FunctionDetails) { d.Parallelism = 3 }},
		{"a user config sent back as read", m{"userConfig": m{"n": 5}}, m{"userConfig": json.RawMessage(`{"n":5.0}`)}, true, func(*pb.FunctionDetails) {}},
		{"a new user config", m{"userConfig": m{"n": 5}}, m{"userConfig": m{"n": 6}}, false, func(d *pb.FunctionDetails) { d.UserConfig = `{"n":6}` }},
		{"an emptied user config", m{"userConfig": m{"n": 5}}, m{"userConfig": m{}}, false, func(d *pb.FunctionDetails) { d.UserConfig = "" }},
		{"subscription position", m{"subscriptionPosition": "Earliest"}, m{"parallelism": 2}, false, func(d *pb.FunctionDetails) { d.Parallelism = 2 }},
		{"retries", m{"maxMessageRetries": 1, "deadLetterTopic": "d"}, m{"maxMessageRetries": 3, "deadLetterTopic": ""}, false,
			func(d *pb.FunctionDetails) { d.RetryDetails.MaxMessageRetries = 3 }},
		{"a window", m{"className": examples + "AddWindowFunction", "windowConfig": m{"windowLengthCount": 3}}, m{"parallelism": 2}, false,
			func(d *pb.FunctionDetails) { d.Parallelism = 2 }},
		{"subscription cleanup", nil, m{"cleanupSubscription": false}, false, func(d *pb.FunctionDetails) { d.Source.CleanupSubscription = false }},
		{"the producer", nil, m{"producerConfig": m{"compressionType": "ZSTD", "maxPendingMessages": 3}}, false, func(d *pb.FunctionDetails) {
			d.Sink.ProducerSpec = &pb.ProducerSpec{CompressionType: pb.CompressionType_ZSTD, MaxPendingMessages: 3}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := createFunction(t, c.create)
			want := proto.Clone(before).(*pb.FunctionDetails)
			c.want(want)
			existing, merged, err := updateFunction(t, before, c.update)
			require.NoError(t, err)
			require.Equal(t, c.same, SameFunction(existing, merged))
			got, err := defaultOptions.FunctionDetails(merged, exampleClasses())
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
		})
	}
}

func TestUploadReplacesABuiltInFunction(t *testing.T) {
	_, merged, err := updateFunction(t, createFunction(t, map[string]any{"jar": "builtin://ex"}), nil)
	require.NoError(t, err)
	require.Equal(t, "builtin://ex", *merged.Jar)
	merged.UsePackage()
	require.Nil(t, merged.Jar)
	d, err := defaultOptions.FunctionDetails(merged, exampleClasses())
	require.NoError(t, err)
	require.Empty(t, d.GetBuiltin())
}

func TestStoredDetailsThatCannotBeRead(t *testing.T) {
	for name, d := range map[string]*pb.FunctionDetails{
		"user config": {UserConfig: "{"},
		"window":      {UserConfig: `{"__WINDOWCONFIGS__":{"windowLengthCount":{}}}`},
		"secrets":     {SecretsMap: "[]"},
		"runtime":     {Runtime: 2},
		"guarantee":   {ProcessingGuarantees: 9},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FunctionConfigOf(d)
			require.Error(t, err)
		})
	}
	c, err := FunctionConfigOf(&pb.FunctionDetails{ProcessingGuarantees: pb.ProcessingGuarantees_ATMOST_ONCE})
	require.NoError(t, err, "at most once without auto ack is readable, though it cannot be created")
	require.False(t, *c.AutoAck)
}
