package kubernetes

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	defaultCPU = 1.0
	defaultRAM = 1 << 30
)

// resourcesOf are limits and requests of one instance (Kubernetes contract, section 3.3): memory is padded, the
// overcommit ratios make the requests smaller than the limits. Disk is not known to Kubernetes in this form.
func (o Options) resourcesOf(r *pb.Resources) corev1.ResourceRequirements {
	cpu, ram := r.GetCpu(), r.GetRam()
	if cpu <= 0 || math.IsNaN(cpu) || math.IsInf(cpu, 0) {
		cpu = defaultCPU
	}
	if ram <= 0 {
		ram = defaultRAM
	}
	limit := ram + int64(math.Round(float64(ram)*float64(o.PercentMemoryPadding)/100))
	request := int64(float64(limit) / o.MemoryOverCommitRatio)
	return corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{corev1.ResourceCPU: cores(cpu), corev1.ResourceMemory: *resource.NewQuantity(limit, resource.DecimalSI)},
		Requests: corev1.ResourceList{corev1.ResourceCPU: cores(cpu / o.CPUOverCommitRatio), corev1.ResourceMemory: *resource.NewQuantity(request, resource.DecimalSI)},
	}
}

func cores(n float64) resource.Quantity {
	return *resource.NewMilliQuantity(milli(n), resource.DecimalSI)
}
