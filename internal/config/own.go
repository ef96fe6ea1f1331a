package config

import "time"

// ByteSize is a number of bytes, written as a number or with a unit: 64KiB, 512MiB, 2GiB.
type ByteSize int64

// GoWorker are the settings that only this worker knows. Java workers ignore the whole section, so that one file
// serves both.
type GoWorker struct {
	PackageStore                  string            `yaml:"packageStore" accept:"topic|broker|filesystem" cat:"A" desc:"Where uploaded packages are kept: topic = one topic per package in pulsarFunctionsNamespace, broker = the broker's packages service, filesystem = packageDirectory, shared by all workers. Blank: broker when functionsWorkerEnablePackageManagement is true, else topic. Workers of one cluster must agree; Java workers can read only broker."`
	PackageDirectory              string            `yaml:"packageDirectory" cat:"A" desc:"Directory of packageStore filesystem."`
	MaxPackageSize                ByteSize          `yaml:"maxPackageSize" default:"2GiB" min:"1" cat:"A" desc:"Largest package that is taken, stored or downloaded."`
	TempDirectory                 string            `yaml:"tempDirectory" cat:"A" desc:"Directory for uploads under way. Blank: the temporary directory of the system."`
	StateStore                    string            `yaml:"stateStore" accept:"bookkeeper|topic|none" cat:"A" desc:"Where the state of functions is: bookkeeper = the table service of stateStorageServiceUrl, topic = one compacted topic per function in pulsarFunctionsNamespace (for functions inside the worker), none = nowhere. Blank: bookkeeper when stateStorageServiceUrl is set, else topic under the thread runtime and none under the others."`
	StartParallelism              int               `yaml:"startParallelism" default:"0" cat:"A" desc:"Instances started or downloaded for at once; 0: two per processor, at least four."`
	RestartBackoffInitial         duration          `yaml:"restartBackoffInitial" default:"1s" cat:"A" desc:"Pause before the first restart of an instance that ended."`
	RestartBackoffMax             duration          `yaml:"restartBackoffMax" default:"1m" cat:"A" desc:"Longest pause between restarts; the pause doubles up to it."`
	RestartBackoffReset           duration          `yaml:"restartBackoffReset" default:"5m" cat:"A" desc:"An instance that ran this long starts again with the initial pause."`
	InstanceStopTimeout           duration          `yaml:"instanceStopTimeout" default:"7s" cat:"A" desc:"Time between asking an instance to stop and killing it; the default lets the whole worker stop within 10 s."`
	InstanceCallTimeout           duration          `yaml:"instanceCallTimeout" default:"5s" cat:"A" desc:"Longest wait for an instance's answer to a status, metrics or health request."`
	ScrapeTimeout                 duration          `yaml:"scrapeTimeout" default:"2s" cat:"A" desc:"Longest wait for an instance's own metrics while /metrics is served."`
	ShutdownTimeout               duration          `yaml:"shutdownTimeout" default:"30s" cat:"A" desc:"Longest time for an orderly stop of the worker."`
	LogLevel                      string            `yaml:"logLevel" default:"info" accept:"debug|info|warn|error" cat:"A" desc:"Least severity that is logged."`
	LogFormat                     string            `yaml:"logFormat" default:"console" accept:"console|json" cat:"A" desc:"Form of log lines."`
	FunctionsUseWorkerCredentials bool              `yaml:"functionsUseWorkerCredentials" default:"false" cat:"A" desc:"With authenticationEnabled: functions that have no credentials of their own reach the broker with the worker's, usually a superuser's, as with Java workers. False: they do not start, and without functionAuthProviderClassName the worker does not."`
	AuthorizationCache            duration          `yaml:"authorizationCache" default:"5s" min:"1" cat:"A" desc:"How long what the broker says about tenants and permissions is kept; a revoked right may live that long."`
	FunctionUser                  string            `yaml:"functionUser" cat:"A" desc:"Process runtime: user that instances run as: a name, a user id, or a range of ids such as 20000-29999, of which each function gets its own. The worker must be root, or have the capabilities for it. Blank: the worker's own user."`
	FunctionMaxMemory             ByteSize          `yaml:"functionMaxMemory" default:"0" min:"0" cat:"A" desc:"Process runtime: most private writable memory of an instance process (RLIMIT_DATA); for Java well above the heap. 0: no limit."`
	FunctionMaxProcesses          int64             `yaml:"functionMaxProcesses" default:"0" min:"0" cat:"A" desc:"Process runtime: most processes and threads of the user of a function (RLIMIT_NPROC); needs functionUser, and counts all functions together unless that is a range. 0: no limit."`
	FunctionMaxOpenFiles          int64             `yaml:"functionMaxOpenFiles" default:"0" min:"0" cat:"A" desc:"Process runtime: most open files of an instance process (RLIMIT_NOFILE); a Java instance has more than 1000 archives open. 0: as the worker."`
	PackageURLNetworks            []string          `yaml:"packageUrlNetworks" cat:"A" desc:"Networks (10.0.0.0/8) and addresses that http(s) package URLs may lead to besides public ones. Without them loopback, link-local, private and metadata addresses are refused, whatever the URL patterns say."`
	SecretsProvider               string            `yaml:"secretsProvider" cat:"A" desc:"Process runtime: Java class by which Java instances read secrets, for example org.apache.pulsar.functions.secretsprovider.EnvironmentBasedSecretsProvider. Blank: clear text."`
	PythonSecretsProvider         string            `yaml:"pythonSecretsProvider" cat:"A" desc:"The same for Python instances, for example secretsprovider.EnvironmentBasedSecretsProvider."`
	SecretsProviderConfig         map[string]string `yaml:"secretsProviderConfig" cat:"A" secret:"properties" desc:"Handed to both classes."`
	AuditLog                      string            `yaml:"auditLog" cat:"A" desc:"Where the audit log goes, one JSON object a line for each change, each refused authentication and each denial: none, stdout, stderr, or a file, which is opened again after a rotation. Blank: stdout with authenticationEnabled, else none."`
	TrustedProxyHops              int               `yaml:"trustedProxyHops" default:"1" min:"1" cat:"A" desc:"With webServiceTrustXForwardedFor: how many proxies stand between clients and this worker. The address that the outermost of them saw counts; what stands left of it in the header came from the client."`
	ListenAddress                 string            `yaml:"listenAddress" cat:"A" desc:"Address that the listeners bind; blank: all."`
	PulsarHome                    string            `yaml:"pulsarHome" cat:"A" desc:"Directory of the Pulsar distribution, to which relative paths refer. Blank: PULSAR_HOME, else the working directory."`
	JavaExecutable                string            `yaml:"javaExecutable" default:"java" cat:"A" desc:"Program that runs Java instances; looked up in PATH."`
	PythonExecutable              string            `yaml:"pythonExecutable" default:"python3" cat:"A" desc:"Program that runs Python instances; looked up in PATH."`
	InstanceClassPath             string            `yaml:"instanceClassPath" cat:"A" desc:"Value of pulsar.functions.instance.classpath of Java instances. Blank: the directory of PULSAR_LOG_CONF, lib/* of the Pulsar home, PULSAR_EXTRA_CLASSPATH."`
	Kubernetes                    K8sOwn            `yaml:"kubernetes" cat:"A" desc:"Settings of the Kubernetes runtime that a Java worker does not have."`
	EncryptionKeysDirectory       string            `yaml:"encryptionKeysDirectory" cat:"A" desc:"Keys of end-to-end encryption for functions in the worker that name the cryptoKeyReaderClassName FileKeyReader: TENANT/NAMESPACE/NAME.public.pem and NAME.private.pem below this directory. Blank: such functions are refused."`
	WASM                          WASMOwn           `yaml:"wasm" cat:"A" desc:"Limits and rights of WebAssembly modules."`
}

