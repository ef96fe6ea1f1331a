package component

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// recordedCase is a request sent to the Java worker 4.0.8 and what it answered.
type recordedCase struct {
	Name      string          `json:"name"`
	Component string          `json:"component"`
	Package   string          `json:"package"`
	Create    json.RawMessage `json:"create"`
	Created   recordedAnswer  `json:"created"`
	Update    json.RawMessage `json:"update"`
	Updated   recordedAnswer  `json:"updated"`
	Got       map[string]any  `json:"got"`     // the config of the last GET
	Details   string          `json:"details"` // the FunctionDetails given to an instance
}

type recordedAnswer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

func (a recordedAnswer) reason() string {
	var body struct{ Reason string }
	_ = json.Unmarshal(a.Body, &body) // an empty body has no reason
	return body.Reason
}

func recordedCases(t *testing.T) []recordedCase {
	t.Helper()
	data, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	var cases []recordedCase
	require.NoError(t, json.Unmarshal(data, &cases))
	require.NotEmpty(t, cases)
	return cases
}

// asMap is what a client decodes from an answer.
func asMap(t *testing.T, config any) map[string]any {
	t.Helper()
	data, err := json.Marshal(config)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(data, &m))
	return m
}

var defaultOptions = Options{ForwardSourceMessageProperty: true}

// recordedClasses is the package that a case uploads.
func recordedClasses(pkg string) Classes {
	if strings.HasSuffix(pkg, ".jar") || strings.HasSuffix(pkg, ".nar") {
		return exampleClasses()
	}
	return nil
}

func TestFunctionsAreAnsweredAsRecorded(t *testing.T) {
	for _, c := range recordedCases(t) {
		// These are refused before the config is looked at.
		if c.Component != "functions" || strings.Contains(c.Created.reason(), "does not exist") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			cfg, err := ParseFunctionConfig(c.Create)
			var details *pb.FunctionDetails
			if err == nil {
				details, err = defaultOptions.FunctionDetails(cfg, recordedClasses(c.Package))
			}
			if want := c.Created.reason(); want != "" {
				require.EqualError(t, err, want)
				return
			}
			require.NoError(t, err)
			if c.Details != "" {
				checkRecordedDetails(t, c.Details, details)
			}
			details = updateAsRecorded(t, c, details)
			got, err := FunctionConfigOf(details)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c.Got, asMap(t, got)))
		})
	}
}

func checkRecordedDetails(t *testing.T, recorded string, details *pb.FunctionDetails) {
	t.Helper()
	want := &pb.FunctionDetails{}
	require.NoError(t, protojson.Unmarshal([]byte(recorded), want))
	require.True(t, proto.Equal(want, details), "want %s\ngot  %s", recorded, protojson.Format(details))
}

// updateAsRecorded applies the case's update, if it has one.
func updateAsRecorded(t *testing.T, c recordedCase, details *pb.FunctionDetails) *pb.FunctionDetails {
	t.Helper()
	if c.Update == nil {
		return details
	}
	existing, err := FunctionConfigOf(details)
	require.NoError(t, err)
	update, err := ParseFunctionConfig(c.Update)
	require.NoError(t, err)
	merged, err := MergeFunction(existing, update)
	if want := c.Updated.reason(); want != "" && want != "Update contains no change" {
		require.EqualError(t, err, want)
		return details
	}
	require.NoError(t, err)
	require.Equal(t, c.Updated.reason() != "", SameFunction(existing, merged))
	details, err = defaultOptions.FunctionDetails(merged, exampleClasses())
	require.NoError(t, err)
	return details
}

func TestConnectorsAreAnsweredAsRecorded(t *testing.T) {
	for _, c := range recordedCases(t) {
		var convert func([]byte) (*pb.FunctionDetails, error)
		var read func(*pb.FunctionDetails) (any, error)
		switch c.Component {
		case "sinks":
			convert = sinkDetails
			read = func(d *pb.FunctionDetails) (any, error) { return SinkConfigOf(d) }
		case "sources":
			convert = sourceDetails
			read = func(d *pb.FunctionDetails) (any, error) { return SourceConfigOf(d) }
		default:
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			details, err := convert(c.Create)
			if want := c.Created.reason(); want != "" {
				require.EqualError(t, err, want)
				return
			}
			require.NoError(t, err)
			if c.Details != "" {
				checkRecordedDetails(t, c.Details, details)
			}
			got, err := read(details)
			require.NoError(t, err)
			if c.Got != nil {
				require.Empty(t, cmp.Diff(c.Got, asMap(t, got)))
			}
		})
	}
}

