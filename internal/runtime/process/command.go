//lint:file-ignore ST1005 some errors have the text of the Java worker, which clients know

package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// ports of one run: the gRPC port and the port of the metrics page.
type ports struct{ control, metrics int }

// command is the whole launch of one run: argument vector, the additions to the environment, and where output goes.
type command struct {
	args []string
	// ownLog is the log file that the instance writes itself, "" when it writes to its standard output only.
	ownLog string
	// outputFile receives standard output and standard error.
	outputFile string
}

const (
	maxBufferedTuples = 1024 // a constant of the Java worker; stored by instances and never used

	clearTextJava   = "org.apache.pulsar.functions.secretsprovider.ClearTextSecretsProvider"
	clearTextPython = "secretsprovider.ClearTextSecretsProvider"
	bookKeeperState = "org.apache.pulsar.functions.instance.state.BKStateStoreProviderImpl"

	// maxArgument is the kernel's limit for one argument, including its ending zero byte.
	maxArgument = 128 << 10
)

// buildCommand is pure: the same options, instance, ports and credentials give the same command.
func (o Options) buildCommand(in runtime.Instance, p ports, auth *Auth) (command, error) {
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	id := strconv.Itoa(int(in.Spec.GetInstanceId()))
	logDir := o.functionsLogDirectory() + "/" + pb.FullyQualifiedName(d)
	base := filepath.Join(logDir, d.GetName()+"-"+id)
	var c command
	switch d.GetRuntime() {
	case pb.FunctionDetails_JAVA:
		if o.JavaInstanceJar == "" {
			return c, fmt.Errorf("No JavaInstanceJar specified: set javaInstanceJarLocation or PULSAR_HOME")
		}
		c = command{args: o.javaArgs(in, p, auth, logDir), ownLog: base + ".log", outputFile: base + ".out"}
	case pb.FunctionDetails_PYTHON:
		if o.PythonInstanceFile == "" {
			return c, fmt.Errorf("No PythonInstanceFile specified: set pythonInstanceLocation or PULSAR_HOME")
		}
		c = command{args: o.pythonArgs(in, p, auth), ownLog: base + ".log", outputFile: base + ".out"}
	case pb.FunctionDetails_GO:
		conf, err := o.goConf(in, p, auth)
		if err != nil {
			return c, err
		}
		program, err := filepath.Abs(in.PackageFile)
		if err != nil {
			return c, fmt.Errorf("finding the absolute path of %q: %w", in.PackageFile, err)
		}
		c = command{args: []string{program, "-instance-conf", conf}, outputFile: base + ".log"}
	default:
		return c, unsupportedRuntime(d)
	}
	for _, a := range c.args {
		if strings.IndexByte(a, 0) >= 0 {
			return c, fmt.Errorf("an argument of the instance contains a zero byte: %q", redactArgument(a))
		}
		if len(a) >= maxArgument {
			return c, fmt.Errorf("argument list too long: one argument has %d bytes and the system allows %d; make userConfig or configs smaller", len(a), maxArgument-1)
		}
	}
	return c, nil
}

func unsupportedRuntime(d *pb.FunctionDetails) error {
	return fmt.Errorf("Unsupported Runtime %s", d.GetRuntime())
}

// javaArgs follows the table of the process contract, section 3.1.
func (o Options) javaArgs(in runtime.Instance, p ports, auth *Auth, logDir string) []string {
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	classpath := o.JavaInstanceJar
	if o.ExtraDependenciesDir != "" {
		classpath += ":" + o.ExtraDependenciesDir + "/*"
	}
	a := []string{o.JavaExecutable, "-cp", classpath}
	if o.ExtraDependenciesDir != "" {
		a = append(a, "-Dpulsar.functions.extra.dependencies.dir="+o.ExtraDependenciesDir)
	}
	a = append(a,
		"-Dpulsar.functions.instance.classpath="+o.FunctionsClasspath,
		"-Dlog4j.configurationFile="+o.LogConf,
		"-Dpulsar.function.log.dir="+logDir,
		fmt.Sprintf("-Dpulsar.function.log.file=%s-%d", d.GetName(), in.Spec.GetInstanceId()),
		"-Dio.netty.tryReflectionSetAccessible=true",
		"-Dorg.apache.pulsar.shade.io.netty.tryReflectionSetAccessible=true",
		"-Dio.grpc.netty.shaded.io.netty.tryReflectionSetAccessible=true",
		"--add-opens", "java.base/java.nio=ALL-UNNAMED",
		"--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED",
		"--add-opens", "java.base/java.util.zip=ALL-UNNAMED",
	)
	a = append(a, o.AdditionalJavaArguments...)
	a = append(a, splitFlags(d.GetRuntimeFlags())...)
	if ram := d.GetResources().GetRam(); ram != 0 {
		a = append(a, fmt.Sprintf("-Xmx%d", ram)) // after the flags: the last one wins
	}
	a = append(a, "org.apache.pulsar.functions.instance.JavaInstanceMain", "--jar", in.PackageFile)
	if in.TransformFile != "" {
		a = append(a, "--transform_function_jar", in.TransformFile, "--transform_function_id", in.TransformFunctionID)
	}
	return o.commonTail(a, in, p, auth)
}