// K8sOwn are settings of the Kubernetes runtime that only this worker knows.
type K8sOwn struct {
	QPS                           float64          `yaml:"qps" default:"200" cat:"A" desc:"Requests per second to the API server, on average (the Kubernetes client's own 5 would take a quarter of an hour for 2,000 functions)."`
	Burst                         int              `yaml:"burst" default:"400" min:"1" cat:"A" desc:"Requests that may be made at once before qps counts."`
	Orphans                       string           `yaml:"orphans" default:"remove" accept:"remove|report|keep" cat:"A" desc:"StatefulSets and Services that workers of this cluster wrote and whose function is gone: remove them, report them in the log only, or do not look for them."`
	OrphanGrace                   duration         `yaml:"orphanGrace" default:"5m" min:"1" cat:"A" desc:"How long such an object must have been without a function."`
	ClusterDomain                 string           `yaml:"clusterDomain" default:"cluster.local" cat:"A" desc:"End of the host names of pods."`
	PodPatch                      map[string]any   `yaml:"podPatch" cat:"A" desc:"Strategic merge patch of every function's pod template (metadata, spec): security context, affinity, sidecars, probes, service account."`
	PodJSONPatch                  []map[string]any `yaml:"podJsonPatch" cat:"A" desc:"JSON patch (RFC 6902) of it, applied after podPatch: a list of op, path and value; paths such as /spec/tolerations/-."`
	StatefulSetPatch              map[string]any   `yaml:"statefulSetPatch" cat:"A" desc:"Strategic merge patch of every function's StatefulSet without its pod template: labels, annotations, updateStrategy, minReadySeconds, volumeClaimTemplates."`
	StatefulSetJSONPatch          []map[string]any `yaml:"statefulSetJsonPatch" cat:"A" desc:"JSON patch of it."`
	FunctionPatchPaths            []string         `yaml:"functionPatchPaths" cat:"A" desc:"Paths in the pod template that podPatch and podJsonPatch in a function's customRuntimeOptions may change, such as spec.affinity; needs runtimeCustomizerClassName. Blank: none."`
	FunctionStatefulSetPatchPaths []string         `yaml:"functionStatefulSetPatchPaths" cat:"A" desc:"The same for statefulSetPatch and statefulSetJsonPatch in customRuntimeOptions, such as spec.updateStrategy. Blank: none."`
	WorkerImage                   string           `yaml:"workerImage" cat:"A" desc:"Image of this worker for the pods of WebAssembly modules and compiled-in functions, and for nativeDownload. Blank: with submittingInsidePod that of the worker's own pod."`
	WorkerProgram                 string           `yaml:"workerProgram" default:"/pulsar/bin/functions-worker" cat:"A" desc:"The worker's program in that image."`
	NativeDownload                bool             `yaml:"nativeDownload" default:"false" cat:"A" desc:"Packages are fetched by an init container of workerImage instead of pulsar-admin in the function's own image."`
	ReadinessProbe                bool             `yaml:"readinessProbe" default:"false" cat:"A" desc:"Pods are ready once the control port of their instance is open; those of workerImage once their inputs are."`
	LivenessProbe                 bool             `yaml:"livenessProbe" default:"false" cat:"A" desc:"Pods whose instance does not answer at its metrics port (without one: control port) for a minute and a half are restarted; a new one has ten minutes."`
	ExternalReplicas              bool             `yaml:"externalReplicas" default:"false" cat:"A" desc:"Others, such as KEDA, may set the replicas of functions' StatefulSets: the number becomes the function's parallelism instead of being repaired. externalReplicas in customRuntimeOptions decides for one function; needs runtimeCustomizerClassName."`
	TrustSecret                   K8sTrust         `yaml:"trustSecret" cat:"A" desc:"Certificates that the pods of functions trust, with authentication or without."`
	DisruptionBudget              K8sBudget        `yaml:"disruptionBudget" cat:"A" desc:"PodDisruptionBudget of every function. Blank: none."`
}

// K8sTrust names an entry of a Secret.
type K8sTrust struct {
	Name string `yaml:"name" cat:"A" desc:"Secret in each Kubernetes namespace of functions; it is mounted into every pod, which speaks TLS to the broker as useTls says. Blank: none, and without authenticationEnabled pods trust what their images do."`
	Key  string `yaml:"key" default:"ca.crt" cat:"A" desc:"Its entry with the certificates, PEM."`
}

// K8sBudget is a PodDisruptionBudget.
type K8sBudget struct {
	MaxUnavailable string `yaml:"maxUnavailable" cat:"A" desc:"Pods of a function that may be evicted at the same time: a number, or a percentage such as 50%."`
	MinAvailable   string `yaml:"minAvailable" cat:"A" desc:"Pods that must stay, instead of maxUnavailable; with as many as the function has, its nodes cannot be drained."`
}

type duration = time.Duration
