package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// The fields of each kind's config, as the worker names them.
var fields = map[string][]string{
	functions: strings.Fields(`runtimeFlags tenant className inputs customSerdeInputs topicsPattern customSchemaInputs customSchemaOutputs inputSpecs inputTypeClassName output producerConfig outputSchemaType
		outputTypeClassName outputSerdeClassName logTopic processingGuarantees retainOrdering retainKeyOrdering batchBuilder forwardSourceMessageProperty userConfig secrets runtime autoAck maxMessageRetries deadLetterTopic
		subName parallelism resources fqfn windowConfig timeoutMs py functionType cleanupSubscription customRuntimeOptions maxPendingAsyncRequests exposePulsarAdminClientEnabled skipToLatest subscriptionPosition`),
	sinks: strings.Fields(`className sourceSubscriptionName sourceSubscriptionPosition inputs topicToSerdeClassName topicsPattern topicToSchemaType topicToSchemaProperties inputSpecs maxMessageRetries deadLetterTopic configs secrets
		parallelism processingGuarantees retainOrdering retainKeyOrdering resources autoAck timeoutMs negativeAckRedeliveryDelayMs sinkType cleanupSubscription runtimeFlags customRuntimeOptions transformFunction
		transformFunctionClassName transformFunctionConfig logTopic`),
	sources: strings.Fields(`className topicName producerConfig serdeClassName schemaType configs secrets parallelism processingGuarantees resources sourceType runtimeFlags customRuntimeOptions batchSourceConfig batchBuilder logTopic`),
}

var bases = map[string]object{functions: javaFunction, sinks: sink, sources: source}

var kinds = []string{functions, sinks, sources}

// oddValues are one of every type.
var oddValues = []any{nil, "", "x", 7, -1, 2.5, true, []any{"a"}, object{"a": "b"}}

// fieldScenarios give every field a value of every type.
func fieldScenarios() []scenario {
	var all []scenario
	for _, kind := range kinds {
		for _, field := range fields[kind] {
			sc := scenario{name: "field/" + kind + "/" + field}
			for _, value := range oddValues {
				c := create(kind, with(bases[kind], object{field: value}), "")
				c.title, c.stopIfBad = "create with "+show(value), false
				path := fmt.Sprintf("%s-%d", componentPath(kind), len(sc.steps))
				c.path, c.create = path, path
				d := remove(kind)
				d.path = path
				sc.steps = append(sc.steps, c, get(path).titled("get with "+show(value)), d)
			}
			all = append(all, sc)
		}
	}
	return all
}

