package process

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// Options is what the factory needs to know; zero values get the defaults named here.
type Options struct {
	// WorkerID marks the children, so that leftovers of an earlier life of this worker can be told from others.
	WorkerID string

	// JavaExecutable and PythonExecutable run instances; looked up in PATH. Defaults: java and python3.
	JavaExecutable, PythonExecutable string
	// JavaInstanceJar and PythonInstanceFile are the instance programs. They are needed by functions of that language only.
	JavaInstanceJar, PythonInstanceFile string
	// LogDirectory is the base directory; "/functions" and the function's name are appended. Default: logs.
	LogDirectory string
	// ExtraDependenciesDir is put on the class path and on PYTHONPATH; "" = none.
	ExtraDependenciesDir string
	// FunctionsClasspath is the class path of the Java instance's framework (pulsar.functions.instance.classpath).
	FunctionsClasspath string
	// LogConf is the log4j configuration of Java instances. Default: the one inside java-instance.jar.
	LogConf string
	// PulsarHome holds conf/functions-logging/logging_config.ini for Python, and is handed to the children as PULSAR_HOME.
	PulsarHome string

	PulsarServiceURL, PulsarWebServiceURL string
	// StateStorageServiceURL "" = functions have no state.
	StateStorageServiceURL string
	// StateStorageImplementation is the Java class of the state store provider; "" = BookKeeper.
	StateStorageImplementation string
	// NarExtractionDirectory for Java instances. Default: the system's temporary directory.
	NarExtractionDirectory    string
	ClusterName               string
	MaxPendingAsyncRequests   int // default 1000
	ExposeAdminClient         bool
	AdditionalJavaArguments   []string
	IgnoreUnknownConfigFields bool

	// HealthCheckInterval is the period of the health checks, in whole seconds on the command line; below one second: none.
	HealthCheckInterval time.Duration
	// CallTimeout bounds every call to an instance. Default 5 s.
	CallTimeout time.Duration
	// StopGrace is how long a child may take to end after SIGTERM. Default 10 s.
	StopGrace time.Duration

	// Programs are what the program InstanceProgram can run: compiled-in functions and WebAssembly modules. nil: nothing.
	Programs *instance.Programs
	// InstanceCommand is this program's own executable with the arguments that make it run an instance.
	InstanceCommand []string
	// EncryptionKeys is the directory of the keys of end-to-end encryption, which InstanceCommand names too; "": there is none.
	EncryptionKeys string

	// Auth is how instances authenticate to the broker; nil = not at all, and no TLS flags.
	Auth *Auth
	// FunctionAuth derives the credentials of one function from its metadata; nil = every function gets Auth.
	// It gets a copy and is called only when Auth is not nil.
	FunctionAuth func(meta *pb.FunctionMetaData, base Auth) (Auth, error)
	// FunctionAuthEnd is called once for each call of FunctionAuth that succeeded, when the run has ended; nil = nobody wants to know.
	FunctionAuthEnd func(meta *pb.FunctionMetaData)

	// SecretsProvider is the class that Java instances load, PythonSecretsProvider that of Python instances; "" = clear text.
	SecretsProvider, PythonSecretsProvider string
	// SecretsProviderConfig is handed to that class as JSON; nil = none.
	SecretsProviderConfig map[string]any

	// Isolation is how far instances are kept from the worker and from each other.
	Isolation Isolation

	// Environ is the environment of the children. Default: that of the worker without the settings that it holds of its own.
	Environ []string
	Log     *zap.Logger
}

// Auth is what an instance presents to the broker.
type Auth = launch.Auth

