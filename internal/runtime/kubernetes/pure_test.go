package kubernetes

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func named(tenant, namespace, name string) *pb.FunctionDetails {
	return &pb.FunctionDetails{Tenant: tenant, Namespace: namespace, Name: name, Runtime: pb.FunctionDetails_JAVA, Parallelism: 1, ClassName: "c.F", ComponentType: pb.FunctionDetails_FUNCTION}
}

func TestObjectName(t *testing.T) {
	tests := []struct{ tenant, namespace, name, job, want string }{
		{"public", "default", "f", "", "pf-public-default-f"},
		{"Public", "default", "F_n", "", "pf-public-default-f-n-ce32fb41"},
		{"pulsar-ci", "test", "my_Sink", "", "pf-pulsar-ci-test-my-sink-eb1a6219"},
		{"t", "n", "été", "", "pf-t-n--t--4d26881b"},
		{"t", "n", "_x", "", "pf-t-n--x-2b7dee97"},
		{"public", "default", "my.fn", "", "pf-public-default-my.fn"},
		{"pulsar-ci", "test", "test-function", "My_Job", "my-job-9135aebb"},
		{"pulsar-ci", "test", "test-function", "job", "job-bbb68da2"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, objectName(named(tt.tenant, tt.namespace, tt.name), tt.job))
	}
}

func TestLabelValue(t *testing.T) {
	for in, want := range map[string]string{"": "", "A_b.C": "a_b.c", "-x-": "0x0", "a b:c": "a-b-c", "été": "0t0", "Data & AI_": "data---ai0",
		strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62) + "0"} {
		require.Equal(t, want, labelValue(in), in)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		if problems := validation.IsValidLabelValue(labelValue(s)); len(problems) > 0 {
			t.Fatalf("%q becomes %q: %v", s, labelValue(s), problems)
		}
	})
}

