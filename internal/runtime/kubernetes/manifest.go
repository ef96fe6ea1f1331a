package kubernetes

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const containerName = "pulsarfunction"

// objects are what the cluster should hold for one function.
type objects struct {
	namespace, name string
	service         *corev1.Service
	set             *appsv1.StatefulSet
	budget          *policyv1.PodDisruptionBudget // nil = none
	version         string                        // of the function, as in the pod's command
	port            int                           // of the instances' control service
	external        bool                          // others may set the replicas
}

// build is pure: the same options, function and credentials give the same objects. What the API server fills in by
// default is written too, so that a comparison with what exists is complete.
func (o Options) build(meta *pb.FunctionMetaData) (objects, error) {
	d := meta.GetFunctionDetails()
	custom, err := o.customization(d)
	if err != nil {
		return objects{}, err
	}
	out := objects{port: o.GRPCPort, namespace: o.namespaceOf(custom), name: objectName(d, o.jobNameOf(custom))}
	if o.fixed != nil {
		out.namespace, out.name = o.fixed.namespace, o.fixed.name
	}
	if err := admitName(out.name); err != nil {
		return objects{}, err
	}
	if out.external = o.externalReplicas(custom); out.external {
		meta = withoutParallelism(meta)
	}
	ids := identityOf(meta)
	out.version = ids.version
	grant, err := o.grant(meta)
	if err != nil {
		return objects{}, err
	}
	command, err := o.podCommand(meta, grant.auth, ids)
	if err != nil {
		return objects{}, err
	}
	env, err := o.environment(d)
	if err != nil {
		return objects{}, err
	}
	selector := labelsOf(d, o.CustomLabels)
	about := metav1.ObjectMeta{Name: out.name, Namespace: out.namespace, Labels: custom.labels(selector), Annotations: custom.annotations(nil)}
	out.service, out.budget = o.service(about, selector), o.budget(about, selector)
	template := o.podTemplate(meta, custom, selector, command, env, grant)
	o.withPackageVolume(&template.Spec, meta, grant)
	o.probed(&template.Spec.Containers[0], o.hosted(meta))
	template, err = o.patched(template, custom, selector)
	if err != nil {
		return objects{}, err
	}
	if out.set, err = o.patchedSet(o.statefulSet(about, selector, d.GetParallelism(), template), custom, selector); err != nil {
		return objects{}, err
	}
	if out.external {
		markParallelism(out.set)
	}
	return out, nil
}

func (want objects) place() objectKey { return objectKey{want.namespace, want.name} }

type digest [sha256.Size]byte

func digestOf(set *appsv1.StatefulSet) (digest, error) {
	data, err := json.Marshal(set)
	if err != nil {
		return digest{}, fmt.Errorf("writing the StatefulSet: %w", err)
	}
	return sha256.Sum256(data), nil
}

func (o Options) service(about metav1.ObjectMeta, selector map[string]string) *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: *about.DeepCopy(),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: selector,
			PublishNotReadyAddresses: o.Probes.Readiness, // status asks pods that are not ready as well
			Ports:                    []corev1.ServicePort{{Name: "grpc", Port: int32(o.GRPCPort), TargetPort: intstr.FromInt32(int32(o.GRPCPort)), Protocol: corev1.ProtocolTCP}},
		},
	}
}

func (o Options) statefulSet(about metav1.ObjectMeta, selector map[string]string, replicas int32, template corev1.PodTemplateSpec) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: *about.DeepCopy(),
		Spec: appsv1.StatefulSetSpec{
			ServiceName: about.Name, Replicas: &replicas, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: selector}, Template: template,
		},
	}
}

func (o Options) podTemplate(meta *pb.FunctionMetaData, custom Customization, labels map[string]string, command string, env []corev1.EnvVar, grant granted) corev1.PodTemplateSpec {
	ports := []corev1.ContainerPort{{Name: "grpc", ContainerPort: int32(o.GRPCPort), Protocol: corev1.ProtocolTCP}}
	var annotations map[string]string
	if validPort(o.MetricsPort) {
		ports = append(ports, corev1.ContainerPort{Name: "prometheus", ContainerPort: int32(o.MetricsPort), Protocol: corev1.ProtocolTCP})
		annotations = map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": strconv.Itoa(o.MetricsPort)}
	}
	grace := int64(0) // as with a Java worker: pods are removed at once
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: custom.labels(labels), Annotations: custom.annotations(annotations)},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Tolerations:                   append(builtInTolerations(), custom.tolerations()...),
			NodeSelector:                  maps.Clone(custom.NodeSelectorLabels),
			Volumes:                       grant.volumes,
			RestartPolicy:                 corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
			SchedulerName: corev1.DefaultSchedulerName, SecurityContext: &corev1.PodSecurityContext{},
			Containers: []corev1.Container{{
				Name: containerName, Image: o.imageOf(meta), ImagePullPolicy: corev1.PullPolicy(o.ImagePullPolicy),
				Command: []string{"sh", "-c", command}, Env: env, VolumeMounts: grant.mounts, Ports: ports, Resources: custom.resources(o.resourcesOf(meta.GetFunctionDetails().GetResources())),
				TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			}},
		},
	}
}

func builtInTolerations() []corev1.Toleration {
	seconds := int64(10)
	var out []corev1.Toleration
	for _, key := range []string{"node.kubernetes.io/not-ready", "node.alpha.kubernetes.io/notReady", "node.alpha.kubernetes.io/unreachable"} {
		out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
	return out
}

// environment is the pod's name, then the function's secrets where Kubernetes keeps them.
func (o Options) environment(d *pb.FunctionDetails) ([]corev1.EnvVar, error) {
	env := []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}}}
	if !o.SecretsFromKubernetes {
		return env, nil
	}
	secrets, err := parseSecrets(d.GetSecretsMap())
	if err != nil {
		return nil, err
	}
	for _, s := range secrets {
		env = append(env, corev1.EnvVar{Name: s.name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.secret}, Key: s.key}}})
	}
	return env, nil
}

func (o Options) namespaceOf(c Customization) string {
	if c.JobNamespace != "" {
		return c.JobNamespace
	}
	return o.JobNamespace
}

func (o Options) jobNameOf(c Customization) string {
	if c.JobName != "" {
		return c.JobName
	}
	return o.JobName
}
