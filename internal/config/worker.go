// Package config turns functions_worker.yml, the PF_ environment variables of the container images and the
// command line into one validated Worker.
//
// Every key is declared once, as a struct field with tags; loading, defaults, validation, redaction and
// docs/configuration.md are all derived from that declaration. The package is used once, at start: Load reads
// everything, collects all problems instead of stopping at the first, computes the derived values, and returns a
// value that nobody changes afterwards. It touches neither network nor broker; internal/check does.
package config

// Worker is the whole configuration of one worker. Field names follow the YAML keys.
//
// Tags: yaml = key; default = value that applies when the key is absent; javaDefault = default in the Java code when
// it is another one; dist = value in the distributed functions_worker.yml when it differs from the default; cat = how
// far the key applies here (A as is, N with the note in the description, J only a JVM has a use for it, U read by
// nobody); secret = how the value is masked in print (mask, params, properties, args, url); required; desc.
type Worker struct {
	Identity      `section:"Identity and HTTP server"`
	MetadataStore `section:"Metadata store"`
	Packages      `section:"Packages, connectors, built-in functions"`
	Broker        `section:"Broker connection, topics, scheduling"`
	BrokerClient  `section:"Credentials towards the broker"`
	ListenerTLS   `section:"TLS of the listener"`
	Security      `section:"Incoming authentication and authorization"`
	Runtime       `section:"Function runtime"`
	Go            GoWorker `yaml:"goWorker" section:"This worker's own settings"`

	// Computed holds what follows from the keys together; Load fills it.
	Computed Computed
}

// Identity is who this worker is and how its HTTP server behaves (contract section 3.1).
type Identity struct {
	WorkerID                         string  `yaml:"workerId" dist:"standalone" cat:"A" desc:"Unique id of the worker; assignments are keyed by it, so two workers with one id corrupt scheduling. Blank: <workerHostname>-<port>. Must not contain ':'."`
	WorkerHostname                   string  `yaml:"workerHostname" dist:"localhost" cat:"A" desc:"Name under which other workers and clients reach this worker (redirects, forwarded calls). Blank: the fully qualified name of the host. Must not contain ':'."`
	WorkerPort                       *int    `yaml:"workerPort" dist:"6750" cat:"A" desc:"Plain HTTP port; blank: no plain listener; 0: any free port."`
	WorkerPortTLS                    *int    `yaml:"workerPortTls" dist:"6751" cat:"A" desc:"HTTPS port; opened only when tlsEnabled is true."`
	AuthenticateMetricsEndpoint      bool    `yaml:"authenticateMetricsEndpoint" default:"true" cat:"A" desc:"With authenticationEnabled: whether /metrics, /version and /initialized need authentication."`
	IncludeStandardPrometheusMetrics bool    `yaml:"includeStandardPrometheusMetrics" default:"false" cat:"N" desc:"Put the metrics of the process itself first in /metrics (here: those of the Go runtime and the process)."`
	JVMGCMetricsLoggerClassName      string  `yaml:"jvmGCMetricsLoggerClassName" cat:"J" desc:"Class for garbage collection metrics."`
	NumHTTPServerThreads             int     `yaml:"numHttpServerThreads" default:"8" cat:"N" desc:"Threads of the web executor; here a hint, goroutines are not limited by it."`
	HTTPRequestsLimitEnabled         bool    `yaml:"httpRequestsLimitEnabled" default:"false" cat:"A" desc:"Enable the limit of requests per second."`
	HTTPRequestsMaxPerSecond         float64 `yaml:"httpRequestsMaxPerSecond" default:"100.0" cat:"A" desc:"Requests per second over all resources together; what exceeds it is answered 429."`
	MaxConcurrentHTTPRequests        int     `yaml:"maxConcurrentHttpRequests" default:"1024" cat:"A" desc:"Requests worked on at once, others wait; 0 or less: no limit."`
	HTTPServerThreadPoolQueueSize    int     `yaml:"httpServerThreadPoolQueueSize" default:"8192" cat:"N" desc:"Requests that may wait; here the length of the waiting line in front of maxConcurrentHttpRequests."`
	HTTPServerAcceptQueueSize        int     `yaml:"httpServerAcceptQueueSize" default:"8192" cat:"N" desc:"Listen backlog; here the operating system decides (net.core.somaxconn)."`
	MaxHTTPServerConnections         int     `yaml:"maxHttpServerConnections" default:"2048" cat:"A" desc:"Open connections; 0: no limit."`
	WebServiceHaProxyProtocolEnabled bool    `yaml:"webServiceHaProxyProtocolEnabled" default:"false" cat:"A" desc:"Accept the PROXY protocol (v1 and v2) on both listeners."`
	WebServiceTrustXForwardedFor     bool    `yaml:"webServiceTrustXForwardedFor" default:"false" cat:"A" desc:"Take the client's address from X-Forwarded-For or Forwarded."`
	WebServiceLogDetailedAddresses   *bool   `yaml:"webServiceLogDetailedAddresses" cat:"A" desc:"Request log with all addresses; blank: true when one of the two previous keys is true."`
}

