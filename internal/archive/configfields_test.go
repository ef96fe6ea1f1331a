package archive

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compareFields checks ConfigFields against what the Java worker lists: package, class, one field as JSON.
func compareFields(t *testing.T, dir, golden string, rename func(string) string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", golden))
	require.NoError(t, err)
	want := make(map[[2]string][]ConfigField)
	for line := range strings.Lines(string(data)) {
		c := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 3)
		var f ConfigField
		require.NoError(t, json.Unmarshal([]byte(c[2]), &f))
		key := [2]string{c[0], c[1]}
		want[key] = append(want[key], f)
	}
	require.NotEmpty(t, want)
	for key, fields := range want {
		p, err := Open(filepath.Join(dir, rename(key[0])))
		require.NoError(t, err)
		got, err := p.ConfigFields(key[1])
		require.NoError(t, err)
		assert.Equal(t, fields, got, "%s", key)
		require.NoError(t, p.Close())
	}
}

func TestConfigFieldsOfShapesAreThoseOfJava(t *testing.T) {
	compareFields(t, "testdata", "shapes-fields.tsv", same)
}
