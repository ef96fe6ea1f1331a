package component

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfigsAreReadLeniently(t *testing.T) {
	c, err := ParseFunctionConfig([]byte(`{
		"name": 5, "parallelism": "3", "autoAck": "TRUE", "maxMessageRetries": 2.7, "timeoutMs": " 12 ", "cleanupSubscription": 0,
		"NAME": "other", "unknown": {"a": [1]}, "processingGuarantees": 1, "logTopic": null, "skipToLatest": "",
		"resources": {"cpu": "0.5", "ram": null, "gpu": 1},
		"inputSpecs": {"a": {"isRegexPattern": true, "schemaProperties": null}, "b": {"regexPattern": "true"}, "c": "STRING"},
		"userConfig": {"n": 1, "n": 5, "x": null}, "inputs": []}`))
	require.NoError(t, err)
	require.Equal(t, "5", *c.Name)
	require.Equal(t, int32(3), *c.Parallelism)
	require.True(t, *c.AutoAck)
	require.Equal(t, int32(2), *c.MaxMessageRetries)
	require.Equal(t, int64(12), *c.TimeoutMs)
	require.False(t, *c.CleanupSubscription)
	require.Equal(t, AtMostOnce, c.ProcessingGuarantees)
	require.Nil(t, c.LogTopic)
	require.Nil(t, c.SkipToLatest)
	require.Equal(t, Latest, c.SubscriptionPosition)
	require.Equal(t, Double(0.5), *c.Resources.CPU)
	require.Nil(t, c.Resources.RAM)
	require.True(t, c.InputSpecs["a"].RegexPattern, "Gson-based clients say isRegexPattern")
	require.NotNil(t, c.InputSpecs["a"].SchemaProperties)
	require.True(t, c.InputSpecs["b"].RegexPattern)
	require.Equal(t, "STRING", *c.InputSpecs["c"].SchemaType)
	require.NotNil(t, c.Inputs)
	data, err := json.Marshal(c.UserConfig)
	require.NoError(t, err)
	require.Equal(t, `{"n":5.0,"x":null}`, string(data))
}

func TestConfigsThatCannotBeRead(t *testing.T) {
	for _, c := range []struct{ name, config, wantErr string }{
		{"nothing", "", "Function config is not provided"},
		{"blanks", " \n", "Function config is not provided"},
		{"null", "null", "Function config is not provided"},
		{"array", "[]", "Function config cannot be read: it should be an object, not an array"},
		{"half", `{"name":`, "Function config is not valid JSON: unexpected EOF"},
		{"more", `{} {}`, "Function config is not valid JSON: there is more text after the JSON value (at byte 4)"},
		{"enum", `{"runtime":"java"}`, `Function config cannot be read: runtime should be one of JAVA, PYTHON, GO, not the text "java"`},
		{"empty enum", `{"processingGuarantees":""}`, `Function config cannot be read: processingGuarantees should be one of ATLEAST_ONCE, ATMOST_ONCE, EFFECTIVELY_ONCE, MANUAL, not the text ""`},
		{"text for array", `{"inputs":"a"}`, `Function config cannot be read: inputs should be an array, not the text "a"`},
		{"null in array", `{"inputs":["a",null]}`, `Function config cannot be read: inputs[1] should be a text, not null`},
		{"integer", `{"parallelism":"many"}`, `Function config cannot be read: parallelism should be an integer of 32 bits, not the text "many"`},
		{"too large", `{"parallelism":4294967296}`, `Function config cannot be read: parallelism should be an integer of 32 bits, not the number 4294967296`},
		{"inner", `{"inputSpecs":{"t":{"receiverQueueSize":{}}}}`, `Function config cannot be read: inputSpecs["t"].receiverQueueSize should be an integer of 32 bits, not an object`},
		{"null input", `{"inputSpecs":{"t":null}}`, `Function config cannot be read: inputSpecs["t"] should be an object, not null`},
		{"not a number", `{"resources":{"cpu":"NaN"}}`, `Function config cannot be read: resources.cpu should be a number, not the text "NaN"`},
		{"boolean", `{"autoAck":"yes"}`, `Function config cannot be read: autoAck should be true or false, not the text "yes"`},
		{"user config", `{"userConfig":[]}`, `Function config cannot be read: userConfig should be an object, not an array`},
		{"deep", `{"userConfig":` + strings.Repeat(`{"a":`, 1000) + `1` + strings.Repeat(`}`, 1000) + `}`, "Function config is not valid JSON: the JSON is nested deeper than 500 levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseFunctionConfig([]byte(c.config))
			require.EqualError(t, err, c.wantErr)
		})
	}
	_, err := ParseSinkConfig(nil)
	require.EqualError(t, err, "Sink config is not provided")
	_, err = ParseSourceConfig([]byte("null"))
	require.EqualError(t, err, "Source config is not provided")
}

func TestJavaDoubles(t *testing.T) {
	for in, want := range map[string]string{"1": "1.0", "0": "0.0", "-0.0": "-0.0", "0.001": "0.001", "0.0001": "1.0E-4", "9999999": "9999999.0",
		"10000000": "1.0E7", "12345678901": "1.2345678901E10", "1e400": "1e400", "1.5": "1.5", "123456789.25": "1.2345678925E8"} {
		require.Equal(t, want, floatText(json.Number(in)), in)
	}
}