const (
	defaultLogConf     = "java_instance_log4j2.xml" // a resource inside java-instance.jar
	defaultCallTimeout = 5 * time.Second
	defaultStopGrace   = 10 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	if o.PulsarServiceURL == "" {
		return o, errors.New("process runtime: pulsarServiceUrl is empty; instances could not reach the broker")
	}
	if strings.ContainsAny(o.WorkerID, "\x00/") {
		return o, errors.New("process runtime: the worker id must not contain a slash")
	}
	if o.LogDirectory == "" {
		o.LogDirectory = "logs"
	}
	o.JavaExecutable, o.PythonExecutable = cmp.Or(o.JavaExecutable, "java"), cmp.Or(o.PythonExecutable, "python3")
	if o.LogConf == "" {
		o.LogConf = defaultLogConf
	}
	if o.NarExtractionDirectory == "" {
		o.NarExtractionDirectory = strings.TrimSuffix(os.TempDir(), "/")
	}
	if o.MaxPendingAsyncRequests == 0 {
		o.MaxPendingAsyncRequests = 1000
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = defaultCallTimeout
	}
	if o.StopGrace <= 0 {
		o.StopGrace = defaultStopGrace
	}
	if o.Isolation.PackageDirectory != "" {
		var err error
		if o.Isolation.PackageDirectory, err = filepath.Abs(o.Isolation.PackageDirectory); err != nil {
			return o, fmt.Errorf("process runtime: the directory of packages: %w", err)
		}
	}
	if o.Environ == nil {
		o.Environ = inheritedEnvironment(os.Environ())
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o, nil
}

// inheritedEnvironment leaves out the worker's settings, credentials among them, that the image and the Helm chart hand over in
// variables (PF_ and PULSAR_PREFIX_): they are nothing for a function.
func inheritedEnvironment(worker []string) []string {
	return slices.DeleteFunc(slices.Clone(worker), func(v string) bool {
		return strings.HasPrefix(v, "PF_") || strings.HasPrefix(v, "PULSAR_PREFIX_")
	})
}

// functionsLogDirectory is the directory above those of the functions. The text is that of the Java worker, a double
// slash included, because it shows on the command lines.
func (o Options) functionsLogDirectory() string { return o.LogDirectory + "/functions" }

// Defaults are the values that bin/pulsar of a Pulsar distribution hands to the Java worker as system properties.
type Defaults struct {
	PulsarHome, JavaInstanceJar, PythonInstanceFile, LogDirectory, ExtraDependenciesDir, FunctionsClasspath, LogConf string
}

// DefaultsFromEnvironment derives them from PULSAR_HOME and the variables of bin/pulsar (process contract, section 2).
// Without PULSAR_HOME only what a variable names is set. exists tells whether a file is there.
func DefaultsFromEnvironment(lookup func(string) (string, bool), exists func(string) bool) Defaults {
	get := func(name, fallback string) string {
		if v, ok := lookup(name); ok && v != "" { // bin/pulsar treats empty as unset
			return v
		}
		return fallback
	}
	home := get("PULSAR_HOME", "")
	inHome := func(rel string) string {
		if home == "" {
			return ""
		}
		return home + "/" + rel
	}
	d := Defaults{
		PulsarHome:           home,
		JavaInstanceJar:      get("PULSAR_JAVA_INSTANCE_JAR", inHome("instances/java-instance.jar")),
		PythonInstanceFile:   get("PULSAR_PY_INSTANCE_FILE", inHome("instances/python-instance/python_instance_main.py")),
		LogDirectory:         get("PULSAR_LOG_DIR", inHome("logs")),
		ExtraDependenciesDir: get("PULSAR_FUNCTIONS_EXTRA_DEPS_DIR", inHome("instances/deps")),
		LogConf:              get("FUNCTIONS_LOG_CONF", inHome("conf/functions_log4j2.xml")),
	}
	if d.LogConf != "" && !exists(d.LogConf) {
		d.LogConf = defaultLogConf
	}
	if home != "" {
		logConf := get("PULSAR_LOG_CONF", inHome("conf/log4j2.yaml"))
		// The empty second element is the worker's own jar, which a distribution does not have.
		d.FunctionsClasspath = strings.Join([]string{filepath.Dir(logConf), "", get("PULSAR_CLASSPATH", ""), inHome("lib/*"), get("PULSAR_EXTRA_CLASSPATH", "")}, ":")
	}
	return d
}
