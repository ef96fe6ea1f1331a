package component_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/component"
)

// The recorded functions again, with the classes of the distribution's own examples in place of the tests'.
func TestRecordedFunctionsWithTheRealPackage(t *testing.T) {
	home := os.Getenv("PULSAR_HOME")
	if home == "" {
		t.Skip("PULSAR_HOME is not set: the Pulsar distribution with examples/api-examples.jar is needed")
	}
	pkg, err := archive.Open(filepath.Join(home, "examples", "api-examples.jar"))
	require.NoError(t, err)
	defer func() { require.NoError(t, pkg.Close()) }()

	data, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	var cases []struct {
		Name, Component, Package, Details string
		Create                            json.RawMessage
		Created                           struct{ Body json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	for _, c := range cases {
		if c.Component != "functions" || !strings.HasSuffix(c.Package, ".jar") || c.Name == "reject/tenant-not-there" ||
			c.Name == "reject/namespace-not-there" || c.Name == "reject/config-missing" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			cfg, err := component.ParseFunctionConfig(c.Create)
			require.NoError(t, err)
			d, err := component.Options{ForwardSourceMessageProperty: true}.FunctionDetails(cfg, pkg)
			var refused struct{ Reason string }
			_ = json.Unmarshal(c.Created.Body, &refused) // an empty body has no reason
			if refused.Reason != "" {
				require.EqualError(t, err, refused.Reason)
				return
			}
			require.NoError(t, err)
			if c.Details != "" {
				require.Contains(t, c.Details, `"typeClassName":"`+d.GetSource().GetTypeClassName()+`"`)
				require.Contains(t, c.Details, `"typeClassName":"`+d.GetSink().GetTypeClassName()+`"`)
			}
		})
	}
}
