//go:build !race

package archive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// These read some hundred megabytes of real connectors, which the race detector makes twenty times slower and which
// has no second goroutine: scripts/test.sh runs them as a suite of their own, without it.

// connectorArchives is the directory to which scripts/pulsar.sh brings pulsar-io-<name>-4.0.8.nar.
func connectorArchives(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PULSAR_TEST_CONNECTORS")
	if dir == "" {
		t.Skip("PULSAR_TEST_CONNECTORS is not set: no directory with the connectors that scripts/pulsar.sh fetches")
	}
	return dir
}

// asFetched is the file of the connector that the golden file calls pulsar-io-<name>.jar.
func asFetched(jar string) string { return strings.TrimSuffix(jar, ".jar") + "-4.0.8.nar" }

func TestTypesOfConnectorsAreThoseOfJava(t *testing.T) {
	rows := readGolden(t, "connectors.tsv")
	names := make(map[string]bool)
	for _, row := range rows {
		names[strings.TrimSuffix(strings.TrimPrefix(row.jar, "pulsar-io-"), ".jar")] = true
	}
	require.Equal(t, map[string]bool{"batch-data-generator": true, "data-generator": true, "file": true, "http": true, "kafka": true}, names)
	compareGolden(t, connectorArchives(t), rows, asFetched, nil)
}

func TestConfigFieldsOfConnectorsAreThoseOfJava(t *testing.T) {
	compareFields(t, connectorArchives(t), "connectors-fields.tsv", asFetched)
}

func TestDefinitionsOfConnectors(t *testing.T) {
	archives := connectorArchives(t)
	for file, want := range map[string]Definition{
		"pulsar-io-batch-data-generator.jar": {Name: "batch-data-generator", Description: "Test batch data generator source",
			SourceClass: "org.apache.pulsar.io.batchdatagenerator.BatchDataGeneratorSource", SinkClass: "org.apache.pulsar.io.batchdatagenerator.BatchDataGeneratorPrintSink"},
		"pulsar-io-http.jar": {Name: "http", Description: "Writes data to an HTTP server (Webhook)",
			SinkClass: "org.apache.pulsar.io.http.HttpSink", SinkConfigClass: "org.apache.pulsar.io.http.HttpSinkConfig"},
	} {
		p, err := Open(filepath.Join(archives, asFetched(file)))
		require.NoError(t, err)
		require.True(t, p.IsNAR(), file)
		got, err := p.Definition()
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, p.Close())
	}
}
