package differential

// change registers, updates and reads a component.
func change(name, kind string, base, by any, pkg string, more ...step) scenario {
	steps := []step{create(kind, base, pkg), update(kind, by, ""), get(componentPath(kind)).titled("get updated")}
	steps = append(steps, legacyGet(kind)...)
	steps = append(steps, more...)
	return scenario{name, append(steps, remove(kind))}
}

// richFunction has a value in every field.
var richFunction = with(javaFunction, object{
	"inputs": drop, "inputSpecs": object{in: object{"schemaType": "STRING", "receiverQueueSize": 5, "consumerProperties": object{"a": "b"}, "schemaProperties": object{"c": "d"}}},
	"logTopic": "persistent://public/{ns}/log", "userConfig": object{"n": 1, "big": 12345678901, "f": 1.5, "s": "x"}, "secrets": object{"a": object{"path": "p", "n": 3}},
	"parallelism": 2, "resources": object{"cpu": 0.5, "ram": 1000, "disk": 2000}, "maxMessageRetries": 2, "deadLetterTopic": "persistent://public/{ns}/dlq",
	"timeoutMs": 1000, "subName": "sub", "subscriptionPosition": "Earliest", "runtimeFlags": "-Da=b", "customRuntimeOptions": "{}", "retainOrdering": true,
	"producerConfig": object{"maxPendingMessages": 5, "compressionType": "ZSTD"}, "outputSchemaType": "STRING",
})

var richSink = with(sink, object{
	"inputs": drop, "inputSpecs": object{in: object{"schemaType": "JSON", "receiverQueueSize": 5, "consumerProperties": object{"a": "b"}}},
	"logTopic": "log", "configs": object{"n": 1, "s": "x"}, "secrets": object{"a": 3}, "parallelism": 2, "resources": object{"cpu": 0.5, "ram": 1000, "disk": 2000},
	"maxMessageRetries": 2, "deadLetterTopic": "dlq", "timeoutMs": 1000, "negativeAckRedeliveryDelayMs": 500, "sourceSubscriptionName": "sub", "sourceSubscriptionPosition": "Earliest",
	"runtimeFlags": "-Da=b", "customRuntimeOptions": "{}", "retainOrdering": true,
})

var richSource = with(source, object{
	"logTopic": "log", "configs": object{"n": 1, "s": "x"}, "secrets": object{"a": 3}, "parallelism": 2, "resources": object{"cpu": 0.5, "ram": 1000, "disk": 2000},
	"runtimeFlags": "-Da=b", "customRuntimeOptions": "{}", "schemaType": "JSON", "producerConfig": object{"maxPendingMessages": 5, "compressionType": "ZSTD"},
})

func changes(prefix, kind string, base object, by []named) []scenario {
	var all []scenario
	for _, c := range by {
		all = append(all, change(prefix+"/"+c.name, kind, base, c.change, ""))
	}
	return all
}

func updateScenarios() []scenario {
	functionUpdates := again(append(append([]named{}, commonUpdates...), functionOnlyUpdates...), object{"jar": builtinExamples})
	var all []scenario
	all = append(all, changes("update function", functions, richFunction, functionUpdates)...)
	all = append(all, changes("update plain function", functions, javaFunction, again(commonUpdates, object{"jar": builtinExamples}))...)
	all = append(all, changes("update sink", sinks, richSink, append(again(commonUpdates, nil), sinkOnlyUpdates...))...)
	all = append(all, changes("update source", sources, richSource, append(again(commonUpdates, nil), sourceOnlyUpdates...))...)
	all = append(all, changes("update batch source", sources, batchSource, batchUpdates)...)
	for _, c := range commonUpdates {
		all = append(all, change("update python/"+c.name, functions, pythonFunction, c.change, "exclamation_function.py"))
	}
	windowed := with(javaFunction, object{"className": example("AddWindowFunction"), "windowConfig": object{"windowLengthCount": 10}, "userConfig": object{"n": 1}})
	return append(all, changes("update window", functions, windowed, windowUpdates)...)
}

// again adds members to every change.
func again(list []named, more object) []named {
	var all []named
	for _, c := range list {
		all = append(all, named{c.name, with(with(object{}, more), c.change)})
	}
	return all
}

