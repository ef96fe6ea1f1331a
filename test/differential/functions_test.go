package differential

import "strings"

const (
	builtinExamples = "builtin://exclaim"
	in              = "persistent://public/{ns}/in"
	out             = "persistent://public/{ns}/out"
)

// javaFunction is a function of the examples, from the built-in archive so that nothing is uploaded.
var javaFunction = object{"jar": builtinExamples, "className": examplesPackage + "ExclamationFunction", "inputs": []string{in}, "output": out}

var pythonFunction = object{"runtime": "PYTHON", "py": "exclamation_function.py", "className": "exclamation_function.ExclamationFunction", "inputs": []string{in}, "output": out}

var goFunction = object{"runtime": "GO", "go": "go-function", "inputs": []string{in}, "output": out}

// variants makes a scenario of each change to a base config.
func variants(prefix, kind string, base object, pkg string, changes map[string]object, order []string) []scenario {
	var list []scenario
	for _, name := range order {
		list = append(list, life(prefix+"/"+name, kind, with(base, changes[name]), pkg, legacyGet(kind)...))
	}
	return list
}

// legacyGet shows the stored details of a function.
func legacyGet(kind string) []step {
	if kind != functions {
		return nil
	}
	return []step{get("/admin/v2/functions/public/{ns}/{name}").titled("get v2")}
}

// named is a change to a config under a name; a slice keeps the order.
type named struct {
	name   string
	change object
}

func each(prefix, kind string, base object, pkg string, changes []named) []scenario {
	byName, order := map[string]object{}, []string{}
	for _, c := range changes {
		byName[c.name] = c.change
		order = append(order, c.name)
	}
	return variants(prefix, kind, base, pkg, byName, order)
}

func example(name string) string { return examplesPackage + name }

func spec(topic string, o object) object {
	return object{"inputs": drop, "inputSpecs": object{topic: o}}
}

func functionScenarios() []scenario {
	var all []scenario
	all = append(all, each("function", functions, javaFunction, "", topicChanges)...)
	all = append(all, each("function", functions, javaFunction, "", schemaChanges)...)
	all = append(all, each("function", functions, javaFunction, "", producerChanges)...)
	all = append(all, each("function", functions, javaFunction, "", settingChanges)...)
	all = append(all, each("function", functions, javaFunction, "", deliveryChanges)...)
	all = append(all, each("window", functions, with(javaFunction, object{"className": example("AddWindowFunction")}), "", windowChanges)...)
	all = append(all, each("class", functions, javaFunction, "", classChanges())...)
	all = append(all, each("python", functions, pythonFunction, "exclamation_function.py", otherLanguageChanges)...)
	all = append(all, each("go", functions, goFunction, "go-function", otherLanguageChanges)...)
	return all
}

var topicChanges = []named{
	{"minimal", nil},
	{"no output", object{"output": drop}},
	{"empty output", object{"output": ""}},
	{"several inputs", object{"inputs": []string{in, "persistent://public/{ns}/b", "c"}}},
	{"short names", object{"inputs": []string{"a"}, "output": "b"}},
	{"three parts", object{"inputs": []string{"public/{ns}/a"}}},
	{"two parts", object{"inputs": []string{"public/a"}}},
	{"four parts", object{"inputs": []string{"a/b/c/d"}}},
	{"empty parts", object{"inputs": []string{"a//b/c"}}},
	{"cluster topic", object{"inputs": []string{"persistent://public/standalone/ns/t"}}},
	{"non-persistent", object{"inputs": []string{"non-persistent://public/{ns}/a"}}},
	{"unknown scheme", object{"inputs": []string{"http://public/{ns}/a"}}},
	{"doubled slashes", object{"inputs": []string{"t//n//a"}}},
	{"leading slash", object{"inputs": []string{"/a"}}},
	{"blank input", object{"inputs": []string{" "}}},
	{"empty input", object{"inputs": []string{""}}},
	{"no inputs", object{"inputs": []string{}}},
	{"absent inputs", object{"inputs": drop}},
	{"null input", object{"inputs": []any{nil}}},
	{"duplicate inputs", object{"inputs": []string{in, in}}},
	{"odd characters", object{"inputs": []string{"persistent://public/{ns}/a b?c=d&é'\"<>"}}},
	{"pattern", object{"inputs": drop, "topicsPattern": "persistent://public/{ns}/in-.*"}},
	{"pattern in namespace", object{"inputs": drop, "topicsPattern": "persistent://public/.*/in"}},
	{"pattern and inputs", object{"topicsPattern": "persistent://public/{ns}/x-.*"}},
	{"empty pattern", object{"topicsPattern": ""}},
	{"output is input", object{"output": in}},
	{"output is input in short", object{"inputs": []string{"x"}, "output": "persistent://public/default/x"}},
	{"bad output", object{"output": "a/b"}},
	{"bad log topic", object{"logTopic": "a/b"}},
	{"log topic", object{"logTopic": "persistent://public/{ns}/log"}},
	{"bad dead letter topic", object{"maxMessageRetries": 1, "deadLetterTopic": "a/b"}},
	{"all five kinds of input", object{"topicsPattern": "persistent://public/{ns}/p.*", "customSerdeInputs": object{"persistent://public/{ns}/s": ""},
		"customSchemaInputs": object{"persistent://public/{ns}/c": `{"schemaType":"STRING"}`}, "inputSpecs": object{"persistent://public/{ns}/i": object{}}}},
	{"one topic in all places", object{"customSerdeInputs": object{in: "org.apache.pulsar.functions.api.utils.DefaultSerDe"}, "customSchemaInputs": object{in: `{"schemaType":"STRING"}`},
		"inputSpecs": object{in: object{"receiverQueueSize": 5}}}},
}

