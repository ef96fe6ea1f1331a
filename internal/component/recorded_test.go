package component

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// recordedCase is a request sent to the Java worker 4.0.8 and what it answered.
type recordedCase struct {
	Name      string          `json:"name"`
	Component string          `json:"component"`
	Package   string          `json:"package"`
	Create    json.RawMessage `json:"create"`
	Created   recordedAnswer  `json:"created"`
	Update    json.RawMessage `json:"update"`
	Updated   recordedAnswer  `json:"updated"`
	Got       map[string]any  `json:"got"`     // the config of the last GET
	Details   string          `json:"details"` // the FunctionDetails given to an instance
}

type recordedAnswer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

func (a recordedAnswer) reason() string {
	var body struct{ Reason string }
	_ = json.Unmarshal(a.Body, &body) // an empty body has no reason
	return body.Reason
}

func recordedCases(t *testing.T) []recordedCase {
	t.Helper()
	data, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	var cases []recordedCase
	require.NoError(t, json.Unmarshal(data, &cases))
	require.NotEmpty(t, cases)
	return cases
}

// asMap is what a client decodes from an answer.
func asMap(t *testing.T, config any) map[string]any {
	t.Helper()
	data, err := json.Marshal(config)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(data, &m))
	return m
}

var defaultOptions = Options{ForwardSourceMessageProperty: true}

// recordedClasses is the package that a case uploads.
func recordedClasses(pkg string) Classes {
	if strings.HasSuffix(pkg, ".jar") || strings.HasSuffix(pkg, ".nar") {
		return exampleClasses()
	}
	return nil
}

func TestFunctionsAreAnsweredAsRecorded(t *testing.T) {
	for _, c := range recordedCases(t) {
		// These are refused before the config is looked at.
		if c.Component != "functions" || strings.Contains(c.Created.reason(), "does not exist") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			cfg, err := ParseFunctionConfig(c.Create)
			var details *pb.FunctionDetails
			if err == nil {
				details, err = defaultOptions.FunctionDetails(cfg, recordedClasses(c.Package))
			}
			if want := c.Created.reason(); want != "" {
				require.EqualError(t, err, want)
				return
			}
			require.NoError(t, err)
			if c.Details != "" {
				checkRecordedDetails(t, c.Details, details)
			}
			details = updateAsRecorded(t, c, details)
			got, err := FunctionConfigOf(details)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c.Got, asMap(t, got)))
		})
	}
}

func checkRecordedDetails(t *testing.T, recorded string, details *pb.FunctionDetails) {
	t.Helper()
	want := &pb.FunctionDetails{}
	require.NoError(t, protojson.Unmarshal([]byte(recorded), want))
	require.True(t, proto.Equal(want, details), "want %s\ngot  %s", recorded, protojson.Format(details))
}

// updateAsRecorded applies the case's update, if it has one.
func updateAsRecorded(t *testing.T, c recordedCase, details *pb.FunctionDetails) *pb.FunctionDetails {
	t.Helper()
	if c.Update == nil {
		return details
	}
	existing, err := FunctionConfigOf(details)
	require.NoError(t, err)
	update, err := ParseFunctionConfig(c.Update)
	require.NoError(t, err)
	merged, err := MergeFunction(existing, update)
	if want := c.Updated.reason(); want != "" && want != "Update contains no change" {
		require.EqualError(t, err, want)
		return details
	}
	require.NoError(t, err)
	require.Equal(t, c.Updated.reason() != "", SameFunction(existing, merged))
	details, err = defaultOptions.FunctionDetails(merged, exampleClasses())
	require.NoError(t, err)
	return details
}
