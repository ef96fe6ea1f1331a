// Package launch knows what an instance of each language is launched with: the options of the Java and Python
// instances, and the configuration of a Go function. The process runtime hands the words to the kernel, the Kubernetes
// runtime writes them for the shell of a pod; both get them from here, so that they cannot drift apart.
//
// It is pure: values in, values out (process contract, section 3; Kubernetes contract, section 4).
package launch

import (
	"strconv"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Kind says how a word is to be treated where there is a shell.
type Kind int

// The kinds of words.
const (
	Plain   Kind = iota // text that must arrive as it is
	Flags               // written by people for a shell: their quotes and variables mean something there
	Ordinal             // the id of the instance follows the text, in the same word
	JSON                // JSON without a single quote in it; instances expect it within single quotes
)

// Word is one argument.
type Word struct {
	Text string
	Kind Kind
}

// Auth is what an instance presents to the broker (process contract, section 1.1).
type Auth struct {
	Plugin, Params                              string
	UseTLS, AllowInsecure, HostnameVerification bool
	TrustCertsFile                              string
}

// Options are what all instances of a worker have in common.
type Options struct {
	JavaExecutable, PythonExecutable string
	// JavaInstanceJar and PythonInstanceFile are the instance programs.
	JavaInstanceJar, PythonInstanceFile string
	// FunctionsLogDirectory is the directory above those of the functions.
	FunctionsLogDirectory string
	// PythonLogConf is the logging configuration of Python instances, LogConf the log4j one of Java instances.
	PythonLogConf, LogConf string
	// ExtraDependenciesDir is put on the class path; "" = none.
	ExtraDependenciesDir string
	// FunctionsClasspath is the class path of the Java instance's framework.
	FunctionsClasspath string

	PulsarServiceURL, PulsarWebServiceURL              string
	StateStorageServiceURL, StateStorageImplementation string
	NarExtractionDirectory, ClusterName                string
	MaxPendingAsyncRequests                            int
	ExposeAdminClient, IgnoreUnknownConfigFields       bool
	AdditionalJavaArguments                            []string
	// HealthCheckSeconds is after how long without a health check an instance ends itself; -1: never.
	HealthCheckSeconds int

	// SecretsProvider is the class that instances load; "" = clear text (none for Go). SecretsProviderConfig is handed to it.
	SecretsProvider       string
	SecretsProviderConfig map[string]any

	// Python: dependencies installed at the start, and where from.
	InstallUserCodeDependencies                     bool
	DependencyRepository, ExtraDependencyRepository string
}

// Instance is one instance, or where there is a shell that tells them apart, all of a function.
type Instance struct {
	Details *pb.FunctionDetails
	// ID is the number that a Go function is told; Java and Python instances get it as an Ordinal word.
	ID                                               int32
	FunctionID, FunctionVersion, TransformFunctionID string
	PackageFile, TransformFile                       string
	Port, MetricsPort                                int
	// Auth nil = not at all, and no TLS options.
	Auth *Auth
}

const (
	maxBufferedTuples = 1024 // a constant of the Java worker; stored by instances and never used

	clearTextJava   = "org.apache.pulsar.functions.secretsprovider.ClearTextSecretsProvider"
	clearTextPython = "secretsprovider.ClearTextSecretsProvider"
	bookKeeperState = "org.apache.pulsar.functions.instance.state.BKStateStoreProviderImpl"
)

type words []Word

func (w *words) plain(texts ...string) {
	for _, t := range texts {
		*w = append(*w, Word{Text: t})
	}
}

func (w *words) flags(texts ...string) {
	for _, t := range texts {
		*w = append(*w, Word{Text: t, Kind: Flags})
	}
}

func (w *words) add(text string, kind Kind) { *w = append(*w, Word{text, kind}) }

// Java follows the table of the process contract, section 3.1.
func (o Options) Java(in Instance) []Word {
	d := in.Details
	classpath := o.JavaInstanceJar
	if o.ExtraDependenciesDir != "" {
		classpath += ":" + o.ExtraDependenciesDir + "/*"
	}
	var w words
	w.plain(o.JavaExecutable, "-cp", classpath)
	if o.ExtraDependenciesDir != "" {
		w.plain("-Dpulsar.functions.extra.dependencies.dir=" + o.ExtraDependenciesDir)
	}
	w.plain("-Dpulsar.functions.instance.classpath="+o.FunctionsClasspath,
		"-Dlog4j.configurationFile="+o.LogConf,
		"-Dpulsar.function.log.dir="+o.FunctionsLogDirectory+"/"+pb.FullyQualifiedName(d))
	w.add("-Dpulsar.function.log.file="+d.GetName()+"-", Ordinal)
	w.plain("-Dio.netty.tryReflectionSetAccessible=true",
		"-Dorg.apache.pulsar.shade.io.netty.tryReflectionSetAccessible=true",
		"-Dio.grpc.netty.shaded.io.netty.tryReflectionSetAccessible=true",
		"--add-opens", "java.base/java.nio=ALL-UNNAMED",
		"--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED",
		"--add-opens", "java.base/java.util.zip=ALL-UNNAMED")
	w.flags(o.AdditionalJavaArguments...)
	w.flags(SplitFlags(d.GetRuntimeFlags())...)
	if ram := d.GetResources().GetRam(); ram != 0 {
		w.plain("-Xmx" + strconv.FormatInt(ram, 10)) // after the flags: the last one wins
	}
	w.plain("org.apache.pulsar.functions.instance.JavaInstanceMain", "--jar", in.PackageFile)
	if in.TransformFile != "" {
		w.plain("--transform_function_jar", in.TransformFile, "--transform_function_id", in.TransformFunctionID)
	}
	return o.commonTail(w, in)
}

// Python follows section 3.2.
func (o Options) Python(in Instance) []Word {
	d := in.Details
	var w words
	w.plain(o.PythonExecutable)
	w.flags(SplitFlags(d.GetRuntimeFlags())...)
	w.plain(o.PythonInstanceFile,
		"--py", in.PackageFile,
		"--logging_directory", o.FunctionsLogDirectory, // the instance appends the function's name itself
		"--logging_file", d.GetName(),
		"--logging_config_file", o.PythonLogConf)
	if o.InstallUserCodeDependencies {
		w.plain("--install_usercode_dependencies", "True")
	}
	if o.DependencyRepository != "" {
		w.plain("--dependency_repository", o.DependencyRepository)
	}
	if o.ExtraDependencyRepository != "" {
		w.plain("--extra_dependency_repository", o.ExtraDependencyRepository)
	}
	return o.commonTail(w, in)
}

// commonTail follows section 3.3. The Java instance refuses an unknown or repeated option, the Python one an unknown one.
func (o Options) commonTail(w words, in Instance) []Word {
	d := in.Details
	java := d.GetRuntime() == pb.FunctionDetails_JAVA
	w.plain("--instance_id")
	w.add("", Ordinal)
	w.plain("--function_id", in.FunctionID, "--function_version", in.FunctionVersion, "--function_details")
	w.add(MessageJSON(d, true), JSON)
	w.plain("--pulsar_serviceurl", o.PulsarServiceURL)
	if java && o.ExposeAdminClient && strings.TrimSpace(o.PulsarWebServiceURL) != "" {
		w.plain("--web_serviceurl", o.PulsarWebServiceURL, "--expose_pulsaradmin")
	}
	if in.Auth != nil {
		w.plain(in.Auth.options()...)
	}
	w.plain("--max_buffered_tuples", strconv.Itoa(maxBufferedTuples),
		"--port", strconv.Itoa(in.Port),
		"--metrics_port", strconv.Itoa(in.MetricsPort))
	if java {
		w.plain("--pending_async_requests", strconv.Itoa(o.MaxPendingAsyncRequests))
		if o.IgnoreUnknownConfigFields {
			w.plain("--ignore_unknown_config_fields")
		}
	}
	if o.StateStorageServiceURL != "" {
		w.plain("--state_storage_serviceurl", o.StateStorageServiceURL)
		if java && o.StateStorageImplementation != "" && o.StateStorageImplementation != bookKeeperState {
			// The Java worker forgets it, and its process instances then look for state in BookKeeper.
			w.plain("--state_storage_impl_class", o.StateStorageImplementation)
		}
	}
	w.plain("--expected_healthcheck_interval", strconv.Itoa(o.HealthCheckSeconds))
	if class := o.secretsProvider(d.GetRuntime()); class != "" {
		w.plain("--secrets_provider", class)
		if o.SecretsProviderConfig != nil {
			w.plain("--secrets_provider_config")
			w.add(ConfigJSON(o.SecretsProviderConfig), JSON)
		}
	}
	w.plain("--cluster_name", o.ClusterName)
	if java && o.NarExtractionDirectory != "" {
		w.plain("--nar_extraction_directory", o.NarExtractionDirectory)
	}
	return w
}

func (a Auth) options() []string {
	var out []string
	if strings.TrimSpace(a.Plugin) != "" && strings.TrimSpace(a.Params) != "" {
		out = append(out, "--client_auth_plugin", a.Plugin, "--client_auth_params", a.Params)
	}
	out = append(out,
		"--use_tls", strconv.FormatBool(a.UseTLS),
		"--tls_allow_insecure", strconv.FormatBool(a.AllowInsecure), // Python takes it as the prefix of its own option
		"--hostname_verification_enabled", strconv.FormatBool(a.HostnameVerification))
	if strings.TrimSpace(a.TrustCertsFile) != "" {
		out = append(out, "--tls_trust_cert_path", a.TrustCertsFile)
	}
	return out
}

func (o Options) secretsProvider(r pb.FunctionDetails_Runtime) string {
	switch {
	case o.SecretsProvider != "":
		return o.SecretsProvider
	case r == pb.FunctionDetails_JAVA:
		return clearTextJava
	case r == pb.FunctionDetails_PYTHON:
		return clearTextPython
	}
	return ""
}