var schemaChanges = []named{
	{"serde default", object{"inputs": drop, "customSerdeInputs": object{in: "org.apache.pulsar.functions.api.utils.DefaultSerDe"}}},
	{"serde missing class", object{"inputs": drop, "customSerdeInputs": object{in: "no.Such"}}},
	{"serde wrong class", object{"inputs": drop, "customSerdeInputs": object{in: example("ExclamationFunction")}}},
	{"serde wrong type", object{"inputs": drop, "customSerdeInputs": object{in: example("ByteBufferSerDe")}}},
	{"serde right type", object{"className": example("CustomBaseToBaseFunction"), "inputs": drop, "customSerdeInputs": object{in: example("CustomBaseSerde")}, "outputSerdeClassName": example("CustomBaseSerde")}},
	{"serde derived for base", object{"className": example("CustomBaseToBaseFunction"), "inputs": drop, "customSerdeInputs": object{in: example("CustomDerivedSerde")}, "outputSerdeClassName": example("CustomBaseSerde")}},
	{"serde base for derived", object{"className": example("CustomDerivedToDerivedFunction"), "inputs": drop, "customSerdeInputs": object{in: example("CustomBaseSerde")}, "outputSerdeClassName": example("CustomDerivedSerde")}},
	{"output serde derived for base", object{"className": example("CustomBaseToBaseFunction"), "outputSerdeClassName": example("CustomDerivedSerde")}},
	{"output serde base for derived", object{"className": example("CustomBaseToDerivedFunction"), "outputSerdeClassName": example("CustomBaseSerde")}},
	{"output serde missing", object{"outputSerdeClassName": "no.Such"}},
	{"output serde blank", object{"outputSerdeClassName": " "}},
	{"output schema", object{"outputSchemaType": "STRING"}},
	{"output schema lower case", object{"outputSchemaType": "avro"}},
	{"output schema unknown", object{"outputSchemaType": "no.Such"}},
	{"output schema not one", object{"outputSchemaType": example("ExclamationFunction")}},
	{"output schema and serde", object{"outputSchemaType": "STRING", "outputSerdeClassName": example("CustomBaseSerde")}},
	{"schema inputs", object{"inputs": drop, "customSchemaInputs": object{in: `{"schemaType":"AVRO","schemaProperties":{"a":"b"},"consumerProperties":{"c":"d"}}`}}},
	{"schema inputs no type", object{"inputs": drop, "customSchemaInputs": object{in: `{}`}}},
	{"schema inputs text", object{"inputs": drop, "customSchemaInputs": object{in: `AVRO`}}},
	{"schema inputs broken", object{"inputs": drop, "customSchemaInputs": object{in: `{"schemaType":`}}},
	{"schema outputs", object{"customSchemaOutputs": object{out: `{"schemaType":"AVRO","schemaProperties":{"a":"b"},"consumerProperties":{"c":"d"}}`}}},
	{"schema outputs broken", object{"customSchemaOutputs": object{out: `{`}}},
	{"schema outputs other topic", object{"customSchemaOutputs": object{"x": `{`}}},
	{"spec empty", spec(in, object{})},
	{"spec text", object{"inputs": drop, "inputSpecs": object{in: "STRING"}}},
	{"spec null", object{"inputs": drop, "inputSpecs": object{in: nil}}},
	{"spec full", spec(in, object{"schemaType": "JSON", "schemaProperties": object{"a": "b"}, "consumerProperties": object{"x": "y"}, "receiverQueueSize": 7, "poolMessages": true, "regexPattern": false})},
	{"spec pattern", spec("persistent://public/{ns}/.*", object{"regexPattern": true})},
	{"spec isRegexPattern", spec("persistent://public/{ns}/.*", object{"isRegexPattern": true})},
	{"spec both", spec(in, object{"schemaType": "STRING", "serdeClassName": example("CustomBaseSerde")})},
	{"spec serde", spec(in, object{"serdeClassName": "org.apache.pulsar.functions.api.utils.DefaultSerDe"})},
	{"spec unknown schema", spec(in, object{"schemaType": "no.Such"})},
	{"spec queue 0", spec(in, object{"receiverQueueSize": 0})},
	{"spec queue -1", spec(in, object{"receiverQueueSize": -1})},
	{"spec queue text", spec(in, object{"receiverQueueSize": "12"})},
	{"spec queue huge", spec(in, object{"receiverQueueSize": 1 << 40})},
	{"spec null maps", spec(in, object{"schemaProperties": nil, "consumerProperties": nil})},
	{"spec crypto", spec(in, object{"cryptoConfig": object{"cryptoKeyReaderClassName": example("RawFileKeyReader"), "cryptoKeyReaderConfig": object{"PUBLIC": "x", "n": 3}, "encryptionKeys": []string{"k"}, "consumerCryptoFailureAction": "CONSUME"}})},
	{"spec crypto no class", spec(in, object{"cryptoConfig": object{"encryptionKeys": []string{"k"}}})},
	{"spec crypto missing class", spec(in, object{"cryptoConfig": object{"cryptoKeyReaderClassName": "no.Such"}})},
	{"spec crypto wrong class", spec(in, object{"cryptoConfig": object{"cryptoKeyReaderClassName": example("ExclamationFunction")}})},
	{"type names ignored", object{"inputTypeClassName": "x.In", "outputTypeClassName": "x.Out"}},
}

