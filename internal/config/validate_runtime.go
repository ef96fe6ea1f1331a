package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const clientPropertyPrefix = "brokerClient_"

// Client properties with a type of their own; others are text.
var (
	clientNumbers = []string{"operationTimeoutMs", "lookupTimeoutMs", "connectionTimeoutMs", "keepAliveIntervalSeconds",
		"connectionsPerBroker", "requestTimeoutMs", "readTimeoutMs", "autoCertRefreshSeconds", "memoryLimitBytes"}
	clientBooleans  = []string{"tlsAllowInsecureConnection", "tlsHostnameVerificationEnable", "useKeyStoreTls", "useTls"}
	tokenAlgorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
)

// BrokerClientProperties are the brokerClient_ entries of properties, without the prefix. They have lower priority
// than the explicit keys.
func (w *Worker) BrokerClientProperties() map[string]string {
	out := map[string]string{}
	for name, value := range w.Properties {
		if rest, ok := strings.CutPrefix(name, clientPropertyPrefix); ok && rest != "" {
			out[rest] = value
		}
	}
	return out
}

func (w *Worker) validateProperties(r *Report) {
	for _, name := range sortedKeys(w.Properties) {
		value := w.Properties[name]
		client, ok := strings.CutPrefix(name, clientPropertyPrefix)
		if !ok {
			continue
		}
		n := &node{kind: scalarNode, text: value}
		var err error
		accepted := "a whole number"
		switch {
		case slices.Contains(clientNumbers, client):
			_, err = n.integer(64)
		case slices.Contains(clientBooleans, client):
			accepted = "true or false"
			_, err = n.boolean()
		}
		if err != nil {
			r.problem(Problem{Key: "properties." + name, Value: printable(maskEntry(name, value)), What: err.Error(), Accepted: accepted, Remedy: "correct or remove it"})
		}
	}
	if alg := w.Properties["tokenPublicAlg"]; alg != "" && !slices.Contains(tokenAlgorithms, alg) {
		r.problem(Problem{Key: "properties.tokenPublicAlg", Value: printable(alg), What: "this algorithm is not known (the comment in the distributed file is wrong)", Accepted: strings.Join(tokenAlgorithms, ", "), Remedy: "correct or remove it"})
	}
	if w.Properties["tokenSecretKey"] != "" && w.Properties["tokenPublicKey"] != "" {
		r.warn("properties.tokenPublicKey", "has no effect beside tokenSecretKey")
	}
}

func (w *Worker) validateRuntime(r *Report) {
	c := &w.Computed
	kubernetes := c.Runtime == RuntimeKubernetes
	c.State = class(r, "stateStorageProviderImplementation", w.StateStorageProviderImplementation, stateClasses)
	if c.State == "" {
		c.State = StateBookKeeper
	}
	class(r, "runtimeCustomizerClassName", w.RuntimeCustomizerClassName, customizerClasses)
	c.Secrets = class(r, "secretsProviderConfiguratorClassName", w.SecretsProviderConfiguratorClassName, secretsClasses)
	if c.Secrets == "" {
		c.Secrets = SecretsClearText
	}
	if c.Secrets == SecretsKubernetes && !kubernetes {
		r.problem(Problem{Key: "secretsProviderConfiguratorClassName", Value: w.SecretsProviderConfiguratorClassName, What: "it works with the Kubernetes runtime only", Remedy: "leave the key blank, or select the Kubernetes runtime"})
	}
	c.FunctionAuth = class(r, "functionAuthProviderClassName", w.FunctionAuthProviderClassName, functionAuthClasses)
	// Java takes this default also when a kubernetesContainerFactory lies beside another runtime, where it cannot work.
	if strings.TrimSpace(w.FunctionAuthProviderClassName) == "" && kubernetes {
		c.FunctionAuth = FunctionAuthSecret
	}
	if w.AuthenticationEnabled && !kubernetes && (c.FunctionAuth == FunctionAuthSecret || c.FunctionAuth == FunctionAuthServiceAccount) {
		r.problem(Problem{Key: "functionAuthProviderClassName", Value: w.FunctionAuthProviderClassName, What: "it works with the Kubernetes runtime only", Remedy: "leave the key blank, or select the Kubernetes runtime"})
	}
	if w.AuthenticationEnabled && kubernetes && c.FunctionAuth == FunctionAuthClearText {
		r.problem(Problem{Key: "functionAuthProviderClassName", Value: w.FunctionAuthProviderClassName, What: "it does not work with the Kubernetes runtime", Accepted: "blank, or one of the Kubernetes providers", Remedy: "leave the key blank: tokens are kept in Secrets then"})
	}
	if strings.TrimSpace(w.FunctionsWorkerServiceNarPackage) != "" {
		r.problem(Problem{Key: "functionsWorkerServiceNarPackage", Value: printable(w.FunctionsWorkerServiceNarPackage), What: "plug-in worker services are Java code, which this worker cannot load", Remedy: "remove the key"})
	}
	if _, misspelt := w.RuntimeCustomizerConfig["extractLabels"]; misspelt {
		r.warn("runtimeCustomizerConfig.extractLabels", "has no effect; the key is extraLabels (the comment in the distributed file is wrong)")
	}
	for _, f := range []struct {
		key string
		res *Resources
	}{{"functionInstanceMinResources", w.FunctionInstanceMinResources}, {"functionInstanceMaxResources", w.FunctionInstanceMaxResources},
		{"functionInstanceResourceGranularities", w.FunctionInstanceResourceGranularities}} {
		validateResources(r, f.key, f.res)
	}
	if c.Thread != nil {
		validateMemoryLimit(r, c.Thread.PulsarClientMemoryLimit)
	}
	if c.Kubernetes != nil {
		validateKubernetes(r, c.Kubernetes)
	}
}