// MetadataStore are the keys of a store that this worker never opens (contract section 3.2).
type MetadataStore struct {
	ConfigurationMetadataStoreURL        string `yaml:"configurationMetadataStoreUrl" dist:"zk:localhost:2181" cat:"N" desc:"Store from which the Java worker reads tenants and policies. Not used here: they come from the broker's REST interface."`
	ConfigurationStoreServers            string `yaml:"configurationStoreServers" dist:"localhost:2181" cat:"N" desc:"Deprecated form of configurationMetadataStoreUrl; not used here either."`
	MetadataStoreSessionTimeoutMillis    int64  `yaml:"metadataStoreSessionTimeoutMillis" default:"30000" cat:"J" desc:"Session timeout of the metadata store, in ms."`
	MetadataStoreOperationTimeoutSeconds int32  `yaml:"metadataStoreOperationTimeoutSeconds" default:"30" cat:"A" desc:"Time in seconds that one authorization decision may take before the request fails."`
	MetadataStoreCacheExpirySeconds      int32  `yaml:"metadataStoreCacheExpirySeconds" default:"300" cat:"U" desc:"Read by nobody."`
	MetadataStoreAllowReadOnlyOperations bool   `yaml:"metadataStoreAllowReadOnlyOperations" default:"false" cat:"J" desc:"Read-only operations without a quorum."`
	ZooKeeperSessionTimeoutMillis        int64  `yaml:"zooKeeperSessionTimeoutMillis" default:"-1" cat:"J" desc:"Deprecated; above 0 it wins over metadataStoreSessionTimeoutMillis."`
	ZooKeeperOperationTimeoutSeconds     int32  `yaml:"zooKeeperOperationTimeoutSeconds" default:"-1" cat:"A" desc:"Deprecated; above 0 it wins over metadataStoreOperationTimeoutSeconds."`
	ZooKeeperCacheExpirySeconds          int32  `yaml:"zooKeeperCacheExpirySeconds" default:"-1" cat:"U" desc:"Deprecated, read by nobody."`
	ZooKeeperAllowReadOnlyOperations     bool   `yaml:"zooKeeperAllowReadOnlyOperations" default:"false" cat:"J" desc:"Deprecated."`
}

// Packages is where packages, connectors and built-in functions live (contract section 3.3).
type Packages struct {
	ConnectorsDirectory                      string   `yaml:"connectorsDirectory" default:"./connectors" cat:"A" desc:"Directory of connector archives (.nar), read at start and on reload. Blank: none."`
	FunctionsDirectory                       string   `yaml:"functionsDirectory" default:"./functions" cat:"A" desc:"Directory of built-in functions. Blank: none."`
	NarExtractionDirectory                   string   `yaml:"narExtractionDirectory" cat:"A" desc:"Where instances unpack archives. Blank: the temporary directory of the system."`
	EnableClassloadingOfBuiltinFiles         bool     `yaml:"enableClassloadingOfBuiltinFiles" default:"false" cat:"J" desc:"Validate built-ins by loading classes; this worker reads class files without running them."`
	EnableClassloadingOfExternalFiles        bool     `yaml:"enableClassloadingOfExternalFiles" default:"false" cat:"J" desc:"Validate uploads by loading classes; this worker reads class files without running them."`
	ValidateConnectorConfig                  bool     `yaml:"validateConnectorConfig" default:"false" cat:"J" desc:"Field-level validation of connector configs; it needs a JVM and is not available here."`
	EnableReferencingConnectorDirectoryFiles bool     `yaml:"enableReferencingConnectorDirectoryFiles" default:"true" cat:"A" desc:"Allow file: package URLs below connectorsDirectory for sources and sinks."`
	AdditionalEnabledConnectorURLPatterns    []string `yaml:"additionalEnabledConnectorUrlPatterns" cat:"N" desc:"Further package URLs allowed for connectors: regular expressions that must match the whole URL. Go (RE2) syntax; look-around and back-references are refused at start."`
	EnableReferencingFunctionsDirectoryFiles bool     `yaml:"enableReferencingFunctionsDirectoryFiles" default:"true" cat:"A" desc:"Allow file: package URLs below functionsDirectory for functions."`
	AdditionalEnabledFunctionsURLPatterns    []string `yaml:"additionalEnabledFunctionsUrlPatterns" cat:"N" desc:"As additionalEnabledConnectorUrlPatterns, for functions."`
	UploadBuiltinSinksSources                bool     `yaml:"uploadBuiltinSinksSources" default:"true" cat:"A" desc:"Kubernetes: upload built-ins to package storage; false: the image must contain them."`
	NumFunctionPackageReplicas               int32    `yaml:"numFunctionPackageReplicas" default:"0" dist:"1" cat:"N" desc:"Copies of a package in BookKeeper; this worker has no BookKeeper package storage and ignores it."`
	FunctionsWorkerEnablePackageManagement   bool     `yaml:"functionsWorkerEnablePackageManagement" default:"false" cat:"N" desc:"Store packages in the broker's packages service; what a cluster shared with Java workers needs. False: goWorker.packageStore decides."`
	DownloadDirectory                        string   `yaml:"downloadDirectory" dist:"download/pulsar_functions" cat:"A" desc:"Directory for the packages of instances; relative to the Pulsar home. Blank: the Pulsar home itself. Kubernetes: path in the pod, relative to pulsarRootDir."`
	InitializedDlogMetadata                  bool     `yaml:"initializedDlogMetadata" default:"false" cat:"J" desc:"Whether DistributedLog metadata stands already; this worker does not use DistributedLog."`
	IgnoreUnknownConfigFields                bool     `yaml:"ignoreUnknownConfigFields" default:"false" cat:"A" desc:"Passed to Java instances: unknown fields of a connector config are ignored."`
}

