package catalog

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/archive"
)

func TestCompiledConnectors(t *testing.T) {
	connectors := t.TempDir()
	makeNAR(t, filepath.Join(connectors, "a.nar"), "name: numbers\nsinkClass: org.x.Sink\n")
	makeNAR(t, filepath.Join(connectors, "b.nar"), "name: other\nsinkClass: org.x.Sink\n")
	c := New(connectors, "", nil)
	name, help := "numbers", "Counts."
	c.CompiledConnectors(CompiledConnector{
		ConnectorDefinition: ConnectorDefinition{Name: name, Description: &help, SourceClass: &name}, SourceFields: []archive.ConfigField{{FieldName: "step"}},
	})
	got, err := json.Marshal(c.Connectors())
	require.NoError(t, err)
	require.Equal(t, `[{"name":"numbers","description":"Counts.","sourceClass":"numbers","sinkClass":null,"sourceConfigClass":null,"sinkConfigClass":null},`+
		`{"name":"other","description":null,"sourceClass":null,"sinkClass":"org.x.Sink","sourceConfigClass":null,"sinkConfigClass":null}]`, string(got), "the archive is hidden")
	file, ok := c.ConnectorFile("numbers")
	require.True(t, ok)
	require.Empty(t, file)
	source, sink, ok := c.CompiledConnector("numbers")
	require.Equal(t, []bool{true, false, true}, []bool{source, sink, ok})
	_, _, ok = c.CompiledConnector("other")
	require.False(t, ok)
	fields, declared, err := c.ConfigFields(true, "numbers")
	require.NoError(t, err)
	require.True(t, declared)
	require.Equal(t, "step", fields[0].FieldName)
	_, declared, err = c.ConfigFields(false, "numbers")
	require.NoError(t, err)
	require.False(t, declared)
}
