package component

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	baseSink = `{"tenant":"public","namespace":"default","name":"f","inputs":["in"],
		"className":"org.apache.pulsar.io.datagenerator.DataGeneratorPrintSink"}`
	baseSource = `{"tenant":"public","namespace":"default","name":"f","topicName":"out",
		"className":"org.apache.pulsar.io.datagenerator.DataGeneratorSource"}`
	person      = "org.apache.pulsar.io.datagenerator.Person"
	batchSource = "test.BatchSource"
)

func connectorClasses() fakeClasses {
	p := exampleClasses()
	p.classes[batchSource] = fakeClass{implements: []string{ioBatchSource}, arguments: map[string][]string{ioBatchSource: {"[B"}}}
	p.classes["test.RawSource"] = fakeClass{implements: []string{ioSource}}
	p.classes["test.Transform"] = fakeClass{implements: []string{apiFunction}, in: javaString, out: "java.lang.Integer", kind: PulsarFunction,
		arguments: map[string][]string{apiFunction: {javaString, apiRecord}}}
	p.classes["test.NoRecord"] = fakeClass{implements: []string{javaFunction}, in: javaString, out: javaString, kind: JavaFunction,
		arguments: map[string][]string{javaFunction: {javaString, javaString}}}
	return p
}

func TestSinksAreRefusedInTheJavaWorkersWords(t *testing.T) {
	type m = map[string]any
	transform := func(class any) m { return m{"transformFunction": "builtin://t", "transformFunctionClassName": class} }
	for _, c := range []struct {
		name    string
		change  m
		wantErr string
	}{
		{"tenant", m{"tenant": nil}, "Sink tenant cannot be null"},
		{"namespace", m{"namespace": nil}, "Sink namespace cannot be null"},
		{"name", m{"name": nil}, "Sink name cannot be null"},
		{"input", m{"inputs": []string{"a/b"}}, "Input topic a/b is invalid"},
		{"log topic", m{"logTopic": "a/b"}, "LogTopic topic a/b is invalid"},
		{"parallelism", m{"parallelism": 0}, "Sink parallelism must be a positive number"},
		{"too many", m{"parallelism": 100_001}, "Sink parallelism must be at most 100000"},
		{"cpu", m{"resources": m{"cpu": -1}}, "The cpu allocation for the function must be positive"},
		{"timeout", m{"timeoutMs": -1}, "Sink timeout must be a positive number"},
		{"no class and no yaml", m{"className": nil}, "Sink package doesn't contain the META-INF/services/pulsar-io.yaml file."},
		{"an empty class is literal", m{"className": ""}, "Sink class  not found"},
		{"class", m{"className": "no.Such"}, "Sink class no.Such not found"},
		{"interface", m{"className": batchSource}, "Sink class test.BatchSource does not implement the correct interface"},
		{"transform without class", transform(nil), "Function package doesn't contain the META-INF/services/pulsar-io.yaml file."},
		{"transform class", transform("no.Such"), "Function class no.Such not found"},
		{"transform output", transform("test.NoRecord"), "Sink transform function output must be of type Record"},
		{"serde", m{"topicToSerdeClassName": m{"a": "no.Such"}}, "The input serialization/deserialization class no.Such does not exist"},
		{"schema", m{"topicToSchemaType": m{"a": "no.Such"}}, "The schema class no.Such does not exist"},
		{"schema and serde", m{"inputSpecs": m{"a": m{"schemaType": "X", "serdeClassName": "Y"}}}, "Only one of serdeClassName or schemaType should be set"},
		{"key ordering and effectively once", m{"retainKeyOrdering": true, "processingGuarantees": "EFFECTIVELY_ONCE"}, "When effectively once processing guarantee is specified, retain Key ordering cannot be set"},
		{"both orderings", m{"retainKeyOrdering": true, "retainOrdering": true}, "Only one of retain ordering or retain key ordering can be set"},
		{"at most once without auto ack", m{"processingGuarantees": "ATMOST_ONCE", "autoAck": false}, errAutoAck.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := ParseSinkConfig(with(t, baseSink, c.change))
			require.NoError(t, err)
			var transform Classes
			if cfg.TransformFunction != nil {
				transform = connectorClasses()
			}
			_, err = defaultOptions.SinkDetails(cfg, connectorClasses(), transform)
			require.EqualError(t, err, c.wantErr)
		})
	}
	cfg, err := ParseSinkConfig([]byte(baseSink))
	require.NoError(t, err)
	_, err = defaultOptions.SinkDetails(cfg, nil, nil)
	require.EqualError(t, err, "Sink package is not provided")
}

