package podrunner

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// succeeds makes one probe over TCP, HTTP or gRPC. Others, which nobody here has, are taken as successful.
func (p *pod) succeeds(ctx context.Context, spec *corev1.Container, probe corev1.ProbeHandler) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	switch {
	case probe.TCPSocket != nil:
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(p.net.ip, portNumber(spec, probe.TCPSocket.Port)))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	case probe.HTTPGet != nil:
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(p.net.ip, portNumber(spec, probe.HTTPGet.Port))+probe.HTTPGet.Path, nil)
		if err != nil {
			return false
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode >= 200 && answer.StatusCode < 400
	case probe.GRPC != nil:
		conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(p.net.ip, strconv.Itoa(int(probe.GRPC.Port))), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return false
		}
		defer conn.Close()
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: *probe.GRPC.Service})
		return err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING
	}
	return true
}

// portNumber is a port by its number, or by its name in the container.
func portNumber(spec *corev1.Container, port intstr.IntOrString) string {
	for _, known := range spec.Ports {
		if port.Type == intstr.String && known.Name == port.StrVal {
			return strconv.Itoa(int(known.ContainerPort))
		}
	}
	return port.String()
}
