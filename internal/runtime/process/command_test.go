//lint:file-ignore SA1019 deprecated fields still travel

package process

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// recordedOptions are those of the Java worker that testdata/command_lines.json was recorded from.
func recordedOptions() Options {
	d := DefaultsFromEnvironment(func(name string) (string, bool) {
		return map[string]string{"PULSAR_HOME": "<pulsar>"}[name], name == "PULSAR_HOME"
	}, func(string) bool { return true })
	o, err := Options{
		WorkerID: "w", JavaInstanceJar: d.JavaInstanceJar, PythonInstanceFile: d.PythonInstanceFile, LogDirectory: "<logs>/",
		ExtraDependenciesDir: d.ExtraDependenciesDir, FunctionsClasspath: d.FunctionsClasspath, LogConf: d.LogConf, PulsarHome: d.PulsarHome,
		PulsarServiceURL: "pulsar://localhost:6650", PulsarWebServiceURL: "http://localhost:8080", ClusterName: "standalone",
		ExposeAdminClient: true, HealthCheckInterval: 30 * time.Second, NarExtractionDirectory: "/tmp",
	}.withDefaults()
	if err != nil {
		panic(err)
	}
	return o
}

// TestRecordedCommandLines compares with what a Java worker 4.0.8 gave to its instances.
func TestRecordedCommandLines(t *testing.T) {
	data, err := os.ReadFile("testdata/command_lines.json")
	require.NoError(t, err)
	var recorded map[string][]any
	require.NoError(t, json.Unmarshal(data, &recorded))
	require.Len(t, recorded, 6)
	for name, want := range recorded {
		t.Run(name, func(t *testing.T) {
			details, file := recordedFunction(t, want)
			in := runtime.Instance{Spec: &pb.Instance{FunctionMetaData: &pb.FunctionMetaData{FunctionDetails: details}},
				FunctionID: "<uuid>", FunctionVersion: "<uuid>", PackageFile: file}
			o := recordedOptions()
			c, err := o.buildCommand(in, ports{1, 2}, nil)
			require.NoError(t, err)
			if diff := cmp.Diff(want, normalised(t, c.args)); diff != "" {
				t.Errorf("(-recorded +built)\n%s", diff)
			}
		})
	}
}

// recordedFunction takes the function and its package back out of a recorded command line.
func recordedFunction(t *testing.T, args []any) (*pb.FunctionDetails, string) {
	var details, file string
	for i, a := range args {
		switch a {
		case "--jar", "--py":
			file = args[i+1].(string)
		case "--function_details":
			b, err := json.Marshal(args[i+1])
			require.NoError(t, err)
			details = string(b)
		case "-instance-conf":
			file, details = "/x/go-function", args[i+1].(map[string]any)["functionDetails"].(string)
		}
	}
	d := &pb.FunctionDetails{}
	require.NoError(t, protojson.Unmarshal([]byte(details), d))
	return d, file
}

// normalised does what the recording tool does.
func normalised(t *testing.T, args []string) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a
		if i == 0 {
			out[i] = a[strings.LastIndex(a, "/")+1:]
			continue
		}
		switch args[i-1] {
		case "--port", "--metrics_port":
			out[i] = "<port>"
		case "--function_details":
			require.True(t, strings.HasPrefix(a, "'") && strings.HasSuffix(a, "'"), "not quoted: %s", a)
			var v any
			require.NoError(t, json.Unmarshal([]byte(strings.Trim(a, "'")), &v))
			out[i] = v
		case "-instance-conf":
			var v map[string]any
			require.NoError(t, json.Unmarshal([]byte(a), &v))
			v["port"], v["metricsPort"] = 0.0, 0.0
			out[i] = v
		}
	}
	return out
}

func testInstance(d *pb.FunctionDetails) runtime.Instance {
	return runtime.Instance{Spec: &pb.Instance{FunctionMetaData: &pb.FunctionMetaData{FunctionDetails: d}, InstanceId: 3},
		FunctionID: "f-id", FunctionVersion: "f-version", TransformFunctionID: "t-id", PackageFile: "/p/package"}
}

func function(r pb.FunctionDetails_Runtime) *pb.FunctionDetails {
	return &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f", Runtime: r}
}

// after gives what follows an option, or "-" when the option is absent.
func after(args []string, option string) string {
	for i, a := range args {
		if a == option && i+1 < len(args) {
			return args[i+1]
		}
	}
	return "-"
}

