package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// newProcessFactory makes the process runtime with what the configuration and the environment of bin/pulsar say.
func newProcessFactory(cfg *config.Worker, s *security, programs *instance.Programs, log *zap.Logger) (runtime.Factory, error) {
	c := cfg.Computed
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own file: %w", err)
	}
	command := []string{self, "instance"}
	if cfg.Go.EncryptionKeysDirectory != "" {
		command = append(command, "--encryption_keys", cfg.Go.EncryptionKeysDirectory)
	}
	limits, err := json.Marshal(WASMLimits(cfg))
	if err != nil {
		return nil, fmt.Errorf("writing goWorker.wasm for instances: %w", err)
	}
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
		SecretsProvider: cfg.Go.SecretsProvider, PythonSecretsProvider: cfg.Go.PythonSecretsProvider, SecretsProviderConfig: secretsConfig(cfg.Go.SecretsProviderConfig),
		Isolation: process.Isolation{
			User: cfg.Go.FunctionUser, WorkDirectory: filepath.Join(c.Files.TempDirectory, "functions-worker-"+cfg.WorkerID+"-functions"),
			MaxMemory: uint64(cfg.Go.FunctionMaxMemory), MaxProcesses: uint64(cfg.Go.FunctionMaxProcesses), MaxOpenFiles: uint64(cfg.Go.FunctionMaxOpenFiles),
		},
		Programs: programs, InstanceCommand: append(command, "--wasm_limits", string(limits)), EncryptionKeys: cfg.Go.EncryptionKeysDirectory, Log: log,
	}
	if cfg.Go.FunctionUser != "" {
		options.Isolation.PackageDirectory = c.Files.DownloadDirectory
	}
	options.Auth, options.FunctionAuth = s.instanceAuth(cfg)
	if s.tokens != nil {
		options.FunctionAuthEnd = func(meta *pb.FunctionMetaData) {
			if err := s.tokens.Release(meta); err != nil {
				log.Warn("a token file of a function stays until the next start", zap.Error(err))
			}
		}
	}
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

// secretsConfig is nil where nothing is configured, so that command lines stay those of the Java worker.
func secretsConfig(texts map[string]string) map[string]any {
	if len(texts) == 0 {
		return nil
	}
	config := make(map[string]any, len(texts))
	for name, value := range texts {
		config[name] = value
	}
	return config
}

// existing is the path if there is such a file, else "", so that the program's own default applies.
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
