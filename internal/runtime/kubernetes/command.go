//lint:file-ignore ST1005 the texts are those of the Java worker, which clients know

package kubernetes

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// podCommand is the one string that the shell of a pod runs: it downloads the package from the worker, tells the pod its
// number, and becomes the instance (Kubernetes contract, section 4).
func (o Options) podCommand(meta *pb.FunctionMetaData, auth *launch.Auth, ids identity) (string, error) {
	code := o.codeOf(meta)
	var steps []string
	if !o.NativeDownload {
		steps = o.downloads(meta, code, auth)
	}
	steps = append(steps, "SHARD_ID=${POD_NAME##*-}", "echo shardId=${SHARD_ID}")
	become, err := o.instanceCommand(meta, code, auth, ids)
	if err != nil {
		return "", err
	}
	command := keepDollars(strings.Join(append(steps, become...), " && "))
	if strings.IndexByte(command, 0) >= 0 {
		return "", fmt.Errorf("the command of the pod contains a zero byte; look at the function's name, flags and configuration")
	}
	return command, nil
}

// instanceCommand are the last steps: they prepare the instance and become it.
func (o Options) instanceCommand(meta *pb.FunctionMetaData, code code, auth *launch.Auth, ids identity) ([]string, error) {
	d := meta.GetFunctionDetails()
	in := launch.Instance{Details: d, ID: -1, FunctionID: ids.function, FunctionVersion: ids.version, TransformFunctionID: ids.transform,
		PackageFile: code.file, TransformFile: code.transform, Port: o.GRPCPort, MetricsPort: o.MetricsPort, Auth: auth}
	options := o.launchOptions(d.GetRuntime())
	switch {
	case code.hosted:
		return o.hostedCommand(options, in)
	case d.GetRuntime() == pb.FunctionDetails_JAVA:
		return []string{"exec " + strings.Join(shellWords(options.Java(in)), " ")}, nil
	case d.GetRuntime() == pb.FunctionDetails_PYTHON:
		return []string{"PYTHONPATH=${PYTHONPATH}:" + quote(o.extraDependencies()) + " exec " + strings.Join(shellWords(options.Python(in)), " ")}, nil
	case d.GetRuntime() == pb.FunctionDetails_GO:
		conf, err := goConf(options, in)
		if err != nil {
			return nil, err
		}
		become := "exec " + quote(code.file) + " -instance-conf " + conf
		if o.NativeDownload { // who has fetched it made it executable, perhaps as another user
			return []string{become}, nil
		}
		return []string{"chmod 777 " + quote(code.file), become}, nil
	}
	return nil, fmt.Errorf("Unsupported Runtime %s", d.GetRuntime())
}

// goConf is the value of -instance-conf in single quotes. A quote can only be inside a JSON text, where the escape means the same.
func goConf(options launch.Options, in launch.Instance) (string, error) {
	conf, err := options.GoConf(in)
	if err != nil {
		return "", err
	}
	return "'" + strings.ReplaceAll(conf, "'", `\u0027`) + "'", nil
}

func downloadAuth(a launch.Auth) []string {
	var out []string
	if strings.TrimSpace(a.Plugin) != "" && strings.TrimSpace(a.Params) != "" {
		out = append(out, "--auth-plugin", a.Plugin, "--auth-params", a.Params)
	}
	if a.AllowInsecure {
		out = append(out, "--tls-allow-insecure")
	}
	if a.HostnameVerification {
		out = append(out, "--tls-enable-hostname-verification")
	}
	if strings.TrimSpace(a.TrustCertsFile) != "" {
		out = append(out, "--tls-trust-cert-path", a.TrustCertsFile)
	}
	return out
}

// packageFileName is the name of the package in the pod. Metadata written under another runtime may have none.
func packageFileName(d *pb.FunctionDetails, l *pb.PackageLocationMetaData) string {
	for _, name := range []string{l.GetOriginalFileName(), path.Base(l.GetPackagePath()), d.GetName()} {
		if name = sanitise(name); name != "" && name != "." && name != ".." {
			return name
		}
	}
	return "package"
}

// sanitise decomposes accents, drops what is not ASCII, and replaces what a file name should not have.
func sanitise(name string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(name) {
		switch {
		case r > unicode.MaxASCII:
		case alphanumeric(r), r == '-', r == '_', r == '.':
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}

func (o Options) downloadDirectory() string { return o.inPod(o.DownloadDirectory) }

func (o Options) extraDependencies() string {
	if o.ExtraDependenciesDir == "" {
		return o.PulsarRootDir + "/instances/deps"
	}
	return o.inPod(o.ExtraDependenciesDir)
}

// inPod is a path of the image: absolute, or below the Pulsar home there.
func (o Options) inPod(p string) string {
	if strings.HasPrefix(p, "/") {
		return p
	}
	return strings.TrimSuffix(o.PulsarRootDir+"/"+p, "/")
}

func (o Options) launchOptions(language pb.FunctionDetails_Runtime) launch.Options {
	root := o.PulsarRootDir
	classpath := o.InstanceClassPath
	if classpath == "" { // what bin/pulsar of the official image hands to a Java worker
		classpath = root + "/conf:::" + root + "/lib/*:"
	}
	return launch.Options{
		JavaExecutable: "java", PythonExecutable: "python3",
		JavaInstanceJar:       cmp.Or(o.JavaInstanceJar, root+"/instances/java-instance.jar"),
		PythonInstanceFile:    cmp.Or(o.PythonInstanceFile, root+"/instances/python-instance/python_instance_main.py"),
		FunctionsLogDirectory: "logs/functions", LogConf: "kubernetes_instance_log4j2.xml",
		PythonLogConf:        root + "/conf/functions-logging/console_logging_config.ini",
		ExtraDependenciesDir: o.extraDependencies(), FunctionsClasspath: classpath,
		PulsarServiceURL: o.PulsarServiceURL, PulsarWebServiceURL: o.PulsarAdminURL,
		StateStorageServiceURL: o.StateStorageServiceURL, StateStorageImplementation: o.StateStorageImplementation,
		NarExtractionDirectory: o.NarExtractionDirectory, ClusterName: o.ClusterName, MaxPendingAsyncRequests: o.MaxPendingAsyncRequests,
		ExposeAdminClient: o.ExposeAdminClient, IgnoreUnknownConfigFields: o.IgnoreUnknownConfigFields,
		AdditionalJavaArguments: o.AdditionalJavaArguments, HealthCheckSeconds: -1,
		SecretsProvider: o.secretsProvider(language), InstallUserCodeDependencies: o.InstallUserCodeDependencies,
		DependencyRepository: o.PythonDependencyRepository, ExtraDependencyRepository: o.PythonExtraDependencyRepository,
	}
}

// secretsProvider is the class that reads secrets in the instance; "" = the language's clear-text one.
func (o Options) secretsProvider(language pb.FunctionDetails_Runtime) string {
	switch {
	case !o.SecretsFromKubernetes:
		return ""
	case language == pb.FunctionDetails_JAVA:
		return "org.apache.pulsar.functions.secretsprovider.EnvironmentBasedSecretsProvider"
	case language == pb.FunctionDetails_PYTHON:
		return "secretsprovider.EnvironmentBasedSecretsProvider"
	}
	return "" // Go functions find them in their environment
}