func TestCommandVariants(t *testing.T) {
	tests := []struct {
		name    string
		runtime pb.FunctionDetails_Runtime
		change  func(o *Options, in *runtime.Instance, d *pb.FunctionDetails)
		auth    *Auth
		want    map[string]string // option -> value, "-" = absent
	}{
		{name: "no auth: no TLS flags at all", want: map[string]string{"--use_tls": "-", "--tls_allow_insecure": "-", "--hostname_verification_enabled": "-", "--client_auth_plugin": "-"}},
		{name: "auth with a plugin", auth: &Auth{Plugin: "P", Params: "token:x", UseTLS: true, TrustCertsFile: "/ca"},
			want: map[string]string{"--client_auth_plugin": "P", "--client_auth_params": "token:x", "--use_tls": "true", "--tls_allow_insecure": "false", "--hostname_verification_enabled": "false", "--tls_trust_cert_path": "/ca"}},
		{name: "a plugin without parameters is left out, TLS flags stay", auth: &Auth{Plugin: "P", AllowInsecure: true, HostnameVerification: true},
			want: map[string]string{"--client_auth_plugin": "-", "--use_tls": "false", "--tls_allow_insecure": "true", "--hostname_verification_enabled": "true", "--tls_trust_cert_path": "-"}},
		{name: "Python gets no Java option", runtime: pb.FunctionDetails_PYTHON,
			change: func(o *Options, _ *runtime.Instance, _ *pb.FunctionDetails) {
				o.IgnoreUnknownConfigFields, o.StateStorageServiceURL, o.StateStorageImplementation = true, "bk://s", "org.X"
			},
			want: map[string]string{"--pending_async_requests": "-", "--nar_extraction_directory": "-", "--web_serviceurl": "-", "--ignore_unknown_config_fields": "-", "--state_storage_impl_class": "-", "--state_storage_serviceurl": "bk://s"}},
		{name: "a state store of another kind reaches Java instances", change: func(o *Options, _ *runtime.Instance, _ *pb.FunctionDetails) {
			o.StateStorageServiceURL, o.StateStorageImplementation = "zk:s", "org.X"
		}, want: map[string]string{"--state_storage_serviceurl": "zk:s", "--state_storage_impl_class": "org.X"}},
		{name: "the default state store is not named", change: func(o *Options, _ *runtime.Instance, _ *pb.FunctionDetails) {
			o.StateStorageServiceURL, o.StateStorageImplementation = "bk://s", "org.apache.pulsar.functions.instance.state.BKStateStoreProviderImpl"
		}, want: map[string]string{"--state_storage_impl_class": "-"}},
		{name: "a blank web service URL does not expose the admin client", change: func(o *Options, _ *runtime.Instance, _ *pb.FunctionDetails) { o.PulsarWebServiceURL = " " },
			want: map[string]string{"--web_serviceurl": "-", "--expose_pulsaradmin": "-"}},
		{name: "transform function", change: func(_ *Options, in *runtime.Instance, _ *pb.FunctionDetails) { in.TransformFile = "/p/t" },
			want: map[string]string{"--transform_function_jar": "/p/t", "--transform_function_id": "t-id"}},
		{name: "secrets provider with a configuration", change: func(o *Options, _ *runtime.Instance, _ *pb.FunctionDetails) {
			o.SecretsProvider, o.SecretsProviderConfig = "S", map[string]any{"b": "it's", "a": true}
		}, want: map[string]string{"--secrets_provider": "S", "--secrets_provider_config": `'{"a":true,"b":"it\u0027s"}'`}},
		{name: "health checks below one second are off", change: func(o *Options, _ *runtime.Instance, _ *pb.FunctionDetails) {
			o.HealthCheckInterval = 999 * time.Millisecond
		},
			want: map[string]string{"--expected_healthcheck_interval": "0"}},
		{name: "memory limit after the user's flags", change: func(o *Options, _ *runtime.Instance, d *pb.FunctionDetails) {
			d.Resources = &pb.Resources{Ram: 5}
			d.RuntimeFlags = "-Xmx9"
			o.AdditionalJavaArguments = []string{"-Dx=1"}
		}, want: map[string]string{"-Dx=1": "-Xmx9", "-Xmx9": "-Xmx5", "-Xmx5": "org.apache.pulsar.functions.instance.JavaInstanceMain"}},
		{name: "no resources, no memory limit", want: map[string]string{"java.base/java.util.zip=ALL-UNNAMED": "org.apache.pulsar.functions.instance.JavaInstanceMain"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := function(tt.runtime)
			in, o := testInstance(d), recordedOptions()
			if tt.change != nil {
				tt.change(&o, &in, d)
			}
			c, err := o.buildCommand(in, ports{1, 2}, tt.auth)
			require.NoError(t, err)
			for option, want := range tt.want {
				if got := after(c.args, option); got != want {
					t.Errorf("%s: want %q, got %q", option, want, got)
				}
			}
		})
	}
}

