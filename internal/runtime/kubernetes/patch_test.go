package kubernetes

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func patchOf(t *testing.T, text string) map[string]any {
	t.Helper()
	var p map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &p))
	return p
}

func TestPatchOfTheWorker(t *testing.T) {
	o := recordedOptions(t)
	o.Patches.Pod = patchOf(t, `
metadata: {annotations: {team: data}}
spec:
  serviceAccountName: functions
  affinity: {nodeAffinity: {}}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
  containers:
    - {name: sidecar, image: sidecar:1}
    - name: pulsarfunction
      readinessProbe: {tcpSocket: {port: grpc}}
      env: [{name: MORE, value: x}]
`)
	got, err := o.build(metaOf("f", "p"))
	require.NoError(t, err)
	template := got.set.Spec.Template
	require.Equal(t, "data", template.Annotations["team"])
	require.Equal(t, "true", template.Annotations["prometheus.io/scrape"], "the rest stays")
	require.Equal(t, "functions", template.Spec.ServiceAccountName)
	require.NotNil(t, template.Spec.Affinity.NodeAffinity)
	require.Len(t, template.Spec.Tolerations, 3)
	require.Len(t, template.Spec.Containers, 2)
	for _, c := range template.Spec.Containers {
		if c.Name == containerName {
			require.NotNil(t, c.ReadinessProbe)
			require.Len(t, c.Env, 2, "POD_NAME and the new one")
		}
	}
	require.NotNil(t, commandOf(&template))

	for text, want := range map[string]string{
		"spec: {noSuchField: 1}": "noSuchField",
		"spec: {containers: 1}":  "no pod template",
		"spec: {containers: [{name: pulsarfunction, command: [sh]}]}":               "the command",
		"spec: {containers: [{name: pulsarfunction, $patch: delete}]}":              "the command",
		"spec: {containers: [{name: pulsarfunction, ports: [{containerPort: 1}]}]}": "the ports",
		"metadata: {labels: {tenant: other}}":                                       "the labels",
		"spec: {restartPolicy: Never}":                                              "restartPolicy",
		"metadata: {annotations: {a: \"" + strings.Repeat("x", maxPatch) + "\"}}":   "more than 65536",
		"spec: {terminationGracePeriodSeconds: soon}":                               "no pod template",
	} {
		o.Patches.Pod = patchOf(t, text)
		_, err := o.build(metaOf("f", "p"))
		require.ErrorContains(t, err, want, "%.100s", text)
		require.ErrorContains(t, err, "goWorker.kubernetes.podPatch")
	}
}

// TestPatchOfAFunction: a tenant changes what the operator has listed, and nothing else.
func TestPatchOfAFunction(t *testing.T) {
	o := recordedOptions(t)
	o.Customize, o.PatchPaths = &Customization{}, []string{"spec.affinity", "spec.securityContext.fsGroup", "metadata.annotations"}
	build := func(patch string) (objects, error) {
		meta := metaOf("f", "p")
		meta.FunctionDetails.CustomRuntimeOptions = `{"podPatch": ` + patch + `}`
		return o.build(meta)
	}
	got, err := build(`{"spec": {"affinity": {"podAffinity": {}}, "securityContext": {"fsGroup": 7}}, "metadata": {"annotations": {"a": "b"}}}`)
	require.NoError(t, err)
	require.NotNil(t, got.set.Spec.Template.Spec.Affinity)
	require.EqualValues(t, 7, *got.set.Spec.Template.Spec.SecurityContext.FSGroup)
	for patch, want := range map[string]string{
		`{"spec": {"hostNetwork": true}}`:                                               "spec.hostNetwork may not be patched",
		`{"spec": {"affinity": {}, "hostPID": true}}`:                                   "spec.hostPID",
		`{"spec": {"securityContext": {"fsGroup": 1, "runAsUser": 0}}}`:                 "spec.securityContext.runAsUser",
		`{"spec": {"securityContext": null}}`:                                           "spec.securityContext may not",
		`{"spec": {"affinity": {"$patch": "replace"}}}`:                                 "directives",
		`{"spec": {"$patch": "replace", "affinity": {}}}`:                               "directives",
		`{"spec": {"$setElementOrder/containers": []}}`:                                 "directives",
		`{"spec": {"affinityX": {"a": 1}}}`:                                             "spec.affinityX",
		`{"spec": {"containers": [{"name": "pulsarfunction", "securityContext": {}}]}}`: "spec.containers",
		`{"spec": {}}`: "spec may not",
	} {
		_, err := build(patch)
		require.ErrorContains(t, err, want, patch)
	}
	o.PatchPaths = nil
	_, err = build(`{"spec": {"affinity": {}}}`)
	require.ErrorContains(t, err, "functionPatchPaths is empty")
	o.Customize = nil
	_, err = build(`{"spec": {"hostNetwork": true}}`)
	require.NoError(t, err, "without a customizer the options have no effect")
}

