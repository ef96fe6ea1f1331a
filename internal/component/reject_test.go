package component

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// with adds members to a JSON object; a nil value removes one.
func with(t *testing.T, base string, members map[string]any) []byte {
	t.Helper()
	m := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(base), &m))
	for k, v := range members {
		if v == nil {
			delete(m, k)
			continue
		}
		m[k] = v
	}
	data, err := json.Marshal(m)
	require.NoError(t, err)
	return data
}

const baseFunction = `{"tenant":"public","namespace":"default","name":"f","runtime":"JAVA","inputs":["in"],"output":"out",
	"className":"org.apache.pulsar.functions.api.examples.ExclamationFunction"}`

func TestFunctionsAreRefusedInTheJavaWorkersWords(t *testing.T) {
	type m = map[string]any
	python := func(more m) m {
		all := m{"runtime": "PYTHON", "className": "mod.F"}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	window := func(w m) m { return m{"className": examples + "AddWindowFunction", "windowConfig": w} }
	spec := func(c m) m { return m{"inputs": nil, "inputSpecs": m{"in": c}} }
	for _, c := range []struct {
		name    string
		change  m
		wantErr string
	}{
		{"no tenant", m{"tenant": nil}, "Function tenant cannot be null"},
		{"empty namespace", m{"namespace": ""}, "Function namespace cannot be null"},
		{"no name", m{"name": nil}, "Function name cannot be null"},
		{"python without class", python(m{"className": nil}), "Function classname cannot be null"},
		{"no inputs", m{"inputs": []string{}}, "No input topic(s) specified for the function"},
		{"bad input", m{"inputs": []string{"a/b"}}, "Input topic a/b is invalid"},
		{"empty pattern is an input", m{"topicsPattern": ""}, "Input topic  is invalid"},
		{"bad pattern", m{"topicsPattern": "persistent://pub*/default/x"}, "Input topic persistent://pub*/default/x is invalid"},
		{"bad output", m{"output": "x://y"}, "Output topic x://y is invalid"},
		{"bad log topic", m{"logTopic": "a/b"}, "LogTopic topic a/b is invalid"},
		{"bad dead letter topic", m{"deadLetterTopic": "a/b"}, "DeadLetter topic a/b is invalid"},
		{"parallelism", m{"parallelism": 0}, "Function parallelism must be a positive number"},
		{"too many", m{"parallelism": 100_001}, "Function parallelism must be at most 100000"},
		{"output is input", m{"output": "in"}, "Output topic in is also being used as an input topic (topics must be one or the other)"},
		{"window without length", window(m{}), "Window length is not specified"},
		{"window with two lengths", window(m{"windowLengthCount": 1, "windowLengthDurationMs": 1}), "Window length for time and count are set! Please set one or the other."},
		{"window length", window(m{"windowLengthCount": -1}), "Window length must be positive [-1]"},
		{"window duration", window(m{"windowLengthDurationMs": 0}), "Window length must be positive [0]"},
		{"sliding count", window(m{"windowLengthCount": 1, "slidingIntervalCount": 0}), "Sliding interval must be positive [0]"},
		{"sliding duration", window(m{"windowLengthCount": 1, "slidingIntervalDurationMs": -2}), "Sliding interval must be positive [-2]"},
		{"lag", window(m{"windowLengthCount": 1, "timestampExtractorClassName": "X", "maxLagMs": -1}), "Lag duration must be positive [-1]"},
		{"watermark", window(m{"windowLengthCount": 1, "timestampExtractorClassName": "X", "watermarkEmitIntervalMs": 0}), "Watermark interval must be positive [0]"},
		{"window guarantee", m{"className": examples + "AddWindowFunction", "windowConfig": m{"windowLengthCount": 1}, "processingGuarantees": "MANUAL"}, "Windows Function not support MANUAL delivery semantics."},
		{"cpu", m{"resources": m{"cpu": 0}}, "The cpu allocation for the function must be positive"},
		{"ram", m{"resources": m{"ram": -1}}, "The ram allocation for the function must be positive"},
		{"disk", m{"resources": m{"disk": 0}}, "The disk allocation for the function must be positive"},
		{"timeout", m{"timeoutMs": 0}, "Function timeout must be a positive number"},
		{"timeout and guarantee", m{"timeoutMs": 1, "processingGuarantees": "ATMOST_ONCE"}, "Message timeout can only be specified with processing guarantee is ATLEAST_ONCE"},
		{"retries and effectively once", m{"maxMessageRetries": 0, "processingGuarantees": "EFFECTIVELY_ONCE"}, "MaxMessageRetries and Effectively once don't gel well"},
		{"dead letters without retries", m{"deadLetterTopic": "d", "maxMessageRetries": -1}, "Dead Letter Topic specified, however max retries is set to infinity"},
		{"key ordering and effectively once", m{"retainKeyOrdering": true, "processingGuarantees": "EFFECTIVELY_ONCE"}, "When effectively once processing guarantee is specified, retain Key ordering cannot be set"},
		{"both orderings", m{"retainKeyOrdering": true, "retainOrdering": true}, "Only one of retain ordering or retain key ordering can be set"},
		{"built-in python", python(m{"py": "builtin://x"}), "The supplied python file does not exist"},
		{"built-in python outside", python(m{"py": "builtin://../x"}), "Invalid filename: builtin://../x"},
		{"built-in go", m{"runtime": nil, "go": "builtin://x"}, "The supplied go file does not exist"},
		{"queue size", spec(m{"receiverQueueSize": -1}), "Receiver queue size should be >= zero"},
		{"key reader without class", spec(m{"cryptoConfig": m{}}), "CryptoKeyReader class name required"},
		{"producer key reader without class", m{"producerConfig": m{"cryptoConfig": m{"cryptoKeyReaderClassName": " "}}}, "CryptoKeyReader class name required"},
		{"producer without keys", m{"producerConfig": m{"cryptoConfig": m{"cryptoKeyReaderClassName": "X"}}}, "Must provide encryption key name for crypto key reader"},
		{"no class", m{"className": " "}, "Function class name is not provided."},
		{"class missing", m{"className": "no.Such"}, "Function class no.Such must be in class path"},
		{"not a function", m{"className": examples + "CustomBaseObject"}, "Function class " + examples + "CustomBaseObject does not implement the correct interface"},
		{"window over single messages", m{"className": examples + "JavaNativeExclamationFunction", "windowConfig": m{"windowLengthCount": 1}}, "Window function must take a collection as input"},
		{"serde missing", m{"customSerdeInputs": m{"x": "no.Serde"}}, "The input serialization/deserialization class no.Serde does not exist"},
		{"not a serde", m{"customSerdeInputs": m{"x": examples + "CustomBaseObject"}}, examples + "CustomBaseObject does not implement " + apiSerDe},
		{"serde of a base for a derived input", m{"className": examples + "CustomDerivedToDerivedFunction", "customSerdeInputs": m{"x": examples + "CustomBaseSerde"}},
			"Serializer type mismatch " + examples + "CustomDerivedObject vs " + examples + "CustomBaseObject"},
		{"serde of a derived for a base output", m{"className": examples + "CustomBaseToBaseFunction", "outputSerdeClassName": examples + "CustomDerivedSerde"},
			"Serializer type mismatch " + examples + "CustomBaseObject vs " + examples + "CustomDerivedObject"},
		{"bytes are spelled as in sources", m{"className": examples + "BytesFunction", "outputSerdeClassName": examples + "CustomBaseSerde"},
			"Serializer type mismatch byte[] vs " + examples + "CustomBaseObject"},
		{"schema input is no JSON", m{"customSchemaInputs": m{"x": "STRING"}}, "Topic x has an incorrect schema Info"},
		{"schema input of python is no JSON", python(m{"customSchemaInputs": m{"x": "STRING"}}), "Incorrect custom schema inputs,Topic x "},
		{"schema output is no JSON", m{"customSchemaOutputs": m{"out": "{"}}, "Incorrect custom schema outputs,Topic out "},
		{"schema and serde", spec(m{"schemaType": "STRING", "serdeClassName": "X"}), "Only one of schemaType or serdeClassName should be set in inputSpec"},
		{"schema missing", spec(m{"schemaType": "strong"}), "The schema class strong does not exist"},
		{"not a schema", spec(m{"schemaType": examples + "CustomBaseObject"}), examples + "CustomBaseObject does not implement " + apiSchema},
		{"schema of another type", m{"className": examples + "CustomBaseToBaseFunction", "outputSchemaType": examples + "StringSchema"},
			"Schema type mismatch " + examples + "CustomBaseObject vs java.lang.String"},
		{"output schema and serde", m{"outputSchemaType": "STRING", "outputSerdeClassName": "X"}, "Only one of outputSchemaType or outputSerdeClassName should be set"},
		{"key reader missing", spec(m{"cryptoConfig": m{"cryptoKeyReaderClassName": "X"}}), "The crypto key reader class X does not exist"},
		{"not a key reader", spec(m{"cryptoConfig": m{"cryptoKeyReaderClassName": examples + "CustomBaseObject"}}), examples + "CustomBaseObject does not implement " + apiKeyReader},
		{"key reader constructor", spec(m{"cryptoConfig": m{"cryptoKeyReaderClassName": examples + "NoMapKeyReader"}}),
			"The crypto key reader class " + examples + "NoMapKeyReader does not implement the desired constructor."},
		{"at most once without auto ack", m{"processingGuarantees": "ATMOST_ONCE", "autoAck": false}, errAutoAck.Error()},
		{"python effectively once", python(m{"processingGuarantees": "EFFECTIVELY_ONCE"}), "Effectively-once processing guarantees not yet supported in Python"},
		{"python window", python(m{"windowConfig": m{"windowLengthCount": 1}}), "There is currently no support windowing in python"},
		{"python retries", python(m{"maxMessageRetries": 0}), "Message retries not yet supported in python"},
		{"go effectively once", m{"go": "f", "processingGuarantees": "EFFECTIVELY_ONCE"}, "Effectively-once processing guarantees not yet supported in Go function"},
		{"go window", m{"go": "f", "windowConfig": m{"windowLengthCount": 1}}, "Windowing is not supported in Go function yet"},
		{"go retries", m{"go": "f", "maxMessageRetries": 1}, "Message retries not yet supported in Go function"},
		{"go key ordering", m{"go": "f", "retainKeyOrdering": true}, "Retain Key Orderering not yet supported in Go function"},
		{"reserved user config", m{"userConfig": m{"__WINDOWCONFIGS__": m{}}}, "userConfig must not contain __WINDOWCONFIGS__, which the worker sets itself; use windowConfig"},
		{"a window function without a window", m{"className": examples + "window.ContextWindowFunction"}, "Function class " + examples + "window.ContextWindowFunction is a WindowFunction, which needs a windowConfig"},
		{"a window around a function of single messages", m{"windowConfig": m{"windowLengthCount": 1}}, "Function class " + examples + "ExclamationFunction takes single messages and cannot be used with a windowConfig"},
		{"no runtime", m{"runtime": nil}, "Function language runtime is either not set or cannot be determined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := ParseFunctionConfig(with(t, baseFunction, c.change))
			require.NoError(t, err)
			_, err = defaultOptions.FunctionDetails(cfg, exampleClasses())
			require.EqualError(t, err, c.wantErr)
		})
	}
}