func TestStoredTextIsWrittenAsGsonDoes(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"escapes", `{"a":"<b>&'=\"\\\u0001\n\u2028ü€😀"}`, `{"a":"\u003cb\u003e\u0026\u0027\u003d\"\\\u0001\n\u2028ü€😀"}`},
		{"nulls are dropped from objects only", `{"a":null,"b":[null,{"c":null}]}`, `{"b":[null,{}]}`},
		{"numbers", `{"a":1,"b":1.50,"c":1e10,"d":12345678901234567890,"e":-0}`, `{"a":1,"b":1.5,"c":1.0E10,"d":12345678901234567890,"e":0}`},
		{"order", `{"z":true,"a":{"y":1,"b":2}}`, `{"z":true,"a":{"y":1,"b":2}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseObject([]byte(c.in))
			require.NoError(t, err)
			require.Equal(t, c.want, gsonText(o))
		})
	}
}

// The wanted orders are those of java.util.HashMap, filled with putAll and then with one or two more keys.
func TestFreeFormObjectsHaveTheOrderOfAHashMap(t *testing.T) {
	for _, c := range []struct{ given, more, want string }{
		{"lmbidihyazgj,ijkwl", windowConfigKey, "lmbidihyazgj,__WINDOWCONFIGS__,ijkwl"},
		{"", windowConfigKey, "__WINDOWCONFIGS__"},
		{"fpshammq,kisfzlokwpp,gekneozra,pvzdu,hctikeb", windowConfigKey, "fpshammq,hctikeb,gekneozra,pvzdu,__WINDOWCONFIGS__,kisfzlokwpp"},
		{"lckvlsyit,hkoxma,cjgung", batchConfigKey + "," + batchClassNameKey, "hkoxma,cjgung,__BATCHSOURCECLASSNAME__,lckvlsyit,__BATCHSOURCECONFIGS__"},
		{"luefwpmxhwf,gwobchpodask,t,uuqxcjcve,qvgkxpcrgabe,dr,lesora,rf,b", "", "b,t,lesora,rf,gwobchpodask,qvgkxpcrgabe,luefwpmxhwf,uuqxcjcve,dr"},
	} {
		var o Object
		for _, name := range strings.FieldsFunc(c.given, func(r rune) bool { return r == ',' }) {
			o = append(o, Member{name, true})
		}
		presized := len(o)
		for _, name := range strings.FieldsFunc(c.more, func(r rune) bool { return r == ',' }) {
			o = append(o, Member{name, true})
		}
		var names []string
		for _, m := range hashOrder(o, presized) {
			names = append(names, m.Name)
		}
		require.Equal(t, c.want, strings.Join(names, ","))
	}
}

func TestTopicNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a b": true, "t/n/a": true, "t//n//a": false, "": false, "/": false, " ": false, "t/n": false, "t/c/n/a": false,
		"persistent://t/n/a": true, "non-persistent://t/n/a": true, "persistent://t/c/n/a/b": true, "persistent://t/n/": false,
		"persistent://t/n": false, "persistent:///n/a": false, "Persistent://t/n/a": false, "persistent://t/n*/a": false, "persistent://t-=:._9/n/.*": true,
	} {
		require.Equal(t, want, validTopic(name), "%q", name)
	}
}

func FuzzParseFunctionConfig(f *testing.F) {
	f.Add([]byte(`{"name":"f","inputs":["a"],"userConfig":{"n":1.5,"l":[null,{}]},"resources":{"cpu":1},"runtime":"PYTHON","className":"c"}`))
	f.Add([]byte(`{"inputSpecs":{"a":"STRING","b":{"isRegexPattern":1}},"windowConfig":{"windowLengthCount":"7"},"autoAck":"true"}`))
	f.Add([]byte(`{"parallelism":1e3,"timeoutMs":9.9e18,"secrets":{"a":{"path":"p","key":"k"}},"producerConfig":{"compressionType":4}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseFunctionConfig(data)
		if err != nil {
			return
		}
		c.SetName("t", "n", "f")
		first, err := json.Marshal(c)
		require.NoError(t, err)
		again, err := ParseFunctionConfig(first)
		require.NoError(t, err)
		second, err := json.Marshal(again)
		require.NoError(t, err)
		require.JSONEq(t, string(first), string(second))
		d, err := defaultOptions.FunctionDetails(c, exampleClasses())
		if err != nil {
			return
		}
		_, err = FunctionConfigOf(d)
		require.NoError(t, err, "what was accepted must be readable")
	})
}

func FuzzParseConnectorConfigs(f *testing.F) {
	f.Add([]byte(`{"className":"org.apache.pulsar.io.datagenerator.DataGeneratorPrintSink","inputs":["a"],"configs":{"n":1.5,"l":[null,{}]}}`))
	f.Add([]byte(`{"className":"org.apache.pulsar.io.datagenerator.DataGeneratorSource","batchSourceConfig":{"discoveryTriggererClassName":"x"},"configs":{"a":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseSinkConfig(data); err == nil {
			c.SetName("t", "n", "f")
			if d, err := defaultOptions.SinkDetails(c, exampleClasses(), nil); err == nil {
				_, err = SinkConfigOf(d)
				require.NoError(t, err)
			}
		}
		if c, err := ParseSourceConfig(data); err == nil {
			c.SetName("t", "n", "f")
			if d, err := defaultOptions.SourceDetails(c, exampleClasses()); err == nil {
				_, err = SourceConfigOf(d)
				require.NoError(t, err)
			}
		}
	})
}
