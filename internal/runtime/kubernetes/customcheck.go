package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// check refuses options that the API server would refuse later, when the submitter does not wait for the answer any more. What
// it leaves out shows in the function's status.
func (c Customization) check() error {
	if c.JobNamespace != "" {
		if err := rule("jobNamespace", c.JobNamespace, validation.IsDNS1123Label(c.JobNamespace)); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.ExtraAnnotations)) {
		if err := rule("extraAnnotations", key, validation.IsQualifiedName(strings.ToLower(key))); err != nil {
			return err
		}
	}
	if err := checkLabels("extraLabels", c.ExtraLabels); err != nil {
		return err
	}
	if err := checkLabels("nodeSelectorLabels", c.NodeSelectorLabels); err != nil {
		return err
	}
	for _, t := range c.Tolerations {
		if err := t.check(); err != nil {
			return err
		}
	}
	return nil
}

func checkLabels(option string, labels map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if err := rule(option, key, validation.IsQualifiedName(key)); err != nil {
			return err
		}
		if err := rule(option+"."+key, labels[key], validation.IsValidLabelValue(labels[key])); err != nil {
			return err
		}
	}
	return nil
}

func (t Toleration) check() error {
	switch {
	case t.Key == "" && t.Operator != string(corev1.TolerationOpExists):
		return fmt.Errorf("tolerations: one without a key needs the operator Exists, not %.100q", t.Operator)
	case !slices.Contains([]string{"", "NoSchedule", "PreferNoSchedule", "NoExecute"}, t.Effect):
		return fmt.Errorf("tolerations: %.100q is no effect; there are NoSchedule, PreferNoSchedule and NoExecute", t.Effect)
	case t.Key != "":
		return rule("tolerations", t.Key, validation.IsQualifiedName(t.Key))
	}
	return nil
}

// rule makes an error of the rules that a value breaks.
func rule(option, value string, broken []string) error {
	if len(broken) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %.100q cannot be used in Kubernetes: %s", option, value, broken[0])
}

// admitContainers refuses resources that no pod can have.
func admitContainers(containers []corev1.Container) error {
	for _, c := range containers {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := c.Resources.Limits[name]
			request := c.Resources.Requests[name]
			switch {
			case limit.Sign() < 0 || request.Sign() < 0:
				return fmt.Errorf("the %s of the container %s is too large or below 0", name, c.Name)
			case limited && request.Cmp(limit) > 0:
				return fmt.Errorf("the %s that the container %s requests, %s, is more than its limit, %s", name, c.Name, &request, &limit)
			}
		}
	}
	return nil
}
