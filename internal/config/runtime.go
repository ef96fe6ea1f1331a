package config

// Runtime is what functions run in and what they are given (contract section 3.8).
type Runtime struct {
	FunctionRuntimeFactoryClassName       string            `yaml:"functionRuntimeFactoryClassName" dist:"org.apache.pulsar.functions.runtime.process.ProcessRuntimeFactory" cat:"N" desc:"Runtime factory; see the table of class names. Blank: the first present of threadContainerFactory, processContainerFactory, kubernetesContainerFactory decides; none: the worker does not start."`
	FunctionRuntimeFactoryConfigs         map[string]any    `yaml:"functionRuntimeFactoryConfigs" cat:"A" secret:"properties" desc:"Settings of the runtime, see the tables per runtime. Absent: {}. Keys of another runtime are ignored."`
	SecretsProviderConfiguratorClassName  string            `yaml:"secretsProviderConfiguratorClassName" cat:"N" desc:"How instances get secrets; see the table of class names. Blank: clear text."`
	SecretsProviderConfiguratorConfig     map[string]string `yaml:"secretsProviderConfiguratorConfig" cat:"A" secret:"properties" desc:"Passed to the configurator."`
	FunctionInstanceMinResources          *Resources        `yaml:"functionInstanceMinResources" cat:"A" desc:"Least resources a function must ask for (cpu, ram, disk). If the object is there, absent fields count as cpu 1.0, ram 1073741824, disk 10737418240. Kubernetes only."`
	FunctionInstanceMaxResources          *Resources        `yaml:"functionInstanceMaxResources" cat:"A" desc:"Most resources a function may ask for. Kubernetes only."`
	FunctionInstanceResourceGranularities *Resources        `yaml:"functionInstanceResourceGranularities" cat:"A" desc:"Requested resources must be multiples of these. Kubernetes only."`
	FunctionInstanceResourceChangeInStep  bool              `yaml:"functionInstanceResourceChangeInLockStep" default:"false" cat:"A" desc:"All resources must be the same multiple of their granularity. Kubernetes only."`
	FunctionAuthProviderClassName         string            `yaml:"functionAuthProviderClassName" cat:"N" desc:"Which credentials functions get; see the table of class names. Blank: none, on Kubernetes the token in a secret."`
	RuntimeCustomizerClassName            string            `yaml:"runtimeCustomizerClassName" cat:"N" desc:"Customizer of Kubernetes manifests; see the table of class names."`
	RuntimeCustomizerConfig               map[string]any    `yaml:"runtimeCustomizerConfig" cat:"A" secret:"properties" desc:"jobNamespace, jobName, extraLabels, extraAnnotations, nodeSelectorLabels, resourceRequirements, tolerations."`
	MaxPendingAsyncRequests               int32             `yaml:"maxPendingAsyncRequests" default:"1000" cat:"A" desc:"Given to every instance: unfinished asynchronous calls."`
	ForwardSourceMessageProperty          bool              `yaml:"forwardSourceMessageProperty" default:"true" cat:"A" desc:"Default of the function setting of the same name; false clears it for every function."`
	AdditionalJavaRuntimeArguments        []string          `yaml:"additionalJavaRuntimeArguments" cat:"A" secret:"args" desc:"Further arguments of java for instances."`
	ExposeAdminClientEnabled              bool              `yaml:"exposeAdminClientEnabled" default:"false" cat:"A" desc:"Give instances the admin URL so that functions can use the admin client."`
	StateStorageServiceURL                string            `yaml:"stateStorageServiceUrl" cat:"A" secret:"url" desc:"State store; not blank: state is enabled and the URL passed to instances."`
	StateStorageProviderImplementation    string            `yaml:"stateStorageProviderImplementation" default:"org.apache.pulsar.functions.instance.state.BKStateStoreProviderImpl" cat:"N" desc:"Kind of state store; see the table of class names."`
	ThreadContainerFactory                *ThreadRuntime    `yaml:"threadContainerFactory" cat:"A" desc:"Legacy form of functionRuntimeFactoryConfigs for the thread runtime."`
	ProcessContainerFactory               *ProcessRuntime   `yaml:"processContainerFactory" cat:"A" desc:"Legacy form of functionRuntimeFactoryConfigs for the process runtime."`
	KubernetesContainerFactory            *K8sRuntime       `yaml:"kubernetesContainerFactory" cat:"A" desc:"Legacy form of functionRuntimeFactoryConfigs for the Kubernetes runtime."`
	FunctionsWorkerServiceNarPackage      string            `yaml:"functionsWorkerServiceNarPackage" cat:"J" desc:"Plug-in worker service; a start with it fails, since this worker cannot load it."`
	FunctionsWorkerServiceCustomConfigs   map[string]any    `yaml:"functionsWorkerServiceCustomConfigs" cat:"U" secret:"properties" desc:"Settings of that plug-in; read by nobody."`
}

