package kubernetes

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/functions-worker/functions-worker/internal/instance"
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

	// JavaInstanceJar and PythonInstanceFile are the instance programs in the image. Default: where the official image has them.
	JavaInstanceJar, PythonInstanceFile string
	// ConfigMap overwrites these options while the worker runs.
	ConfigMap ConfigMap
	// FunctionsNamespace is the Pulsar namespace of the workers' own topics. With ClusterName and PulsarServiceURL it tells
	// the workers of this cluster from others that write to the same Kubernetes namespace.
	FunctionsNamespace string

	// Credentials are what instances present to the broker; nil = nothing, and no TLS options.
	Credentials *Credentials

	// Patches of all functions' objects; PatchPaths (of the pod template) and SetPatchPaths are what the functions' own may touch.
	Patches                   Patches
	PatchPaths, SetPatchPaths []string

	// Programs are what this project's image runs by itself: compiled-in functions and WebAssembly modules. nil: nothing.
	Programs *instance.Programs
	// WASMLimits is what its modules may use, as JSON; "" = the defaults of the program.
	WASMLimits string
	// WorkerImage is an image of this project with WorkerProgram in it; "" = that of the worker's own pod, which WorkerPod
	// names. Both may be missing: then nothing that needs the image is admitted.
	WorkerImage string
	// WorkerProgram is a path in the image. Default: /pulsar/bin/functions-worker.
	WorkerProgram string
	WorkerPod     func() (namespace, name string, err error)
	// NativeDownload: an init container of WorkerImage fetches the package, instead of the admin tool in the function's image.
	NativeDownload bool
	Probes         Probes
	// ExternalReplicas: others, such as autoscalers, may set the number of a function's pods; Rescale is told.
	ExternalReplicas bool
	Rescale          Rescale
	// Budget of every function's pods.
	Budget Budget

	// ClusterDomain ends the host names of pods. Default: cluster.local.
	ClusterDomain string
	// CallTimeout bounds every call to an instance. Default 5 s.
	CallTimeout time.Duration
	// RequestTimeout bounds one request to the API server. Default 15 s.
	RequestTimeout time.Duration
	// SettingsEvery is how often the ConfigMap is read. Default 5 min, as in the Java worker.
	SettingsEvery time.Duration
	// Resync is how often what exists is compared with what should be, besides at every change. Default 5 min.
	Resync time.Duration
	Log    *zap.Logger

	fixed *objectKey // where the objects are, whatever the names say; nil = by the names
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
	o.WorkerProgram = cmp.Or(o.WorkerProgram, "/pulsar/bin/functions-worker")
	o.ClusterDomain = cmp.Or(o.ClusterDomain, "cluster.local")
	o.CallTimeout = cmp.Or(o.CallTimeout, 5*time.Second)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 15*time.Second)
	o.SettingsEvery = cmp.Or(o.SettingsEvery, 5*time.Minute)
	o.Resync = cmp.Or(o.Resync, 5*time.Minute)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if err := o.Budget.Check(); err != nil {
		return o, fmt.Errorf("kubernetes runtime: disruptionBudget: %w", err)
	}
	if err := rule("jobNamespace", o.JobNamespace, validation.IsDNS1123Label(o.JobNamespace)); err != nil {
		return o, fmt.Errorf("kubernetes runtime: %w", err)
	}
	for key := range o.CustomLabels { // values are translated
		if err := rule("customLabels", key, validation.IsQualifiedName(key)); err != nil {
			return o, fmt.Errorf("kubernetes runtime: %w", err)
		}
	}
	switch {
	case !slices.Contains([]string{string(corev1.PullAlways), string(corev1.PullIfNotPresent), string(corev1.PullNever)}, o.ImagePullPolicy):
		return o, fmt.Errorf("kubernetes runtime: imagePullPolicy %q is none of Always, IfNotPresent and Never", o.ImagePullPolicy)
	case !strings.HasPrefix(o.PulsarRootDir, "/") || !strings.HasPrefix(o.ConfigAdminCLI, "/"):
		return o, fmt.Errorf("kubernetes runtime: pulsarRootDir %q and configAdminCLI %q must begin with a slash", o.PulsarRootDir, o.ConfigAdminCLI)
	case o.PulsarServiceURL == "":
		return o, errors.New("kubernetes runtime: pulsarServiceUrl is empty; pods could not reach the broker")
	case o.PulsarAdminURL == "":
		return o, errors.New("kubernetes runtime: pulsarAdminUrl is empty; pods could not download their packages")
	case o.NativeDownload && !o.hasWorkerImage():
		return o, errors.New("kubernetes runtime: goWorker.kubernetes.nativeDownload needs goWorker.kubernetes.workerImage where the worker does not run in a pod itself")
	case o.CPUOverCommitRatio < 0 || o.MemoryOverCommitRatio < 0:
		return o, fmt.Errorf("kubernetes runtime: cpuOverCommitRatio %v and memoryOverCommitRatio %v must be above 0", o.CPUOverCommitRatio, o.MemoryOverCommitRatio)
	}
	return o, nil
}

// manager is how the workers of this cluster sign what they write (metadata.managedFields), which leaves the objects equal
// to those of a Java worker.
func (o Options) manager() string {
	sum := sha256.Sum256([]byte(o.ClusterName + "\x00" + o.FunctionsNamespace + "\x00" + o.PulsarServiceURL))
	return "functions-worker-" + hex.EncodeToString(sum[:8])
}

// image of a language; a map without the language falls back, where the Java worker would name no image at all.
func (o Options) image(language string) string { return cmp.Or(o.Images[language], o.Image) }

func validPort(p int) bool { return p >= 1 && p <= 65535 }

// at gives the options that put a function where its objects are already.
func (o Options) at(place objectKey) Options {
	o.fixed = &place
	return o
}
