package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/config"
)

func TestPodsUseTLS(t *testing.T) {
	tests := map[string]struct {
		useTLS       bool
		worker, pods string
		want         bool
	}{
		"all plain":                        {false, "pulsar://b:6650", "pulsar://b:6650", false},
		"all TLS":                          {true, "pulsar+ssl://b:6651", "pulsar+ssl://b:6651", true},
		"the chart: pods plain":            {true, "pulsar+ssl://b:6651/", "pulsar://b:6650/", false},
		"the old form of a TLS URL":        {true, "pulsar://b:6651", "pulsar://b:6651", true},
		"TLS for pods only, but no useTls": {false, "pulsar://b:6650", "pulsar+ssl://b:6651", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var cfg config.Worker
			cfg.UseTLS, cfg.PulsarServiceURL, cfg.Computed.Kubernetes = tt.useTLS, tt.worker, &config.K8sRuntime{PulsarServiceURL: tt.pods}
			require.Equal(t, tt.want, podsUseTLS(&cfg))
		})
	}
}