func TestSourcesAreRefusedInTheJavaWorkersWords(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name    string
		change  m
		wantErr string
	}{
		{"tenant", m{"tenant": ""}, "Source tenant cannot be null"},
		{"topic", m{"topicName": "a/b"}, "Topic name is invalid"},
		{"log topic", m{"logTopic": "a/b"}, "LogTopic topic a/b is invalid"},
		{"parallelism", m{"parallelism": -1}, "Source parallelism must be a positive number"},
		{"too many", m{"parallelism": 1<<31 - 1}, "Source parallelism must be at most 100000"},
		{"no class and no yaml", m{"className": nil}, "Source package doesn't contain the META-INF/services/pulsar-io.yaml file."},
		{"class", m{"className": "no.Such"}, "Source class no.Such not found in class loader"},
		{"interface", m{"className": examples + "CustomBaseObject"}, "Source class " + examples + "CustomBaseObject does not implement the correct interface"},
		{"batch config", m{"className": batchSource}, "Source class test.BatchSource implements org.apache.pulsar.io.core.BatchSource but batch source source config is not specified"},
		{"triggerer", m{"className": batchSource, "batchSourceConfig": m{}}, "BatchSourceConfig does not specify Discovery Trigger ClassName"},
		{"raw", m{"className": "test.RawSource"}, "Failed to resolve type for Source class test.RawSource"},
		{"schema and serde", m{"schemaType": "X", "serdeClassName": "Y"}, "Only one of serdeClassName or schemaType should be set"},
		{"serde", m{"serdeClassName": examples + "CustomBaseSerde"}, "Serializer type mismatch " + person + " vs " + examples + "CustomBaseObject"},
		{"keys", m{"producerConfig": m{"cryptoConfig": m{"cryptoKeyReaderClassName": examples + "RawFileKeyReader"}}}, "Missing encryption key name for producer crypto key reader"},
		{"reserved configs", m{"configs": m{"__BATCHSOURCECONFIGS__": "{}"}}, "configs must not contain __BATCHSOURCECONFIGS__, which the worker sets itself; use batchSourceConfig"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := ParseSourceConfig(with(t, baseSource, c.change))
			require.NoError(t, err)
			_, err = defaultOptions.SourceDetails(cfg, connectorClasses())
			require.EqualError(t, err, c.wantErr)
		})
	}
	cfg, err := ParseSourceConfig([]byte(baseSource))
	require.NoError(t, err)
	_, err = defaultOptions.SourceDetails(cfg, nil)
	require.EqualError(t, err, "Source package is not provided")
}

func TestConnectorClassDeclaredByThePackage(t *testing.T) {
	classes := connectorClasses()
	classes.declared = map[Kind]string{}
	sink, err := ParseSinkConfig(with(t, baseSink, map[string]any{"className": nil}))
	require.NoError(t, err)
	_, err = defaultOptions.SinkDetails(sink, classes, nil)
	require.EqualError(t, err, "Failed to extract sink class from archive")
	source, err := ParseSourceConfig(with(t, baseSource, map[string]any{"className": nil, "archive": "builtin://gen"}))
	require.NoError(t, err)
	_, err = defaultOptions.SourceDetails(source, classes)
	require.EqualError(t, err, "Failed to extract source class from archive")

	classes.declared[Source] = "org.apache.pulsar.io.datagenerator.DataGeneratorSource"
	d, err := defaultOptions.SourceDetails(source, classes)
	require.NoError(t, err)
	require.Equal(t, classes.declared[Source], d.GetSource().GetClassName())
	require.Equal(t, "gen", d.GetSource().GetBuiltin())
	require.Equal(t, "{}", d.GetSource().GetConfigs())
	got, err := SourceConfigOf(d)
	require.NoError(t, err)
	require.Equal(t, "builtin://gen", *got.Archive)
}

func createSink(t *testing.T, change map[string]any, transform Classes) *pb.FunctionDetails {
	t.Helper()
	cfg, err := ParseSinkConfig(with(t, baseSink, change))
	require.NoError(t, err)
	d, err := defaultOptions.SinkDetails(cfg, connectorClasses(), transform)
	require.NoError(t, err)
	return d
}

