package app

import (
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// newProcessFactory makes the process runtime with what the configuration and the environment of bin/pulsar say.
func newProcessFactory(cfg *config.Worker, s *security, log *zap.Logger) (runtime.Factory, error) {
	c := cfg.Computed
	options := process.Options{
		WorkerID:       cfg.WorkerID,
		JavaExecutable: cfg.Go.JavaExecutable, PythonExecutable: cfg.Go.PythonExecutable,
		JavaInstanceJar: c.Process.JavaInstanceJar, PythonInstanceFile: c.Process.PythonInstanceFile,
		LogDirectory: c.Process.LogDirectory, ExtraDependenciesDir: c.Process.ExtraDependenciesDir,
		FunctionsClasspath: c.Process.InstanceClassPath, LogConf: existing(c.Process.LogConf), PulsarHome: c.Home,
		PulsarServiceURL: cfg.PulsarServiceURL, PulsarWebServiceURL: cfg.PulsarWebServiceURL,
		StateStorageServiceURL: cfg.StateStorageServiceURL, StateStorageImplementation: stateImplementation(cfg), NarExtractionDirectory: c.Files.NarExtractionDirectory,
		ClusterName: cfg.PulsarFunctionsCluster, MaxPendingAsyncRequests: int(cfg.MaxPendingAsyncRequests),
		ExposeAdminClient: cfg.ExposeAdminClientEnabled, AdditionalJavaArguments: cfg.AdditionalJavaRuntimeArguments,
		IgnoreUnknownConfigFields: cfg.IgnoreUnknownConfigFields,
		HealthCheckInterval:       milliseconds(cfg.InstanceLivenessCheckFreqMs), CallTimeout: cfg.Go.InstanceCallTimeout, StopGrace: cfg.Go.InstanceStopTimeout,
		Log: log,
	}
	options.Auth, options.FunctionAuth = s.instanceAuth(cfg)
	switch c.Secrets {
	case config.SecretsClearText:
	default:
		return nil, fmt.Errorf("secretsProviderConfiguratorClassName: %s is not available in this worker; leave the key blank for clear-text secrets",
			cfg.SecretsProviderConfiguratorClassName)
	}
	factory, err := process.New(options)
	if err != nil {
		return nil, err
	}
	return factory, nil
}

// stateImplementation is named to Java instances only when it is not the one that they take by themselves.
func stateImplementation(cfg *config.Worker) string {
	if cfg.Computed.State == config.StateBookKeeper {
		return ""
	}
	return cfg.StateStorageProviderImplementation
}

// existing is the path if there is such a file, else "", so that the program's own default applies.
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