// TestRealRestrictedPods: what the recordings of the Java worker hold is taken by the API server, with the documented patch also
// under the restricted Pod Security level, and not without it.
func TestRealRestrictedPods(t *testing.T) {
	documented := documentedPatch(t)
	c := realCluster(t)
	dry := c.restricted(t)
	for name, recorded := range recordings(t) {
		for _, patch := range []map[string]any{nil, documented} {
			o := recordedOptions(t)
			o.JobNamespace, o.Patches.Pod = c.namespace, patch
			got, err := o.build(recordedFunction(t, recorded))
			require.NoError(t, err)
			_, err = c.api.AppsV1().StatefulSets(c.namespace).Create(t.Context(), got.set, dry)
			require.NoError(t, err, name)
			_, err = c.api.CoreV1().Services(c.namespace).Create(t.Context(), got.service, dry)
			require.NoError(t, err, name)
			pod := &corev1.Pod{ObjectMeta: got.set.Spec.Template.ObjectMeta, Spec: got.set.Spec.Template.Spec}
			pod.Name, pod.Spec.Containers[0].Env[0].ValueFrom.FieldRef.APIVersion = "pod", "v1"
			_, err = c.api.CoreV1().Pods(c.namespace).Create(t.Context(), pod, dry)
			if patch == nil {
				require.ErrorContains(t, err, "violates PodSecurity", name)
			} else {
				require.NoError(t, err, name)
			}
		}
	}

	// The API server fills in more than is written; that is no reason to write again and again.
	f := c.factory(t, c.config, func(o *Options) { o.Patches.Pod = documented })
	for range 2 {
		run := begin(t, f, "f", "p")
		set, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), "pf-public-default-f", metav1.GetOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 1, set.Generation)
		run.(interface{ Detach() }).Detach()
		f = c.factory(t, c.config, func(o *Options) { o.Patches.Pod = documented })
	}
}

func TestJSONPatches(t *testing.T) {
	o := recordedOptions(t)
	o.Patches.Pod = patchOf(t, `spec: {serviceAccountName: a}`)
	o.Patches.PodJSON = operations(t, `
- {op: test, path: /spec/serviceAccountName, value: a}
- {op: replace, path: /spec/serviceAccountName, value: b}
- {op: remove, path: /spec/tolerations/1}
- {op: add, path: /spec/tolerations/-, value: {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}}
- {op: add, path: /metadata/annotations/a~1b, value: c}
`)
	got, err := o.build(metaOf("f", "p"))
	require.NoError(t, err)
	template := got.set.Spec.Template
	require.Equal(t, "b", template.Spec.ServiceAccountName, "after podPatch")
	require.Len(t, template.Spec.Tolerations, 3)
	require.Equal(t, "node.kubernetes.io/unreachable", template.Spec.Tolerations[2].Key)
	require.Equal(t, "c", template.Annotations["a/b"])

	for text, want := range map[string]string{
		"[{op: test, path: /spec/serviceAccountName, value: z}]":                                             "operation 0 at /spec/serviceAccountName",
		"[{op: remove, path: /spec/affinity}]":                                                               "operation 0 at /spec/affinity",
		"[{op: add, path: /spec/tolerations/99, value: {}}]":                                                 "operation 0 at /spec/tolerations/99",
		"[{op: copy, from: /spec, path: /spec/x}]":                                                           `"copy" is not among`,
		"[{op: add, value: 1}]":                                                                              "operation 0 has no path",
		"[{op: add, path: /spec/noSuchField, value: 1}]":                                                     "noSuchField",
		"[{op: replace, path: /spec/containers/0/command, value: [sh]}]":                                     "the command",
		"[{op: remove, path: /spec/containers/0}]":                                                           "the command",
		"[{op: replace, path: /metadata/labels/tenant, value: x}]":                                           "the labels",
		"[{op: replace, path: '', value: {}}]":                                                               "the command",
		"[" + strings.Repeat("{op: test, path: /spec/serviceAccountName, value: a},", maxOperations+1) + "]": "more than 100",
		"[{op: add, path: /metadata/annotations/a, value: \"" + strings.Repeat("x", maxPatch) + "\"}]":       "more than 65536",
	} {
		o.Patches.PodJSON = operations(t, text)
		_, err := o.build(metaOf("f", "p"))
		require.ErrorContains(t, err, want, "%.100s", text)
		require.ErrorContains(t, err, "goWorker.kubernetes.podJsonPatch")
	}
}