func TestSinkUpdates(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name    string
		create  m
		update  m
		same    bool
		want    func(*pb.FunctionDetails)
		wantErr string
	}{
		{name: "nothing", same: true},
		{name: "position stays", create: m{"sourceSubscriptionPosition": "Earliest"}, update: m{"parallelism": 2}, want: func(d *pb.FunctionDetails) { d.Parallelism = 2 }},
		{name: "integers of the configs stay", create: m{"configs": m{"n": 5}}, update: m{"autoAck": true, "configs": m{"n": 5}}, same: true},
		{name: "plain inputs do not overwrite a spec", update: m{"inputs": []string{"in"}, "inputSpecs": m{"in": m{"schemaType": "JSON"}}},
			want: func(d *pb.FunctionDetails) { d.Source.InputSpecs["in"].SchemaType = "JSON" }},
		{name: "retries", create: m{"maxMessageRetries": 2}, update: m{"maxMessageRetries": 4, "deadLetterTopic": "d", "negativeAckRedeliveryDelayMs": 9}, want: func(d *pb.FunctionDetails) {
			d.RetryDetails = &pb.RetryDetails{MaxMessageRetries: 4, DeadLetterTopic: "d"}
			d.Source.NegativeAckRedeliveryDelayMs = 9
		}},
		{name: "effectively once with the ordering it was created with", create: m{"processingGuarantees": "EFFECTIVELY_ONCE", "retainOrdering": false},
			update: m{"retainOrdering": false, "timeoutMs": 7}, want: func(d *pb.FunctionDetails) { d.Source.TimeoutMs = 7 }},
		{name: "numbers that mean none", update: m{"maxMessageRetries": 0, "negativeAckRedeliveryDelayMs": -1, "deadLetterTopic": "d"}, same: true},
		{name: "no more retries", create: m{"maxMessageRetries": 2, "deadLetterTopic": "d"}, update: m{"maxMessageRetries": -1}, want: func(d *pb.FunctionDetails) {
			d.RetryDetails = nil
		}},
		{name: "name", update: m{"name": "x"}, wantErr: "Sink Names differ"},
		{name: "subscription", update: m{"sourceSubscriptionName": "x"}, wantErr: "Subscription Name cannot be altered"},
		{name: "inputs", update: m{"topicToSchemaType": m{"x": "JSON"}}, wantErr: "Input Topics cannot be altered"},
		{name: "guarantee", update: m{"processingGuarantees": "ATMOST_ONCE"}, wantErr: "Processing Guarantees cannot be altered"},
		{name: "ordering", update: m{"retainOrdering": true}, wantErr: "Retain Ordering cannot be altered"},
		{name: "key ordering", update: m{"retainKeyOrdering": true}, wantErr: "Retain Key Ordering cannot be altered"},
		{name: "auto ack", update: m{"autoAck": false}, wantErr: "AutoAck cannot be altered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := createSink(t, c.create, nil)
			existing, err := SinkConfigOf(before)
			require.NoError(t, err)
			update, err := ParseSinkConfig(with(t, `{"tenant":"public","namespace":"default","name":"f"}`, c.update))
			require.NoError(t, err)
			merged, err := MergeSink(existing, update)
			if c.wantErr != "" {
				require.EqualError(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.same, SameSink(existing, merged))
			want := proto.Clone(before).(*pb.FunctionDetails)
			if c.want != nil {
				c.want(want)
			}
			got, err := defaultOptions.SinkDetails(merged, connectorClasses(), nil)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
		})
	}
}

func TestSinkTransformFunction(t *testing.T) {
	change := map[string]any{"transformFunction": "builtin://t", "transformFunctionClassName": "test.Transform", "transformFunctionConfig": `{"a":1}`}
	d := createSink(t, change, connectorClasses())
	require.Equal(t, "test.Transform", d.GetClassName())
	require.Equal(t, `{"a":1}`, d.GetUserConfig())
	require.Equal(t, "t", d.GetBuiltin())
	require.Equal(t, javaString, d.GetSource().GetTypeClassName())
	require.Equal(t, javaString, d.GetSink().GetTypeClassName())
	got, err := SinkConfigOf(d)
	require.NoError(t, err)
	require.Equal(t, "builtin://t", *got.TransformFunction)
	require.Equal(t, "test.Transform", *got.TransformFunctionClassName)
	require.Equal(t, `{"a":1}`, *got.TransformFunctionConfig)
	_, err = defaultOptions.SinkDetails(got, connectorClasses(), nil)
	require.EqualError(t, err, "Transform Function package not found")

	// A transform from a URL is not in the config, but an update keeps it.
	change["transformFunction"] = "http://host/t.jar"
	d = createSink(t, change, connectorClasses())
	got, err = SinkConfigOf(d)
	require.NoError(t, err)
	require.Nil(t, got.TransformFunction)
	again, err := defaultOptions.SinkDetails(got, connectorClasses(), nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(d, again, protocmp.Transform()))
}

