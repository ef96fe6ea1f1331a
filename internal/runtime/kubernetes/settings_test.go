package kubernetes

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEntriesOfTheConfigMap(t *testing.T) {
	base := recordedOptions(t)
	o, problems := base.with(map[string]string{
		"pulsarDockerImageName": "other:1", "percentMemoryPadding": "20", "cpuOverCommitRatio": "2", "installUserCodeDependencies": "TRUE",
		"customLabels": `{"team": "data"}`, "functionDockerImages": "JAVA: java:1", "javaInstanceJarFile": "/x.jar",
	})
	require.Empty(t, problems)
	require.Equal(t, "other:1", o.Image)
	require.Equal(t, 20, o.PercentMemoryPadding)
	require.Equal(t, 2.0, o.CPUOverCommitRatio)
	require.True(t, o.InstallUserCodeDependencies)
	require.Equal(t, map[string]string{"team": "data"}, o.CustomLabels)
	require.Equal(t, "java:1", o.image("JAVA"))
	require.Equal(t, "/x.jar", o.launchOptions(0).JavaInstanceJar)

	// What is wrong is left out, the rest counts.
	o, problems = base.with(map[string]string{"grpcPort": "0", "metricsPort": "x", "memoryOverCommitRatio": "NaN", "customLabels": "[1]",
		"pulsarAdminUrl": "", "noSuchKey": "1", "jobNamespace": "other"})
	require.Len(t, problems, 6)
	_, problems = base.with(map[string]string{"jobNamespace": "Not Valid", "pulsarRootDir": "pulsar", "configAdminCLI": "pulsar-admin", "imagePullPolicy": "Sometimes", "customLabels": "a b: c"})
	require.Len(t, problems, 5)
	require.Equal(t, "other", o.JobNamespace)
	require.Equal(t, base.GRPCPort, o.GRPCPort)
	require.Equal(t, base.PulsarAdminURL, o.PulsarAdminURL)
}

func TestTextsOfAnEntry(t *testing.T) {
	for text, want := range map[string]map[string]string{"": nil, "null": nil, "{}": {}, `{"a": "b", "n": 1, "e": null}`: {"a": "b", "n": "1", "e": ""}, "a: b\nc: d": {"a": "b", "c": "d"}} {
		got, err := textsOf(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{"[1]": "no map", "a: [1]": "line 1", "{a: b, a: c}": `"a" is there twice`, "a: *x": "unknown anchor", "? {a: b}\n: c": "no map", "b": "no map", "{": "no map"} {
		_, err := textsOf(text)
		require.ErrorContains(t, err, want, text)
	}
	// A megabyte, the most that a ConfigMap holds, of one key: with the library's own decoding that is minutes and gigabytes.
	allocated := testing.AllocsPerRun(1, func() {
		_, err := textsOf("{" + strings.Repeat("a: b, ", 1<<20/6) + "}")
		require.ErrorContains(t, err, "twice")
	})
	require.Less(t, allocated, 3e6)
}

// TestRealSettingsChange: the ConfigMap counts from the first start on; a change reaches functions that run, where they are.
func TestRealSettingsChange(t *testing.T) {
	c := realCluster(t)
	maps := c.api.CoreV1().ConfigMaps(c.namespace)
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"pulsarDockerImageName": "image:1"}}
	_, err := maps.Create(t.Context(), settings, metav1.CreateOptions{})
	require.NoError(t, err)
	f := c.factory(t, c.config, func(o *Options) {
		o.ConfigMap, o.SettingsEvery = ConfigMap{c.namespace, "settings"}, 50*time.Millisecond
	})
	run := begin(t, f, "f", "p")
	image := func() string {
		set, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), "pf-public-default-f", metav1.GetOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 1, *set.Spec.Replicas)
		return set.Spec.Template.Spec.Containers[0].Image
	}
	require.Equal(t, "image:1", image())
	settings.Data = map[string]string{"pulsarDockerImageName": "image:2", "jobName": "elsewhere"}
	_, err = maps.Update(t.Context(), settings, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return image() == "image:2" }, 30*time.Second, 50*time.Millisecond)
	require.NoError(t, run.Stop(t.Context()), "it is found where it was made")
	sets, err := c.api.AppsV1().StatefulSets(c.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, sets.Items)
}
