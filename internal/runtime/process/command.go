//lint:file-ignore ST1005 some errors have the text of the Java worker, which clients know

package process

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
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

// maxArgument is the kernel's limit for one argument, including its ending zero byte.
const maxArgument = 128 << 10

// buildCommand is pure: the same options, instance, ports and credentials give the same command.
func (o Options) buildCommand(in runtime.Instance, p ports, auth *Auth) (command, error) {
	d := in.Spec.GetFunctionMetaData().GetFunctionDetails()
	id := strconv.Itoa(int(in.Spec.GetInstanceId()))
	base := filepath.Join(o.functionsLogDirectory(), pb.FullyQualifiedName(d), d.GetName()+"-"+id)
	options := o.launch()
	options.SecretsProvider = o.secretsProvider(d.GetRuntime())
	instance := launch.Instance{Details: d, ID: in.Spec.GetInstanceId(),
		FunctionID: in.FunctionID, FunctionVersion: in.FunctionVersion, TransformFunctionID: in.TransformFunctionID,
		PackageFile: in.PackageFile, TransformFile: in.TransformFile, Port: p.control, MetricsPort: p.metrics, Auth: auth}
	var c command
	hosted, err := o.hosted(in)
	switch {
	case err != nil:
		return c, err
	case hosted:
		options.ExposeAdminClient = true // for the schemas of messages; the code of the function does not see it
		conf, err := options.GoConf(instance)
		if err != nil {
			return c, err
		}
		c = command{args: append(slices.Clone(o.InstanceCommand), "--package", in.PackageFile,
			"--pending_async_requests", strconv.Itoa(o.MaxPendingAsyncRequests), "-instance-conf", conf), outputFile: base + ".log"}
		return c, c.check()
	}
	switch d.GetRuntime() {
	case pb.FunctionDetails_JAVA:
		if o.JavaInstanceJar == "" {
			return c, fmt.Errorf("No JavaInstanceJar specified: set javaInstanceJarLocation or PULSAR_HOME")
		}
		c = command{args: arguments(options.Java(instance), id), ownLog: base + ".log", outputFile: base + ".out"}
	case pb.FunctionDetails_PYTHON:
		if o.PythonInstanceFile == "" {
			return c, fmt.Errorf("No PythonInstanceFile specified: set pythonInstanceLocation or PULSAR_HOME")
		}
		c = command{args: arguments(options.Python(instance), id), ownLog: base + ".log", outputFile: base + ".out"}
	case pb.FunctionDetails_GO:
		conf, err := options.GoConf(instance)
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
	return c, c.check()
}

// hosted says whether this program runs the package by itself.
func (o Options) hosted(in runtime.Instance) (bool, error) {
	if o.Programs == nil {
		return false, nil
	}
	_, hosted, err := o.Programs.Package(in.Spec.GetFunctionMetaData().GetFunctionDetails(), in.PackageFile)
	return hosted, err
}

// check refuses what the kernel would.
func (c command) check() error {
	for _, a := range c.args {
		if strings.IndexByte(a, 0) >= 0 {
			return fmt.Errorf("an argument of the instance contains a zero byte: %q", redactArgument(a))
		}
		if len(a) >= maxArgument {
			return fmt.Errorf("argument list too long: one argument has %d bytes and the system allows %d; make userConfig or configs smaller", len(a), maxArgument-1)
		}
	}
	return nil
}

// arguments are the words as the kernel takes them: no shell reads them, so quotes in flags stay, and the quotes around
// JSON are part of the argument, as the instances of Java workers get it.
func arguments(words []launch.Word, id string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		switch w.Kind {
		case launch.Ordinal:
			out[i] = w.Text + id
		case launch.JSON:
			out[i] = "'" + w.Text + "'"
		default:
			out[i] = w.Text
		}
	}
	return out
}

func (o Options) launch() launch.Options {
	return launch.Options{
		JavaExecutable: o.JavaExecutable, PythonExecutable: o.PythonExecutable,
		JavaInstanceJar: o.JavaInstanceJar, PythonInstanceFile: o.PythonInstanceFile,
		FunctionsLogDirectory: o.functionsLogDirectory(), LogConf: o.LogConf,
		PythonLogConf:        o.PulsarHome + "/conf/functions-logging/logging_config.ini",
		ExtraDependenciesDir: o.ExtraDependenciesDir, FunctionsClasspath: o.FunctionsClasspath,
		PulsarServiceURL: o.PulsarServiceURL, PulsarWebServiceURL: o.PulsarWebServiceURL,
		StateStorageServiceURL: o.StateStorageServiceURL, StateStorageImplementation: o.StateStorageImplementation,
		NarExtractionDirectory: o.NarExtractionDirectory, ClusterName: o.ClusterName,
		MaxPendingAsyncRequests: o.MaxPendingAsyncRequests, ExposeAdminClient: o.ExposeAdminClient,
		IgnoreUnknownConfigFields: o.IgnoreUnknownConfigFields, AdditionalJavaArguments: o.AdditionalJavaArguments,
		HealthCheckSeconds:    int(o.HealthCheckInterval.Seconds()),
		SecretsProviderConfig: o.SecretsProviderConfig,
	}
}

// secretsProvider is the class for a language; Go instances take secrets from their configuration.
func (o Options) secretsProvider(language pb.FunctionDetails_Runtime) string {
	switch language {
	case pb.FunctionDetails_JAVA:
		return o.SecretsProvider
	case pb.FunctionDetails_PYTHON:
		return o.PythonSecretsProvider
	}
	return ""
}

func unsupportedRuntime(d *pb.FunctionDetails) error {
	return fmt.Errorf("Unsupported Runtime %s", d.GetRuntime())
}
