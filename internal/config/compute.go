package config

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Computed is what follows from the keys together and from the environment (contract section 2.3). Paths are absolute.
type Computed struct {
	Home string // the Pulsar home, to which relative paths refer

	TLS           bool   // the HTTPS port is open
	Port          int    // the port in the worker's identity: the TLS port when TLS is on
	WebAddress    string // http://host:port, or "" without a plain listener
	WebAddressTLS string // https://host:port, or "" without TLS
	FunctionsURL  string // functionWebServiceUrl, or this worker's own address

	MetadataTopic, CoordinationTopic, AssignmentTopic string // persistent://…

	Runtime      RuntimeKind
	RuntimeClass string         // the class name, for RuntimeCustom and for messages
	Process      ProcessPaths   // resolved for every runtime: the thread runtime runs Java and Python as processes too
	Thread       *ThreadRuntime // nil unless selected
	Kubernetes   *K8sRuntime    // nil unless selected

	BrokerAuth   Credentials // of the worker's own clients
	InstanceAuth Credentials // of instances; Kind none unless authenticationEnabled

	Files Files

	PackageStore     string // topic, broker or filesystem
	StartParallelism int

	AuthenticationProviders []AuthMethod
	Authorization           Authorization
	AuthorizationTimeout    time.Duration
	Secrets                 SecretsKind
	FunctionAuth            FunctionAuth
	State                   StateKind
	LogDetailedAddresses    bool
}

// ProcessPaths are the files and directories of the process runtime (contract runtime-process-thread, section 2).
type ProcessPaths struct {
	JavaInstanceJar, PythonInstanceFile string
	LogDirectory                        string // without the functions/ that is appended
	ExtraDependenciesDir                string
	InstanceClassPath                   string // pulsar.functions.instance.classpath
	LogConf                             string // log4j configuration of Java instances
}

// Credentials are a client authentication plugin and its parameters; both empty when there is none.
type Credentials struct {
	Kind           ClientAuth
	Plugin, Params string
}

// Files are the paths of other keys, made absolute; "" where the key is blank.
type Files struct {
	ConnectorsDirectory, FunctionsDirectory, DownloadDirectory, NarExtractionDirectory string
	WASMCacheDirectory                                                                 string // "": none
	TempDirectory, PackageDirectory                                                    string
	TLSCertificate, TLSKey, TLSTrustCerts, TLSKeyStore, TLSTrustStore                  string
	BrokerTrustCerts                                                                   string
}

// Path makes a path of the configuration absolute: relative ones refer to the Pulsar home.
func (w *Worker) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(w.Computed.Home, p)
}

// given tells whether the key is there with a value, be it an empty text.
func given(root *node, key string) bool {
	n := root.fields[key]
	return n != nil && n.kind != nullNode
}

func (w *Worker) compute(root *node, env map[string]string, s Sources, r *Report) {
	c := &w.Computed
	home := firstOf(w.Go.PulsarHome, env["PULSAR_HOME"], ".")
	if abs, err := filepath.Abs(home); err == nil {
		home = abs
	}
	c.Home = home
	w.computeIdentity(s, r)
	topic := func(name string) string { return "persistent://" + w.PulsarFunctionsNamespace + "/" + name }
	c.MetadataTopic, c.CoordinationTopic = topic(w.FunctionMetadataTopicName), topic(w.ClusterCoordinationTopicName)
	c.AssignmentTopic = topic(w.FunctionAssignmentTopicName)
	w.computeRuntime(root, env, s, r)
	w.computeCredentials(root, r)
	w.computeFiles()

	c.PackageStore = w.Go.PackageStore
	if c.PackageStore == "" {
		c.PackageStore = "topic"
		if w.FunctionsWorkerEnablePackageManagement {
			c.PackageStore = "broker"
		}
	}
	seconds := w.MetadataStoreOperationTimeoutSeconds
	if w.ZooKeeperOperationTimeoutSeconds > 0 {
		seconds = w.ZooKeeperOperationTimeoutSeconds
	}
	c.AuthorizationTimeout = time.Duration(seconds) * time.Second
	c.LogDetailedAddresses = w.WebServiceHaProxyProtocolEnabled || w.WebServiceTrustXForwardedFor
	if w.WebServiceLogDetailedAddresses != nil {
		c.LogDetailedAddresses = *w.WebServiceLogDetailedAddresses
	}
	c.StartParallelism = w.Go.StartParallelism
	if c.StartParallelism <= 0 {
		c.StartParallelism = defaultParallelism()
	}
}