func createSource(t *testing.T, change map[string]any) *pb.FunctionDetails {
	t.Helper()
	cfg, err := ParseSourceConfig(with(t, baseSource, change))
	require.NoError(t, err)
	d, err := defaultOptions.SourceDetails(cfg, connectorClasses())
	require.NoError(t, err)
	return d
}

func TestSourceUpdates(t *testing.T) {
	type m = map[string]any
	batch := func(config m) m {
		return m{"className": batchSource, "batchSourceConfig": m{"discoveryTriggererClassName": "T", "discoveryTriggererConfig": config}}
	}
	for _, c := range []struct {
		name    string
		create  m
		update  m
		same    bool
		want    func(*pb.FunctionDetails)
		wantErr string
	}{
		{name: "nothing", same: true},
		{name: "topic", update: m{"topicName": "other"}, want: func(d *pb.FunctionDetails) { d.Sink.Topic = "other" }},
		{name: "configs", create: m{"configs": m{"a": 1}}, update: m{"configs": m{"b": 2}}, want: func(d *pb.FunctionDetails) { d.Source.Configs = `{"b":2}` }},
		{name: "batch with its config again", create: batch(m{"n": 1}), update: m{"batchSourceConfig": m{"discoveryTriggererClassName": "T", "discoveryTriggererConfig": m{"n": 1}}}, same: true},
		{name: "batch without its config", create: batch(nil), update: m{"parallelism": 2}, wantErr: "Sources cannot be update between regular sources and batchsource"},
		{name: "regular to batch", update: batch(nil), wantErr: "Sources cannot be update between regular sources and batchsource"},
		{name: "triggerer", create: batch(nil), update: m{"batchSourceConfig": m{"discoveryTriggererClassName": "U"}}, wantErr: "DiscoverTriggerer class cannot be updated for batchsources"},
		{name: "name", update: m{"name": "x"}, wantErr: "Function Names differ"},
		{name: "guarantee", update: m{"processingGuarantees": "ATMOST_ONCE"}, wantErr: "Processing Guarantees cannot be altered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := createSource(t, c.create)
			existing, err := SourceConfigOf(before)
			require.NoError(t, err)
			update, err := ParseSourceConfig(with(t, `{"tenant":"public","namespace":"default","name":"f"}`, c.update))
			require.NoError(t, err)
			merged, err := MergeSource(existing, update)
			if c.wantErr != "" {
				require.EqualError(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.same, SameSource(existing, merged))
			want := proto.Clone(before).(*pb.FunctionDetails)
			if c.want != nil {
				c.want(want)
			}
			got, err := defaultOptions.SourceDetails(merged, connectorClasses())
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
		})
	}
}

func TestBatchSource(t *testing.T) {
	d := createSource(t, map[string]any{"className": batchSource, "configs": map[string]any{"k": "v"}, "batchSourceConfig": map[string]any{
		"discoveryTriggererClassName": "T", "discoveryTriggererConfig": map[string]any{"__CRON__": "0 * * * * *"}}})
	require.Equal(t, batchSourceExecutor, d.GetSource().GetClassName())
	require.Equal(t, "[B", d.GetSource().GetTypeClassName())
	configs, err := ParseObject([]byte(d.GetSource().GetConfigs()))
	require.NoError(t, err)
	text, _ := configs.Get("__BATCHSOURCECONFIGS__")
	require.Equal(t, `{"discoveryTriggererClassName":"T","discoveryTriggererConfig":{"__CRON__":"0 * * * * *"}}`, text)
	class, _ := configs.Get("__BATCHSOURCECLASSNAME__")
	require.Equal(t, batchSource, class)

	got := asMap(t, must(SourceConfigOf(d)))
	require.Equal(t, batchSource, got["className"])
	require.Equal(t, map[string]any{"k": "v"}, got["configs"])

	topic, subscription, ok := BatchTopic(d)
	require.True(t, ok)
	require.Equal(t, "persistent://public/default/f-intermediate", topic)
	require.Equal(t, "BatchSourceExecutor-public/default/f", subscription)
	_, _, ok = BatchTopic(createSource(t, nil))
	require.False(t, ok)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
