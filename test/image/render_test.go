package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/functions-worker/functions-worker/internal/config"
)

// TestOwnChart: what the project's chart renders, without a cluster.
func TestOwnChart(t *testing.T) {
	for name, values := range map[string][]string{"defaults": nil, "everything": everything, "several namespaces": {"rbac.clusterWide=true", "networkPolicy.enabled=true", "functions.namespace=functions"}} {
		args := []string{"lint", "--strict", chartDir}
		for _, v := range values {
			args = append(args, "--set", v)
		}
		out, err := helm(t, args...)
		require.NoError(t, err, "%s: %s", name, out)
	}
	t.Run("restricted", func(t *testing.T) {
		set := typed[appsv1.StatefulSet](t, objects(t, render(t))["StatefulSet/functions-worker"])
		require.True(t, *set.Spec.Template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem)
		require.True(t, *set.Spec.Template.Spec.SecurityContext.RunAsNonRoot)
	})
	t.Run("OpenShift", func(t *testing.T) { // as documented: the platform chooses the ids
		spec := typed[appsv1.StatefulSet](t, objects(t, render(t, "podSecurityContext.runAsUser=null", "podSecurityContext.runAsGroup=null", "podSecurityContext.fsGroup=null"))["StatefulSet/functions-worker"]).Spec.Template.Spec
		require.Nil(t, spec.SecurityContext.RunAsUser)
		require.Nil(t, spec.SecurityContext.RunAsGroup)
		require.Nil(t, spec.SecurityContext.FSGroup)
		require.True(t, *spec.SecurityContext.RunAsNonRoot)
	})
	t.Run("certificate and monitor", certificateAndMonitor)
	t.Run("configuration", func(t *testing.T) {
		given := []string{"config.instanceLivenessCheckFreqMs=15000", "config.functionInstanceMinResources.ram=268435456", "config.functionRuntimeFactoryConfigs.jobName=fn"}
		for _, values := range [][]string{nil, everything, given} {
			cfg := renderedConfig(t, values...)
			kubernetes := cfg.Computed.Kubernetes
			require.Equal(t, "/pulsar", kubernetes.PulsarRootDir)
			require.Equal(t, map[bool]string{true: "https://functions-worker.pulsar.svc:6751/", false: "http://functions-worker.pulsar.svc:6750/"}[cfg.TLSEnabled], kubernetes.PulsarAdminURL)
			require.NotEmpty(t, cfg.Go.Kubernetes.PodPatch)
			if len(values) == len(given) {
				require.EqualValues(t, 15000, cfg.InstanceLivenessCheckFreqMs)
				require.EqualValues(t, 268435456, *cfg.FunctionInstanceMinResources.RAM)
				require.Equal(t, "fn", kubernetes.JobName)
			}
		}
	})
	t.Run("start-up", func(t *testing.T) {
		probe := workerContainer(t, "startupTimeoutSeconds=601").StartupProbe
		require.EqualValues(t, 602, probe.FailureThreshold*probe.PeriodSeconds)
	})
	t.Run("public key", func(t *testing.T) {
		values := slices.Concat(everything, []string{"auth.keySecret.kind=public"})
		cfg := renderedConfig(t, values...)
		require.Equal(t, map[string]string{"tokenPublicKey": "file:///pulsar/keys/token.key"}, cfg.Properties)
		require.Contains(t, render(t, values...), `[{key: "PUBLICKEY", path: token.key}]`)
		require.Contains(t, render(t, everything...), `[{key: "SECRETKEY", path: token.key}]`)
	})
	t.Run("own image and certificates for functions", func(t *testing.T) {
		cfg := renderedConfig(t, "image.repository=registry:5000/x", "image.tag=v1", "broker.caSecret.name=ca", "broker.caSecret.key=bundle.pem")
		require.Equal(t, "registry:5000/x:v1", cfg.Go.Kubernetes.WorkerImage)
		require.Equal(t, config.K8sTrust{Name: "ca", Key: "bundle.pem"}, cfg.Go.Kubernetes.TrustSecret)
		require.Empty(t, renderedConfig(t, everything...).Go.Kubernetes.TrustSecret.Name, "with authentication they get them beside their token")
	})
}

