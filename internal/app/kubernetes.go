package app

import (
	"fmt"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/runtime/kubernetes"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// newKubernetesFactory makes the Kubernetes runtime with what the configuration says.
func newKubernetesFactory(cfg *config.Worker, log *zap.Logger) (runtime.Factory, error) {
	k := cfg.Computed.Kubernetes
	options := kubernetes.Options{
		JobNamespace: k.JobNamespace, JobName: k.JobName,
		Image: k.PulsarDockerImageName, Images: k.FunctionDockerImages, ImagePullPolicy: k.ImagePullPolicy,
		PulsarRootDir: k.PulsarRootDir, ConfigAdminCLI: k.ConfigAdminCLI, PulsarServiceURL: k.PulsarServiceURL, PulsarAdminURL: k.PulsarAdminURL,
		DownloadDirectory: cfg.DownloadDirectory, ExtraDependenciesDir: k.ExtraFunctionDependenciesDir,
		InstanceClassPath: k.FunctionInstanceClassPath, NarExtractionDirectory: k.NarExtractionDirectory,
		InstallUserCodeDependencies: k.InstallUserCodeDependencies, PythonDependencyRepository: k.PythonDependencyRepository,
		PythonExtraDependencyRepository: k.PythonExtraDependencyRepository,
		StateStorageServiceURL:          cfg.StateStorageServiceURL, StateStorageImplementation: stateImplementation(cfg),
		ClusterName: cfg.PulsarFunctionsCluster, MaxPendingAsyncRequests: int(cfg.MaxPendingAsyncRequests),
		ExposeAdminClient: cfg.ExposeAdminClientEnabled, IgnoreUnknownConfigFields: cfg.IgnoreUnknownConfigFields,
		AdditionalJavaArguments: cfg.AdditionalJavaRuntimeArguments,
		CustomLabels:            k.CustomLabels, PercentMemoryPadding: k.PercentMemoryPadding,
		CPUOverCommitRatio: k.CPUOverCommitRatio, MemoryOverCommitRatio: k.MemoryOverCommitRatio,
		GRPCPort: k.GRPCPort, GracePeriodSeconds: k.GracePeriodSeconds, Limits: kubernetesLimits(cfg),
		SecretsFromKubernetes: cfg.Computed.Secrets == config.SecretsKubernetes,
		CallTimeout:           cfg.Go.InstanceCallTimeout, Log: log,
	}
	if k.MetricsPort != nil {
		options.MetricsPort = *k.MetricsPort
	}
	if cfg.RuntimeCustomizerClassName != "" {
		text, err := yaml.Marshal(cfg.RuntimeCustomizerConfig)
		if err != nil {
			return nil, fmt.Errorf("runtimeCustomizerConfig: %w", err)
		}
		custom, err := kubernetes.ParseCustomization(string(text))
		if err != nil {
			return nil, fmt.Errorf("runtimeCustomizerConfig: %w", err)
		}
		options.Customize = &custom
	}
	clients, err := kubernetes.Connect(kubernetes.Access{URI: k.K8sURI, InCluster: k.SubmittingInsidePod}, "functions-worker")
	if err != nil {
		return nil, fmt.Errorf("functionRuntimeFactoryConfigs: %w", err)
	}
	return kubernetes.New(options, clients)
}

func kubernetesLimits(cfg *config.Worker) kubernetes.Limits {
	l := kubernetes.Limits{LockStep: cfg.FunctionInstanceResourceChangeInStep}
	if r := cfg.FunctionInstanceMinResources; r != nil {
		l.MinCPU, l.MinRAM = r.CPU, r.RAM
	}
	if r := cfg.FunctionInstanceMaxResources; r != nil {
		l.MaxCPU, l.MaxRAM = r.CPU, r.RAM
	}
	if r := cfg.FunctionInstanceResourceGranularities; r != nil {
		l.CPUGranularity, l.RAMGranularity = r.CPU, r.RAM
	}
	return l
}

// supportedKubernetes refuses what this worker would not do for pods.
func supportedKubernetes(cfg *config.Worker) error {
	k := cfg.Computed.Kubernetes
	switch {
	case cfg.AuthenticationEnabled:
		return fmt.Errorf("authenticationEnabled: with the Kubernetes runtime this worker cannot give functions credentials yet; set it to false, or run functions as processes")
	case k.ChangeConfigMap != "":
		return fmt.Errorf("functionRuntimeFactoryConfigs.changeConfigMap: this worker reads its settings at the start only; remove the key and restart the worker after changes")
	}
	return nil
}
