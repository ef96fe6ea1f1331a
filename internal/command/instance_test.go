package command

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/wasm"
)

func TestOwnFlags(t *testing.T) {
	t.Parallel()
	own, rest, err := ownFlags([]string{"--package", "builtin://x", "-instance-conf", `{"a":"--package"}`, "--pending_async_requests=7", "--wasm_limits", `{"Timeout":1000000}`})
	require.NoError(t, err)
	want := wasm.DefaultLimits()
	want.Timeout = time.Millisecond
	require.Equal(t, instanceFlags{file: "builtin://x", pending: 7, limits: want}, own)
	require.Equal(t, []string{"-instance-conf", `{"a":"--package"}`}, rest, "the flags of a Go function are left alone")
	for name, args := range map[string][]string{
		"no package":      {"-instance-conf", "{}"},
		"no value":        {"--package"},
		"not a number":    {"--package=x", "--pending_async_requests", "many"},
		"below one":       {"--package=x", "--pending_async_requests", "0"},
		"limits not JSON": {"--package=x", "--wasm_limits", "{"},
	} {
		_, _, err := ownFlags(args)
		require.Error(t, err, name)
	}
}
