package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/check"
	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/kubernetes"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// newKubernetesFactory makes the Kubernetes runtime with what the configuration says.
func newKubernetesFactory(cfg *config.Worker, programs *instance.Programs, rescale kubernetes.Rescale, log *zap.Logger) (*kubernetes.Factory, error) {
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
		PatchPaths: cfg.Go.Kubernetes.FunctionPatchPaths, SetPatchPaths: cfg.Go.Kubernetes.FunctionStatefulSetPatchPaths,
		ClusterDomain: cfg.Go.Kubernetes.ClusterDomain, FunctionsNamespace: cfg.PulsarFunctionsNamespace,
		ConfigMap: kubernetes.ConfigMap{Namespace: k.ChangeConfigMapNamespace, Name: k.ChangeConfigMap},
	}
	limits, err := json.Marshal(WASMLimits(cfg))
	if err != nil {
		return nil, fmt.Errorf("writing goWorker.wasm for instances: %w", err)
	}
	own := cfg.Go.Kubernetes
	options.Patches = kubernetes.Patches{Pod: own.PodPatch, PodJSON: own.PodJSONPatch, Set: own.StatefulSetPatch, SetJSON: own.StatefulSetJSONPatch}
	options.Programs, options.WASMLimits = programs, string(limits)
	options.WorkerImage, options.WorkerProgram, options.NativeDownload = own.WorkerImage, own.WorkerProgram, own.NativeDownload
	options.ExternalReplicas, options.Rescale = own.ExternalReplicas, rescale
	options.Budget = kubernetes.Budget(own.DisruptionBudget)
	options.Probes = kubernetes.Probes{Readiness: own.ReadinessProbe, Liveness: own.LivenessProbe}
	if k.SubmittingInsidePod {
		options.WorkerPod = workerPod
	}
	if options.Credentials, err = podCredentials(cfg); err != nil {
		return nil, err
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
	access := kubernetes.Access{URI: k.K8sURI, InCluster: k.SubmittingInsidePod, QPS: float32(cfg.Go.Kubernetes.QPS), Burst: cfg.Go.Kubernetes.Burst}
	clients, err := kubernetes.Connect(access, "functions-worker")
	if err != nil {
		return nil, fmt.Errorf("functionRuntimeFactoryConfigs: %w", err)
	}
	return kubernetes.New(options, clients)
}

// MissingRights asks the API server which rights a worker with this configuration lacks, and says how many were asked for.
func MissingRights(ctx context.Context, cfg *config.Worker) (missing []check.Right, asked int, err error) {
	factory, err := newKubernetesFactory(cfg, nil, nil, zap.NewNop())
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = factory.Close(ctx) }() // it runs nothing
	rights, asked, err := factory.MissingRights(ctx)
	for _, r := range rights {
		missing = append(missing, check.Right(r))
	}
	return missing, asked, err
}

// rescale writes the parallelism of a function that others have scaled, unless it was changed meanwhile.
func (a *App) rescale(ctx context.Context, meta *pb.FunctionMetaData, parallelism int32) error {
	d := meta.GetFunctionDetails()
	now, ok := a.node.Function(d.GetTenant(), d.GetNamespace(), d.GetName())
	if !ok || now.GetVersion() != meta.GetVersion() {
		return nil
	}
	changed := proto.CloneOf(now)
	changed.Version++
	changed.FunctionDetails.Parallelism = parallelism
	return a.node.Write(ctx, changed, false)
}

// podHost is nil where functions do not run in pods.
func (a *App) podHost() podHost {
	if a.pods == nil {
		return nil
	}
	return a.pods
}

// workerPod is the pod that this process runs in.
func workerPod() (namespace, name string, err error) {
	const file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("reading the Kubernetes namespace of this worker: %w", err)
	}
	if name, err = os.Hostname(); err != nil {
		return "", "", fmt.Errorf("finding the name of this worker's pod: %w", err)
	}
	return strings.TrimSpace(string(text)), name, nil
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

// podCredentials are what the pods of functions present to the broker (Kubernetes contract, section 8) and whom they trust; nil with
// authentication off and no trustSecret.
func podCredentials(cfg *config.Worker) (*kubernetes.Credentials, error) {
	trust := kubernetes.Trust(cfg.Go.Kubernetes.TrustSecret)
	if !cfg.AuthenticationEnabled && trust.Name == "" {
		return nil, nil
	}
	c := &kubernetes.Credentials{Provider: kubernetes.NoProvider, Trust: trust, TLS: launch.Auth{
		UseTLS: podsUseTLS(cfg), AllowInsecure: cfg.TLSAllowInsecureConnection, HostnameVerification: cfg.TLSEnableHostnameVerification,
		TrustCertsFile: cfg.TLSTrustCertsFilePath, // as it is written: a path in the pod
	}}
	if !cfg.AuthenticationEnabled {
		return c, nil
	}
	switch cfg.Computed.FunctionAuth {
	case config.FunctionAuthSecret:
		c.Provider = kubernetes.SecretToken
		if file := cfg.Computed.Files.BrokerTrustCerts; file != "" {
			ca, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("brokerClientTrustCertsFilePath: reading the certificates for the pods of functions: %w", err)
			}
			c.CA = ca
		}
	case config.FunctionAuthServiceAccount:
		c.Provider = kubernetes.ServiceAccountToken
		given := cfg.Computed.Kubernetes.KubernetesFunctionAuthConfig
		c.Audience, c.TrustSecret = given["serviceAccountTokenAudience"], given["brokerClientTrustCertsSecretName"]
		if text := strings.TrimSpace(given["serviceAccountTokenExpirationSeconds"]); text != "" {
			var err error
			if c.Expiration, err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, fmt.Errorf("kubernetesFunctionAuthProviderConfig.serviceAccountTokenExpirationSeconds: %w", err)
			}
		}
	}
	return c, nil
}

// podsUseTLS is useTls, unless pods are given a plain URL of the broker beside the worker's own TLS one: the official chart does so, and
// a Java client that is told to use TLS speaks it to the plain port and never connects.
func podsUseTLS(cfg *config.Worker) bool {
	plain := strings.HasPrefix(cfg.Computed.Kubernetes.PulsarServiceURL, "pulsar://")
	return cfg.UseTLS && !(plain && strings.HasPrefix(cfg.PulsarServiceURL, "pulsar+ssl://"))
}

// startTokenCheck says once in the log if functions cannot get the tokens with which they were submitted: everything else works.
func (a *App) startTokenCheck(ctx context.Context) (stop func(context.Context) error) {
	if a.pods == nil {
		return func(context.Context) error { return nil }
	}
	return inBackground(ctx, func(ctx context.Context) {
		if err := a.pods.MayKeepTokens(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("functions cannot be created with the token of their submitter, nor get a new one, until the worker's role is complete; everything else works",
				zap.Error(err))
		}
	})
}

// startSweep removes what deleted functions left in Kubernetes, until the returned function is called.
func (a *App) startSweep(ctx context.Context) (stop func(context.Context) error) {
	own := a.cfg.Go.Kubernetes
	if a.pods == nil || own.Orphans == "keep" {
		return func(context.Context) error { return nil }
	}
	sweeper := a.pods.NewSweeper(a.node, kubernetes.Sweep{Grace: own.OrphanGrace, Report: own.Orphans == "report"})
	return inBackground(ctx, sweeper.Run)
}