// TestModulesCanDoMore than native programs in Go, for which the texts above are.
func TestModulesCanDoMore(t *testing.T) {
	type m = map[string]any
	for name, c := range map[string]struct {
		change  m
		wantErr string
	}{
		"retries":          {change: m{"maxMessageRetries": 1, "deadLetterTopic": "d"}},
		"effectively once": {change: m{"processingGuarantees": "EFFECTIVELY_ONCE"}},
		"key ordering":     {change: m{"retainKeyOrdering": true}},
		"windows":          {change: m{"windowConfig": m{"windowLengthCount": 1}}, wantErr: "Windowing is not supported in Go function yet"},
	} {
		t.Run(name, func(t *testing.T) {
			c.change["go"] = "f.wasm"
			cfg, err := ParseFunctionConfig(with(t, baseFunction, c.change))
			require.NoError(t, err)
			d, err := defaultOptions.FunctionDetails(cfg, Module{})
			if c.wantErr != "" {
				require.EqualError(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, pb.FunctionDetails_GO, d.GetRuntime())
		})
	}
}

func TestFunctionsAreAccepted(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name   string
		change m
	}{
		{"output that is the input only by its full name", m{"output": "persistent://public/default/in"}},
		{"pattern in the local part", m{"topicsPattern": "persistent://public/default/.*"}},
		{"cluster in the topic name", m{"inputs": []string{"persistent://t/c/n/a/b"}}},
		{"class name with blanks", m{"className": "  " + examples + "ExclamationFunction "}},
		{"retries from zero", m{"maxMessageRetries": 0}},
		{"serde of a derived for a base input", m{"className": examples + "CustomBaseToBaseFunction", "customSerdeInputs": m{"x": examples + "CustomDerivedSerde"}}},
		{"serde of a base for a derived output", m{"className": examples + "CustomDerivedToDerivedFunction", "outputSerdeClassName": examples + "CustomBaseSerde"}},
		{"default serde", m{"outputSerdeClassName": defaultSerDe}},
		{"schema in lower case", m{"outputSchemaType": "avro"}},
		{"python with retained key ordering", m{"runtime": "PYTHON", "retainKeyOrdering": true}},
		{"python with unknown serde", m{"py": "f.py", "outputSerdeClassName": "mod.Serde"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := ParseFunctionConfig(with(t, baseFunction, c.change))
			require.NoError(t, err)
			d, err := defaultOptions.FunctionDetails(cfg, exampleClasses())
			require.NoError(t, err)
			require.NotContains(t, d.GetClassName(), " ")
		})
	}
}

func TestJavaFunctionsNeedAPackage(t *testing.T) {
	cfg, err := ParseFunctionConfig([]byte(`{"jar":"f.jar"}`))
	require.NoError(t, err)
	_, err = defaultOptions.FunctionDetails(cfg, nil)
	require.EqualError(t, err, "Function package is not provided", "also before the other fields are looked at")
}

func TestClassDeclaredByThePackage(t *testing.T) {
	classes := exampleClasses()
	classes.declared = map[Kind]string{Function: examples + "ExclamationFunction"}
	cfg, err := ParseFunctionConfig(with(t, baseFunction, map[string]any{"className": nil, "jar": "builtin://exclaim"}))
	require.NoError(t, err)
	d, err := defaultOptions.FunctionDetails(cfg, classes)
	require.NoError(t, err)
	require.Equal(t, examples+"ExclamationFunction", d.GetClassName())
	require.Equal(t, "exclaim", d.GetBuiltin())
}