// commonUpdates are fields that all kinds have.
var commonUpdates = []named{
	{"nothing", object{}},
	{"parallelism", object{"parallelism": 3}},
	{"parallelism same", object{"parallelism": 2}},
	{"parallelism 0", object{"parallelism": 0}},
	{"log topic", object{"logTopic": "persistent://public/{ns}/log2"}},
	{"log topic empty", object{"logTopic": ""}},
	{"log topic bad", object{"logTopic": "a/b"}},
	{"resources", object{"resources": object{"cpu": 3, "ram": 4, "disk": 5}}},
	{"resources one", object{"resources": object{"cpu": 3, "ram": nil, "disk": nil}}},
	{"resources same", object{"resources": object{"cpu": 0.5, "ram": 1000, "disk": 2000}}},
	{"resources absent members", object{"resources": object{"ram": 77}}},
	{"resources bad", object{"resources": object{"cpu": -1}}},
	{"runtime flags", object{"runtimeFlags": "-Dc=d"}},
	{"custom runtime options", object{"customRuntimeOptions": `{"x":1}`}},
	{"secrets", object{"secrets": object{"z": 1}}},
	{"secrets empty", object{"secrets": object{}}},
	{"guarantee", object{"processingGuarantees": "ATMOST_ONCE"}},
	{"guarantee same", object{"processingGuarantees": "ATLEAST_ONCE", "parallelism": 3}},
	{"class missing", object{"className": "no.Such"}},
	{"other name", object{"tenant": "a", "namespace": "b", "name": "c", "parallelism": 3}},
	{"unknown property", object{"noSuch": 1}},
}

var functionOnlyUpdates = []named{
	{"class", object{"className": example("LoggingFunction")}},
	{"user config", object{"userConfig": object{"z": 1}}},
	{"user config same", object{"userConfig": object{"n": 1, "big": 12345678901, "f": 1.5, "s": "x"}}},
	{"user config empty", object{"userConfig": object{}}},
	{"input same", object{"inputs": []string{in}}},
	{"input new", object{"inputs": []string{"persistent://public/{ns}/other"}}},
	{"input spec", object{"inputSpecs": object{in: object{"schemaType": "STRING", "receiverQueueSize": 9}}}},
	{"input spec and more", object{"parallelism": 3, "inputSpecs": object{in: object{"schemaType": "STRING", "receiverQueueSize": 9}}}},
	{"input regex", object{"inputSpecs": object{in: object{"regexPattern": true}}}},
	{"input new spec", object{"inputSpecs": object{"x": object{}}}},
	{"pattern", object{"topicsPattern": "persistent://public/{ns}/.*"}},
	{"serde inputs", object{"customSerdeInputs": object{in: "org.apache.pulsar.functions.api.utils.DefaultSerDe"}}},
	{"schema inputs", object{"customSchemaInputs": object{in: "AVRO"}}},
	{"output", object{"output": "persistent://public/{ns}/out2"}},
	{"output is input", object{"output": in}},
	{"output serde", object{"outputSerdeClassName": "x.Y"}},
	{"output schema", object{"outputSchemaType": "AVRO"}},
	{"output schema same", object{"outputSchemaType": "STRING", "parallelism": 3}},
	{"ordering", object{"retainOrdering": false}},
	{"key ordering", object{"retainKeyOrdering": true}},
	{"auto ack", object{"autoAck": false}},
	{"runtime", object{"runtime": "PYTHON"}},
	{"sub name", object{"subName": "other"}},
	{"position", object{"subscriptionPosition": "Latest"}},
	{"skip to latest", object{"skipToLatest": true}},
	{"retries", object{"maxMessageRetries": 9}},
	{"retries none", object{"maxMessageRetries": -1}},
	{"dead letters", object{"deadLetterTopic": "dlq2"}},
	{"timeout", object{"timeoutMs": 5}},
	{"timeout bad", object{"timeoutMs": 0}},
	{"cleanup", object{"cleanupSubscription": false}},
	{"producer", object{"producerConfig": object{"maxPendingMessages": 9}}},
	{"producer empty", object{"producerConfig": object{}}},
	{"batch builder", object{"batchBuilder": "KEY_BASED"}},
	{"forward", object{"forwardSourceMessageProperty": false}},
	{"window", object{"windowConfig": object{"windowLengthCount": 3}}},
	{"max pending", object{"maxPendingAsyncRequests": 3}},
	{"other built-in", object{"jar": "builtin://record", "className": example("RecordFunction")}},
	{"unknown built-in", object{"jar": "builtin://nosuch"}},
	{"many at once", object{"parallelism": 4, "timeoutMs": 10, "logTopic": "l", "userConfig": object{"q": nil}, "secrets": object{"r": []any{}}, "maxMessageRetries": 0, "runtimeFlags": "f"}},
}