func (w *Worker) computeIdentity(s Sources, r *Report) {
	c := &w.Computed
	c.TLS = w.TLSEnabled && w.WorkerPortTLS != nil
	if strings.TrimSpace(w.WorkerHostname) == "" {
		hostname := s.Hostname
		if hostname == nil {
			hostname = canonicalHostname
		}
		name, err := hostname()
		if err != nil {
			r.problem(Problem{Key: "workerHostname", What: "it is blank, and the name of this host cannot be found: " + err.Error(), Remedy: "set workerHostname"})
		}
		w.WorkerHostname = name
	}
	if strings.TrimSpace(w.WorkerID) == "" {
		port := w.WorkerPort
		if port == nil {
			port = w.WorkerPortTLS
		}
		if port != nil {
			w.WorkerID = w.WorkerHostname + "-" + strconv.Itoa(*port)
		}
	}
	if w.WorkerPort != nil {
		c.Port = *w.WorkerPort
		c.WebAddress = "http://" + net.JoinHostPort(w.WorkerHostname, strconv.Itoa(*w.WorkerPort))
	}
	if c.TLS {
		c.Port = *w.WorkerPortTLS
		c.WebAddressTLS = "https://" + net.JoinHostPort(w.WorkerHostname, strconv.Itoa(*w.WorkerPortTLS))
	}
	c.FunctionsURL = firstOf(strings.TrimSpace(w.FunctionWebServiceURL), c.WebAddressTLS, c.WebAddress)
}

// canonicalHostname asks the resolver for the full name, and is content with the short one.
func canonicalHostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil || len(addresses) == 0 {
		return name, nil
	}
	full, err := net.DefaultResolver.LookupAddr(ctx, addresses[0])
	if err != nil || len(full) == 0 {
		return name, nil
	}
	// Where the host's own name is mapped to the loopback address, "localhost" would be the id of every worker.
	if canonical := strings.TrimSuffix(full[0], "."); canonical != "localhost" && !strings.HasPrefix(canonical, "localhost.") {
		return canonical, nil
	}
	return name, nil
}

