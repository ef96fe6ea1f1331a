package instance

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = `{"tenant":"t","nameSpace":"n","name":"f","pulsarServiceURL":"pulsar://x"}`
	for name, tc := range map[string]struct {
		args    []string
		want    string
		wantErr string
	}{
		"JSON":           {args: []string{"-instance-conf", text}, want: "f"},
		"two dashes":     {args: []string{"--instance-conf=" + text}, want: "f"},
		"nothing":        {wantErr: "submit it"},
		"unknown flag":   {args: []string{"-zzz"}, wantErr: "not defined"},
		"an argument":    {args: []string{"-instance-conf", text, "more"}, wantErr: `unexpected argument "more"`},
		"a missing file": {args: []string{"-instance-conf-path", "none.yaml"}, wantErr: "none.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := Process{Args: tc.args, NoConfig: "submit it"}.parseFlags(&bytes.Buffer{})
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, cfg.Details.GetName())
		})
	}
	_, err := Process{Args: []string{"-help"}}.parseFlags(&bytes.Buffer{})
	require.ErrorIs(t, err, flag.ErrHelp)
	require.NoError(t, os.Mkdir("conf", 0o700))
	require.NoError(t, os.WriteFile(defaultConfFile, []byte(text), 0o600))
	cfg, err := Process{}.parseFlags(&bytes.Buffer{})
	require.NoError(t, err, "the default file is read when nothing else is given")
	require.Equal(t, "f", cfg.Details.GetName())
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		ExitOK: nil, ExitFailed: errors.New("x"), ExitUsage: ErrConfig, ExitOrphaned: ErrOrphaned,
	} {
		require.Equal(t, want, exitCode(zap.NewNop(), err))
	}
	require.Equal(t, ExitOK, exitCode(zap.NewNop(), ErrIdle))
}

func TestLogLevel(t *testing.T) {
	var out bytes.Buffer
	newLog(&out, "warn").Info("hidden")
	require.Empty(t, out.String())
	newLog(&out, "loud").Info("shown")
	require.Contains(t, out.String(), "LOGGING_LEVEL is none of")
	require.Contains(t, out.String(), "shown")
}
