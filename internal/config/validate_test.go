package config

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	k8sClass    = "functionRuntimeFactoryClassName: org.apache.pulsar.functions.runtime.kubernetes.KubernetesRuntimeFactory\n"
	tokenPlugin = "org.apache.pulsar.client.impl.auth.AuthenticationToken"
	tokenAuth   = "org.apache.pulsar.broker.authentication.AuthenticationProviderToken"
)

func TestProblems(t *testing.T) {
	cases := map[string]struct{ file, want string }{
		"unknown runtime":           {"functionRuntimeFactoryClassName: com.example.Mine", `functionRuntimeFactoryClassName: "com.example.Mine": this class is not known here; accepted: org.apache`},
		"no runtime":                {"functionRuntimeFactoryClassName:", "A Function Runtime Factory needs to be set"},
		"unknown scheduler":         {"schedulerClassName: X", "schedulerClassName"},
		"unknown authentication":    {"authenticationProviders: [X]", "authenticationProviders"},
		"unknown authorization":     {"authorizationProvider: X", "authorizationProvider"},
		"unknown state store":       {"stateStorageProviderImplementation: X", "stateStorageProviderImplementation"},
		"unknown function auth":     {"functionAuthProviderClassName: X", "functionAuthProviderClassName"},
		"unknown client plugin":     {"brokerClientAuthenticationPlugin: X\nbrokerClientAuthenticationParameters: hunter2", "brokerClientAuthenticationPlugin: \"X\""},
		"customizer interface":      {"runtimeCustomizerClassName: org.apache.pulsar.functions.runtime.kubernetes.KubernetesManifestCustomizer", "BasicKubernetesManifestCustomizer"},
		"local-run secrets":         {"secretsProviderConfiguratorClassName: org.apache.pulsar.functions.secretsproviderconfigurator.NameAndConfigBasedSecretsProviderConfigurator", "local runs only"},
		"kubernetes secrets":        {"secretsProviderConfiguratorClassName: org.apache.pulsar.functions.secretsproviderconfigurator.KubernetesSecretsProviderConfigurator", "Kubernetes runtime only"},
		"nothing authenticates":     {"authenticationEnabled: true\nauthenticationProviders:", "every request would pass"},
		"authorization without":     {"authorizationEnabled: true\nauthorizationProvider:", "authorizationProvider"},
		"colon in the id":           {"workerId: 'a:b'", "workerId"},
		"colon in the host":         {"workerHostname: '::1'", "workerHostname"},
		"port":                      {"workerPort: 65536", "it is no port"},
		"no listener":               {"workerPort:\nworkerPortTls: 6751", "no listener is left"},
		"TLS without certificate":   {"tlsEnabled: true\nworkerPortTls: 1", "tlsCertificateFilePath"},
		"key store missing":         {"tlsEnabled: true\nworkerPortTls: 1\ntlsEnabledWithKeyStore: true", "tlsKeyStore"},
		"protocol":                  {"webServiceTlsProtocols: [TLS9]", "accepted: TLSv1, TLSv1.1"},
		"cipher":                    {"webServiceTlsCiphers: [NONE]", "webServiceTlsCiphers"},
		"store type":                {"tlsKeyStoreType: PEM", "accepted: JKS, PKCS12"},
		"service URL":               {"pulsarServiceUrl: http://x", "pulsar:// or pulsar+ssl://"},
		"URL without host":          {"pulsarWebServiceUrl: 'http://'", "no valid URL"},
		"URL port":                  {"pulsarWebServiceUrl: 'http://a:99999'", "pulsarWebServiceUrl"},
		"required and blank":        {"pulsarFunctionsCluster: ", "set it, for example pulsarFunctionsCluster: standalone"},
		"namespace":                 {"pulsarFunctionsNamespace: functions", "tenant/namespace"},
		"topic with slash":          {"functionMetadataTopicName: a/b", "functionMetadataTopicName"},
		"topics equal":              {"functionMetadataTopicName: assignments", "the same topic"},
		"look-around":               {`additionalEnabledFunctionsUrlPatterns: ["http://(?!x).*"]`, "without look-around"},
		"resources key":             {"functionInstanceMinResources: {memory: 1}", "accepted: cpu, ram, disk"},
		"legacy key":                {"processContainerFactory: {logDir: x}", "did you mean logDirectory?"},
		"negative resource":         {"functionInstanceMaxResources: {cpu: -1}", "functionInstanceMaxResources.cpu"},
		"worker plug-in":            {"functionsWorkerServiceNarPackage: /x.nar", "functionsWorkerServiceNarPackage"},
		"token algorithm":           {"properties: {tokenPublicAlg: RSA256}", "accepted: RS256"},
		"client property":           {"properties: {brokerClient_operationTimeoutMs: soon}", "properties.brokerClient_operationTimeoutMs"},
		"nested list in properties": {"properties: {a: [b]}", "its entry a is a list or map"},
		"store contradiction":       {"functionsWorkerEnablePackageManagement: true\ngoWorker: {packageStore: topic}", "contradicts"},
		"kubernetes ratio":          {k8sClass + "functionRuntimeFactoryConfigs: {cpuOverCommitRatio: 0}", "cpuOverCommitRatio"},
		"kubernetes type":           {k8sClass + "functionRuntimeFactoryConfigs: {grpcPort: x}", "functionRuntimeFactoryConfigs.grpcPort"},
		"kubernetes map":            {k8sClass + "functionRuntimeFactoryConfigs: {changeConfigMap: m}", "changeConfigMapNamespace"},
		"kubernetes expiration":     {k8sClass + "functionRuntimeFactoryConfigs: {kubernetesFunctionAuthProviderConfig: {serviceAccountTokenExpirationSeconds: soon}}", "serviceAccountTokenExpirationSeconds"},
		"memory limit":              {"functionRuntimeFactoryClassName: org.apache.pulsar.functions.runtime.thread.ThreadRuntimeFactory\nfunctionRuntimeFactoryConfigs: {pulsarClientMemoryLimit: {absoluteValue: 0}}", "absoluteValue"},
		"rate":                      {"httpRequestsLimitEnabled: true\nhttpRequestsMaxPerSecond: 0", "httpRequestsMaxPerSecond"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, c.file+"\n")
			text := problemsOf(t, err)
			require.Contains(t, text, c.want)
			require.NotContains(t, text, "hunter2")
			for _, line := range strings.Split(text, "\n")[1:] {
				require.Contains(t, line, "remedy: ", "every problem says what to do")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	cases := map[string]struct{ file, want string }{
		"wrong case":             {"workerport: 1", "did you mean workerPort?"},
		"misspelt":               {"pulsarServiceURLs: x", "did you mean pulsarServiceUrl?"},
		"nothing near":           {"somethingElseEntirely: x", "is unknown and ignored (line 10)"},
		"misspelt own key":       {"goWorker: {logLvel: x}", "did you mean logLevel?"},
		"misspelt runtime key":   {"functionRuntimeFactoryConfigs: {logDirectry: x}", "did you mean logDirectory?"},
		"broker's key":           {"anonymousUserRole: x", "is a key of the broker"},
		"extractLabels":          {"runtimeCustomizerConfig: {extractLabels: {a: b}}", "the key is extraLabels"},
		"only a JVM":             {"enableClassloadingOfBuiltinFiles: true\nkinitCommand: /bin/kinit", "enableClassloadingOfBuiltinFiles, kinitCommand: only a Java virtual machine"},
		"metadata store":         {"configurationMetadataStoreUrl: zk:other:2181", "is not used"},
		"plugin alone":           {"authenticationEnabled: true\nauthenticationProviders: [" + tokenAuth + "]\nbrokerClientAuthenticationPlugin: " + tokenPlugin, "without credentials"},
		"parameters alone":       {"brokerClientAuthenticationParameters: x", "has no effect without brokerClientAuthenticationPlugin"},
		"authorization alone":    {"authorizationEnabled: true", "401"},
		"two token keys":         {"properties: {tokenSecretKey: a, tokenPublicKey: b}", "beside tokenSecretKey"},
		"TLS without port":       {"tlsEnabled: true", "without workerPortTls"},
		"insecure":               {"tlsAllowInsecureConnection: true", "not verified"},
		"empty element":          {"superUserRoles: [a, '']", "empty element"},
		"functions without auth": {"brokerClientAuthenticationEnabled: true\nbrokerClientAuthenticationPlugin: " + tokenPlugin + "\nbrokerClientAuthenticationParameters: token:x", "functions get no credentials"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, r, err := load(t, c.file+"\n")
			require.NoError(t, err)
			var all []string
			for _, w := range r.Warnings {
				all = append(all, w.String())
			}
			require.Contains(t, strings.Join(all, "\n"), c.want)
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, _, err := Load(Sources{Content: []byte("workerPort: x\nuseTls: maybe\nschedulerClassName: X\n")})
	text := problemsOf(t, err)
	for _, key := range []string{"workerPort", "useTls", "schedulerClassName", "pulsarServiceUrl", "pulsarWebServiceUrl", "pulsarFunctionsNamespace", "functionRuntimeFactoryClassName"} {
		require.Contains(t, text, "\n  "+key+":")
	}
}

func TestIdentity(t *testing.T) {
	cases := map[string]struct {
		file                     string
		wantID, wantHost, wantWS string
		wantPort                 int
		wantTLS                  bool
	}{
		"given":                 {"", "w-1", "localhost", "http://localhost:6750", 6750, false},
		"computed":              {"workerId:\nworkerHostname:\n", "host.example.org-6750", "host.example.org", "http://host.example.org:6750", 6750, false},
		"TLS port alone":        {"workerPortTls: 6751\n", "w-1", "localhost", "http://localhost:6750", 6750, false},
		"TLS without the port":  {"tlsEnabled: true\n", "w-1", "localhost", "http://localhost:6750", 6750, false},
		"both":                  {"tlsEnabled: true\nworkerPortTls: 6751\ntlsCertificateFilePath: c\ntlsKeyFilePath: k\n", "w-1", "localhost", "https://localhost:6751", 6751, true},
		"TLS only, computed id": {"workerId:\nworkerPort:\ntlsEnabled: true\nworkerPortTls: 6751\ntlsCertificateFilePath: c\ntlsKeyFilePath: k\n", "localhost-6751", "localhost", "https://localhost:6751", 6751, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, _, err := load(t, c.file)
			require.NoError(t, err)
			require.Equal(t, c.wantID, w.WorkerID)
			require.Equal(t, c.wantHost, w.WorkerHostname)
			require.Equal(t, c.wantPort, w.Computed.Port)
			require.Equal(t, c.wantTLS, w.Computed.TLS)
			require.Equal(t, c.wantWS, w.Computed.FunctionsURL)
		})
	}
}

func TestCredentials(t *testing.T) {
	old := "clientAuthenticationPlugin: " + tokenPlugin + "\nclientAuthenticationParameters: token:old\n"
	enabled := "authenticationEnabled: true\nauthenticationProviders: [" + tokenAuth + "]\n"
	cases := map[string]struct {
		file                 string
		wantOwn, wantInst    string
		wantTrust, wantClass string
	}{
		"deprecated":                    {file: enabled + old, wantOwn: "token:old", wantInst: "token:old"},
		"new wins":                      {file: enabled + old + "brokerClientAuthenticationPlugin: " + tokenPlugin + "\nbrokerClientAuthenticationParameters: token:new\n", wantOwn: "token:new", wantInst: "token:new"},
		"null falls back":               {file: enabled + old + "brokerClientAuthenticationPlugin:\nbrokerClientAuthenticationParameters:\n", wantOwn: "token:old", wantInst: "token:old"},
		"an empty text does not":        {file: enabled + old + "brokerClientAuthenticationPlugin: \"\"\n"},
		"own clients only":              {file: old + "brokerClientAuthenticationEnabled: true\n", wantOwn: "token:old"},
		"not even own clients":          {file: enabled + old + "brokerClientAuthenticationEnabled: false\n", wantInst: "token:old"},
		"nothing enabled":               {file: old},
		"trust falls back, for its own": {file: "tlsTrustCertsFilePath: /ca\n", wantTrust: "/ca"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, _, err := load(t, c.file)
			require.NoError(t, err)
			require.Equal(t, c.wantOwn, w.Computed.BrokerAuth.Params)
			require.Equal(t, c.wantInst, w.Computed.InstanceAuth.Params)
			require.Equal(t, c.wantOwn == "", w.Computed.BrokerAuth.Kind == ClientAuthNone)
			require.Equal(t, c.wantTrust, w.Computed.Files.BrokerTrustCerts)
		})
	}
}

func TestRuntimeSelection(t *testing.T) {
	w, _, err := load(t, "processContainerFactory: {logDirectory: /legacy}\nfunctionRuntimeFactoryConfigs:\n", "PULSAR_HOME=/p", "PULSAR_JAVA_INSTANCE_JAR=/j.jar", "PULSAR_LOG_DIR=/l")
	require.NoError(t, err)
	require.Equal(t, ProcessPaths{JavaInstanceJar: "/j.jar", PythonInstanceFile: "/p/instances/python-instance/python_instance_main.py", LogDirectory: "/l",
		ExtraDependenciesDir: "/p/instances/deps", InstanceClassPath: "/p/conf:::/p/lib/*:", LogConf: "/p/conf/functions_log4j2.xml"}, w.Computed.Process,
		"the class name wins over the legacy object, and null configs count as {}")

	w, _, err = Load(Sources{Content: []byte(minimal + "functionRuntimeFactoryClassName: com.example.Mine\n"), Runtimes: []string{"com.example.Mine"}})
	require.NoError(t, err)
	require.Equal(t, RuntimeCustom, w.Computed.Runtime)
	require.Equal(t, "com.example.Mine", w.Computed.RuntimeClass)
}

func TestTLSNames(t *testing.T) {
	w, _, err := load(t, "webServiceTlsProtocols: [TLSv1.3]\nwebServiceTlsCiphers: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256\n")
	require.NoError(t, err)
	low, high := w.TLSVersions()
	require.EqualValues(t, tls.VersionTLS13, low)
	require.EqualValues(t, tls.VersionTLS13, high)
	require.Equal(t, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, w.TLSCipherSuites())
}