func (w *Worker) computeRuntime(root *node, env map[string]string, s Sources, r *Report) {
	c := &w.Computed
	c.RuntimeClass = strings.TrimSpace(w.FunctionRuntimeFactoryClassName)
	process, kubernetes := &ProcessRuntime{}, (*K8sRuntime)(nil)
	if c.RuntimeClass != "" {
		kind, known := runtimeClasses[c.RuntimeClass]
		if !known {
			if !contains(s.Runtimes, c.RuntimeClass) {
				unknownClass(r, "functionRuntimeFactoryClassName", c.RuntimeClass, append(names(runtimeClasses), s.Runtimes...))
			}
			kind = RuntimeCustom
		}
		c.Runtime = kind
		configs := root.fields["functionRuntimeFactoryConfigs"]
		if configs != nil && configs.kind != mapNode {
			configs = nil
		}
		switch kind {
		case RuntimeProcess:
			decodeRuntime(reflect.ValueOf(process).Elem(), kind, configs, r)
		case RuntimeThread:
			c.Thread = &ThreadRuntime{}
			decodeRuntime(reflect.ValueOf(c.Thread).Elem(), kind, configs, r)
		case RuntimeKubernetes:
			kubernetes = &K8sRuntime{}
			decodeRuntime(reflect.ValueOf(kubernetes).Elem(), kind, configs, r)
		}
	} else {
		switch {
		case w.ThreadContainerFactory != nil:
			c.Runtime, c.Thread = RuntimeThread, w.ThreadContainerFactory
		case w.ProcessContainerFactory != nil:
			c.Runtime, process = RuntimeProcess, w.ProcessContainerFactory
		case w.KubernetesContainerFactory != nil:
			c.Runtime, kubernetes = RuntimeKubernetes, w.KubernetesContainerFactory
		default:
			r.problem(Problem{Key: "functionRuntimeFactoryClassName", What: "A Function Runtime Factory needs to be set",
				Accepted: strings.Join(names(runtimeClasses), ", "), Remedy: "set the key; to run functions as processes, name the process runtime"})
		}
	}
	c.Process = w.processPaths(process, env)
	if kubernetes != nil {
		k := *kubernetes
		k.PulsarServiceURL = firstOf(k.PulsarServiceURL, w.PulsarServiceURL)
		k.PulsarAdminURL = firstOf(k.PulsarAdminURL, w.PulsarWebServiceURL)
		k.JobNamespace = firstOf(k.JobNamespace, "default")
		k.PulsarDockerImageName = firstOf(k.PulsarDockerImageName, "apachepulsar/pulsar")
		k.ImagePullPolicy = firstOf(k.ImagePullPolicy, "IfNotPresent")
		k.PulsarRootDir = firstOf(k.PulsarRootDir, "/pulsar")
		k.ConfigAdminCLI = firstOf(k.ConfigAdminCLI, "/bin/pulsar-admin")
		c.Kubernetes = &k
	}
}

// decodeRuntime reads the typed form of functionRuntimeFactoryConfigs. Keys of other runtimes stay silent: the official
// chart adds the Kubernetes keys to the process keys of the distributed file.
func decodeRuntime(v reflect.Value, kind RuntimeKind, n *node, r *Report) {
	keys := RuntimeKeys(kind)
	d := decoder{r: r}
	d.object(v, keys, n, "functionRuntimeFactoryConfigs.", ignoreUnknown)
	if n == nil {
		return
	}
	all := append([]Key(nil), keys...)
	for _, other := range []RuntimeKind{RuntimeProcess, RuntimeThread, RuntimeKubernetes} {
		all = append(all, RuntimeKeys(other)...)
	}
	for _, name := range n.keys() {
		if !containsKey(all, name) {
			d.unknown("functionRuntimeFactoryConfigs."+name, name, keys, n.fields[name].origin, warnUnknown)
		}
	}
}

func (w *Worker) processPaths(p *ProcessRuntime, env map[string]string) ProcessPaths {
	paths := ProcessPaths{
		JavaInstanceJar:      w.Path(firstOf(p.JavaInstanceJarLocation, env["PULSAR_JAVA_INSTANCE_JAR"], "instances/java-instance.jar")),
		PythonInstanceFile:   w.Path(firstOf(p.PythonInstanceLocation, env["PULSAR_PY_INSTANCE_FILE"], "instances/python-instance/python_instance_main.py")),
		LogDirectory:         w.Path(firstOf(p.LogDirectory, env["PULSAR_LOG_DIR"], "logs")),
		ExtraDependenciesDir: w.Path(firstOf(p.ExtraFunctionDependenciesDir, env["PULSAR_FUNCTIONS_EXTRA_DEPS_DIR"], "instances/deps")),
		LogConf:              w.Path(firstOf(env["FUNCTIONS_LOG_CONF"], "conf/functions_log4j2.xml")),
	}
	paths.InstanceClassPath = w.Go.InstanceClassPath
	if paths.InstanceClassPath == "" {
		// The form of bin/pulsar, so that command lines equal the Java worker's; the empty second element is the jar of
		// the worker itself, which a distribution does not have.
		parts := []string{filepath.Dir(w.Path(firstOf(env["PULSAR_LOG_CONF"], "conf/log4j2.yaml"))), "", env["PULSAR_CLASSPATH"], w.Path("lib") + "/*", env["PULSAR_EXTRA_CLASSPATH"]}
		paths.InstanceClassPath = strings.Join(parts, string(filepath.ListSeparator))
	}
	return paths
}