// certificateAndMonitor looks at objects whose kinds are those of operators that are not here.
func certificateAndMonitor(t *testing.T) {
	all := objects(t, render(t, everything...))
	names, _, err := unstructured.NestedStringSlice(all["Certificate/functions-worker"].Object, "spec", "dnsNames")
	require.NoError(t, err)
	require.Contains(t, names, "functions-worker.pulsar.svc")
	require.Contains(t, names, "*.functions-worker-headless.pulsar.svc.cluster.local", "redirects lead to pods")
	secret, _, err := unstructured.NestedString(all["Certificate/functions-worker"].Object, "spec", "secretName")
	require.NoError(t, err)
	set := typed[appsv1.StatefulSet](t, all["StatefulSet/functions-worker"])
	mounted := map[string]string{}
	for _, v := range set.Spec.Template.Spec.Volumes {
		if v.Secret != nil {
			mounted[v.Name] = v.Secret.SecretName
		}
	}
	require.Equal(t, map[string]string{"certificate": secret, "ca": "ca", "token-key": "keys", "token": "token"}, mounted)
	endpoints, _, err := unstructured.NestedSlice(all["PodMonitor/functions-worker"].Object, "spec", "podMetricsEndpoints")
	require.NoError(t, err)
	data, err := json.Marshal(endpoints)
	require.NoError(t, err)
	require.JSONEq(t, `[{"port":"http","path":"/metrics","interval":"60s","authorization":{"type":"Bearer","credentials":{"name":"metrics","key":"TOKEN"}}}]`, string(data))
}

// renderedConfig is what the worker makes of the chart's configuration, which must have no unknown key and no likely mistake.
func renderedConfig(t *testing.T, values ...string) *config.Worker {
	t.Helper()
	text := typed[corev1.ConfigMap](t, objects(t, render(t, values...))["ConfigMap/functions-worker"]).Data["functions_worker.yml"]
	cfg, report, err := config.Load(config.Sources{Content: []byte(text)})
	require.NoError(t, err)
	require.Empty(t, report.Warnings)
	return cfg
}

func workerContainer(t *testing.T, values ...string) corev1.Container {
	t.Helper()
	return typed[appsv1.StatefulSet](t, objects(t, render(t, values...))["StatefulSet/functions-worker"]).Spec.Template.Spec.Containers[0]
}

// TestOwnChartRefuses: values that would render something which does not work are errors that say what to set.
func TestOwnChartRefuses(t *testing.T) {
	const monitor = "metrics.podMonitor.enabled=true"
	for values, want := range map[string]string{
		// keys of the configuration that Services, probes and roles depend on
		"config.workerPort=7000": "config.workerPort: leave it out", "config.workerPortTls=7001": "tls.enabled opens it", "config.tlsEnabled=true": "set tls.enabled",
		"config.tlsCertificateFilePath=/x": "set tls.secretName", "config.workerId=w": "name of the pod", "config.pulsarServiceUrl=pulsar://x": "set broker.serviceUrl",
		"config.pulsarFunctionsCluster=x": "set broker.clusterName", "config.authenticateMetricsEndpoint=false": "set metrics.authenticate",
		"config.functionRuntimeFactoryConfigs.jobNamespace=x": "set functions.namespace", "config.goWorker.kubernetes.clusterDomain=x": "set clusterDomain",
		"extraEnv[0].name=PF_workerPort": "extraEnv: PF_workerPort", "extraEnv[0].name=PF_functionRuntimeFactoryConfigs_jobNamespace": "set functions.namespace",
		// what is missing
		"auth.enabled=true": "auth.keySecret.name", "auth.enabled=true,auth.keySecret.name=k": "auth.tokenSecret.name", "tls.enabled=true": "broker.caSecret.name",
		"tls.certManager.enabled=true,tls.enabled=true,broker.caSecret.name=ca": "issuerRef", "serviceAccount.create=false": "serviceAccount.name",
		"config.authenticationEnabled=true," + monitor:                               "metrics.podMonitor.tokenSecret.name",
		"auth.enabled=true,auth.keySecret.name=k,auth.tokenSecret.name=t," + monitor: "metrics.authenticate=false",
		"config.functionRuntimeFactoryConfigs.changeConfigMap=x":                     "changeConfigMapNamespace",
		"podLabels.app\\.kubernetes\\.io/name=x":                                     "the chart's own",
		// wrong types, names and unknown keys
		"replicas=many": "replicas", "replicas=0": "replicas", "brokers.serviceUrl=x": "brokers", "broker.serviceUrl=http://x": "serviceUrl", "podLabels.a=1": "podLabels/a",
		"podLabels.a=white space": "podLabels/a", "podAnnotations.a=true": "podAnnotations/a", "nodeSelector.a=true": "nodeSelector/a", "image.tag=a b": "image/tag",
		"functions.namespace=Upper": "functions/namespace", "rbac.namespaces={a_b}": "rbac/namespaces", "clusterDomain=x y": "clusterDomain", "resources.limit.cpu=1": "limit",
		"config.goWorker=x": "config/goWorker", "extraEnv[0].value=x": "extraEnv/0", "tolerations={x}": "tolerations/0", "podDisruptionBudget.maxUnavailable=half": "maxUnavailable",
		"metrics.podMonitor.interval=often": "interval", "startupTimeoutSeconds=1": "startupTimeoutSeconds", "fullnameOverride=9a": "fullnameOverride", "enabled=yes": "enabled",
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "template", "functions-worker", chartDir, "--set", values)
			require.Error(t, err)
			require.Contains(t, out, want)
		})
	}
	out, err := helm(t, "template", "9th", chartDir)
	require.Error(t, err)
	require.Contains(t, out, "set fullnameOverride")
}

