// Package broker is the worker's way to the Pulsar cluster: the binary client, one HTTP client with the worker's
// credentials (used towards the broker and towards other workers), and a small admin REST client.
//
// Nothing here keeps state of the cluster or runs in the background, except what the Pulsar client does for its
// connections; whoever calls NewClient closes the client. Credentials that live in files are read again at each use,
// so that rotation needs no restart, and no credential ever appears in a log line or in an error.
package broker

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config says where the Pulsar cluster is and how this worker proves who it is
// (security-and-metrics contract, section 4; coordination contract, section 10).
type Config struct {
	// ServiceURL is the binary service, pulsar://host:6650[,host…] or pulsar+ssl://….
	ServiceURL string
	// WebServiceURL is the admin REST service, http://host:8080[,host…] or https://….
	WebServiceURL string

	// AuthPlugin is the Java class name of the client authentication plug-in, or its short name (token, basic, tls,
	// oauth2); AuthParams are its parameters in any form that the Java client takes. Credentials are used only if both
	// are not blank.
	AuthPlugin, AuthParams string

	// TrustCertsFile holds the accepted certificate authorities (PEM); empty means those of the system.
	TrustCertsFile string
	// UseTLS turns pulsar:// and http:// into their TLS forms.
	UseTLS bool
	// AllowInsecure accepts any server certificate.
	AllowInsecure bool
	// HostnameVerification checks the server's name as well as its chain. Off by default, as in Java.
	HostnameVerification bool

	// MemoryLimit bounds the messages that producers of the client have not sent yet, in bytes; 0: no limit.
	MemoryLimit int64
}

const (
	connectTimeout   = 10 * time.Second
	operationTimeout = 30 * time.Second
	keepAlive        = 30 * time.Second
)

// NewClient makes a Pulsar client with the worker's credentials and trust. It connects lazily: an unreachable broker
// shows at the first use. The caller closes it.
func NewClient(cfg Config, log *zap.Logger) (pulsar.Client, error) {
	service, err := serviceURL(cfg.ServiceURL, "pulsar", cfg.UseTLS)
	if err != nil {
		return nil, fmt.Errorf("pulsar service URL: %w", err)
	}
	creds, err := newCredentials(cfg)
	if err != nil {
		return nil, err
	}
	options := pulsar.ClientOptions{
		URL:               service,
		ConnectionTimeout: connectTimeout,
		OperationTimeout:  operationTimeout,
		KeepAliveInterval: keepAlive,
		MemoryLimitBytes:  memoryLimit(cfg),
		Logger:            newClientLogger(log),
		MetricsRegisterer: prometheus.NewRegistry(), // the client's own metrics are no part of /metrics
	}
	if creds.provider != nil {
		options.Authentication = creds.provider
	}
	if strings.HasPrefix(service, "pulsar+ssl://") {
		if options.TLSConfig, err = tlsConfig(cfg, creds); err != nil {
			return nil, err
		}
	}
	client, err := pulsar.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("creating the pulsar client for %s: %w", service, err)
	}
	return client, nil
}

// memoryLimit translates "none": zero would mean 64 MiB to the client.
func memoryLimit(cfg Config) int64 {
	if cfg.MemoryLimit <= 0 {
		return -1
	}
	return cfg.MemoryLimit
}

// serviceURL checks a service URL (kind "pulsar" or "http") and applies UseTLS to its scheme.
func serviceURL(raw, kind string, useTLS bool) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", errors.New("is empty")
	}
	secure := "https"
	if kind == "pulsar" {
		secure = "pulsar+ssl"
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || (scheme != kind && scheme != secure) {
		return "", fmt.Errorf("must start with %s:// or %s://", kind, secure)
	}
	rest = strings.TrimRight(rest, "/")
	if rest == "" || strings.ContainsAny(rest, "@?# \t\r\n") {
		return "", errors.New("must be host:port, or several of them with commas in between")
	}
	if useTLS {
		scheme = secure
	}
	return scheme + "://" + rest, nil
}

// webServices gives the base URLs of the admin REST service, in the order configured.
func (cfg Config) webServices() ([]*url.URL, error) {
	service, err := serviceURL(cfg.WebServiceURL, "http", cfg.UseTLS)
	if err != nil {
		return nil, fmt.Errorf("pulsar web service URL: %w", err)
	}
	scheme, hosts, _ := strings.Cut(service, "://")
	var bases []*url.URL
	for host := range strings.SplitSeq(hosts, ",") {
		base, err := url.Parse(scheme + "://" + strings.TrimSpace(host))
		if err != nil || base.Host == "" {
			return nil, fmt.Errorf("pulsar web service URL: %q is no host:port", host)
		}
		bases = append(bases, base)
	}
	return bases, nil
}
