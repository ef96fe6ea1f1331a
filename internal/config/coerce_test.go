package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCoercionOfIntegers(t *testing.T) {
	cases := map[string]struct {
		text    string
		want    int
		wantErr string
		blank   bool
	}{
		"plain":               {text: `6750`, want: 6750},
		"quoted":              {text: `"6750"`, want: 6750},
		"quoted with blanks":  {text: `" 6750 "`, want: 6750},
		"single quotes":       {text: `'6750'`, want: 6750},
		"underscores":         {text: `6_750`, want: 6750},
		"hexadecimal":         {text: `0x10`, want: 16},
		"octal":               {text: `010`, want: 8},
		"binary":              {text: `0b101`, want: 5},
		"no octal after all":  {text: `08`, want: 8},
		"truncated":           {text: `6750.9`, want: 6750},
		"plus":                {text: `+5`, want: 5},
		"tagged text":         {text: `!!str 6750`, want: 6750},
		"quoted fraction":     {text: `"6750.9"`, wantErr: "not a whole number"},
		"quoted underscores":  {text: `"6_750"`, wantErr: "not a whole number"},
		"quoted hexadecimal":  {text: `"0x10"`, wantErr: "not a whole number"},
		"boolean":             {text: `true`, wantErr: "not a whole number"},
		"overflow":            {text: `4294967296`, wantErr: "does not fit into 32 bits"},
		"quoted overflow":     {text: `"4294967296"`, wantErr: "does not fit into 32 bits"},
		"huge":                {text: strings.Repeat("9", 5000), wantErr: "not a whole number"},
		"huge fraction":       {text: `1.0e300`, wantErr: "does not fit"},
		"list":                {text: `[1]`, wantErr: "list or map"},
		"blank":               {text: ``, blank: true},
		"empty":               {text: `""`, blank: true},
		"null":                {text: `null`, blank: true},
		"quoted null is text": {text: `"null"`, wantErr: "not a whole number"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, _, err := load(t, "numHttpServerThreads: "+c.text+"\n")
			switch {
			case c.wantErr != "":
				text := problemsOf(t, err)
				require.Contains(t, text, "numHttpServerThreads")
				require.Contains(t, text, c.wantErr)
				require.Contains(t, text, "remedy: ")
			case c.blank:
				require.NoError(t, err)
				require.Equal(t, 8, w.NumHTTPServerThreads, "the default, where Java reads 0")
			default:
				require.NoError(t, err)
				require.Equal(t, c.want, w.NumHTTPServerThreads)
			}
		})
	}
}

func TestCoercionOfBooleans(t *testing.T) {
	cases := map[string]struct {
		text string
		want bool
		bad  bool
	}{
		"true": {text: "true", want: true}, "True": {text: "True", want: true}, "quoted TRUE": {text: `"TRUE"`, want: true},
		"quoted with blanks": {text: `" true "`, want: true}, "yes": {text: "yes", want: true}, "on": {text: "on", want: true},
		"no": {text: "no"}, "off": {text: "off"}, "one": {text: "1", want: true}, "zero": {text: "0"}, "negative": {text: "-1", want: true},
		"false": {text: "false"}, "quoted false": {text: `'False'`},
		"quoted yes": {text: `"yes"`, bad: true}, "quoted one": {text: `"1"`, bad: true}, "word": {text: "maybe", bad: true}, "mixed case": {text: "tRue", bad: true},
		"list": {text: "[true]", bad: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, _, err := load(t, "useTls: "+c.text+"\n")
			if c.bad {
				require.Contains(t, problemsOf(t, err), "useTls")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, w.UseTLS)
		})
	}
}

func TestBlankIsTheDefault(t *testing.T) {
	w, r, err := load(t, "authenticateMetricsEndpoint:\nenableReferencingFunctionsDirectoryFiles:\nfailureCheckFreqMs: 0\nconnectorsDirectory:\n")
	require.NoError(t, err)
	require.True(t, w.AuthenticateMetricsEndpoint, "the secure choice")
	require.True(t, w.EnableReferencingFunctionsDirectoryFiles)
	require.EqualValues(t, 30000, w.FailureCheckFreqMs)
	require.Empty(t, w.Computed.Files.ConnectorsDirectory)
	require.Len(t, r.Warnings, 3)
}