func validateResources(r *Report, key string, res *Resources) {
	if res == nil {
		return
	}
	negative := func(name string, value any) {
		r.problem(Problem{Key: key + "." + name, Value: fmt.Sprint(value), What: "it is negative", Remedy: "correct it"})
	}
	if res.CPU != nil && *res.CPU < 0 {
		negative("cpu", *res.CPU)
	}
	if res.RAM != nil && *res.RAM < 0 {
		negative("ram", *res.RAM)
	}
	if res.Disk != nil && *res.Disk < 0 {
		negative("disk", *res.Disk)
	}
}

func validateMemoryLimit(r *Report, m *MemoryLimit) {
	if m == nil {
		return
	}
	const key = "functionRuntimeFactoryConfigs.pulsarClientMemoryLimit."
	if m.AbsoluteValue != nil && *m.AbsoluteValue <= 0 {
		r.problem(Problem{Key: key + "absoluteValue", Value: fmt.Sprint(*m.AbsoluteValue), What: "it must be above 0", Remedy: "correct or remove it"})
	}
	if p := m.PercentOfMaxDirectMemory; p != nil && (*p <= 0 || *p > 100) {
		r.problem(Problem{Key: key + "percentOfMaxDirectMemory", Value: fmt.Sprint(*p), What: "it must be above 0 and at most 100", Remedy: "correct or remove it"})
	}
}

func validateKubernetes(r *Report, k *K8sRuntime) {
	const prefix = "functionRuntimeFactoryConfigs."
	bad := func(key string, value any, what string) {
		r.problem(Problem{Key: prefix + key, Value: printable(fmt.Sprint(value)), What: what, Remedy: "correct it, or remove it for the default"})
	}
	if k.CPUOverCommitRatio <= 0 {
		bad("cpuOverCommitRatio", k.CPUOverCommitRatio, "it must be above 0")
	}
	if k.MemoryOverCommitRatio <= 0 {
		bad("memoryOverCommitRatio", k.MemoryOverCommitRatio, "it must be above 0")
	}
	if k.PercentMemoryPadding < 0 {
		bad("percentMemoryPadding", k.PercentMemoryPadding, "it is negative")
	}
	if k.GracePeriodSeconds < 0 {
		bad("gracePeriodSeconds", k.GracePeriodSeconds, "it is negative")
	}
	if k.GRPCPort < 1 || k.GRPCPort > 65535 {
		bad("grpcPort", k.GRPCPort, "it is no port")
	}
	if p := k.MetricsPort; p != nil && (*p < 1 || *p > 65535) {
		r.warn(prefix+"metricsPort", "%d is no port; instances get none (leave the key blank to say so)", *p)
		k.MetricsPort = nil
	}
	if !strings.HasPrefix(k.ConfigAdminCLI, "/") {
		bad("configAdminCLI", k.ConfigAdminCLI, "it must start with /")
	}
	if k.ChangeConfigMap != "" && k.ChangeConfigMapNamespace == "" {
		bad("changeConfigMapNamespace", "", "it is required with changeConfigMap")
	}
	for _, name := range sortedKeys(k.FunctionDockerImages) {
		if !slices.Contains([]string{"JAVA", "PYTHON", "GO"}, name) {
			r.warn(prefix+"functionDockerImages."+printable(name), "is no language; known are JAVA, PYTHON and GO")
		}
	}
	if text, ok := k.KubernetesFunctionAuthConfig["serviceAccountTokenExpirationSeconds"]; ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil || n < 600 || n > 1<<32 {
			bad("kubernetesFunctionAuthProviderConfig.serviceAccountTokenExpirationSeconds", text, "it is not a number of seconds from 600, the least that Kubernetes takes, to 4294967296")
		}
	}
	for _, name := range sortedKeys(k.KubernetesFunctionAuthConfig) {
		if !slices.Contains([]string{"serviceAccountTokenExpirationSeconds", "serviceAccountTokenAudience", "brokerClientTrustCertsSecretName"}, name) {
			r.warn(prefix+"kubernetesFunctionAuthProviderConfig."+printable(name), "is unknown and has no effect")
		}
	}
	checkURL(r, prefix+"k8Uri", k.K8sURI, false, "http", "https")
}

