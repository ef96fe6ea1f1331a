package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Probes says which questions the kubelet asks instances.
type Probes struct {
	// Readiness: whether the instance's control service is there; this project's own program is asked whether its inputs are open.
	Readiness bool
	// Liveness: whether the metrics page answers, or the control service where there are no metrics. A pod that has just
	// started gets ten minutes.
	Liveness bool
}

// Times of the probes, in seconds; they can be changed by podPatch. An instance that pauses (garbage collection) is not ended.
const (
	probePeriod       = 10
	probeTimeout      = 5
	livenessPeriod    = 30
	livenessTimeout   = 10
	startupThreshold  = 60
	failuresUntilDead = 3
)

// probed adds the probes to the function's container.
func (o Options) probed(c *corev1.Container, hosted bool) {
	port := intstr.FromInt32(int32(o.GRPCPort))
	control := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}} // other instances do not know the health service
	if hosted {
		service := ""
		control = corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: port.IntVal, Service: &service}}
	}
	if o.Probes.Readiness {
		c.ReadinessProbe = probe(control, probePeriod, probeTimeout, failuresUntilDead)
	}
	if !o.Probes.Liveness {
		return
	}
	alive := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}
	if validPort(o.MetricsPort) {
		alive = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/metrics", Port: intstr.FromInt32(int32(o.MetricsPort)), Scheme: corev1.URISchemeHTTP}}
	}
	c.LivenessProbe = probe(alive, livenessPeriod, livenessTimeout, failuresUntilDead)
	c.StartupProbe = probe(alive, probePeriod, livenessTimeout, startupThreshold)
}

func probe(handler corev1.ProbeHandler, period, timeout, failures int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: handler, PeriodSeconds: period, TimeoutSeconds: timeout, SuccessThreshold: 1, FailureThreshold: failures}
}