func sinkDetails(config []byte) (*pb.FunctionDetails, error) {
	c, err := ParseSinkConfig(config)
	if err != nil {
		return nil, err
	}
	return defaultOptions.SinkDetails(c, exampleClasses(), nil)
}

func sourceDetails(config []byte) (*pb.FunctionDetails, error) {
	c, err := ParseSourceConfig(config)
	if err != nil {
		return nil, err
	}
	return defaultOptions.SourceDetails(c, exampleClasses())
}

// The order of rest-api.md, 9.1, 9.3 and 9.4, and the order of the inner objects in 9.2.
func TestAnswersHaveTheFieldsInOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		config any
		want   string
	}{
		{"function", FunctionConfig{}, "runtimeFlags, tenant, namespace, name, className, inputs, customSerdeInputs, topicsPattern, customSchemaInputs, customSchemaOutputs, inputSpecs, inputTypeClassName, output, producerConfig, outputSchemaType, outputTypeClassName, outputSerdeClassName, logTopic, processingGuarantees, retainOrdering, retainKeyOrdering, batchBuilder, forwardSourceMessageProperty, userConfig, secrets, runtime, autoAck, maxMessageRetries, deadLetterTopic, subName, parallelism, resources, fqfn, windowConfig, timeoutMs, jar, py, go, functionType, cleanupSubscription, customRuntimeOptions, maxPendingAsyncRequests, exposePulsarAdminClientEnabled, skipToLatest, subscriptionPosition"},
		{"sink", SinkConfig{}, "tenant, namespace, name, className, sourceSubscriptionName, sourceSubscriptionPosition, inputs, topicToSerdeClassName, topicsPattern, topicToSchemaType, topicToSchemaProperties, inputSpecs, maxMessageRetries, deadLetterTopic, configs, secrets, parallelism, processingGuarantees, retainOrdering, retainKeyOrdering, resources, autoAck, timeoutMs, negativeAckRedeliveryDelayMs, sinkType, archive, cleanupSubscription, runtimeFlags, customRuntimeOptions, transformFunction, transformFunctionClassName, transformFunctionConfig, logTopic"},
		{"source", SourceConfig{}, "tenant, namespace, name, className, topicName, producerConfig, serdeClassName, schemaType, configs, secrets, parallelism, processingGuarantees, resources, sourceType, archive, runtimeFlags, customRuntimeOptions, batchSourceConfig, batchBuilder, logTopic"},
		{"producer", ProducerConfig{}, "maxPendingMessages, maxPendingMessagesAcrossPartitions, useThreadLocalProducers, cryptoConfig, batchBuilder, compressionType"},
		{"crypto", CryptoConfig{}, "cryptoKeyReaderClassName, cryptoKeyReaderConfig, encryptionKeys, producerCryptoFailureAction, consumerCryptoFailureAction"},
		{"window", WindowConfig{}, "windowLengthCount, windowLengthDurationMs, slidingIntervalCount, slidingIntervalDurationMs, lateDataTopic, maxLagMs, watermarkEmitIntervalMs, timestampExtractorClassName, actualWindowFunctionClassName, processingGuarantees"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := json.Marshal(c.config)
			require.NoError(t, err)
			o, err := ParseObject(data)
			require.NoError(t, err)
			var names []string
			for _, m := range o {
				names = append(names, m.Name)
				require.Nil(t, m.Value, m.Name)
			}
			require.Equal(t, c.want, strings.Join(names, ", "))
		})
	}
	data, err := json.Marshal(NewConsumerConfig())
	require.NoError(t, err)
	require.Equal(t, `{"schemaType":null,"serdeClassName":null,"schemaProperties":{},"consumerProperties":{},"receiverQueueSize":null,"cryptoConfig":null,"poolMessages":false,"regexPattern":false}`, string(data))
	data, err = json.Marshal(Resources{CPU: ptr(DefaultCPU), RAM: ptr(DefaultRAM), Disk: ptr(DefaultDisk)})
	require.NoError(t, err)
	require.Equal(t, `{"cpu":1.0,"ram":1073741824,"disk":10737418240}`, string(data))
}
