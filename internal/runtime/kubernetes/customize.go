package kubernetes

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Customization are the options of BasicKubernetesManifestCustomizer, which a worker's runtimeCustomizerConfig and a
// function's customRuntimeOptions share (Kubernetes contract, section 9). Unknown options are ignored.
type Customization struct {
	JobNamespace string `yaml:"jobNamespace"`
	JobName      string `yaml:"jobName"`
	// PodPatch changes the pod template of a function; only this worker knows it, and only in customRuntimeOptions.
	PodPatch map[string]any `yaml:"podPatch"`
	// Likewise a JSON patch of it, and both kinds for the StatefulSet.
	PodJSONPatch []map[string]any `yaml:"podJsonPatch"`
	SetPatch     map[string]any   `yaml:"statefulSetPatch"`
	SetJSONPatch []map[string]any `yaml:"statefulSetJsonPatch"`
	// ExternalReplicas: others set the number of pods. Only this worker knows it, and only in customRuntimeOptions.
	ExternalReplicas     *bool             `yaml:"externalReplicas"`
	ExtraLabels          map[string]string `yaml:"extraLabels"`
	ExtraAnnotations     map[string]string `yaml:"extraAnnotations"`
	NodeSelectorLabels   map[string]string `yaml:"nodeSelectorLabels"`
	Tolerations          []Toleration      `yaml:"tolerations"`
	ResourceRequirements struct {
		Limits   map[string]string `yaml:"limits"`
		Requests map[string]string `yaml:"requests"`
	} `yaml:"resourceRequirements"`
}

// Toleration of a pod, as Kubernetes spells it.
type Toleration struct {
	Key               string `yaml:"key"`
	Operator          string `yaml:"operator"`
	Value             string `yaml:"value"`
	Effect            string `yaml:"effect"`
	TolerationSeconds *int64 `yaml:"tolerationSeconds"`
}

// lastOfEachKey drops all values of a key but the last: the library compares each key with every other when it
// decodes, and keeps a complaint for each pair, which a hostile text turns into gigabytes.
func lastOfEachKey(n *yaml.Node) {
	for _, child := range n.Content {
		lastOfEachKey(child)
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	at, kept := map[string]int{}, n.Content[:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if old, twice := at[key.Value]; twice && key.Kind == yaml.ScalarNode {
			kept[old] = value
			continue
		}
		if key.Kind == yaml.ScalarNode {
			at[key.Value] = len(kept) + 1
		}
		kept = append(kept, key, value)
	}
	n.Content = kept
}

// ParseCustomization reads options from JSON, also in the lenient form that the Java worker takes (single quotes,
// comments, numbers for quantities), or from YAML.
func ParseCustomization(text string) (Customization, error) {
	var c Customization
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return c, fmt.Errorf("the runtime options are no JSON object: %w", err)
	}
	if len(root.Content) == 0 {
		return c, nil
	}
	if root.Content[0].Kind != yaml.MappingNode {
		return c, errors.New("the runtime options are no JSON object")
	}
	lastOfEachKey(&root)
	if err := root.Decode(&c); err != nil {
		return c, fmt.Errorf("the runtime options cannot be read: %w", err)
	}
	for _, list := range []map[string]string{c.ResourceRequirements.Limits, c.ResourceRequirements.Requests} {
		for _, name := range []string{"cpu", "memory"} {
			if q, ok := list[name]; ok {
				if _, err := resource.ParseQuantity(q); err != nil {
					return c, fmt.Errorf("resourceRequirements: %s %q is no quantity: %w", name, q, err)
				}
			}
		}
	}
	return c, nil
}

// customization is what applies to one function. Nothing in it is shared with another function.
func (o Options) customization(d *pb.FunctionDetails) (Customization, error) {
	if o.Customize == nil {
		return Customization{}, nil
	}
	own, err := ParseCustomization(d.GetCustomRuntimeOptions())
	if err != nil {
		return own, err
	}
	return o.Customize.merge(own), nil
}

// merge gives new values: the function's count before the worker's, tolerations add up.
func (c Customization) merge(function Customization) Customization {
	out := Customization{
		JobNamespace: firstText(function.JobNamespace, c.JobNamespace), JobName: firstText(function.JobName, c.JobName),
		ExtraLabels: merged(c.ExtraLabels, function.ExtraLabels), ExtraAnnotations: merged(c.ExtraAnnotations, function.ExtraAnnotations),
		NodeSelectorLabels: merged(c.NodeSelectorLabels, function.NodeSelectorLabels),
		Tolerations:        slices.Concat(c.Tolerations, function.Tolerations),
		PodJSONPatch:       function.PodJSONPatch, SetPatch: function.SetPatch, SetJSONPatch: function.SetJSONPatch,
		PodPatch: function.PodPatch, ExternalReplicas: function.ExternalReplicas,
	}
	out.ResourceRequirements.Limits = merged(c.ResourceRequirements.Limits, function.ResourceRequirements.Limits)
	out.ResourceRequirements.Requests = merged(c.ResourceRequirements.Requests, function.ResourceRequirements.Requests)
	return out
}

func firstText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func merged(base, over map[string]string) map[string]string {
	if len(base)+len(over) == 0 {
		return nil
	}
	out := make(map[string]string, len(base)+len(over))
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}

// labels adds the extra ones. Those that select the pods stay as they are: with others the API server would refuse the objects.
func (c Customization) labels(selector map[string]string) map[string]string {
	return merged(c.ExtraLabels, selector)
}

func (c Customization) annotations(base map[string]string) map[string]string {
	return merged(base, c.ExtraAnnotations)
}

func (c Customization) tolerations() []corev1.Toleration {
	var out []corev1.Toleration
	for _, t := range c.Tolerations {
		out = append(out, corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOperator(t.Operator), Value: t.Value,
			Effect: corev1.TaintEffect(t.Effect), TolerationSeconds: t.TolerationSeconds})
	}
	return out
}

// resources overwrites cpu and memory; other resources are not taken, as in the Java worker.
func (c Customization) resources(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	set := func(list corev1.ResourceList, from map[string]string) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, err := resource.ParseQuantity(from[string(name)]); err == nil {
				list[name] = q
			}
		}
	}
	set(r.Limits, c.ResourceRequirements.Limits)
	set(r.Requests, c.ResourceRequirements.Requests)
	return r
}