// TestOwnChartNames: names and labels are valid for any release, version and parent chart.
func TestOwnChartNames(t *testing.T) {
	long := strings.Repeat("a", 53) // helm takes no longer one
	for name, args := range map[string][]string{
		"long":      {long},
		"dots":      {"a.b"},
		"numbers":   {"w", "--namespace", "12", "--set-string", "functions.namespace=34,broker.caSecret.name=56,serviceAccount.name=78"},
		"condition": {"w", "--set", "enabled=true,global.x=1"},
	} {
		out, err := helm(t, append([]string{"template", args[0], chartDir, "--set", "rbac.clusterWide=true"}, args[1:]...)...)
		require.NoError(t, err, "%s: %s", name, out)
		for id, u := range objects(t, out) {
			switch u.GetKind() {
			case "Service":
				require.Empty(t, validation.IsDNS1035Label(u.GetName()), id)
			case "StatefulSet":
				require.Empty(t, validation.IsValidLabelValue(u.GetName()+"-0123456789"), "the label of its revisions")
			}
			for key, value := range u.GetLabels() {
				require.Empty(t, validation.IsValidLabelValue(value), "%s: %s", id, key)
			}
		}
	}
	copied := filepath.Join(t.TempDir(), "functions-worker")
	require.NoError(t, os.CopyFS(copied, os.DirFS(chartDir)))
	chart := strings.NewReplacer("version: 0.1.0", "version: 0.1.0+build.7", "appVersion: dev", `appVersion: "1.0+`+strings.Repeat("x", 80)+`"`).Replace(string(read(t, filepath.Join(chartDir, "Chart.yaml"))))
	require.NoError(t, os.WriteFile(filepath.Join(copied, "Chart.yaml"), []byte(chart), 0o600))
	out, err := helm(t, "template", "w", copied)
	require.NoError(t, err, out)
	for key, value := range objects(t, out)["StatefulSet/w-functions-worker"].GetLabels() {
		require.Empty(t, validation.IsValidLabelValue(value), key)
	}
}

