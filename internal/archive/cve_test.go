package archive

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCVE_2024_27317_ClimbingEntries: no entry leads out of where an archive is unpacked (the worker itself reads archives in place).
func TestCVE_2024_27317_ClimbingEntries(t *testing.T) {
	for _, name := range []string{"../x", "a/../../x", `..\x`, `a\..\..\x`, "META-INF/services/../../../x", strings.Repeat("../", 50) + "x"} {
		_, err := openBytes(makeZip(t, zipEntry{name: "ok", data: []byte("x")}, zipEntry{name: name, data: []byte("x")}))
		require.Error(t, err, name)
	}
}