func TestPatchesOfTheStatefulSet(t *testing.T) {
	o := recordedOptions(t)
	o.Patches.Set = patchOf(t, `
metadata: {annotations: {team: data}}
spec: {minReadySeconds: 5, updateStrategy: {rollingUpdate: {partition: 1}}}
`)
	o.Patches.SetJSON = operations(t, `[{op: add, path: /spec/revisionHistoryLimit, value: 2}]`)
	got, err := o.build(metaOf("f", "p"))
	require.NoError(t, err)
	require.Equal(t, "data", got.set.Annotations["team"])
	require.EqualValues(t, 5, got.set.Spec.MinReadySeconds)
	require.EqualValues(t, 1, *got.set.Spec.UpdateStrategy.RollingUpdate.Partition)
	require.EqualValues(t, 2, *got.set.Spec.RevisionHistoryLimit)
	require.NotNil(t, commandOf(&got.set.Spec.Template))
	for text, want := range map[string]string{
		"spec: {template: {spec: {hostNetwork: true}}}": "spec.template",
		"spec: {replicas: 7}":                           "spec.replicas",
		"spec: {serviceName: x}":                        "spec.serviceName",
		"spec: {selector: {matchLabels: {a: b}}}":       "spec.selector",
		"metadata: {name: x}":                           "only labels and annotations",
		"metadata: {finalizers: [x/y]}":                 "only labels and annotations",
		"metadata: {labels: {tenant: x}}":               "the labels",
		"kind: Deployment":                              "only labels and annotations",
		"status: {replicas: 1}":                         "status",
		"spec: {noSuchField: 1}":                        "noSuchField",
	} {
		o.Patches.Set = patchOf(t, text)
		_, err := o.build(metaOf("f", "p"))
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "goWorker.kubernetes.statefulSetPatch")
	}
}

// TestEveryPatchOfAFunction: tenants change what is listed, in either form, and nothing else.
func TestEveryPatchOfAFunction(t *testing.T) {
	o := recordedOptions(t)
	o.Customize, o.PatchPaths, o.SetPatchPaths = &Customization{}, []string{"spec.affinity", "metadata.annotations"}, []string{"spec.updateStrategy"}
	build := func(options string) (objects, error) {
		meta := metaOf("f", "p")
		meta.FunctionDetails.CustomRuntimeOptions = options
		return o.build(meta)
	}
	got, err := build(`{"podJsonPatch": [{"op": "add", "path": "/spec/affinity", "value": {"podAffinity": {}}}, {"op": "add", "path": "/metadata/annotations/x.y~1z", "value": "b"}],
		"statefulSetPatch": {"spec": {"updateStrategy": {"type": "OnDelete"}}}}`)
	require.NoError(t, err)
	require.NotNil(t, got.set.Spec.Template.Spec.Affinity)
	require.Equal(t, "b", got.set.Spec.Template.Annotations["x.y/z"])
	require.Equal(t, appsv1.OnDeleteStatefulSetStrategyType, got.set.Spec.UpdateStrategy.Type)
	got, err = build(`{"statefulSetJsonPatch": [{"op": "add", "path": "/spec/updateStrategy/type", "value": "OnDelete"}]}`)
	require.NoError(t, err)
	require.Equal(t, appsv1.OnDeleteStatefulSetStrategyType, got.set.Spec.UpdateStrategy.Type)

	for options, want := range map[string]string{
		`{"podJsonPatch": [{"op": "add", "path": "/spec/hostNetwork", "value": true}]}`:            "/spec/hostNetwork may not be patched by functions",
		`{"podJsonPatch": [{"op": "replace", "path": "", "value": {}}]}`:                           "may not be patched",
		`{"podJsonPatch": [{"op": "replace", "path": "/spec", "value": {}}]}`:                      "/spec may not",
		`{"podJsonPatch": [{"op": "add", "path": "/spec.affinity", "value": {}}]}`:                 "/spec.affinity may not",
		`{"podJsonPatch": [{"op": "add", "path": "/spec/affinityX", "value": {}}]}`:                "/spec/affinityX may not",
		`{"podJsonPatch": [{"op": "test", "path": "/spec/volumes", "value": []}]}`:                 "/spec/volumes may not",
		`{"podJsonPatch": [{"op": "move", "from": "/spec/containers", "path": "/spec/affinity"}]}`: "nothing can be moved",
		`{"podJsonPatch": [{"op": "copy", "from": "/spec/containers", "path": "/spec/affinity"}]}`: "nothing can be moved",
		`{"podJsonPatch": [{"op": "add", "path": 7}]}`:                                             "operation 0 has no path",
		`{"statefulSetPatch": {"spec": {"minReadySeconds": 1}}}`:                                   "spec.minReadySeconds may not be patched",
		`{"statefulSetPatch": {"metadata": {"annotations": {}}}}`:                                  "functionStatefulSetPatchPaths",
		`{"statefulSetJsonPatch": [{"op": "replace", "path": "/spec/template", "value": {}}]}`:     "/spec/template may not",
		`{"podPatch": {"spec": {"affinity": {}}}, "statefulSetPatch": {"spec": {"affinity": {}}}}`: "spec.affinity may not",
	} {
		_, err := build(options)
		require.ErrorContains(t, err, want, options)
		require.ErrorContains(t, err, "in customRuntimeOptions", options)
	}
	_, err = build(`{"podJsonPatch": {"op": "add"}}`)
	require.ErrorContains(t, err, "cannot be read")
	o.SetPatchPaths = nil
	_, err = build(`{"statefulSetPatch": {"spec": {"updateStrategy": {}}}}`)
	require.ErrorContains(t, err, "functions may patch nothing (goWorker.kubernetes.functionStatefulSetPatchPaths is empty)")
}