var producerChanges = []named{
	{"producer empty", object{"producerConfig": object{}}},
	{"producer full", object{"producerConfig": object{"maxPendingMessages": 5, "maxPendingMessagesAcrossPartitions": 50, "useThreadLocalProducers": true, "batchBuilder": "KEY_BASED", "compressionType": "ZSTD"}}},
	{"producer zero", object{"producerConfig": object{"maxPendingMessages": 0}}},
	{"producer negative", object{"producerConfig": object{"maxPendingMessages": -1}}},
	{"producer bad compression", object{"producerConfig": object{"compressionType": "zip"}}},
	{"producer crypto", object{"producerConfig": object{"cryptoConfig": object{"cryptoKeyReaderClassName": example("RawFileKeyReader"), "encryptionKeys": []string{"a", "b"}, "producerCryptoFailureAction": "SEND"}}}},
	{"producer crypto no keys", object{"producerConfig": object{"cryptoConfig": object{"cryptoKeyReaderClassName": example("RawFileKeyReader")}}}},
	{"producer crypto empty keys", object{"producerConfig": object{"cryptoConfig": object{"cryptoKeyReaderClassName": example("RawFileKeyReader"), "encryptionKeys": []string{}}}}},
	{"producer crypto no class", object{"producerConfig": object{"cryptoConfig": object{"encryptionKeys": []string{"a"}}}}},
	{"batch builder", object{"batchBuilder": "KEY_BASED"}},
	{"batch builder wins", object{"batchBuilder": "DEFAULT", "producerConfig": object{"batchBuilder": "KEY_BASED"}}},
	{"batch builder odd", object{"batchBuilder": "whatever"}},
	{"forward false", object{"forwardSourceMessageProperty": false}},
	{"forward true", object{"forwardSourceMessageProperty": true}},
}

var everyJSON = object{"int": 5, "negative": -7, "zero": 0, "long": 12345678901, "huge": 123456789012345678, "double": 2.5, "exponent": 1e10, "tiny": 1e-7, "true": true, "false": false, "null": nil, "text": "x",
	"empty": "", "quotes": `a"b'c\d<e>&=`, "unicode": "é漢😀\u2028", "control": "\t\n\u0001", "list": []any{1, "a", nil, []any{}, object{}}, "object": object{"a": object{"b": []any{1.5}}}, "": "empty name", "a.b": 1, "ÜPPER": 2}