// computeCredentials applies the deprecated aliases: they count only where the new key is absent, not where it is an
// empty text. A plugin without parameters, or the reverse, means no credentials, as in the Java worker.
func (w *Worker) computeCredentials(root *node, r *Report) {
	c := &w.Computed
	plugin, params := w.BrokerClientAuthenticationPlugin, w.BrokerClientAuthenticationParameters
	pluginKey := "brokerClientAuthenticationPlugin"
	if !given(root, "brokerClientAuthenticationPlugin") {
		plugin = w.ClientAuthenticationPlugin
		if plugin != "" {
			pluginKey = "clientAuthenticationPlugin"
		}
	}
	if !given(root, "brokerClientAuthenticationParameters") {
		params = w.ClientAuthenticationParameters
	}
	plugin, params = strings.TrimSpace(plugin), strings.TrimSpace(params)
	both := Credentials{Kind: ClientAuthNone}
	switch {
	case plugin == "" && params == "":
	case plugin == "":
		r.warn("brokerClientAuthenticationParameters", "has no effect without brokerClientAuthenticationPlugin: connections are made without credentials")
	default:
		kind, known := clientAuthClasses[plugin]
		if !known {
			unknownClass(r, pluginKey, plugin, names(clientAuthClasses))
		}
		if params == "" && kind != ClientAuthNone {
			r.warn(pluginKey, "has no effect without parameters (brokerClientAuthenticationParameters): connections are made without credentials")
		} else if kind != ClientAuthNone {
			both = Credentials{Kind: kind, Plugin: plugin, Params: params}
		}
	}
	enabled := w.AuthenticationEnabled
	if w.BrokerClientAuthenticationEnabled != nil {
		enabled = *w.BrokerClientAuthenticationEnabled
	}
	c.BrokerAuth, c.InstanceAuth = Credentials{Kind: ClientAuthNone}, Credentials{Kind: ClientAuthNone}
	if enabled {
		c.BrokerAuth = both
	} else if both.Plugin != "" {
		r.warn(pluginKey, "has no effect: neither brokerClientAuthenticationEnabled nor authenticationEnabled is true")
	}
	if w.AuthenticationEnabled {
		c.InstanceAuth = both
	} else if enabled && both.Plugin != "" {
		r.warn("authenticationEnabled", "is false: the worker's own clients authenticate, but functions get no credentials")
	}
}

func (w *Worker) computeFiles() {
	temp := firstOf(w.Path(w.Go.TempDirectory), os.TempDir())
	w.Computed.Files = Files{
		ConnectorsDirectory: w.Path(w.ConnectorsDirectory), FunctionsDirectory: w.Path(w.FunctionsDirectory),
		DownloadDirectory:      firstOf(w.Path(w.DownloadDirectory), w.Computed.Home),
		NarExtractionDirectory: firstOf(w.Path(w.NarExtractionDirectory), os.TempDir()),
		WASMCacheDirectory:     firstOf(w.Path(w.Go.WASM.CacheDirectory), userCache("functions-worker", "wasm")),
		TempDirectory:          temp, PackageDirectory: w.Path(w.Go.PackageDirectory),
		TLSCertificate: w.Path(w.TLSCertificateFilePath), TLSKey: w.Path(w.TLSKeyFilePath), TLSTrustCerts: w.Path(w.TLSTrustCertsFilePath),
		TLSKeyStore: w.Path(w.TLSKeyStore), TLSTrustStore: w.Path(w.TLSTrustStore),
		BrokerTrustCerts: w.Path(firstOf(strings.TrimSpace(w.BrokerClientTrustCertsFilePath), w.TLSTrustCertsFilePath)),
	}
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// userCache is a directory below the cache directory of the user that the worker runs as, "" where there is none.
func userCache(names ...string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(append([]string{dir}, names...)...)
}