// TestNamesAreValidOrRefused: whatever a function is called, its objects have names that Kubernetes takes, or it is refused.
func TestNamesAreValidOrRefused(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9._-]{1,30}`))
	rapid.Check(t, func(t *rapid.T) {
		name := objectName(named(text.Draw(t, "tenant"), text.Draw(t, "namespace"), text.Draw(t, "name")), text.Draw(t, "jobName"))
		if admitName(name) != nil {
			return
		}
		if problems := append(validation.IsDNS1123Subdomain(name), validation.IsDNS1035Label(name)...); len(problems) > 0 {
			t.Fatalf("%q is admitted: %v", name, problems)
		}
	})
}

func TestAdmission(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	i := func(v int64) *int64 { return &v }
	tests := map[string]struct {
		limits    Limits
		cpu       float64
		ram       int64
		wantError string
	}{
		"no rules":          {cpu: 0, ram: 0},
		"cpu below":         {Limits{MinCPU: f(0.2)}, 0.1, 1, "Per instance CPU requested, 0.1, for function is less than the minimum required, 0.2"},
		"ram below":         {Limits{MinRAM: i(268435456)}, 1, 1, "Per instance RAM requested, 1, for function is less than the minimum required, 268435456"},
		"cpu above":         {Limits{MaxCPU: f(4)}, 5, 1, "Per instance CPU requested, 5.0, for function is greater than the maximum required, 4.0"},
		"ram above":         {Limits{MaxRAM: i(4)}, 5, 5, "Per instance RAM requested, 5, for function is greater than the maximum required, 4"},
		"cpu granularity":   {Limits{CPUGranularity: f(0.1)}, 0.25, 1, "Per instance cpu requested, 0.25, for function should be positive and a multiple of the granularity, 0.1"},
		"cpu multiple":      {limits: Limits{CPUGranularity: f(0.1)}, cpu: 0.3, ram: 1},
		"ram granularity":   {Limits{RAMGranularity: i(134217728)}, 1, 268435457, "Per instance ram requested, 268435457, for function should be positive and a multiple of the granularity, 134217728"},
		"not in lock step":  {Limits{CPUGranularity: f(0.1), RAMGranularity: i(134217728), LockStep: true}, 0.2, 402653184, "Per instance cpu requested, 0.2, ram requested, 402653184, for function should be positive and the same multiple of the granularity, cpu, 0.1, ram, 134217728"},
		"in lock step":      {limits: Limits{CPUGranularity: f(0.1), RAMGranularity: i(134217728), LockStep: true}, cpu: 0.3, ram: 402653184},
		"zero is no number": {Limits{CPUGranularity: f(0.1)}, 0, 1, "Per instance cpu requested, 0.0, for function should be positive and a multiple of the granularity, 0.1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.limits.admitResources(&pb.Resources{Cpu: tt.cpu, Ram: tt.ram})
			if tt.wantError == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tt.wantError)
			}
		})
	}
	require.NoError(t, admitName("pf-"+strings.Repeat("x", 50)))
	require.EqualError(t, admitName("pf-"+strings.Repeat("x", 51)), "Kubernetes job name size should be less than 53")
	require.EqualError(t, admitName("f-"), "Kubernetes only admits lower case and numbers. (jobName=f-)")
	require.ErrorContains(t, admitName("pf-a.b"), "without dots")
}

func TestSecretsOfAFunction(t *testing.T) {
	refs, err := parseSecrets(`{"z":{"path":"s1","key":"k1"},"a":{"path":"s2","key":"k2"}}`)
	require.NoError(t, err)
	require.Equal(t, []secretRef{{"z", "s1", "k1"}, {"a", "s2", "k2"}}, refs)
	for text, want := range map[string]string{
		`{"a":"b"}`:                  "Kubernetes Secret should be a Map containing id/key pairs",
		`{"a":{"path":"b"}}`:         "Kubernetes Secret should contain id and key",
		`{"a":{"key":"b","x":"y"}}`:  "Kubernetes Secret should contain id information",
		`{"a":{"path":"b","x":"y"}}`: "Kubernetes Secret should contain key information",
		`[`:                          "reading the secrets",
	} {
		_, err := parseSecrets(text)
		require.ErrorContains(t, err, want)
	}
}

func TestResources(t *testing.T) {
	o := recordedOptions(t)
	r := o.resourcesOf(&pb.Resources{})
	require.Equal(t, "1", r.Limits.Cpu().String())
	require.Equal(t, "1181116006", r.Limits.Memory().String())
	o.PercentMemoryPadding, o.CPUOverCommitRatio, o.MemoryOverCommitRatio = 0, 3, 1.5
	r = o.resourcesOf(&pb.Resources{Cpu: 3.5, Ram: 2000000000})
	require.Equal(t, []string{"3500m", "1167m", "2G", "1333333333"},
		[]string{r.Limits.Cpu().String(), r.Requests.Cpu().String(), r.Limits.Memory().String(), r.Requests.Memory().String()})
}

func TestSanitise(t *testing.T) {
	require.Equal(t, "my_jar__1_.jar", sanitise("my jär (1).jar"))
	require.Equal(t, "f", packageFileName(named("t", "n", "f"), &pb.PackageLocationMetaData{}))
	require.Equal(t, "x.jar", packageFileName(named("t", "n", "f"), &pb.PackageLocationMetaData{PackagePath: "a/b/x.jar", OriginalFileName: ".."}))
}

// expand does to a command what the kubelet does (k8s.io/kubernetes/third_party/forked/golang/expansion).
func expand(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			if end := strings.IndexByte(s[i:], ')'); end > 0 {
				b.WriteString("EXPANDED")
				i += end
			} else {
				b.WriteString("$(")
				i++
			}
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

func TestKeepDollars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[$()a{}]{0,12}`).Draw(t, "command")
		if got := expand(keepDollars(s)); got != s {
			t.Fatalf("%q arrives as %q", s, got)
		}
	})
}

// TestWordsArriveThroughAShell: a real shell hands every word on as it is.
func TestWordsArriveThroughAShell(t *testing.T) {
	for _, word := range []string{"", "plain", "a b", "it's", `"q" \ $HOME $(id) ` + "`id`", "a;b|c&d>e<f", "*", "ü\n\t", "~", "!x"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(word)).Output()
		require.NoError(t, err)
		if word != "*" {
			require.Equal(t, word, string(out))
		}
	}
}

// TestHostileTextInACommand: what users write arrives in the instance as they wrote it, and runs nothing.
func TestHostileTextInACommand(t *testing.T) {
	o := recordedOptions(t)
	hostile := "it's $(POD_NAME) $$(x) `id` ; exit 3 # \" \\ ü"
	for _, language := range []pb.FunctionDetails_Runtime{pb.FunctionDetails_JAVA, pb.FunctionDetails_PYTHON, pb.FunctionDetails_GO} {
		d := named("t", "n", "f")
		d.Runtime, d.UserConfig, d.LogTopic = language, hostile, hostile
		command, err := o.podCommand(&pb.FunctionMetaData{FunctionDetails: d, PackageLocation: &pb.PackageLocationMetaData{OriginalFileName: "p"}}, nil, identity{"a", "b", "c"})
		require.NoError(t, err)
		program := map[pb.FunctionDetails_Runtime]string{pb.FunctionDetails_JAVA: "java", pb.FunctionDetails_PYTHON: "python3", pb.FunctionDetails_GO: "/download/p"}[language]
		_, rest, found := strings.Cut(expand(command), "exec "+program+" ")
		require.True(t, found, command)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "SHARD_ID=7; printf '%s\\000' "+rest).Output()
		require.NoError(t, err)
		args := strings.Split(string(out), "\x00")
		var text string
		for i, a := range args {
			switch a {
			case "--function_details", "-instance-conf":
				text = args[i+1]
			case "--instance_id":
				require.Equal(t, "7", args[i+1])
			}
		}
		var read map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &read))
		require.Equal(t, hostile, read["userConfig"])
		require.Equal(t, hostile, read["logTopic"])
	}
}