var settingChanges = []named{
	{"user config of all types", object{"userConfig": everyJSON}},
	{"user config empty", object{"userConfig": object{}}},
	{"user config null", object{"userConfig": nil}},
	{"user config list", object{"userConfig": []any{}}},
	{"user config reserved", object{"userConfig": object{"__WINDOWCONFIGS__": object{"windowLengthCount": 1}}}},
	{"secrets", object{"secrets": object{"a": object{"path": "p", "key": "k"}, "b": "text", "n": 3}}},
	{"secrets of all types", object{"secrets": everyJSON}},
	{"secrets empty", object{"secrets": object{}}},
	{"runtime flags", object{"runtimeFlags": "-Xmx100m -Dx=y"}},
	{"runtime flags blank", object{"runtimeFlags": " "}},
	{"custom runtime options", object{"customRuntimeOptions": `{"a":1}`}},
	{"custom runtime options text", object{"customRuntimeOptions": "whatever"}},
	{"resources", object{"resources": object{"cpu": 0.5, "ram": 1000, "disk": 2000}}},
	{"resources partial", object{"resources": object{"ram": 1000}}},
	{"resources null member", object{"resources": object{"cpu": nil, "ram": 1000}}},
	{"resources empty", object{"resources": object{}}},
	{"resources zero cpu", object{"resources": object{"cpu": 0}}},
	{"resources negative ram", object{"resources": object{"ram": -1}}},
	{"resources zero disk", object{"resources": object{"disk": 0}}},
	{"resources text", object{"resources": object{"cpu": "2", "ram": "4096"}}},
	{"parallelism 0", object{"parallelism": 0}},
	{"parallelism -1", object{"parallelism": -1}},
	{"parallelism 3", object{"parallelism": 3}},
	{"parallelism text", object{"parallelism": "2"}},
	{"parallelism fraction", object{"parallelism": 1.9}},
	{"parallelism null", object{"parallelism": nil}},
	{"parallelism huge", object{"parallelism": 1 << 33}},
	{"parallelism word", object{"parallelism": "many"}},
	{"other name in config", object{"tenant": "x", "namespace": "y", "name": "z"}},
	{"fqfn and type", object{"fqfn": "a/b/c", "functionType": "x"}},
	{"max pending", object{"maxPendingAsyncRequests": 7, "exposePulsarAdminClientEnabled": true}},
	{"unknown property", object{"noSuchProperty": 1}},
	{"everything null", object{"parallelism": nil, "resources": nil, "autoAck": nil, "userConfig": nil, "secrets": nil, "subscriptionPosition": nil, "cleanupSubscription": nil, "skipToLatest": nil,
		"forwardSourceMessageProperty": nil, "processingGuarantees": nil, "runtime": nil, "maxPendingAsyncRequests": nil, "inputSpecs": nil, "windowConfig": nil, "producerConfig": nil}},
	{"empty texts", object{"logTopic": "", "subName": "", "runtimeFlags": "", "customRuntimeOptions": "", "deadLetterTopic": "", "outputSchemaType": "", "outputSerdeClassName": "", "batchBuilder": ""}},
}

