package kubernetes

import (
	"cmp"
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
	if !maps.Equal(want.Spec.Selector, live.Spec.Selector) || want.Spec.PublishNotReadyAddresses != live.Spec.PublishNotReadyAddresses || !equality.Semantic.DeepEqual(want.Spec.Ports, live.Spec.Ports) ||
		!has(live.Labels, want.Labels) || !has(live.Annotations, want.Annotations) {
		return change
	}
	return same
}

func compareSet(want, live *appsv1.StatefulSet, version string) difference {
	if want.Spec.ServiceName != live.Spec.ServiceName || want.Spec.PodManagementPolicy != live.Spec.PodManagementPolicy ||
		!equality.Semantic.DeepEqual(want.Spec.Selector, live.Spec.Selector) || !sameClaims(want.Spec.VolumeClaimTemplates, live.Spec.VolumeClaimTemplates) {
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
	if !equality.Semantic.DeepEqual(changeable(want.Spec), changeable(live.Spec)) {
		return change
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

// changeable are the parts of a StatefulSet that only patches set, with what the API server fills in.
func changeable(s appsv1.StatefulSetSpec) appsv1.StatefulSetSpec {
	out := appsv1.StatefulSetSpec{UpdateStrategy: *s.UpdateStrategy.DeepCopy(), MinReadySeconds: s.MinReadySeconds, RevisionHistoryLimit: s.RevisionHistoryLimit,
		PersistentVolumeClaimRetentionPolicy: s.PersistentVolumeClaimRetentionPolicy.DeepCopy(), Ordinals: s.Ordinals}
	out.UpdateStrategy.Type = cmp.Or(out.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if out.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		if out.UpdateStrategy.RollingUpdate == nil {
			out.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
		if out.UpdateStrategy.RollingUpdate.Partition == nil {
			out.UpdateStrategy.RollingUpdate.Partition = new(int32)
		}
	}
	if out.RevisionHistoryLimit == nil {
		revisions := int32(10)
		out.RevisionHistoryLimit = &revisions
	}
	if out.PersistentVolumeClaimRetentionPolicy == nil {
		out.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	p := out.PersistentVolumeClaimRetentionPolicy
	p.WhenDeleted, p.WhenScaled = cmp.Or(p.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType), cmp.Or(p.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	return out
}

// setChangeable puts the wanted ones of these parts into next; what is not set there gets the API server's default again.
func setChangeable(next *appsv1.StatefulSetSpec, want appsv1.StatefulSetSpec) {
	next.UpdateStrategy, next.MinReadySeconds, next.RevisionHistoryLimit = want.UpdateStrategy, want.MinReadySeconds, want.RevisionHistoryLimit
	next.PersistentVolumeClaimRetentionPolicy, next.Ordinals = want.PersistentVolumeClaimRetentionPolicy, want.Ordinals
}

// sameClaims leaves out what the API server fills in.
func sameClaims(want, live []corev1.PersistentVolumeClaim) bool {
	return len(want) == len(live) && equality.Semantic.DeepDerivative(want, live)
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
