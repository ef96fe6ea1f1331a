package kubernetes

import (
	"fmt"

	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
)

// Access says how the API server is reached (Kubernetes contract, section 1.4).
type Access struct {
	// URI of the API server, without credentials; "" = by InCluster or the kube config.
	URI string
	// InCluster: with the service account of the pod in which the worker runs. Otherwise $KUBECONFIG, then ~/.kube/config,
	// then the pod's service account.
	InCluster bool
	// QPS and Burst bound the worker's requests per second. Defaults: 200 and 400 (client-go's own 5 would take a quarter
	// of an hour for 2,000 functions).
	QPS   float32
	Burst int
}

// Clients reach one API server.
type Clients struct {
	Objects  Objects
	Metadata metadata.Interface
}

// Connect makes the clients. No request is made.
func Connect(a Access, userAgent string) (Clients, error) {
	config, err := a.config()
	if err != nil {
		return Clients{}, fmt.Errorf("finding the Kubernetes API server: %w", err)
	}
	config.QPS, config.Burst, config.UserAgent = 200, 400, userAgent
	if a.QPS > 0 {
		config.QPS = a.QPS
	}
	if a.Burst > 0 {
		config.Burst = a.Burst
	}
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst) // one for all clients
	var c Clients
	if c.Objects, err = newTyped(config); err == nil {
		c.Metadata, err = metadata.NewForConfig(config)
	}
	if err != nil {
		return Clients{}, fmt.Errorf("making the Kubernetes client: %w", err)
	}
	return c, nil
}

func (a Access) config() (*rest.Config, error) {
	switch {
	case a.URI != "":
		return &rest.Config{Host: a.URI}, nil
	case a.InCluster:
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("submittingInsidePod is true: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no k8Uri, submittingInsidePod is false, and $KUBECONFIG, ~/.kube/config and the pod's service account do not help: %w", err)
	}
	return config, nil
}