var deliveryChanges = []named{
	{"at least once", object{"processingGuarantees": "ATLEAST_ONCE"}},
	{"at most once", object{"processingGuarantees": "ATMOST_ONCE"}},
	{"effectively once", object{"processingGuarantees": "EFFECTIVELY_ONCE"}},
	{"manual", object{"processingGuarantees": "MANUAL"}},
	{"manual no ack", object{"processingGuarantees": "MANUAL", "autoAck": false}},
	{"lower case guarantee", object{"processingGuarantees": "atleast_once"}},
	{"number guarantee", object{"processingGuarantees": 1}},
	{"number out of range", object{"processingGuarantees": 9}},
	{"empty guarantee", object{"processingGuarantees": ""}},
	{"no ack", object{"autoAck": false}},
	{"at most once no ack", object{"processingGuarantees": "ATMOST_ONCE", "autoAck": false}},
	{"effectively once no ack", object{"processingGuarantees": "EFFECTIVELY_ONCE", "autoAck": false}},
	{"auto ack text", object{"autoAck": "false"}},
	{"auto ack number", object{"autoAck": 0}},
	{"auto ack word", object{"autoAck": "no"}},
	{"timeout", object{"timeoutMs": 1000}},
	{"timeout 0", object{"timeoutMs": 0}},
	{"timeout -1", object{"timeoutMs": -1}},
	{"timeout at least once", object{"timeoutMs": 1000, "processingGuarantees": "ATLEAST_ONCE"}},
	{"timeout at most once", object{"timeoutMs": 1000, "processingGuarantees": "ATMOST_ONCE"}},
	{"retries", object{"maxMessageRetries": 3}},
	{"retries 0", object{"maxMessageRetries": 0}},
	{"retries -1", object{"maxMessageRetries": -1}},
	{"retries and dead letters", object{"maxMessageRetries": 3, "deadLetterTopic": "persistent://public/{ns}/dlq"}},
	{"dead letters only", object{"deadLetterTopic": "dlq"}},
	{"dead letters -1", object{"maxMessageRetries": -1, "deadLetterTopic": "dlq"}},
	{"retries effectively once", object{"maxMessageRetries": 3, "processingGuarantees": "EFFECTIVELY_ONCE"}},
	{"retain ordering", object{"retainOrdering": true}},
	{"retain key ordering", object{"retainKeyOrdering": true}},
	{"both orderings", object{"retainOrdering": true, "retainKeyOrdering": true}},
	{"key ordering effectively once", object{"retainKeyOrdering": true, "processingGuarantees": "EFFECTIVELY_ONCE"}},
	{"ordering effectively once", object{"retainOrdering": true, "processingGuarantees": "EFFECTIVELY_ONCE"}},
	{"sub name", object{"subName": "my sub"}},
	{"sub name blank", object{"subName": " "}},
	{"earliest", object{"subscriptionPosition": "Earliest"}},
	{"latest", object{"subscriptionPosition": "Latest"}},
	{"lower case position", object{"subscriptionPosition": "earliest"}},
	{"skip to latest", object{"skipToLatest": true}},
	{"keep subscription", object{"cleanupSubscription": false}},
}

func window(o object) object { return object{"windowConfig": o} }

var windowChanges = []named{
	{"no window", nil},
	{"count", window(object{"windowLengthCount": 10})},
	{"count sliding", window(object{"windowLengthCount": 10, "slidingIntervalCount": 5})},
	{"duration", window(object{"windowLengthDurationMs": 1000})},
	{"duration sliding", window(object{"windowLengthDurationMs": 1000, "slidingIntervalDurationMs": 100})},
	{"count sliding by duration", window(object{"windowLengthCount": 10, "slidingIntervalDurationMs": 100})},
	{"empty", window(object{})},
	{"both lengths", window(object{"windowLengthCount": 10, "windowLengthDurationMs": 1000})},
	{"count 0", window(object{"windowLengthCount": 0})},
	{"count -1", window(object{"windowLengthCount": -1})},
	{"duration 0", window(object{"windowLengthDurationMs": 0})},
	{"sliding count 0", window(object{"windowLengthCount": 10, "slidingIntervalCount": 0})},
	{"sliding duration -1", window(object{"windowLengthDurationMs": 10, "slidingIntervalDurationMs": -1})},
	{"extractor", window(object{"windowLengthCount": 10, "timestampExtractorClassName": "x.Extractor", "lateDataTopic": "late"})},
	{"extractor lag -1", window(object{"windowLengthCount": 10, "timestampExtractorClassName": "x.Extractor", "maxLagMs": -1})},
	{"extractor watermark 0", window(object{"windowLengthCount": 10, "timestampExtractorClassName": "x.Extractor", "watermarkEmitIntervalMs": 0})},
	{"late topic only", window(object{"windowLengthCount": 10, "lateDataTopic": "late", "maxLagMs": -5})},
	{"at most once", with(window(object{"windowLengthCount": 10}), object{"processingGuarantees": "ATMOST_ONCE"})},
	{"effectively once", with(window(object{"windowLengthCount": 10}), object{"processingGuarantees": "EFFECTIVELY_ONCE"})},
	{"manual", with(window(object{"windowLengthCount": 10}), object{"processingGuarantees": "MANUAL"})},
	{"auto ack", with(window(object{"windowLengthCount": 10}), object{"autoAck": true})},
	{"own guarantee", window(object{"windowLengthCount": 10, "processingGuarantees": "ATMOST_ONCE", "actualWindowFunctionClassName": "x.Y"})},
	{"user config too", with(window(object{"windowLengthCount": 10}), object{"userConfig": everyJSON})},
	{"class is no window", with(window(object{"windowLengthCount": 10}), object{"className": example("ExclamationFunction")})},
	{"java function", with(window(object{"windowLengthCount": 10}), object{"className": example("JavaNativeExclamationFunction")})},
	{"window function", with(window(object{"windowLengthCount": 10}), object{"className": example("window.ContextWindowFunction")})},
	{"window function without window", object{"className": example("window.ContextWindowFunction")}},
	{"void window function", with(window(object{"windowLengthCount": 10}), object{"className": example("window.LoggingWindowFunction"), "output": drop})},
}

