package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// Bounds of one patch.
const (
	maxPatch      = 64 << 10 // bytes as JSON
	maxOperations = 100      // of a JSON patch
)

// Patches change the objects that are made for functions. The strategic merge patches come first: maps are merged, lists of named
// things such as containers by name. Then the JSON patches (RFC 6902), for what those cannot say.
type Patches struct {
	Pod     map[string]any   // of the pod template
	PodJSON []map[string]any // of the pod template
	Set     map[string]any   // of the StatefulSet without its pod template
	SetJSON []map[string]any // of the StatefulSet without its pod template
}

// patchStep is one patch of one object.
type patchStep struct {
	whose string
	merge map[string]any
	json  []map[string]any
	limit bool // only paths may be changed
	paths []string
}

func (p patchStep) empty() bool { return len(p.merge) == 0 && len(p.json) == 0 }

func ofFunction(key string) string { return key + " in customRuntimeOptions" }

// patched applies the worker's patches to a pod template, then the function's, which may only touch what the operator has listed.
func (o Options) patched(t corev1.PodTemplateSpec, custom Customization, selector map[string]string) (corev1.PodTemplateSpec, error) {
	return patchAll(t, []patchStep{
		{whose: "goWorker.kubernetes.podPatch", merge: o.Patches.Pod},
		{whose: "goWorker.kubernetes.podJsonPatch", json: o.Patches.PodJSON},
		{ofFunction("podPatch"), custom.PodPatch, nil, true, o.PatchPaths},
		{ofFunction("podJsonPatch"), nil, custom.PodJSONPatch, true, o.PatchPaths},
	}, "functionPatchPaths", func(after corev1.PodTemplateSpec) error { return untouched(t, after, selector) })
}

// patchedSet does the same with the StatefulSet itself.
func (o Options) patchedSet(set *appsv1.StatefulSet, custom Customization, selector map[string]string) (*appsv1.StatefulSet, error) {
	steps := []patchStep{
		{whose: "goWorker.kubernetes.statefulSetPatch", merge: o.Patches.Set},
		{whose: "goWorker.kubernetes.statefulSetJsonPatch", json: o.Patches.SetJSON},
		{ofFunction("statefulSetPatch"), custom.SetPatch, nil, true, o.SetPatchPaths},
		{ofFunction("statefulSetJsonPatch"), nil, custom.SetJSONPatch, true, o.SetPatchPaths},
	}
	bare := *set
	bare.Spec.Template = corev1.PodTemplateSpec{}
	after, err := patchAll(bare, steps, "functionStatefulSetPatchPaths", func(after appsv1.StatefulSet) error { return untouchedSet(&bare, &after, selector) })
	if err != nil {
		return nil, err
	}
	after.Spec.Template = set.Spec.Template
	return &after, nil
}

func patchAll[T any](before T, steps []patchStep, listKey string, check func(T) error) (T, error) {
	out := before
	for _, p := range steps {
		if p.empty() {
			continue
		}
		var err error
		if p.limit {
			err = p.allowed("goWorker.kubernetes." + listKey)
		}
		if err == nil {
			out, err = applyPatch(out, p)
		}
		if err == nil {
			err = check(out)
		}
		if err != nil {
			return before, fmt.Errorf("%s: %w", p.whose, err)
		}
	}
	return out, nil
}

func applyPatch[T any](t T, p patchStep) (out T, err error) {
	before, err := json.Marshal(t)
	if err != nil {
		return t, err
	}
	var after []byte
	if p.json != nil {
		after, err = applyJSONPatch(before, p.json)
	} else {
		after, err = applyMerge(before, p.merge, t)
	}
	if err != nil {
		return t, err
	}
	decoder := json.NewDecoder(bytes.NewReader(after))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		return t, fmt.Errorf("the result is no %s: %w", kindOf(t), err)
	}
	return out, nil
}

func kindOf(object any) string {
	if _, ok := object.(corev1.PodTemplateSpec); ok {
		return "pod template"
	}
	return "StatefulSet"
}

func bounded(patch any) ([]byte, error) {
	change, err := json.Marshal(patch)
	if err == nil && len(change) > maxPatch {
		err = fmt.Errorf("it has %d bytes, more than %d", len(change), maxPatch)
	}
	return change, err
}

func applyMerge(before []byte, patch map[string]any, object any) ([]byte, error) {
	change, err := bounded(patch)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, change, object)
	if err != nil {
		return nil, fmt.Errorf("it cannot be merged into a %s: %w", kindOf(object), err)
	}
	return after, nil
}

// applyJSONPatch refuses copies: each may double the object.
func applyJSONPatch(before []byte, operations []map[string]any) ([]byte, error) {
	if len(operations) > maxOperations {
		return nil, fmt.Errorf("it has %d operations, more than %d", len(operations), maxOperations)
	}
	change, err := bounded(operations)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(change)
	if err != nil {
		return nil, fmt.Errorf("it is no JSON patch: %w", err)
	}
	for i, operation := range patch {
		path, err := operation.Path()
		if err != nil {
			return nil, fmt.Errorf("operation %d has no path", i)
		}
		switch op := operation.Kind(); op {
		case "add", "replace", "remove", "test", "move":
		default:
			return nil, fmt.Errorf("operation %d: %q is not among add, replace, remove, test and move", i, op)
		}
		if before, err = (jsonpatch.Patch{operation}).Apply(before); err != nil {
			return nil, fmt.Errorf("operation %d at %s: %w", i, path, err)
		}
	}
	return before, nil
}

