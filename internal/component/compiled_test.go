package component

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// compiledOptions know a connector that is both, and one of each kind.
func compiledOptions() Options {
	o := defaultOptions
	o.CompiledConnector = func(name string) (source, sink, ok bool) {
		switch name {
		case "both":
			return true, true, true
		case "reader":
			return true, false, true
		case "writer":
			return false, true, true
		}
		return false, false, false
	}
	return o
}

const (
	compiledSinkConfig   = `{"tenant":"public","namespace":"default","name":"f","inputs":["in"],"archive":"builtin://both"}`
	compiledSourceConfig = `{"tenant":"public","namespace":"default","name":"f","topicName":"out","archive":"builtin://both"}`
)

// TestCompiledConnectorsAreCheckedAsArchivesAre: all that needs no class is, in the same words, and classes are refused.
func TestCompiledConnectorsAreCheckedAsArchivesAre(t *testing.T) {
	type m = map[string]any
	sink := func(change m) error {
		cfg, err := ParseSinkConfig(with(t, compiledSinkConfig, change))
		require.NoError(t, err)
		_, err = compiledOptions().SinkDetails(cfg, nil, nil)
		return err
	}
	source := func(change m) error {
		cfg, err := ParseSourceConfig(with(t, compiledSourceConfig, change))
		require.NoError(t, err)
		_, err = compiledOptions().SourceDetails(cfg, nil)
		return err
	}
	require.NoError(t, sink(nil))
	require.NoError(t, source(nil))
	require.NoError(t, sink(m{"inputSpecs": m{"a": m{"schemaType": "json", "receiverQueueSize": 5}}, "topicToSchemaType": m{"b": "STRING"}}))
	reader := m{"cryptoConfig": m{"cryptoKeyReaderClassName": "no.Such", "encryptionKeys": []string{"k"}}}
	for _, c := range []struct {
		name    string
		err     error
		wantErr string
	}{
		{"tenant", sink(m{"tenant": nil}), "Sink tenant cannot be null"},
		{"name", sink(m{"name": nil}), "Sink name cannot be null"},
		{"no input", sink(m{"inputs": nil}), "Must specify at least one topic of input"},
		{"input", sink(m{"inputs": []string{"a/b"}}), "Input topic a/b is invalid"},
		{"log topic", sink(m{"logTopic": "a/b"}), "LogTopic topic a/b is invalid"},
		{"parallelism", sink(m{"parallelism": 0}), "Sink parallelism must be a positive number"},
		{"cpu", sink(m{"resources": m{"cpu": -1}}), "The cpu allocation for the function must be positive"},
		{"timeout", sink(m{"timeoutMs": -1}), "Sink timeout must be a positive number"},
		{"serde", sink(m{"topicToSerdeClassName": m{"a": "no.Such"}}), "The serializer class no.Such does not exist"},
		{"schema", sink(m{"topicToSchemaType": m{"a": "no.Such"}}), "The schema class no.Such does not exist"},
		{"schema of a spec", sink(m{"inputSpecs": m{"a": m{"schemaType": "no.Such"}}}), "The schema class no.Such does not exist"},
		{"serde of a spec", sink(m{"inputSpecs": m{"a": m{"serdeClassName": "no.Such"}}}), "The serializer class no.Such does not exist"},
		{"key reader", sink(m{"inputSpecs": m{"a": reader}}), "The crypto key reader class no.Such does not exist"},
		{"schema and serde", sink(m{"inputSpecs": m{"a": m{"schemaType": "X", "serdeClassName": "Y"}}}), "Only one of serdeClassName or schemaType should be set"},
		{"ordering", sink(m{"retainKeyOrdering": true, "retainOrdering": true}), "Only one of retain ordering or retain key ordering can be set"},
		{"auto ack", sink(m{"processingGuarantees": "ATMOST_ONCE", "autoAck": false}), errAutoAck.Error()},
		{"transform", sink(m{"transformFunction": "builtin://t"}), "takes no transform function"},
		{"no sink", sink(m{"archive": "builtin://reader"}), "Built-in connector reader is compiled into the worker and is not a sink"},
		{"no source", source(m{"archive": "builtin://writer"}), "Built-in connector writer is compiled into the worker and is not a source"},
		{"another archive", sink(m{"archive": "builtin://nar"}), "Sink package is not provided"},
		{"another archive", source(m{"archive": "builtin://nar"}), "Source package is not provided"},
		{"namespace", source(m{"namespace": nil}), "Source namespace cannot be null"},
		{"topic", source(m{"topicName": "a/b"}), "Topic name is invalid"},
		{"scale", source(m{"parallelism": -1}), "Source parallelism must be a positive number"},
		{"schema and serde", source(m{"schemaType": "X", "serdeClassName": "Y"}), "Only one of serdeClassName or schemaType should be set"},
		{"serde", source(m{"serdeClassName": "no.Such"}), "The serializer class no.Such does not exist"},
		{"schema", source(m{"schemaType": "no.Such"}), "The schema class no.Such does not exist"},
		{"key reader", source(m{"producerConfig": reader}), "The crypto key reader class no.Such does not exist"},
		{"batch", source(m{"batchSourceConfig": m{"discoveryTriggererClassName": "x"}}), "is no batch source"},
		{"reserved", source(m{"configs": m{batchConfigKey: "x"}}), "configs must not contain " + batchConfigKey},
	} {
		require.ErrorContains(t, c.err, c.wantErr, c.name)
	}
}

func TestDetailsOfCompiledConnectors(t *testing.T) {
	o := compiledOptions()
	cfg, err := ParseSinkConfig(with(t, compiledSinkConfig, map[string]any{"configs": map[string]any{"n": 1}, "className": "ignored"}))
	require.NoError(t, err)
	sink, err := o.SinkDetails(cfg, nil, nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(&pb.SinkSpec{ClassName: "both", Builtin: "both", Configs: `{"n":1}`}, sink.GetSink(), protocmp.Transform()))
	require.Equal(t, pb.FunctionDetails_SINK, sink.GetComponentType())
	require.Equal(t, "both", pb.BuiltinName(sink))
	again, err := SinkConfigOf(sink)
	require.NoError(t, err)
	require.Equal(t, "builtin://both", *again.Archive)
	round, err := o.SinkDetails(again, nil, nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(sink, round, protocmp.Transform()))

	read, err := ParseSourceConfig([]byte(compiledSourceConfig))
	require.NoError(t, err)
	source, err := o.SourceDetails(read, nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(&pb.SourceSpec{ClassName: "both", Builtin: "both", Configs: `{}`}, source.GetSource(), protocmp.Transform()))
	require.Equal(t, "out", source.GetSink().GetTopic())
	require.Equal(t, "both", pb.BuiltinName(source))
	require.True(t, o.IsCompiledConnector(read.Archive))
	require.False(t, Options{}.IsCompiledConnector(read.Archive))
	require.False(t, o.IsCompiledConnector(nil))
}
