package kubernetes

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCustomizationWithKeysTwice: of a key that is written twice the last value counts, and a text full of one key costs nothing.
func TestCustomizationWithKeysTwice(t *testing.T) {
	c, err := ParseCustomization(`{"jobName":"a","jobName":"b","extraLabels":{"x":"1","x":"2"}}`)
	require.NoError(t, err)
	require.Equal(t, "b", c.JobName)
	require.Equal(t, map[string]string{"x": "2"}, c.ExtraLabels)
	start := time.Now()
	for _, hostile := range []string{strings.Repeat("a:\n", 100000), "extraLabels:\n" + strings.Repeat(" ? a\n", 100000), strings.Repeat("? [a]\n", 300)} {
		_, _ = ParseCustomization(hostile)
	}
	require.Less(t, time.Since(start), 10*time.Second)
}