// Resources of one instance (contract section 3.10). A nil field was written as null: it is not checked.
type Resources struct {
	CPU  *float64 `yaml:"cpu" default:"1.0" cat:"A" desc:"Cores."`
	RAM  *int64   `yaml:"ram" default:"1073741824" cat:"A" desc:"Memory, bytes."`
	Disk *int64   `yaml:"disk" default:"10737418240" cat:"U" desc:"Disk, bytes; never checked."`
}

// ThreadRuntime are the settings of ThreadRuntimeFactory.
type ThreadRuntime struct {
	ThreadGroupName         string       `yaml:"threadGroupName" dist:"Thread Function Container Group" cat:"A" desc:"Prefix of thread names."`
	PulsarClientMemoryLimit *MemoryLimit `yaml:"pulsarClientMemoryLimit" cat:"N" desc:"Memory limit of the clients of functions (absoluteValue in bytes; percentOfMaxDirectMemory has no meaning without a JVM)."`
}

// MemoryLimit of the Pulsar client in the thread runtime; with both set, the smaller wins.
type MemoryLimit struct {
	AbsoluteValue            *int64   `yaml:"absoluteValue" cat:"A" desc:"Bytes, above 0."`
	PercentOfMaxDirectMemory *float64 `yaml:"percentOfMaxDirectMemory" cat:"J" desc:"Percent (0, 100] of the direct memory of the JVM."`
}

// ProcessRuntime are the settings of ProcessRuntimeFactory. After Load, Computed.Process holds the resolved paths.
type ProcessRuntime struct {
	JavaInstanceJarLocation      string `yaml:"javaInstanceJarLocation" cat:"A" desc:"java-instance.jar. Blank: PULSAR_JAVA_INSTANCE_JAR, else instances/java-instance.jar of the Pulsar home."`
	PythonInstanceLocation       string `yaml:"pythonInstanceLocation" cat:"A" desc:"python_instance_main.py. Blank: PULSAR_PY_INSTANCE_FILE, else instances/python-instance/python_instance_main.py of the Pulsar home."`
	LogDirectory                 string `yaml:"logDirectory" dist:"logs/" cat:"A" desc:"Directory of instance logs; functions/ is appended. Blank: PULSAR_LOG_DIR, else logs of the Pulsar home."`
	ExtraFunctionDependenciesDir string `yaml:"extraFunctionDependenciesDir" cat:"A" desc:"Jars put on the class path of Java instances. Blank: PULSAR_FUNCTIONS_EXTRA_DEPS_DIR, else instances/deps of the Pulsar home."`
}