// classChanges are all classes of the examples and some that are none.
func classChanges() []named {
	var list []named
	for _, class := range strings.Fields(`CommaWindowFunction WindowDurationFunction JavaNativeExclamationFunction JavaNativeAsyncExclamationFunction AsyncContextFunction
		AutoSchemaFunction MergeTopicFunction AvroSchemaTestFunction CustomBaseToBaseFunction CustomBaseToDerivedFunction CustomDerivedToBaseFunction CustomDerivedToDerivedFunction
		CustomObjectFunction IntegerAdditionFunction RecordFunction ConfigBasedAppendFunction ContextFunction VoidFunction WordCountFunction InitializableFunction
		ByteBufferSerDe RawFileKeyReader pojo.Users$UserV1 NoSuchFunction`) {
		list = append(list, named{class, object{"className": example(class)}})
	}
	return append(list,
		named{"none", object{"className": drop}},
		named{"empty", object{"className": ""}},
		named{"blank", object{"className": "  "}},
		named{"spaces around", object{"className": " " + example("ExclamationFunction") + " "}},
		named{"JDK class", object{"className": "java.lang.String"}},
		named{"API class", object{"className": "org.apache.pulsar.functions.api.utils.IdentityFunction"}},
		named{"slashes", object{"className": strings.ReplaceAll(example("ExclamationFunction"), ".", "/")}},
		named{"array", object{"className": "[Ljava.lang.String;"}},
		named{"unicode", object{"className": "é.漢"}},
		named{"very long", object{"className": strings.Repeat("a", 5000)}},
	)
}

var otherLanguageChanges = []named{
	{"minimal", nil},
	{"no class", object{"className": drop}},
	{"class", object{"className": "some.Class"}},
	{"effectively once", object{"processingGuarantees": "EFFECTIVELY_ONCE"}},
	{"at most once", object{"processingGuarantees": "ATMOST_ONCE"}},
	{"manual", object{"processingGuarantees": "MANUAL"}},
	{"window", window(object{"windowLengthCount": 3})},
	{"bad window", window(object{})},
	{"retries", object{"maxMessageRetries": 3}},
	{"retries -1", object{"maxMessageRetries": -1}},
	{"retain ordering", object{"retainOrdering": true}},
	{"retain key ordering", object{"retainKeyOrdering": true}},
	{"types", object{"inputTypeClassName": "x.In", "outputTypeClassName": "x.Out"}},
	{"serde and schema unchecked", object{"inputs": drop, "customSerdeInputs": object{in: "my.Serde"}, "outputSchemaType": "my.Schema"}},
	{"spec", spec(in, object{"schemaType": "whatever", "receiverQueueSize": 3, "consumerProperties": object{"a": "b"}})},
	{"user config", object{"userConfig": everyJSON, "secrets": everyJSON}},
	{"timeout", object{"timeoutMs": 500}},
	{"resources", object{"resources": object{"cpu": 0.1}}},
	{"runtime only", object{"py": drop, "go": drop}},
	{"no runtime", object{"runtime": drop, "py": drop, "go": drop}},
	{"runtime of the package wins", object{"runtime": "JAVA"}},
	{"built-in python", object{"py": "builtin://x", "go": drop}},
	{"built-in python up", object{"py": "builtin://../x", "go": drop}},
	{"built-in go", object{"go": "builtin://x", "py": drop}},
	{"empty py", object{"py": "", "go": drop, "runtime": drop}},
	{"all three", object{"jar": "a.jar", "py": "b.py", "go": "c"}},
	{"crypto unchecked", spec(in, object{"cryptoConfig": object{"cryptoKeyReaderClassName": "x.Reader", "encryptionKeys": []string{"a"}}})},
	{"producer crypto", object{"producerConfig": object{"cryptoConfig": object{"cryptoKeyReaderClassName": "x.Reader", "encryptionKeys": []string{"a"}, "cryptoKeyReaderConfig": everyJSON}}}},
	{"log topic", object{"logTopic": "log"}},
}
