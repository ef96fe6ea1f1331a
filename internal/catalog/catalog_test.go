package catalog

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/functions-worker/functions-worker/internal/packages"
)

var _ packages.Builtins = (*Catalog)(nil)

// makeNAR writes an archive with a definition ("" for none).
func makeNAR(t *testing.T, file, definition string) {
	t.Helper()
	f, err := os.Create(file)
	require.NoError(t, err)
	w := zip.NewWriter(f)
	entry, err := w.Create("META-INF/MANIFEST.MF")
	require.NoError(t, err)
	_, err = entry.Write([]byte("Manifest-Version: 1.0\n"))
	require.NoError(t, err)
	if definition != "" {
		entry, err = w.Create("META-INF/services/pulsar-io.yaml")
		require.NoError(t, err)
		_, err = entry.Write([]byte(definition))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
}

func TestCatalog(t *testing.T) {
	connectors, functions := t.TempDir(), t.TempDir()
	makeNAR(t, filepath.Join(connectors, "z.nar"), "name: beta\ndescription: Second\nsinkClass: org.x.Sink\nsinkConfigClass: org.x.Conf\nunknown: 1\n")
	makeNAR(t, filepath.Join(connectors, "y.nar"), "name: alpha\nsourceClass: org.x.Source\n")
	makeNAR(t, filepath.Join(connectors, "dup1.nar"), "name: dup\ndescription: first\n")
	makeNAR(t, filepath.Join(connectors, "dup2.nar"), "name: dup\ndescription: second\n")
	makeNAR(t, filepath.Join(connectors, "nameless.nar"), "description: x\n")
	makeNAR(t, filepath.Join(connectors, "undefined.nar"), "")
	makeNAR(t, filepath.Join(connectors, "bad-yaml.nar"), "name: [")
	makeNAR(t, filepath.Join(connectors, "other.jar"), "name: other\n")
	require.NoError(t, os.WriteFile(filepath.Join(connectors, "garbage.nar"), []byte("no zip"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(connectors, "empty.nar"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(connectors, "directory.nar"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(connectors, "sub"), 0o700))
	makeNAR(t, filepath.Join(connectors, "sub", "deep.nar"), "name: deep\n")
	makeNAR(t, filepath.Join(functions, "f.nar"), "name: fn\nfunctionClass: org.x.Fn\n")
	makeNAR(t, filepath.Join(functions, "c.nar"), "name: connector-only\nsinkClass: org.x.Sink\n")

	core, logs := observer.New(zapcore.WarnLevel)
	c := New(connectors, functions, zap.New(core))

	got, err := json.Marshal(c.Connectors())
	require.NoError(t, err)
	assert.Equal(t, `[{"name":"alpha","description":null,"sourceClass":"org.x.Source","sinkClass":null,"sourceConfigClass":null,"sinkConfigClass":null},`+
		`{"name":"beta","description":"Second","sourceClass":null,"sinkClass":"org.x.Sink","sourceConfigClass":null,"sinkConfigClass":"org.x.Conf"},`+
		`{"name":"dup","description":"second","sourceClass":null,"sinkClass":null,"sourceConfigClass":null,"sinkConfigClass":null}]`, string(got))
	got, err = json.Marshal(c.Functions())
	require.NoError(t, err)
	assert.Equal(t, `[{"name":"fn","description":null,"functionClass":"org.x.Fn"}]`, string(got))
	assert.Equal(t, 6, logs.FilterMessage("an archive is skipped").Len(), "each bad archive is named in a warning")

	file, ok := c.ConnectorFile("beta")
	assert.True(t, ok)
	assert.Equal(t, filepath.Join(connectors, "z.nar"), file)
	_, ok = c.ConnectorFile("fn")
	assert.False(t, ok)
	file, ok = c.FunctionFile("fn")
	assert.True(t, ok)
	assert.Equal(t, filepath.Join(functions, "f.nar"), file)

	_, declared, err := c.ConfigFields(true, "beta")
	require.NoError(t, err)
	assert.False(t, declared, "no source config class")
	_, declared, err = c.ConfigFields(false, "no such connector")
	require.NoError(t, err)
	assert.False(t, declared)
	_, declared, err = c.ConfigFields(false, "beta")
	require.Error(t, err, "the class is not in the archive")
	assert.True(t, declared)

	require.NoError(t, os.Remove(filepath.Join(connectors, "z.nar")))
	makeNAR(t, filepath.Join(connectors, "new.nar"), "name: new\n")
	require.NoError(t, c.ReloadConnectors())
	_, ok = c.ConnectorFile("beta")
	assert.False(t, ok)
	_, ok = c.ConnectorFile("new")
	assert.True(t, ok)
}

func TestMissingAndUnreadableDirectories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, directory := range []string{"", filepath.Join(t.TempDir(), "missing"), file} {
		c := New(directory, directory, nil)
		assert.Empty(t, c.Connectors())
		assert.NotNil(t, c.Connectors(), "an empty list is [] in JSON")
		assert.NotNil(t, c.Functions())
		assert.Equal(t, directory == file, c.ReloadConnectors() != nil, directory)
	}
}
