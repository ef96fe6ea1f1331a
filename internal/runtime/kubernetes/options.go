package kubernetes

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// Options is what the factory needs to know (Kubernetes contract, sections 1.2 and 1.3); zero values get the defaults of
// withDefaults.
type Options struct {
	JobNamespace, JobName string
	// Image is used where Images has none for the language (JAVA, PYTHON, GO).
	Image           string
	Images          map[string]string
	ImagePullPolicy string

	PulsarRootDir, ConfigAdminCLI    string
	PulsarServiceURL, PulsarAdminURL string
	// DownloadDirectory and ExtraDependenciesDir are paths in the image, relative ones below PulsarRootDir.
	DownloadDirectory, ExtraDependenciesDir                     string
	InstanceClassPath, NarExtractionDirectory                   string
	InstallUserCodeDependencies                                 bool
	PythonDependencyRepository, PythonExtraDependencyRepository string

	StateStorageServiceURL, StateStorageImplementation string
	ClusterName                                        string
	MaxPendingAsyncRequests                            int
	ExposeAdminClient, IgnoreUnknownConfigFields       bool
	AdditionalJavaArguments                            []string

	CustomLabels                              map[string]string
	PercentMemoryPadding                      int
	CPUOverCommitRatio, MemoryOverCommitRatio float64
	GRPCPort                                  int
	// MetricsPort outside 1 to 65535: instances are not announced to Prometheus.
	MetricsPort        int
	GracePeriodSeconds int
	Limits             Limits

	// SecretsFromKubernetes: a function's secrets are entries of Secrets, handed to it in its environment.
	SecretsFromKubernetes bool
	// Customize nil = customRuntimeOptions have no effect; otherwise the worker's part of the customisation.
	Customize *Customization

	// Auth is how instances authenticate to the broker; nil = not at all, and no TLS options.
	Auth *launch.Auth

	// ClusterDomain ends the host names of pods. Default: cluster.local.
	ClusterDomain string
	// CallTimeout bounds every call to an instance. Default 5 s.
	CallTimeout time.Duration
	// RequestTimeout bounds one request to the API server. Default 15 s.
	RequestTimeout time.Duration
	// Resync is how often what exists is compared with what should be, besides at every change. Default 5 min.
	Resync time.Duration
	Log    *zap.Logger
}

func (o Options) withDefaults() (Options, error) {
	o.JobNamespace = cmp.Or(o.JobNamespace, "default")
	o.Image = cmp.Or(o.Image, "apachepulsar/pulsar")
	o.ImagePullPolicy = cmp.Or(o.ImagePullPolicy, string(corev1.PullIfNotPresent))
	o.PulsarRootDir = cmp.Or(o.PulsarRootDir, "/pulsar")
	o.ConfigAdminCLI = cmp.Or(o.ConfigAdminCLI, "/bin/pulsar-admin")
	o.NarExtractionDirectory = cmp.Or(o.NarExtractionDirectory, "/tmp")
	o.MaxPendingAsyncRequests = cmp.Or(o.MaxPendingAsyncRequests, 1000)
	o.CPUOverCommitRatio, o.MemoryOverCommitRatio = cmp.Or(o.CPUOverCommitRatio, 1), cmp.Or(o.MemoryOverCommitRatio, 1)
	o.GRPCPort = cmp.Or(o.GRPCPort, 9093)
	o.ClusterDomain = cmp.Or(o.ClusterDomain, "cluster.local")
	o.CallTimeout = cmp.Or(o.CallTimeout, 5*time.Second)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 15*time.Second)
	o.Resync = cmp.Or(o.Resync, 5*time.Minute)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	switch {
	case o.PulsarServiceURL == "":
		return o, errors.New("kubernetes runtime: pulsarServiceUrl is empty; pods could not reach the broker")
	case o.PulsarAdminURL == "":
		return o, errors.New("kubernetes runtime: pulsarAdminUrl is empty; pods could not download their packages")
	case o.CPUOverCommitRatio < 0 || o.MemoryOverCommitRatio < 0:
		return o, fmt.Errorf("kubernetes runtime: cpuOverCommitRatio %v and memoryOverCommitRatio %v must be above 0", o.CPUOverCommitRatio, o.MemoryOverCommitRatio)
	}
	return o, nil
}

// image of a language; a map without the language falls back, where the Java worker would name no image at all.
func (o Options) image(language string) string { return cmp.Or(o.Images[language], o.Image) }

func validPort(p int) bool { return p >= 1 && p <= 65535 }