// Broker is the connection to the broker, the internal topics, and the pace of scheduling (contract section 3.4).
type Broker struct {
	PulsarServiceURL                 string `yaml:"pulsarServiceUrl" dist:"pulsar://localhost:6650" cat:"A" required:"true" secret:"url" desc:"Binary service URL of the broker (pulsar:// or pulsar+ssl://); handed to instances too."`
	PulsarWebServiceURL              string `yaml:"pulsarWebServiceUrl" dist:"http://localhost:8080" cat:"A" required:"true" secret:"url" desc:"Admin URL of the broker (http:// or https://)."`
	FunctionWebServiceURL            string `yaml:"functionWebServiceUrl" cat:"A" secret:"url" desc:"URL of the functions API of this worker. Blank: its HTTPS address if TLS is on, else its HTTP address."`
	PulsarFunctionsNamespace         string `yaml:"pulsarFunctionsNamespace" dist:"public/functions" cat:"A" required:"true" desc:"Namespace (tenant/namespace) of the internal topics; one per cluster when namespaces are replicated between clusters."`
	PulsarFunctionsCluster           string `yaml:"pulsarFunctionsCluster" dist:"standalone" cat:"A" required:"true" desc:"Name of the Pulsar cluster: replication cluster of the namespace, and the label cluster."`
	FunctionMetadataTopicName        string `yaml:"functionMetadataTopicName" default:"metadata" javaDefault:"null" cat:"A" desc:"Topic of function metadata. Must be equal on all workers."`
	ClusterCoordinationTopicName     string `yaml:"clusterCoordinationTopicName" default:"coordinate" javaDefault:"null" cat:"A" desc:"Topic of membership and leadership. Must be equal on all workers."`
	FunctionAssignmentTopicName      string `yaml:"functionAssignmentTopicName" default:"assignments" javaDefault:"null" cat:"A" desc:"Topic of assignments. Must be equal on all workers."`
	UseCompactedMetadataTopic        bool   `yaml:"useCompactedMetadataTopic" default:"false" cat:"A" desc:"Read the metadata topic compacted and write it with keys. Must be equal on all workers."`
	TopicCompactionFrequencySec      int64  `yaml:"topicCompactionFrequencySec" default:"1800" cat:"A" desc:"Seconds between compactions that the leader triggers; 0 or less: none."`
	SchedulerClassName               string `yaml:"schedulerClassName" dist:"org.apache.pulsar.functions.worker.scheduler.RoundRobinScheduler" cat:"N" desc:"Scheduler. Blank: round robin, the only one there is."`
	FailureCheckFreqMs               int64  `yaml:"failureCheckFreqMs" default:"30000" javaDefault:"0" min:"1" cat:"A" desc:"Milliseconds between membership checks. 0 or less: 30000 (Java fails to start)."`
	RescheduleTimeoutMs              int64  `yaml:"rescheduleTimeoutMs" default:"60000" javaDefault:"0" cat:"A" desc:"Milliseconds that a missing worker keeps its assignments."`
	RebalanceCheckFreqSec            int64  `yaml:"rebalanceCheckFreqSec" default:"0" dist:"-1" cat:"A" desc:"Seconds between automatic rebalances; 0 or less: none."`
	WorkerListProbeIntervalSec       int32  `yaml:"workerListProbeIntervalSec" default:"60" cat:"A" desc:"Seconds between the leader's checks for workers that are gone; 0 or less: none."`
	InitialBrokerReconnectMaxRetries int32  `yaml:"initialBrokerReconnectMaxRetries" default:"60" javaDefault:"0" min:"1" cat:"A" desc:"Attempts to reach the broker at start, one second apart."`
	AssignmentWriteMaxRetries        int32  `yaml:"assignmentWriteMaxRetries" default:"0" dist:"60" cat:"U" desc:"Read by nobody."`
	InstanceLivenessCheckFreqMs      int64  `yaml:"instanceLivenessCheckFreqMs" default:"30000" javaDefault:"0" cat:"A" desc:"Milliseconds between health checks of an instance; the same in seconds is given to the instance, which ends itself when nobody asks for three times as long. 0 or less: no checks."`
}