func TestCommandRefusals(t *testing.T) {
	big := function(pb.FunctionDetails_JAVA)
	big.UserConfig = strings.Repeat("x", maxArgument)
	zero := function(pb.FunctionDetails_JAVA)
	zero.RuntimeFlags = "-Da=\x00"
	tests := []struct {
		name    string
		details *pb.FunctionDetails
		change  func(*Options)
		want    string
	}{
		{name: "no Java instance", details: function(pb.FunctionDetails_JAVA), change: func(o *Options) { o.JavaInstanceJar = "" }, want: "No JavaInstanceJar specified"},
		{name: "no Python instance", details: function(pb.FunctionDetails_PYTHON), change: func(o *Options) { o.PythonInstanceFile = "" }, want: "No PythonInstanceFile specified"},
		{name: "unknown language", details: function(9), want: "Unsupported Runtime 9"},
		{name: "configuration too large", details: big, want: "make userConfig or configs smaller"},
		{name: "zero byte", details: zero, want: "zero byte"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := recordedOptions()
			if tt.change != nil {
				tt.change(&o)
			}
			_, err := o.buildCommand(testInstance(tt.details), ports{1, 2}, nil)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestDefaultsFromEnvironment(t *testing.T) {
	tests := []struct {
		name    string
		env     map[string]string
		missing string
		want    Defaults
	}{
		{name: "nothing is known", want: Defaults{}},
		{name: "a distribution", env: map[string]string{"PULSAR_HOME": "/p"}, want: Defaults{PulsarHome: "/p", JavaInstanceJar: "/p/instances/java-instance.jar",
			PythonInstanceFile: "/p/instances/python-instance/python_instance_main.py", LogDirectory: "/p/logs", ExtraDependenciesDir: "/p/instances/deps",
			FunctionsClasspath: "/p/conf:::/p/lib/*:", LogConf: "/p/conf/functions_log4j2.xml"}},
		{name: "every variable", env: map[string]string{"PULSAR_HOME": "/p", "PULSAR_JAVA_INSTANCE_JAR": "/j", "PULSAR_PY_INSTANCE_FILE": "/y", "PULSAR_LOG_DIR": "/l",
			"PULSAR_FUNCTIONS_EXTRA_DEPS_DIR": "/d", "FUNCTIONS_LOG_CONF": "/lc", "PULSAR_LOG_CONF": "/c/log.yaml", "PULSAR_CLASSPATH": "/a", "PULSAR_EXTRA_CLASSPATH": "/e"},
			want: Defaults{PulsarHome: "/p", JavaInstanceJar: "/j", PythonInstanceFile: "/y", LogDirectory: "/l", ExtraDependenciesDir: "/d",
				FunctionsClasspath: "/c::/a:/p/lib/*:/e", LogConf: "/lc"}},
		{name: "a log configuration that is not there", env: map[string]string{"FUNCTIONS_LOG_CONF": "/lc"}, missing: "/lc", want: Defaults{LogConf: defaultLogConf}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := DefaultsFromEnvironment(func(n string) (string, bool) { v, ok := tt.env[n]; return v, ok }, func(p string) bool { return p != tt.missing })
			require.Equal(t, tt.want, got)
		})
	}
}

// TestSettingsOfTheWorkerAreNotInherited: credentials may be among them.
func TestSettingsOfTheWorkerAreNotInherited(t *testing.T) {
	t.Setenv("PF_brokerClientAuthenticationParameters", "token:secret")
	t.Setenv("PULSAR_PREFIX_tlsKeyStorePassword", "secret")
	t.Setenv("MY_VARIABLE", "mine")
	o, err := Options{WorkerID: "w", PulsarServiceURL: "pulsar://localhost:1"}.withDefaults()
	require.NoError(t, err)
	require.Contains(t, o.Environ, "MY_VARIABLE=mine")
	require.NotContains(t, strings.Join(o.Environ, " "), "secret")
}

func TestRedact(t *testing.T) {
	d := function(pb.FunctionDetails_JAVA)
	d.UserConfig, d.SecretsMap, d.RuntimeFlags = `{"k":"hush"}`, `{"s":"hush"}`, "-Dmy.password=hush -Ddb.token=hush"
	o := recordedOptions()
	o.SecretsProvider, o.SecretsProviderConfig = "S", map[string]any{"k": "hush"}
	auth := &Auth{Plugin: "P", Params: "token:hush"}
	for _, r := range []pb.FunctionDetails_Runtime{pb.FunctionDetails_JAVA, pb.FunctionDetails_PYTHON, pb.FunctionDetails_GO} {
		d.Runtime = r
		c, err := o.buildCommand(testInstance(d), ports{1, 2}, auth)
		require.NoError(t, err)
		require.Contains(t, strings.Join(c.args, " "), "hush")
		require.NotContains(t, redact(c.args), "hush")
	}
}