func TestCoercionOfOtherTypes(t *testing.T) {
	w, _, err := load(t, `
pulsarFunctionsCluster: 1.50
httpRequestsMaxPerSecond: "12.5"
superUserRoles: [admin, 7, true]
proxyRoles: "proxy-1, proxy-2,,"
additionalJavaRuntimeArguments: -Xmx1g
properties: {Mixed.Case_Key: 7, brokerClient: {operationTimeoutMs: "5000"}, blank: }
functionInstanceMinResources: {cpu: '0.1'}
functionInstanceMaxResources: {ram: }
functionRuntimeFactoryConfigs: {customLabels: {Mixed.Case: x}}
topicCompactionFrequencySec: 9999999999
`)
	require.NoError(t, err)
	require.Equal(t, "1.50", w.PulsarFunctionsCluster, "the text is kept")
	require.InDelta(t, 12.5, w.HTTPRequestsMaxPerSecond, 0)
	require.Equal(t, []string{"admin", "7", "true"}, w.SuperUserRoles)
	require.Equal(t, []string{"proxy-1", "proxy-2"}, w.ProxyRoles)
	require.Equal(t, []string{"-Xmx1g"}, w.AdditionalJavaRuntimeArguments)
	require.Equal(t, map[string]string{"Mixed.Case_Key": "7", "brokerClient_operationTimeoutMs": "5000"}, w.Properties)
	require.Equal(t, map[string]string{"operationTimeoutMs": "5000"}, w.BrokerClientProperties())
	require.InDelta(t, 0.1, *w.FunctionInstanceMinResources.CPU, 0)
	require.EqualValues(t, 1073741824, *w.FunctionInstanceMinResources.RAM, "only cpu also activates the default of ram")
	require.Nil(t, w.FunctionInstanceMaxResources.RAM, "an explicit null is not checked")
	require.InDelta(t, 1.0, *w.FunctionInstanceMaxResources.CPU, 0)
	require.Equal(t, map[string]any{"customLabels": map[string]any{"Mixed.Case": "x"}}, w.FunctionRuntimeFactoryConfigs)
	require.EqualValues(t, 9999999999, w.TopicCompactionFrequencySec)
}

func TestOwnSection(t *testing.T) {
	w, _, err := load(t, "goWorker: {packageStore: filesystem, packageDirectory: pk, maxPackageSize: 512MiB, restartBackoffMax: 90s, logLevel: debug}\n", "PULSAR_HOME=/p")
	require.NoError(t, err)
	require.Equal(t, "filesystem", w.Computed.PackageStore)
	require.Equal(t, "/p/pk", w.Computed.Files.PackageDirectory)
	require.Equal(t, ByteSize(512<<20), w.Go.MaxPackageSize)
	require.Equal(t, "512MiB", w.Go.MaxPackageSize.String())
	require.Equal(t, "1m30s", w.Go.RestartBackoffMax.String())
	for text, want := range map[string]string{
		"maxPackageSize: 9999999TiB": "it is not a size", "maxPackageSize: -1": "it is negative", "scrapeTimeout: 5": "duration with a unit",
		"scrapeTimeout: 0s": "above 0", "scrapeTimeout: -1s": "negative", "logLevel: loud": "accepted: debug, info, warn, error", "packageStore: filesystem": "packageDirectory", "restartBackoffInitial: 2h": "longer than restartBackoffMax",
	} {
		_, _, err := load(t, "goWorker: {"+text+"}\n")
		require.Contains(t, problemsOf(t, err), want, text)
	}
}

// Every default in a tag must be readable by its own type, or the key would silently start at zero.
func TestDefaultsAreReadable(t *testing.T) {
	var walk func(keys []Key)
	walk = func(keys []Key) {
		for _, k := range keys {
			require.NotEmpty(t, k.Description, k.Path)
			require.Contains(t, []string{"A", "N", "J", "U", ""}, k.Category, k.Path)
			if k.Default != "" {
				v := newValue(k)
				require.NoError(t, decoder{}.set(v, k, &node{kind: scalarNode, text: k.Default, plain: true}), k.Path)
			}
			walk(k.Nested)
		}
	}
	keys := Keys()
	keys[len(keys)-1].Description = "a section"
	walk(keys)
	for _, kind := range []RuntimeKind{RuntimeProcess, RuntimeThread, RuntimeKubernetes} {
		walk(RuntimeKeys(kind))
	}
}

func TestIntegersSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64().Draw(t, "value")
		forms := []string{fmt.Sprintf("%d", v), fmt.Sprintf("%+d", v), fmt.Sprintf("%#x", v)}
		for i, text := range forms {
			got, err := (&node{kind: scalarNode, text: text, plain: true}).integer(64)
			if err != nil || got != v {
				t.Fatalf("form %d %q: got %d, %v", i, text, got, err)
			}
		}
	})
}