// K8sRuntime are the settings of KubernetesRuntimeFactory (contract runtime-kubernetes, section 1.2).
type K8sRuntime struct {
	K8sURI                            string            `yaml:"k8Uri" cat:"N" desc:"Base URL of the Kubernetes API, without credentials. Blank: in-cluster or kube config."`
	JobNamespace                      string            `yaml:"jobNamespace" default:"default" cat:"A" desc:"Kubernetes namespace of everything created."`
	JobName                           string            `yaml:"jobName" cat:"A" desc:"Base name of all jobs instead of the function's own."`
	PulsarDockerImageName             string            `yaml:"pulsarDockerImageName" default:"apachepulsar/pulsar" cat:"A" desc:"Image of function pods."`
	FunctionDockerImages              map[string]string `yaml:"functionDockerImages" cat:"A" desc:"Image per language: JAVA, PYTHON, GO. A language that is missing gets pulsarDockerImageName."`
	ImagePullPolicy                   string            `yaml:"imagePullPolicy" default:"IfNotPresent" accept:"IfNotPresent|Always|Never" cat:"A" desc:"When the image is pulled."`
	PulsarRootDir                     string            `yaml:"pulsarRootDir" default:"/pulsar" cat:"A" desc:"Pulsar home in the image."`
	ConfigAdminCLI                    string            `yaml:"configAdminCLI" default:"/bin/pulsar-admin" cat:"A" desc:"Admin tool in the image, below pulsarRootDir; starts with /."`
	SubmittingInsidePod               bool              `yaml:"submittingInsidePod" default:"false" cat:"A" desc:"The worker itself runs in the cluster: use the pod's credentials."`
	PulsarServiceURL                  string            `yaml:"pulsarServiceUrl" cat:"A" secret:"url" desc:"Service URL for functions. Blank: the worker's."`
	PulsarAdminURL                    string            `yaml:"pulsarAdminUrl" cat:"A" secret:"url" desc:"URL from which pods download packages; must serve the functions API. Blank: pulsarWebServiceUrl."`
	InstallUserCodeDependencies       bool              `yaml:"installUserCodeDependencies" default:"false" cat:"A" desc:"Python: install dependencies at start."`
	PythonDependencyRepository        string            `yaml:"pythonDependencyRepository" cat:"A" secret:"url" desc:"Python: package index."`
	PythonExtraDependencyRepository   string            `yaml:"pythonExtraDependencyRepository" cat:"A" secret:"url" desc:"Python: further package index."`
	ExtraFunctionDependenciesDir      string            `yaml:"extraFunctionDependenciesDir" cat:"A" desc:"Jars for Java instances; relative to pulsarRootDir. Blank: instances/deps."`
	CustomLabels                      map[string]string `yaml:"customLabels" cat:"A" desc:"Labels on everything created."`
	ExpectedMetricsCollectionInterval *int              `yaml:"expectedMetricsCollectionInterval" default:"30" cat:"U" desc:"Read by nobody."`
	ChangeConfigMap                   string            `yaml:"changeConfigMap" cat:"A" desc:"ConfigMap whose entries overwrite these settings while the worker runs."`
	ChangeConfigMapNamespace          string            `yaml:"changeConfigMapNamespace" cat:"A" desc:"Its namespace."`
	PercentMemoryPadding              int               `yaml:"percentMemoryPadding" default:"0" cat:"A" desc:"Percent added to the memory of an instance."`
	CPUOverCommitRatio                float64           `yaml:"cpuOverCommitRatio" default:"1.0" cat:"A" desc:"Limit divided by request, cpu."`
	MemoryOverCommitRatio             float64           `yaml:"memoryOverCommitRatio" default:"1.0" cat:"A" desc:"Limit divided by request, memory."`
	GRPCPort                          int               `yaml:"grpcPort" default:"9093" cat:"A" desc:"Control port of an instance."`
	MetricsPort                       *int              `yaml:"metricsPort" default:"9094" cat:"A" desc:"Metrics port of an instance; blank: none."`
	NarExtractionDirectory            string            `yaml:"narExtractionDirectory" cat:"A" desc:"Where Java instances unpack archives. Blank: the temporary directory."`
	FunctionInstanceClassPath         string            `yaml:"functionInstanceClassPath" cat:"A" desc:"Class path of Java instances in the image."`
	GracePeriodSeconds                int               `yaml:"gracePeriodSeconds" default:"5" cat:"A" desc:"Grace period of a deletion, seconds."`
	KubernetesFunctionAuthConfig      map[string]string `yaml:"kubernetesFunctionAuthProviderConfig" cat:"A" desc:"brokerClientTrustCertsSecretName, serviceAccountTokenExpirationSeconds, serviceAccountTokenAudience."`
}