var sinkOnlyUpdates = []named{
	{"class", object{"className": generator + "DataGeneratorPrintSink"}},
	{"configs", object{"configs": object{"z": 1}}},
	{"configs same", object{"configs": object{"n": 1, "s": "x"}}},
	{"input same", object{"inputs": []string{in}}},
	{"input new", object{"inputs": []string{"other"}}},
	{"input spec", object{"inputSpecs": object{in: object{"schemaType": "JSON", "receiverQueueSize": 9}}}},
	{"input regex", object{"inputSpecs": object{in: object{"regexPattern": true}}}},
	{"serde", object{"topicToSerdeClassName": object{in: "org.apache.pulsar.functions.api.utils.DefaultSerDe"}}},
	{"schema", object{"topicToSchemaType": object{in: "AVRO"}}},
	{"ordering", object{"retainOrdering": false}},
	{"ordering same", object{"retainOrdering": true, "parallelism": 5}},
	{"key ordering", object{"retainKeyOrdering": true}},
	{"auto ack", object{"autoAck": false}},
	{"subscription", object{"sourceSubscriptionName": "other"}},
	{"position", object{"sourceSubscriptionPosition": "Latest"}},
	{"position and more", object{"sourceSubscriptionPosition": "Earliest", "parallelism": 5}},
	{"retries", object{"maxMessageRetries": 9, "sourceSubscriptionPosition": "Earliest"}},
	{"dead letters", object{"deadLetterTopic": "dlq2", "sourceSubscriptionPosition": "Earliest"}},
	{"nack delay", object{"negativeAckRedeliveryDelayMs": 9, "sourceSubscriptionPosition": "Earliest"}},
	{"timeout", object{"timeoutMs": 5}},
	{"cleanup", object{"cleanupSubscription": false}},
	{"transform", object{"transformFunction": "builtin://record"}},
	{"transform class only", object{"transformFunctionClassName": example("RecordFunction")}},
	{"archive", object{"archive": "builtin://http"}},
	{"archive unknown", object{"archive": "builtin://nosuch"}},
}

var sourceOnlyUpdates = []named{
	{"class", object{"className": generator + "DataGeneratorSource"}},
	{"configs", object{"configs": object{"z": 1}}},
	{"configs same", object{"configs": object{"n": 1, "s": "x"}}},
	{"topic", object{"topicName": "other"}},
	{"topic bad", object{"topicName": "a/b"}},
	{"schema", object{"schemaType": "AVRO"}},
	{"serde", object{"serdeClassName": "x.Y"}},
	{"producer", object{"producerConfig": object{"maxPendingMessages": 9}}},
	{"batch builder", object{"batchBuilder": "KEY_BASED"}},
	{"archive", object{"archive": "builtin://file"}},
	{"batch", object{"batchSourceConfig": object{"discoveryTriggererClassName": "x.Y"}}},
}

var batchUpdates = []named{
	{"nothing", object{}},
	{"parallelism only", object{"parallelism": 3}},
	{"parallelism", object{"parallelism": 3, "batchSourceConfig": batchSource["batchSourceConfig"]}},
	{"triggerer", object{"batchSourceConfig": object{"discoveryTriggererClassName": "other.Triggerer"}}},
	{"triggerer config", object{"batchSourceConfig": object{"discoveryTriggererClassName": "org.apache.pulsar.io.batchdiscovery.ImmediateTriggerer", "discoveryTriggererConfig": object{"a": 1}}}},
}

var windowUpdates = []named{
	{"nothing", object{"jar": builtinExamples}},
	{"length", object{"jar": builtinExamples, "windowConfig": object{"windowLengthCount": 5}}},
	{"same", object{"jar": builtinExamples, "windowConfig": object{"windowLengthCount": 10, "slidingIntervalCount": 10}}},
	{"kind of length", object{"jar": builtinExamples, "windowConfig": object{"windowLengthDurationMs": 5}}},
	{"bad", object{"jar": builtinExamples, "windowConfig": object{}}},
	{"class", object{"jar": builtinExamples, "className": example("AddWindowFunction"), "parallelism": 2}},
	{"user config", object{"jar": builtinExamples, "userConfig": object{"m": 2}}},
	{"auto ack", object{"jar": builtinExamples, "autoAck": true}},
	{"guarantee", object{"jar": builtinExamples, "processingGuarantees": "ATMOST_ONCE"}},
}