// pool are plausible values of fields, good and bad ones, for random combinations.
var pool = map[string][]any{
	"inputs":                       {[]string{in}, []string{in, "b"}, []string{}, nil},
	"topicsPattern":                {"persistent://public/{ns}/r.*", nil, "a/b"},
	"customSerdeInputs":            {object{"s": ""}, object{in: "org.apache.pulsar.functions.api.utils.DefaultSerDe"}},
	"customSchemaInputs":           {object{"t": `{"schemaType":"STRING"}`}, object{in: `{"schemaType":"AVRO"}`}},
	"inputSpecs":                   {object{in: object{"schemaType": "STRING"}}, object{"u": object{"receiverQueueSize": 3, "poolMessages": true}}, object{"v": object{"serdeClassName": ""}}},
	"output":                       {out, nil, "short", in},
	"outputSchemaType":             {"STRING", "avro", "", "x.Y"},
	"outputSerdeClassName":         {"", nil, "org.apache.pulsar.functions.api.utils.DefaultSerDe"},
	"producerConfig":               {object{}, object{"maxPendingMessages": 3}, object{"compressionType": "SNAPPY", "batchBuilder": "KEY_BASED", "useThreadLocalProducers": true}},
	"batchBuilder":                 {"KEY_BASED", "", nil},
	"logTopic":                     {"log", "", "persistent://public/{ns}/l", "a/b"},
	"processingGuarantees":         {"ATLEAST_ONCE", "ATMOST_ONCE", "EFFECTIVELY_ONCE", "MANUAL", nil},
	"retainOrdering":               {true, false, nil},
	"retainKeyOrdering":            {true, false, false, nil},
	"forwardSourceMessageProperty": {true, false},
	"userConfig":                   {everyJSON, object{}, object{"n": 1}, object{"d": 1.25, "l": []any{1}}},
	"secrets":                      {object{"a": object{"path": "x"}}, object{}, object{"n": 1}},
	"configs":                      {everyJSON, object{}, object{"n": 1}, nil},
	"autoAck":                      {true, true, false, nil},
	"maxMessageRetries":            {0, 1, 5, -1},
	"deadLetterTopic":              {"dlq", "", nil},
	"subName":                      {"sub", "", nil},
	"sourceSubscriptionName":       {"sub", "", nil},
	"subscriptionPosition":         {"Latest", "Earliest", nil},
	"sourceSubscriptionPosition":   {"Latest", "Earliest", nil},
	"parallelism":                  {1, 2, 3, "2", 0, nil},
	"resources":                    {object{}, object{"cpu": 0.25}, object{"ram": 1024, "disk": 1}, object{"cpu": nil}, object{"disk": -1}},
	"windowConfig":                 {object{"windowLengthCount": 3}, object{"windowLengthDurationMs": 100, "slidingIntervalCount": 2}, nil, nil},
	"timeoutMs":                    {1, 1000, nil, 0},
	"negativeAckRedeliveryDelayMs": {1, 0, -5},
	"cleanupSubscription":          {true, false, nil},
	"skipToLatest":                 {true, false, nil},
	"runtimeFlags":                 {"-Da=b", "", " "},
	"customRuntimeOptions":         {"{}", "", "x"},
	"topicToSerdeClassName":        {object{"s": ""}, object{in: nil}},
	"topicToSchemaType":            {object{"t": "STRING"}, object{in: nil}},
	"transformFunction":            {"builtin://record", "", nil, nil},
	"transformFunctionConfig":      {"{}", `{"a":"b"}`, nil},
	"transformFunctionClassName":   {example("RecordFunction"), nil, nil},
	"topicName":                    {out, "short", ""},
	"serdeClassName":               {"", nil, "org.apache.pulsar.functions.api.utils.DefaultSerDe"},
	"schemaType":                   {"", "JSON", "string", nil},
	"batchSourceConfig":            {nil, nil, object{"discoveryTriggererClassName": "x.Y", "discoveryTriggererConfig": object{"n": 1}}},
	"className":                    {nil, nil, ""},
}

// randomScenarios combine fields: register, update, and update again with what was sent first.
func randomScenarios() []scenario {
	rnd := rand.New(rand.NewPCG(4, 8)) // fixed: every run sends the same
	var all []scenario
	for i := range 120 {
		kind := kinds[i%len(kinds)]
		base, pkg := bases[kind], ""
		switch {
		case kind == functions && i%4 == 1:
			base, pkg = pythonFunction, "exclamation_function.py"
		case kind == functions && i%4 == 2:
			base, pkg = goFunction, "go-function"
		case kind == functions && i%4 == 3:
			base = with(javaFunction, object{"className": example("AddWindowFunction")})
		}
		first := with(base, pick(rnd, kind, 1+rnd.IntN(6)))
		keep := object{}
		if jar, ok := first["jar"]; ok {
			keep["jar"] = jar
		}
		change := with(keep, pick(rnd, kind, 1+rnd.IntN(3)))
		steps := []step{create(kind, first, pkg), get(componentPath(kind)), update(kind, change, ""), get(componentPath(kind)).titled("get updated"), update(kind, first, "").titled("update with the first"), get(componentPath(kind)).titled("get updated again")}
		steps = append(steps, legacyGet(kind)...)
		all = append(all, scenario{fmt.Sprintf("random/%s/%d", kind, i), append(steps, remove(kind))})
	}
	return all
}

func pick(rnd *rand.Rand, kind string, n int) object {
	var known []string
	for _, f := range fields[kind] {
		if pool[f] != nil && !(f == "className" && kind == functions) {
			known = append(known, f)
		}
	}
	slices.Sort(known)
	o := object{}
	for range n {
		f := known[rnd.IntN(len(known))]
		o[f] = pool[f][rnd.IntN(len(pool[f]))]
	}
	return o
}