// TestOwnChartRights: of the documented Role, whose verbs are proven one by one, just what the configuration uses.
func TestOwnChartRights(t *testing.T) {
	documented := typed[rbacv1.Role](t, objects(t, string(read(t, "../../deploy/kubernetes/role.yaml")))["Role/functions-worker"]).Rules
	ruleOf := func(resource string) rbacv1.PolicyRule {
		i := slices.IndexFunc(documented, func(r rbacv1.PolicyRule) bool { return r.Resources[0] == resource })
		require.GreaterOrEqual(t, i, 0)
		return documented[i]
	}
	always := []rbacv1.PolicyRule{ruleOf("statefulsets"), ruleOf("services"), ruleOf("pods")}
	settings := ruleOf("configmaps")
	settings.ResourceNames = []string{"settings"}
	const budget, settingsMap = "config.goWorker.kubernetes.disruptionBudget.maxUnavailable=1", "config.functionRuntimeFactoryConfigs.changeConfigMap=settings,config.functionRuntimeFactoryConfigs.changeConfigMapNamespace=ops"
	for name, tt := range map[string]struct {
		values []string
		want   map[string][]rbacv1.PolicyRule // by kind, namespace and name
	}{
		"defaults":        {nil, map[string][]rbacv1.PolicyRule{"Role pulsar/functions-worker": always}},
		"budget":          {[]string{budget}, map[string][]rbacv1.PolicyRule{"Role pulsar/functions-worker": append(slices.Clone(always), ruleOf("poddisruptionbudgets"))}},
		"authentication":  {everything, map[string][]rbacv1.PolicyRule{"Role pulsar/functions-worker": append(slices.Clone(always), ruleOf("secrets"))}},
		"service account": {slices.Concat(everything, []string{"config.functionAuthProviderClassName=org.apache.pulsar.functions.auth.KubernetesServiceAccountTokenAuthProvider"}), map[string][]rbacv1.PolicyRule{"Role pulsar/functions-worker": always}},
		"settings":        {[]string{settingsMap}, map[string][]rbacv1.PolicyRule{"Role pulsar/functions-worker": always, "Role ops/pulsar-functions-worker-settings": {settings}}},
		"namespaces": {[]string{"functions.namespace=functions", "rbac.namespaces={more,functions}"},
			map[string][]rbacv1.PolicyRule{"Role functions/pulsar-functions-worker": always, "Role more/pulsar-functions-worker": always}},
		"any namespace": {[]string{"rbac.clusterWide=true"}, map[string][]rbacv1.PolicyRule{"ClusterRole /pulsar-functions-worker": always}},
		"none":          {[]string{"rbac.create=false"}, map[string][]rbacv1.PolicyRule{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, bound := map[string][]rbacv1.PolicyRule{}, map[string]bool{}
			for _, u := range list(t, render(t, tt.values...)) {
				id := u.GetNamespace() + "/" + u.GetName()
				switch u.GetKind() {
				case "Role", "ClusterRole":
					got[u.GetKind()+" "+id] = typed[rbacv1.Role](t, u).Rules
				case "RoleBinding", "ClusterRoleBinding":
					b := typed[rbacv1.RoleBinding](t, u)
					require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "functions-worker", Namespace: "pulsar"}}, b.Subjects)
					bound[b.RoleRef.Kind+" "+u.GetNamespace()+"/"+b.RoleRef.Name] = true
				}
			}
			require.Equal(t, tt.want, got)
			for id := range got {
				require.True(t, bound[id], id)
			}
		})
	}
	t.Run("network", func(t *testing.T) { // the namespaces of functions may reach the workers
		policy := typed[networkingv1.NetworkPolicy](t, objects(t, render(t, "networkPolicy.enabled=true", "rbac.namespaces={more}"))["NetworkPolicy/functions-worker"])
		require.Equal(t, []string{"pulsar", "more"}, policy.Spec.Ingress[0].From[1].NamespaceSelector.MatchExpressions[0].Values)
	})
}

// TestOwnChartPodPatch: the user's containers are merged with the restricted ones by name.
func TestOwnChartPodPatch(t *testing.T) {
	values := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(values, []byte(`
config:
  functionInstanceMinResources: {ram: 268435456}
  goWorker:
    kubernetes:
      podPatch:
        spec:
          priorityClassName: low
          securityContext: {runAsUser: 20000}
          initContainers: [{name: prepare, image: tools}]
          containers:
            - {name: log, image: logger, securityContext: {readOnlyRootFilesystem: true}}
            - {name: old, $patch: delete}
`), 0o600))
	out, err := helm(t, "template", "functions-worker", chartDir, "--namespace", namespace, "--values", values)
	require.NoError(t, err, out)
	text := typed[corev1.ConfigMap](t, objects(t, out)["ConfigMap/functions-worker"]).Data["functions_worker.yml"]
	cfg, _, err := config.Load(config.Sources{Content: []byte(text)})
	require.NoError(t, err)
	require.EqualValues(t, 268435456, *cfg.FunctionInstanceMinResources.RAM)
	got, err := json.Marshal(cfg.Go.Kubernetes.PodPatch)
	require.NoError(t, err)
	const restricted = `"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}`
	require.JSONEq(t, `{"spec":{"priorityClassName":"low","securityContext":{"runAsNonRoot":true,"runAsUser":20000,"seccompProfile":{"type":"RuntimeDefault"}},
		"initContainers":[{"name":"prepare","image":"tools","securityContext":{`+restricted+`}}],
		"containers":[{"name":"pulsarfunction","securityContext":{`+restricted+`}},
			{"name":"log","image":"logger","securityContext":{`+restricted+`,"readOnlyRootFilesystem":true}},{"name":"old","$patch":"delete"}]}}`, string(got))

	cfg = renderedConfig(t, "config.goWorker.kubernetes.podPatch.spec.containers[0].name=pulsarfunction", "config.goWorker.kubernetes.podPatch.spec.containers[0].tty=true")
	got, err = json.Marshal(cfg.Go.Kubernetes.PodPatch["spec"].(map[string]any)["containers"])
	require.NoError(t, err)
	require.JSONEq(t, `[{"name":"pulsarfunction","tty":true,"securityContext":{`+restricted+`}}]`, string(got))
}
