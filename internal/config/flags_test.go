package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestSourcesFrom(t *testing.T) {
	cases := map[string]struct {
		args          []string
		env           []string
		wantPath      string
		wantOverrides map[string]string
		wantErr       string
	}{
		"nothing":            {wantOverrides: map[string]string{}},
		"file":               {args: []string{"-c", "x.yml"}, wantPath: "x.yml", wantOverrides: map[string]string{}},
		"flag wins over env": {args: []string{"--log-level", "debug"}, env: []string{"FUNCTIONS_WORKER_LOG_LEVEL=warn"}, wantOverrides: map[string]string{"goWorker.logLevel": "debug"}},
		"env":                {env: []string{"FUNCTIONS_WORKER_LOG_FORMAT=json"}, wantOverrides: map[string]string{"goWorker.logFormat": "json"}},
		"set keeps the case": {args: []string{"--set", "properties.brokerClient_operationTimeoutMs=5=6", "--set", "workerId="}, wantOverrides: map[string]string{"properties.brokerClient_operationTimeoutMs": "5=6", "workerId": ""}},
		"set without value":  {args: []string{"--set", "workerPort"}, wantErr: "--set needs key=value"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			AddFlags(flags)
			require.NoError(t, flags.Parse(c.args))
			s, err := SourcesFrom(flags, c.env)
			if c.wantErr != "" {
				require.ErrorContains(t, err, c.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.wantPath, s.Path)
			if diff := cmp.Diff(c.wantOverrides, s.Overrides); diff != "" {
				t.Error(diff)
			}
		})
	}
}