// pythonArgs follows section 3.2.
func (o Options) pythonArgs(in runtime.Instance, p ports, auth *Auth) []string {
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	a := append([]string{o.PythonExecutable}, splitFlags(d.GetRuntimeFlags())...)
	a = append(a, o.PythonInstanceFile,
		"--py", in.PackageFile,
		"--logging_directory", o.functionsLogDirectory(), // the instance appends the function's name itself
		"--logging_file", d.GetName(),
		"--logging_config_file", o.PulsarHome+"/conf/functions-logging/logging_config.ini")
	return o.commonTail(a, in, p, auth)
}

// commonTail follows section 3.3. The Java instance refuses an unknown or repeated option, the Python one an unknown one.
func (o Options) commonTail(a []string, in runtime.Instance, p ports, auth *Auth) []string {
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	java := d.GetRuntime() == pb.FunctionDetails_JAVA
	a = append(a,
		"--instance_id", strconv.Itoa(int(in.Spec.GetInstanceId())),
		"--function_id", in.FunctionID,
		"--function_version", in.FunctionVersion,
		"--function_details", "'"+detailsJSON(d, true)+"'",
		"--pulsar_serviceurl", o.PulsarServiceURL)
	if java && o.ExposeAdminClient && strings.TrimSpace(o.PulsarWebServiceURL) != "" {
		a = append(a, "--web_serviceurl", o.PulsarWebServiceURL, "--expose_pulsaradmin")
	}
	if auth != nil {
		a = append(a, auth.args()...)
	}
	a = append(a,
		"--max_buffered_tuples", strconv.Itoa(maxBufferedTuples),
		"--port", strconv.Itoa(p.control),
		"--metrics_port", strconv.Itoa(p.metrics))
	if java {
		a = append(a, "--pending_async_requests", strconv.Itoa(o.MaxPendingAsyncRequests))
		if o.IgnoreUnknownConfigFields {
			a = append(a, "--ignore_unknown_config_fields")
		}
	}
	if o.StateStorageServiceURL != "" {
		a = append(a, "--state_storage_serviceurl", o.StateStorageServiceURL)
		if java && o.StateStorageImplementation != "" && o.StateStorageImplementation != bookKeeperState {
			// The Java worker forgets it, and its process instances then look for state in BookKeeper.
			a = append(a, "--state_storage_impl_class", o.StateStorageImplementation)
		}
	}
	a = append(a, "--expected_healthcheck_interval", strconv.Itoa(int(o.HealthCheckInterval.Seconds())))
	if class := o.secretsProvider(d.GetRuntime()); class != "" {
		a = append(a, "--secrets_provider", class)
		if o.SecretsProviderConfig != nil {
			a = append(a, "--secrets_provider_config", "'"+configJSON(o.SecretsProviderConfig)+"'")
		}
	}
	a = append(a, "--cluster_name", o.ClusterName)
	if java && o.NarExtractionDirectory != "" {
		a = append(a, "--nar_extraction_directory", o.NarExtractionDirectory)
	}
	return a
}

func (a Auth) args() []string {
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

// configJSON is Gson's html-safe JSON of a configuration map, keys sorted, all ASCII.
func configJSON(m map[string]any) string {
	w := jsonWriter{asciiOnly: true}
	w.any(m)
	return w.b.String()
}

func (w *jsonWriter) any(v any) {
	switch v := v.(type) {
	case string:
		w.text(v)
	case map[string]any:
		w.b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.text(k)
			w.b.WriteByte(':')
			w.any(v[k])
		}
		w.b.WriteByte('}')
	case []any:
		w.b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.any(e)
		}
		w.b.WriteByte(']')
	default: // numbers, booleans, null; anything odd becomes text
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(v); err != nil || bytes.IndexByte(b.Bytes(), '\'') >= 0 {
			w.text(fmt.Sprint(v))
			return
		}
		w.b.Write(bytes.TrimSpace(b.Bytes()))
	}
}

// splitFlags splits at every white space character that is followed by an even number of double quotes and keeps the
// quotes (section 3.4). Empty pieces are dropped: java would take one for the name of the main class.
func splitFlags(s string) []string {
	quotes := strings.Count(s, `"`)
	var out []string
	var piece strings.Builder
	flush := func() {
		if piece.Len() > 0 {
			out = append(out, piece.String())
			piece.Reset()
		}
	}
	for _, r := range s {
		if r == '"' {
			quotes--
		}
		if r < unicode.MaxASCII && unicode.IsSpace(r) && quotes%2 == 0 {
			flush()
			continue
		}
		piece.WriteRune(r)
	}
	flush()
	return out
}