// FuzzPatchOfAFunction: whatever a tenant sends, what the operator has not listed stays as it is.
func FuzzPatchOfAFunction(f *testing.F) {
	f.Add(`{"podJsonPatch": [{"op": "add", "path": "/spec/affinity", "value": {}}]}`)
	f.Add(`{"podPatch": {"spec": {"affinity": {"$patch": "replace"}}}}`)
	f.Add(`{"statefulSetJsonPatch": [{"op": "replace", "path": "/spec/updateStrategy/type", "value": "OnDelete"}]}`)
	o, err := Options{PulsarServiceURL: "pulsar://b:1", PulsarAdminURL: "http://w:1"}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	plain, err := o.build(metaOf("f", "p"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, options string) {
		custom, err := ParseCustomization(options)
		if err != nil {
			return
		}
		allowed := o
		allowed.PatchPaths, allowed.SetPatchPaths = []string{"spec.affinity"}, []string{"spec.updateStrategy"}
		template, err := allowed.patched(plain.set.Spec.Template, custom, plain.set.Spec.Selector.MatchLabels)
		if err != nil {
			return
		}
		set, err := allowed.patchedSet(plain.set, custom, plain.set.Spec.Selector.MatchLabels)
		if err != nil {
			return
		}
		template.Spec.Affinity, set.Spec.UpdateStrategy = nil, appsv1.StatefulSetUpdateStrategy{}
		if !equality.Semantic.DeepEqual(template, plain.set.Spec.Template) || !equality.Semantic.DeepEqual(set, plain.set) {
			t.Fatalf("%q changes more than it may", options)
		}
	})
}

func operations(t *testing.T, text string) []map[string]any {
	t.Helper()
	var list []map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &list))
	return list
}

// TestRealPatchedStatefulSet: it reads back as the same, changes in place, and goes back to the defaults when the patch is gone.
func TestRealPatchedStatefulSet(t *testing.T) {
	c := realCluster(t)
	get := func() *appsv1.StatefulSet {
		set, err := c.api.AppsV1().StatefulSets(c.namespace).Get(t.Context(), "pf-public-default-f", metav1.GetOptions{})
		require.NoError(t, err)
		return set
	}
	with := func(patch string) *appsv1.StatefulSet {
		f := c.factory(t, c.config, func(o *Options) { o.Patches.Set = patchOf(t, patch) })
		begin(t, f, "f", "p").(interface{ Detach() }).Detach()
		return get()
	}
	first := with("spec: {minReadySeconds: 5, updateStrategy: {type: OnDelete}}")
	require.EqualValues(t, 5, first.Spec.MinReadySeconds)
	again := with("spec: {minReadySeconds: 5, updateStrategy: {type: OnDelete}}")
	require.Equal(t, first.Generation, again.Generation)
	plain := with("{}")
	require.Equal(t, first.UID, plain.UID)
	require.Zero(t, plain.Spec.MinReadySeconds)
	require.Equal(t, appsv1.RollingUpdateStatefulSetStrategyType, plain.Spec.UpdateStrategy.Type)
	require.Equal(t, plain.Generation, with("{}").Generation)
	claim := "spec: {volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}"
	replaced := with(claim)
	require.NotEqual(t, first.UID, replaced.UID, "claims cannot be changed in place")
	require.Len(t, replaced.Spec.VolumeClaimTemplates, 1)
	require.Equal(t, replaced.UID, with(claim).UID)
}
