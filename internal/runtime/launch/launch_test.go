//lint:file-ignore SA1019 deprecated fields still travel

package launch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestSplitFlags(t *testing.T) {
	tests := map[string][]string{
		"":                              nil,
		"  ":                            nil,
		"-Xss1m":                        {"-Xss1m"},
		" -a\t-b ":                      {"-a", "-b"},
		`-Da="b c"  -Xss1m 'p q'`:       {`-Da="b c"`, "-Xss1m", "'p", "q'"},
		`an odd " quote`:                {`an odd "`, "quote"},
		`-Da="x" -Db="y z" -Dc=\"q r\"`: {`-Da="x"`, `-Db="y z"`, `-Dc=\"q r\"`},
	}
	for flags, want := range tests {
		require.Equal(t, want, SplitFlags(flags), "flags %q", flags)
	}
}

func TestMessageJSON(t *testing.T) {
	tests := []struct {
		name  string
		d     *pb.FunctionDetails
		ascii bool
		want  string
	}{
		{name: "defaults are left out", d: &pb.FunctionDetails{}, want: `{}`},
		{name: "an empty message is written", d: &pb.FunctionDetails{Source: &pb.SourceSpec{InputSpecs: map[string]*pb.ConsumerSpec{"b": {}, "a": {ReceiverQueueSize: &pb.ConsumerSpec_ReceiverQueueSize{}}}}},
			want: `{"source":{"inputSpecs":{"a":{"receiverQueueSize":{}},"b":{}}}}`},
		{name: "numbers", d: &pb.FunctionDetails{Parallelism: 2, Resources: &pb.Resources{Cpu: 1, Ram: 1 << 30}, Source: &pb.SourceSpec{TimeoutMs: 5000}},
			want: `{"parallelism":2,"source":{"timeoutMs":"5000"},"resources":{"cpu":1.0,"ram":"1073741824"}}`},
		{name: "enums, known and not", d: &pb.FunctionDetails{Runtime: pb.FunctionDetails_GO, ProcessingGuarantees: 77}, want: `{"processingGuarantees":77,"runtime":"GO"}`},
		{name: "html-safe", d: &pb.FunctionDetails{UserConfig: "{\"a\":'<b>&=\\\n\t\x01\u2028ü"}, want: `{"userConfig":"{\"a\":\u0027\u003cb\u003e\u0026\u003d\\\n\t\u0001\u2028ü"}`},
		{name: "ASCII only", d: &pb.FunctionDetails{UserConfig: "ü😀\x7f"}, ascii: true, want: `{"userConfig":"\u00fc\ud83d\ude00\u007f"}`},
		{name: "names of fields with odd capitals", d: &pb.FunctionDetails{Source: &pb.SourceSpec{TopicsToSerDeClassName: map[string]string{"t": "s"}}}, want: `{"source":{"topicsToSerDeClassName":{"t":"s"}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, MessageJSON(tt.d, tt.ascii)) })
	}
}

func TestMessageJSONLeavesUnknownFieldsOut(t *testing.T) {
	d := &pb.FunctionDetails{Tenant: "t", Name: "f", UserConfig: "{}"}
	raw, err := proto.Marshal(d)
	require.NoError(t, err)
	withUnknown := &pb.FunctionDetails{}
	require.NoError(t, proto.Unmarshal(append(raw, 0x98, 0x3f, 0x01), withUnknown)) // field 1011
	require.NotEmpty(t, withUnknown.ProtoReflect().GetUnknown())
	require.Equal(t, MessageJSON(d, true), MessageJSON(withUnknown, true))
}

// TestMessageJSONReadsBack: whatever the text, protobuf's own reader gets the same message from it, it is ASCII, and no
// single quote ends the argument's quoting.
func TestMessageJSONReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		d := &pb.FunctionDetails{Tenant: text.Draw(t, "tenant"), UserConfig: text.Draw(t, "userConfig"),
			Runtime: pb.FunctionDetails_Runtime(rapid.SampledFrom([]int32{0, 1, 3}).Draw(t, "runtime")), Parallelism: rapid.Int32().Draw(t, "parallelism"),
			Resources: &pb.Resources{Cpu: rapid.Float64().Draw(t, "cpu"), Ram: rapid.Int64().Draw(t, "ram")},
			Source: &pb.SourceSpec{TimeoutMs: rapid.Uint64().Draw(t, "timeout"),
				TopicsToSerDeClassName: rapid.MapOf(text, text).Draw(t, "topics")}}
		got := MessageJSON(d, true)
		if strings.ContainsFunc(got, func(r rune) bool { return r > 0x7e || r == '\'' || r < 0x20 }) {
			t.Fatalf("unsafe characters in %q", got)
		}
		back := &pb.FunctionDetails{}
		if err := protojson.Unmarshal([]byte(got), back); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if diff := cmp.Diff(d, back, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestJavaDouble(t *testing.T) {
	for f, want := range map[float64]string{0: "0.0", 1: "1.0", 0.25: "0.25", -2.5: "-2.5", 1e7: "1.0E7", 1.5e10: "1.5E10", 0.001: "0.001", 0.0001: "1.0E-4", 9999999: "9999999.0", 1e-320: "1.0E-320"} {
		require.Equal(t, want, JavaDouble(f))
	}
}

func FuzzSplitFlags(f *testing.F) {
	f.Add(`-Da="b c"  -Xss1m 'p q'`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, piece := range SplitFlags(s) {
			if piece == "" {
				t.Fatalf("an empty piece of %q", s)
			}
		}
	})
}
