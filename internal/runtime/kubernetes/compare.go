package kubernetes

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// adoptedAs is put on a StatefulSet of a Java worker when it is taken over: the version of the function whose pods it
// holds, which its command does not tell. It is not on the pod template, so no pod is restarted for it.
const adoptedAs = "functions-worker/function-version"

// difference between what exists and what is wanted.
type difference int

const (
	same    difference = iota
	adopt              // the same, made by a Java worker and not yet marked
	change             // can be changed in place
	replace            // something differs that cannot be changed
)

func has(all, some map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// compareService ignores what others added to labels and annotations, and what the API server fills in.
func compareService(want, live *corev1.Service) difference {
	if live.Spec.ClusterIP != corev1.ClusterIPNone {
		return replace
	}
	if !maps.Equal(want.Spec.Selector, live.Spec.Selector) || !equality.Semantic.DeepEqual(want.Spec.Ports, live.Spec.Ports) ||
		!has(live.Labels, want.Labels) || !has(live.Annotations, want.Annotations) {
		return change
	}
	return same
}

func compareSet(want, live *appsv1.StatefulSet, version string) difference {
	if want.Spec.ServiceName != live.Spec.ServiceName || want.Spec.PodManagementPolicy != live.Spec.PodManagementPolicy ||
		!equality.Semantic.DeepEqual(want.Spec.Selector, live.Spec.Selector) {
		return replace
	}
	template, foreign := live.Spec.Template.DeepCopy(), false
	if command := commandOf(template); command != nil && ourVersion(*command) == "" {
		// Made by a Java worker, whose ids are random: the rest decides, unless it was adopted for another version.
		foreign = true
		if as, ok := live.Annotations[adoptedAs]; ok && as != version {
			return change
		}
		if wanted := commandOf(&want.Spec.Template); wanted != nil && withoutIDs(*wanted) == withoutIDs(*command) {
			*command = *wanted
		}
	}
	if live.Spec.Replicas == nil || *live.Spec.Replicas != *want.Spec.Replicas || !has(live.Labels, want.Labels) || !has(live.Annotations, want.Annotations) ||
		!equality.Semantic.DeepEqual(&want.Spec.Template, template) {
		return change
	}
	if foreign && live.Annotations[adoptedAs] != version {
		return adopt
	}
	return same
}

// commandOf is the shell command of the function's container; nil when there is none.
func commandOf(t *corev1.PodTemplateSpec) *string {
	for i := range t.Spec.Containers {
		if c := &t.Spec.Containers[i]; c.Name == containerName && len(c.Command) == 3 {
			return &c.Command[2]
		}
	}
	return nil
}

// otherFunction tells whose object it is, if it is another function's: names of different tenants may become equal.
func otherFunction(want, live map[string]string) (string, bool) {
	for _, key := range []string{"tenant", "namespace", "name"} {
		if v, ok := live[key]; ok && v != want[key] {
			return live["tenant"] + "/" + live["namespace"] + "/" + live["name"], true
		}
	}
	return "", false
}
