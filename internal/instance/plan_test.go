package instance

import (
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestPlanInputs(t *testing.T) {
	properties := map[string]string{"application": "pulsar-function", "id": "t/n/f", "instance_id": "1", "instance_hostname": "host"}
	for name, tc := range map[string]struct {
		details      string
		want         []Input
		wantWarnings int
		wantErr      string
	}{
		"defaults": {
			details: `{"source":{"inputSpecs":{"in":{}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1}},
		},
		"sorted, each with its own settings": {
			details: `{"source":{"inputSpecs":{"z.*":{"isRegexPattern":true},"a":{"receiverQueueSize":{}},"m":{"receiverQueueSize":{"value":5},"schemaType":"json","consumerProperties":{"readCompacted":"true"}}}}}`,
			want: []Input{
				{Topic: "a", Subscription: "t/n/f", QueueSize: 0},
				{Topic: "m", Subscription: "t/n/f", QueueSize: 5, SchemaType: "json", Settings: map[string]string{"readCompacted": "true"}},
				{Topic: "z.*", Regex: true, Subscription: "t/n/f", QueueSize: -1},
			},
		},
		"subscription": {
			details: `{"source":{"inputSpecs":{"in":{}},"subscriptionName":" s ","subscriptionType":"FAILOVER","subscriptionPosition":"EARLIEST","skipToLatest":true,"negativeAckRedeliveryDelayMs":"1500","timeoutMs":"9000"}}`,
			want:    []Input{{Topic: "in", Subscription: "s", Type: pb.SubscriptionType_FAILOVER, Earliest: true, SkipToLatest: true, QueueSize: -1, NackDelay: 1500 * time.Millisecond}},
		},
		"the timeout stands in for the delay": {
			details: `{"source":{"inputSpecs":{"in":{}},"timeoutMs":"9000"}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1, NackDelay: 9 * time.Second}},
		},
		"an absurd delay": {
			details: `{"source":{"inputSpecs":{"in":{}},"negativeAckRedeliveryDelayMs":"18446744073709551615"}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1, NackDelay: 24 * time.Hour}},
		},
		"retain ordering": {
			details: `{"retainOrdering":true,"source":{"inputSpecs":{"in":{}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", Type: pb.SubscriptionType_FAILOVER, QueueSize: -1}},
		},
		"retain key ordering": {
			details: `{"retainKeyOrdering":true,"source":{"inputSpecs":{"in":{}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", Type: pb.SubscriptionType_KEY_SHARED, QueueSize: -1}},
		},
		"retries": {
			details: `{"retryDetails":{"maxMessageRetries":2},"source":{"inputSpecs":{"in":{}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1, MaxRedeliveries: 2, DeadLetterTopic: "in-t-n-f-DLQ"}},
		},
		"retries with a topic": {
			details: `{"retryDetails":{"maxMessageRetries":2,"deadLetterTopic":"dead"},"source":{"inputSpecs":{"in":{}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1, MaxRedeliveries: 2, DeadLetterTopic: "dead"}},
		},
		"no retries at all": {
			details: `{"retryDetails":{},"source":{"inputSpecs":{"in":{}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1}}, wantWarnings: 1,
		},
		"deprecated fields": {
			details: `{"source":{"topicsToSerDeClassName":{"old":""},"topicsPattern":"p.*"}}`,
			want: []Input{
				{Topic: "old", Subscription: "t/n/f", QueueSize: -1},
				{Topic: "p.*", Regex: true, Subscription: "t/n/f", QueueSize: -1},
			},
		},
		"windows":        {details: `{"className":"org.apache.pulsar.functions.windowing.WindowFunctionExecutor","source":{"inputSpecs":{"in":{}}}}`, wantErr: "windowConfig: the user config that holds it cannot be read"},
		"no input":       {details: `{}`, wantErr: "function t/n/f has no input topic"},
		"blank input":    {details: `{"source":{"inputSpecs":{" ":{}}}}`, wantErr: "no name"},
		"negative queue": {details: `{"source":{"inputSpecs":{"in":{"receiverQueueSize":{"value":-1}}}}}`, wantErr: "input in: the receiver queue size -1 is negative"},
		"what cannot be": {
			details: `{"source":{"inputSpecs":{"in":{"serdeClassName":"a.B","cryptoSpec":{"cryptoKeyReaderClassName":""}}}}}`,
			want:    []Input{{Topic: "in", Subscription: "t/n/f", QueueSize: -1}}, wantWarnings: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &pb.FunctionDetails{}
			require.NoError(t, protojson.Unmarshal([]byte(tc.details), d))
			d.Tenant, d.Namespace, d.Name = "t", "n", "f"
			plan, err := NewPlan(&Config{Details: d, InstanceID: 1}, "host")
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			for i := range tc.want {
				tc.want[i].Properties = properties
			}
			require.Empty(t, cmp.Diff(tc.want, plan.Inputs))
			require.Len(t, plan.Warnings, tc.wantWarnings)
		})
	}
}

func TestPlanOutput(t *testing.T) {
	d := testConfig().Details
	d.Sink = &pb.SinkSpec{Topic: "out", SchemaType: "string", ForwardSourceMessageProperty: true, ProducerSpec: &pb.ProducerSpec{
		MaxPendingMessages: 9, BatchBuilder: "KEY_BASED", CompressionType: pb.CompressionType_ZSTD,
	}}
	plan, err := NewPlan(&Config{Details: d}, "host")
	require.NoError(t, err)
	require.True(t, plan.ForwardProperties)
	require.Equal(t, "t/n/f", plan.Output.Properties["id"])
	plan.Output.Properties = nil
	require.Equal(t, Output{
		Topic: "out", SchemaType: "string", KeyBased: true, MaxPending: 9, Compression: pb.CompressionType_ZSTD, BatchDelay: 5 * time.Millisecond,
	}, plan.Output)
	require.Empty(t, plan.Log.Topic)
}

func TestPolicyRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		details *pb.FunctionDetails
		wantErr string
	}{
		"effectively once":            {details: &pb.FunctionDetails{ProcessingGuarantees: pb.ProcessingGuarantees_EFFECTIVELY_ONCE}},
		"at most once without ack":    {details: &pb.FunctionDetails{ProcessingGuarantees: pb.ProcessingGuarantees_ATMOST_ONCE}, wantErr: "needs autoAck"},
		"at least once without ack":   {details: &pb.FunctionDetails{}},
		"a guarantee from the future": {details: &pb.FunctionDetails{ProcessingGuarantees: 9}, wantErr: "processing guarantee 9 is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewPolicy(tc.details)
			if tc.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.wantErr)
			}
		})
	}
}