// untouched: what the runtime itself relies on must stay.
func untouched(before, after corev1.PodTemplateSpec, selector map[string]string) error {
	was, is := commandOf(&before), commandOf(&after)
	switch {
	case is == nil || *was != *is:
		return fmt.Errorf("the command of the container %s cannot be changed", containerName)
	case !has(after.Labels, selector):
		return errors.New("the labels that select the pods cannot be changed")
	case after.Spec.RestartPolicy != corev1.RestartPolicyAlways:
		return errors.New("restartPolicy can only be Always in a StatefulSet")
	case !equality.Semantic.DeepEqual(portsOf(before), portsOf(after)):
		return fmt.Errorf("the ports of the container %s are set by grpcPort and metricsPort", containerName)
	}
	return nil
}

func portsOf(t corev1.PodTemplateSpec) []corev1.ContainerPort {
	for _, c := range t.Spec.Containers {
		if c.Name == containerName {
			return c.Ports
		}
	}
	return nil
}

// untouchedSet: the same of a StatefulSet, whose pod template has patches of its own.
func untouchedSet(before, after *appsv1.StatefulSet, selector map[string]string) error {
	was, is := before.ObjectMeta, after.ObjectMeta
	was.Labels, is.Labels, was.Annotations, is.Annotations = nil, nil, nil, nil
	switch {
	case !equality.Semantic.DeepEqual(was, is) || before.TypeMeta != after.TypeMeta:
		return errors.New("of its metadata only labels and annotations can be changed")
	case !has(after.Labels, selector):
		return errors.New("the labels of the function cannot be changed")
	case !equality.Semantic.DeepEqual(before.Spec.Template, after.Spec.Template):
		return errors.New("spec.template is changed by podPatch and podJsonPatch")
	case !equality.Semantic.DeepEqual(before.Spec.Replicas, after.Spec.Replicas):
		return errors.New("spec.replicas is the function's parallelism")
	case before.Spec.ServiceName != after.Spec.ServiceName || !equality.Semantic.DeepEqual(before.Spec.Selector, after.Spec.Selector):
		return errors.New("spec.serviceName and spec.selector cannot be changed")
	case !equality.Semantic.DeepEqual(before.Status, after.Status):
		return errors.New("status is written by Kubernetes")
	}
	return nil
}

// allowed refuses what a function's patch may not touch.
func (p patchStep) allowed(listKey string) error {
	if p.merge != nil {
		return allowed(p.merge, "", p.paths, listKey)
	}
	for i, operation := range p.json {
		path, ok := operation["path"].(string)
		if !ok {
			return fmt.Errorf("operation %d has no path", i)
		}
		if _, ok := operation["from"]; ok {
			return fmt.Errorf("operation %d: nothing can be moved in the patch of a function", i)
		}
		if !atOrBelow(path, p.paths) {
			return refused(path, p.paths, listKey)
		}
	}
	return nil
}

// atOrBelow compares a JSON pointer (RFC 6901) with paths whose parts are joined by dots.
func atOrBelow(pointer string, paths []string) bool {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
	}
	return slices.ContainsFunc(paths, func(p string) bool {
		want := strings.Split(p, ".")
		return len(parts) >= len(want) && slices.Equal(parts[:len(want)], want)
	})
}

func refused(path string, paths []string, listKey string) error {
	if len(paths) == 0 {
		return fmt.Errorf("%s: functions may patch nothing (%s is empty)", path, listKey)
	}
	return fmt.Errorf("%s may not be patched by functions; allowed are %s (%s)", path, strings.Join(paths, ", "), listKey)
}

// allowed refuses what is not at or below one of the paths (spec.affinity, spec.securityContext.fsGroup, …). A list counts as a
// whole, and directives of the patch format ($patch and others, which delete and replace) are refused.
func allowed(patch map[string]any, at string, paths []string, listKey string) error {
	for _, key := range slices.Sorted(maps.Keys(patch)) {
		path := strings.TrimPrefix(at+"."+key, ".")
		if strings.HasPrefix(key, "$") {
			return fmt.Errorf("%s: directives are not allowed in the patch of a function", path)
		}
		if slices.Contains(paths, path) {
			if directiveIn(patch[key]) {
				return fmt.Errorf("%s: directives are not allowed in the patch of a function", path)
			}
			continue
		}
		if inner, ok := patch[key].(map[string]any); ok && len(inner) > 0 {
			if err := allowed(inner, path, paths, listKey); err != nil {
				return err
			}
			continue
		}
		return refused(path, paths, listKey)
	}
	return nil
}

func directive(m map[string]any) bool {
	for key, value := range m {
		if strings.HasPrefix(key, "$") || directiveIn(value) {
			return true
		}
	}
	return false
}

func directiveIn(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return directive(v)
	case []any:
		return slices.ContainsFunc(v, directiveIn)
	}
	return false
}
