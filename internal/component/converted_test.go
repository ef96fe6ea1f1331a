package component

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// convertedCase is a drawn config and what the conversion classes of Pulsar 4.0.8 made of it. The kind python
// was validated there too; the others were only converted, with the class C or S and the types I, O and T.
type convertedCase struct {
	Kind    string          `json:"kind"`
	Config  json.RawMessage `json:"config"`
	Error   string          `json:"error"`
	Details json.RawMessage `json:"details"`
	Got     map[string]any  `json:"got"`
}

func (c convertedCase) convert() (*pb.FunctionDetails, error) {
	switch c.Kind {
	case "sink":
		cfg, err := ParseSinkConfig(c.Config)
		if err != nil {
			return nil, err
		}
		return cfg.details(sinkTypes{className: "S", function: text(cfg.TransformFunctionClassName), typeName: "T"})
	case "source":
		cfg, err := ParseSourceConfig(c.Config)
		if err != nil {
			return nil, err
		}
		return cfg.details("S", "T")
	}
	cfg, err := ParseFunctionConfig(c.Config)
	if err != nil {
		return nil, err
	}
	if c.Kind == "python" {
		return defaultOptions.FunctionDetails(cfg, nil)
	}
	defaultOptions.Infer(cfg)
	return cfg.details(functionTypes{className: ptr("C"), in: "I", out: "O"})
}

func (c convertedCase) read(d *pb.FunctionDetails) (any, error) {
	switch c.Kind {
	case "sink":
		return SinkConfigOf(d)
	case "source":
		return SourceConfigOf(d)
	default:
		return FunctionConfigOf(d)
	}
}

func TestConfigsAreConvertedAsByJava(t *testing.T) {
	f, err := os.Open("testdata/converted.jsonl")
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for i := 1; lines.Scan(); i++ {
		var c convertedCase
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		t.Run(fmt.Sprintf("%s %d", c.Kind, i), func(t *testing.T) {
			d, err := c.convert()
			if c.Error != "" {
				require.EqualError(t, err, c.Error)
				return
			}
			require.NoError(t, err)
			want := &pb.FunctionDetails{}
			require.NoError(t, protojson.Unmarshal(c.Details, want))
			require.Empty(t, cmp.Diff(want, d, protocmp.Transform()))
			config, err := c.read(d)
			require.NoError(t, err)
			got := asMap(t, config)
			if c.Kind == "sink" { // a message's map has no order
				require.ElementsMatch(t, c.Got["inputs"], got["inputs"])
				got["inputs"] = c.Got["inputs"]
			}
			require.Empty(t, cmp.Diff(c.Got, got))
		})
	}
	require.NoError(t, lines.Err())
}