func TestCustomization(t *testing.T) {
	worker, err := ParseCustomization(`{"jobNamespace":"jobs","extraLabels":{"team":"a","x":"1"},"tolerations":[{"key":"k","operator":"Exists"}],"resourceRequirements":{"limits":{"cpu":"2"}}}`)
	require.NoError(t, err)
	o := recordedOptions(t)
	o.Customize = &worker
	d := named("t", "n", "f")
	d.CustomRuntimeOptions = `{'extraLabels':{"team":"b","tenant":"other"},"nodeSelectorLabels":{"disk":"ssd"},"extraAnnotations":{"a":"b"}, // why
 "tolerations":[{"key":"l","value":"v","effect":"NoSchedule","tolerationSeconds":3}],"resourceRequirements":{"requests":{"memory":"1Gi","cpu":1},"limits":{"nvidia.com/gpu":1}}}`
	d.CustomRuntimeOptions = strings.Replace(d.CustomRuntimeOptions, "// why", "# why", 1)
	got, err := o.build(&pb.FunctionMetaData{FunctionDetails: d})
	require.NoError(t, err)
	require.Equal(t, "jobs", got.set.Namespace)
	require.Equal(t, "jobs", got.service.Namespace)
	wantLabels := map[string]string{"component": "function", "tenant": "t", "namespace": "n", "name": "f", "team": "b", "x": "1"}
	require.Equal(t, wantLabels, got.set.Labels)
	require.Equal(t, wantLabels, got.set.Spec.Template.Labels)
	require.NotContains(t, got.set.Spec.Selector.MatchLabels, "team")
	require.NotContains(t, got.service.Spec.Selector, "team")
	pod := got.set.Spec.Template.Spec
	require.Equal(t, map[string]string{"disk": "ssd"}, pod.NodeSelector)
	require.Equal(t, "b", got.set.Spec.Template.Annotations["a"])
	require.Len(t, pod.Tolerations, 5)
	r := pod.Containers[0].Resources
	require.Equal(t, []string{"2", "1", "1Gi"}, []string{r.Limits.Cpu().String(), r.Requests.Cpu().String(), r.Requests.Memory().String()})
	require.NotContains(t, r.Limits, corev1.ResourceName("nvidia.com/gpu"))

	// Nothing of one function reaches the next.
	plain, err := o.build(&pb.FunctionMetaData{FunctionDetails: named("t", "n", "g")})
	require.NoError(t, err)
	require.Equal(t, "a", plain.set.Labels["team"])
	require.Empty(t, plain.set.Spec.Template.Spec.NodeSelector)
	require.Len(t, plain.set.Spec.Template.Spec.Tolerations, 4)

	for _, bad := range []string{`[1]`, `{"extraLabels":`, `{"resourceRequirements":{"limits":{"cpu":"much"}}}`, `{"tolerations":"x"}`} {
		_, err := ParseCustomization(bad)
		require.Error(t, err, bad)
	}
}

func TestIdentityFollowsTheFunction(t *testing.T) {
	meta := func(pkg, class string) *pb.FunctionMetaData {
		d := named("t", "n", "f")
		d.ClassName = class
		return &pb.FunctionMetaData{FunctionDetails: d, PackageLocation: &pb.PackageLocationMetaData{PackagePath: pkg}}
	}
	a := identityOf(meta("p", "C"))
	require.Equal(t, a, identityOf(meta("p", "C")))
	require.NotEqual(t, a.version, identityOf(meta("q", "C")).version)
	require.NotEqual(t, a.version, identityOf(meta("p", "D")).version)
	require.Equal(t, a.function, identityOf(meta("q", "D")).function)
	require.Equal(t, a.version, ourVersion("x --function_version "+a.version+" y"))
	require.Empty(t, ourVersion("x --function_version 0e2b3f6c-8d1c-4f57-9c1e-2f6f5d2a3b4c y"))
}