func (w *Worker) validateOwn(r *Report) {
	g := w.Go
	store := w.Computed.PackageStore
	if !(g.Kubernetes.QPS > 0) {
		r.problem(Problem{Key: "goWorker.kubernetes.qps", Value: fmt.Sprint(g.Kubernetes.QPS), What: "it must be above 0", Remedy: "correct it, or remove it for the default"})
	}
	if store == "filesystem" && g.PackageDirectory == "" {
		r.problem(Problem{Key: "goWorker.packageDirectory", What: "it is required with packageStore filesystem", Remedy: "name a directory that all workers share"})
	}
	if w.FunctionsWorkerEnablePackageManagement && store != "broker" {
		r.problem(Problem{Key: "goWorker.packageStore", Value: store, What: "it contradicts functionsWorkerEnablePackageManagement: true, with which Java workers use the broker's packages service", Accepted: "broker, or blank", Remedy: "remove one of the two keys"})
	}
	if g.RestartBackoffInitial > g.RestartBackoffMax {
		r.problem(Problem{Key: "goWorker.restartBackoffInitial", Value: g.RestartBackoffInitial.String(), What: "it is longer than restartBackoffMax (" + g.RestartBackoffMax.String() + ")", Remedy: "correct one of the two"})
	}
	for _, f := range []struct {
		key string
		d   duration
	}{{"instanceCallTimeout", g.InstanceCallTimeout}, {"scrapeTimeout", g.ScrapeTimeout}, {"shutdownTimeout", g.ShutdownTimeout}} {
		if f.d <= 0 {
			r.problem(Problem{Key: "goWorker." + f.key, Value: f.d.String(), What: "it must be above 0", Remedy: "correct it, or remove it for the default"})
		}
	}
	if g.StartParallelism < 0 || g.StartParallelism > 1000 {
		r.problem(Problem{Key: "goWorker.startParallelism", Value: strconv.Itoa(g.StartParallelism), What: "it is out of range", Accepted: "0 to 1000", Remedy: "correct it, or remove it for the default"})
	}
}

// warnIneffective says once which keys were set to something that only another program can heed.
func (w *Worker) warnIneffective(r *Report) {
	var jvm []string
	v := reflect.ValueOf(w).Elem()
	for _, k := range Keys() {
		if k.Category != "J" || k.Name == "functionsWorkerServiceNarPackage" || r.Origin[k.Path] == "" {
			continue
		}
		usual := reflect.New(k.typ).Elem()
		setDefault(usual, k)
		dist := reflect.New(k.typ).Elem()
		setDefault(dist, Key{Default: k.Dist})
		if got := v.FieldByIndex(k.index); !got.Equal(usual) && !(k.Dist != "" && got.Equal(dist)) {
			jvm = append(jvm, k.Name)
		}
	}
	if len(jvm) > 0 {
		r.warn(strings.Join(jvm, ", "), "only a Java virtual machine has a use for this; ignored")
	}
	if url := w.ConfigurationMetadataStoreURL; url != "" && url != "zk:localhost:2181" {
		r.warn("configurationMetadataStoreUrl", "is not used: tenants and policies come from the broker (pulsarWebServiceUrl)")
	}
}
