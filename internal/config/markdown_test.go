package config

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestDocumentationIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	require.NoError(t, WriteMarkdown(&want))
	got, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	require.NoError(t, err)
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is out of date, run go generate ./internal/config (-want +got):\n%s", diff)
	}
}

// The project's own sample must load without a problem or a warning, and name no key twice.
func TestSampleFile(t *testing.T) {
	_, r, err := Load(Sources{Path: filepath.Join("..", "..", "conf", "functions_worker.yml"), Hostname: func() (string, error) { return "host", nil }})
	require.NoError(t, err)
	require.Empty(t, r.Warnings)
}
