package kubernetes

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// parallelismMark is on the StatefulSet of a function whose replicas others may set: the parallelism that it had when this worker
// last set them. While the function's is still that, other replicas are somebody else's wish; when it is not, it was changed
// here and counts.
const parallelismMark = "functions-worker/parallelism"

// Rescale makes what was observed the parallelism of a function, so that it is there after a stop and with another worker. It is
// to change nothing if the function is no longer the given one.
type Rescale func(ctx context.Context, meta *pb.FunctionMetaData, parallelism int32) error

func (o Options) externalReplicas(c Customization) bool {
	if c.ExternalReplicas != nil {
		return *c.ExternalReplicas
	}
	return o.ExternalReplicas
}

// withoutParallelism is what the pods of such a function are told: the same whatever their number, so that none is replaced when
// it changes.
func withoutParallelism(meta *pb.FunctionMetaData) *pb.FunctionMetaData {
	meta = proto.CloneOf(meta)
	meta.FunctionDetails.Parallelism = 1
	return meta
}

// markParallelism puts the mark on the wanted StatefulSet.
func markParallelism(set *appsv1.StatefulSet) {
	set.Annotations = merged(set.Annotations, map[string]string{parallelismMark: strconv.Itoa(int(*set.Spec.Replicas))})
}

// honouring is what is wanted, given what others have set.
func (want objects) honouring(live *appsv1.StatefulSet) objects {
	if want.external && live.Spec.Replicas != nil && live.Annotations[parallelismMark] == want.set.Annotations[parallelismMark] {
		want.set = want.set.DeepCopy()
		want.set.Spec.Replicas = live.Spec.Replicas
	}
	return want
}

// observe tells the cluster of workers when others have set the replicas. Zero is not kept: a function has at least one instance.
func (f *Factory) observe(ctx context.Context, meta *pb.FunctionMetaData, want objects) error {
	if !want.external || f.o.Rescale == nil {
		return nil
	}
	live, err := request(ctx, f.o.RequestTimeout, action{"get", "apps", "statefulsets", want.namespace, want.name}, func(ctx context.Context) (*appsv1.StatefulSet, error) {
		return f.clients.Objects.StatefulSets(want.namespace).Get(ctx, want.name, metav1.GetOptions{})
	})
	if err != nil {
		return err
	}
	n := want.honouring(live).set.Spec.Replicas
	if *n < 1 || *n == meta.GetFunctionDetails().GetParallelism() {
		return nil
	}
	if err := f.o.Rescale(ctx, meta, *n); err != nil {
		return fmt.Errorf("keeping the number of pods that was set from outside, %d, as the function's parallelism: %w", *n, err)
	}
	return nil
}