// TestNackPrecision: no redelivery comes more than a sixteenth of its delay too early.
func TestNackPrecision(t *testing.T) {
	for delay, want := range map[time.Duration]int64{
		0: 8, time.Nanosecond: 0, time.Millisecond: 0, 16 * time.Millisecond: 0, 100 * time.Millisecond: 2, time.Second: 5, 5 * time.Second: 8, time.Hour: 8,
	} {
		require.Equal(t, want, *nackPrecision(delay), delay.String())
	}
	rapid.Check(t, func(t *rapid.T) {
		delay := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(24*time.Hour)).Draw(t, "delay"))
		dropped := time.Duration(1<<*nackPrecision(delay)-1) * time.Millisecond
		require.LessOrEqual(t, dropped, delay/16)
	})
}

func TestPulsarOptions(t *testing.T) {
	c := NewPulsarClient(nil, Schemas{}, nil)
	options := c.consumerOptions(Input{
		Topic: "p.*", Regex: true, Subscription: "s", Type: pb.SubscriptionType_KEY_SHARED, Earliest: true, QueueSize: 3, NackDelay: time.Second,
		MaxRedeliveries: 4, DeadLetterTopic: "dead", SchemaType: "STRING", Settings: map[string]string{"readCompacted": "true", "consumerName": "me", "zzz": "1"},
	})
	require.Equal(t, "p.*", options.TopicsPattern)
	require.Empty(t, options.Topic)
	require.Equal(t, pulsar.KeyShared, options.Type)
	require.Equal(t, pulsar.SubscriptionPositionEarliest, options.SubscriptionInitialPosition)
	require.Equal(t, &pulsar.DLQPolicy{MaxDeliveries: 5, DeadLetterTopic: "dead"}, options.DLQ)
	require.Equal(t, pulsar.STRING, options.Schema.GetSchemaInfo().Type)
	require.True(t, options.ReadCompacted)
	require.Equal(t, "me", options.Name)
	require.Equal(t, 3, options.ReceiverQueueSize)
	for schemaType, want := range map[string]bool{"": false, "bytes": false, "json": false, "avro": false, "String": true} {
		require.Equal(t, want, c.schema(schemaType, nil, nil, "x") != nil, schemaType)
	}
	native, text := pulsar.NewProtoNativeSchemaWithMessage(&pb.FunctionStatus{}, nil), pulsar.NewJSONSchema(`"string"`, nil)
	require.Equal(t, native, c.schema("PROTOBUF_NATIVE", native, nil, "x"))
	require.Equal(t, text, c.schema("JSON", text, nil, "x"))
	require.Nil(t, c.schema("JSON", native, nil, "x"), "the type is Protobuf")
	require.Nil(t, c.schema("PROTOBUF_NATIVE", text, nil, "x"), "the type is JSON")
	for from, want := range map[pb.CompressionType]pulsar.CompressionType{
		pb.CompressionType_LZ4: pulsar.LZ4, pb.CompressionType_NONE: pulsar.NoCompression, pb.CompressionType_ZLIB: pulsar.ZLib,
		pb.CompressionType_ZSTD: pulsar.ZSTD, pb.CompressionType_SNAPPY: pulsar.SNAPPY, 77: pulsar.LZ4,
	} {
		require.Equal(t, want, compression(from))
	}
}
