package kubernetes

import (
	"context"
	"fmt"
	"net/http"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// Objects are the kinds of objects that this runtime reads and writes. client-go's clientset knows every kind that there is,
// which makes the worker's binary a quarter larger.
type Objects interface {
	StatefulSets(namespace string) Resource[*appsv1.StatefulSet]
	Services(namespace string) Resource[*corev1.Service]
	Secrets(namespace string) Resource[*corev1.Secret]
	ConfigMaps(namespace string) Resource[*corev1.ConfigMap]
	PodDisruptionBudgets(namespace string) Resource[*policyv1.PodDisruptionBudget]
	Pods(namespace string) Lister[*corev1.PodList]
	// Allowed asks whether this worker has a right.
	Allowed(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error)
}

// Resource is one kind of objects in one namespace.
type Resource[T any] interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	Create(ctx context.Context, object T, opts metav1.CreateOptions) (T, error)
	Update(ctx context.Context, object T, opts metav1.UpdateOptions) (T, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// Lister lists the objects of one kind in one namespace.
type Lister[L any] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
}

// typed reaches the objects of three groups of the API.
type typed struct {
	core, apps, policy rest.Interface
	parameters         k8sruntime.ParameterCodec
}

func newTyped(config *rest.Config) (Objects, error) {
	scheme := k8sruntime.NewScheme()
	for _, add := range []func(*k8sruntime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	shared, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	t := typed{parameters: k8sruntime.NewParameterCodec(scheme)}
	if t.core, err = groupClient(config, scheme, corev1.SchemeGroupVersion, "/api", shared); err != nil {
		return nil, fmt.Errorf("core/v1: %w", err)
	}
	if t.apps, err = groupClient(config, scheme, appsv1.SchemeGroupVersion, "/apis", shared); err != nil {
		return nil, fmt.Errorf("apps/v1: %w", err)
	}
	if t.policy, err = groupClient(config, scheme, policyv1.SchemeGroupVersion, "/apis", shared); err != nil {
		return nil, fmt.Errorf("policy/v1: %w", err)
	}
	return t, nil
}

func groupClient(config *rest.Config, scheme *k8sruntime.Scheme, version schema.GroupVersion, path string, shared *http.Client) (rest.Interface, error) {
	one := rest.CopyConfig(config)
	one.GroupVersion, one.APIPath = &version, path
	one.NegotiatedSerializer = rest.CodecFactoryForGeneratedClient(scheme, serializer.NewCodecFactory(scheme)).WithoutConversion()
	return rest.RESTClientForConfigAndClient(one, shared)
}

func (t typed) StatefulSets(namespace string) Resource[*appsv1.StatefulSet] {
	return gentype.NewClient("statefulsets", t.apps, t.parameters, namespace, func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} },
		gentype.PrefersProtobuf[*appsv1.StatefulSet]())
}

func (t typed) Services(namespace string) Resource[*corev1.Service] {
	return gentype.NewClient("services", t.core, t.parameters, namespace, func() *corev1.Service { return &corev1.Service{} },
		gentype.PrefersProtobuf[*corev1.Service]())
}

func (t typed) Secrets(namespace string) Resource[*corev1.Secret] {
	return gentype.NewClient("secrets", t.core, t.parameters, namespace, func() *corev1.Secret { return &corev1.Secret{} },
		gentype.PrefersProtobuf[*corev1.Secret]())
}

func (t typed) ConfigMaps(namespace string) Resource[*corev1.ConfigMap] {
	return gentype.NewClient("configmaps", t.core, t.parameters, namespace, func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		gentype.PrefersProtobuf[*corev1.ConfigMap]())
}

func (t typed) PodDisruptionBudgets(namespace string) Resource[*policyv1.PodDisruptionBudget] {
	return gentype.NewClient("poddisruptionbudgets", t.policy, t.parameters, namespace, func() *policyv1.PodDisruptionBudget { return &policyv1.PodDisruptionBudget{} },
		gentype.PrefersProtobuf[*policyv1.PodDisruptionBudget]())
}

func (t typed) Pods(namespace string) Lister[*corev1.PodList] {
	return gentype.NewClientWithList("pods", t.core, t.parameters, namespace, func() *corev1.Pod { return &corev1.Pod{} },
		func() *corev1.PodList { return &corev1.PodList{} }, gentype.PrefersProtobuf[*corev1.Pod]())
}
