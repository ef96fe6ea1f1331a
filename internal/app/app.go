// Package app wires a worker from its configuration and runs it.
//
// Life cycle: New checks what can be checked without the network and makes the parts; Run waits for the broker, reads the
// internal topics, opens the port, joins the cluster, and serves until its context ends or something fails for good.
// Whatever has been started is stopped in the reverse order: the worker leaves the cluster first, so that no new work
// arrives, then its instances end, then the port closes.
package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/api"
	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/catalog"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/cluster/node"
	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/metrics"
	"github.com/functions-worker/functions-worker/internal/packages"
	"github.com/functions-worker/functions-worker/internal/runtime/kubernetes"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
	"github.com/functions-worker/functions-worker/internal/supervisor"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// App is one worker.
type App struct {
	cfg *config.Worker
	log *zap.Logger

	client     pulsar.Client
	admin      *broker.Admin
	node       *node.Node
	factory    runtime.Factory
	pods       *kubernetes.Factory // the factory when functions run in Kubernetes
	cleanup    *cleanup.Service
	supervisor *supervisor.Supervisor
	api        *api.Server
	trigger    *api.PulsarTrigger
	state      stateStore // nil: functions have no state
	metrics    *metrics.Worker
	security   *security
	sweeper    sweeper // nil when the store leaves nothing behind
	programs   *instance.Programs
	unload     func(context.Context) // of the programs
	openState  instance.OpenState    // nil: functions in this process have no state
	started    time.Time
	uploads    string // directory of uploads under way
}

// New makes the parts of a worker; started is when the process began. Nothing is started and no network is used.
func New(cfg *config.Worker, log *zap.Logger, started time.Time, ext Extensions) (_ *App, err error) {
	if err := Supported(cfg); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: log, started: started}
	defer func() {
		if err != nil {
			if a.factory != nil {
				_ = a.factory.Close(context.Background()) // it has nothing running yet
			}
			a.close()
		}
	}()
	towards := BrokerConfig(cfg)
	if a.client, err = broker.NewClient(towards, log.Named("pulsar")); err != nil {
		return nil, fmt.Errorf("making the Pulsar client: %w", err)
	}
	if a.admin, err = broker.NewAdmin(towards, log.Named("admin")); err != nil {
		return nil, fmt.Errorf("making the admin client: %w", err)
	}
	peers, err := broker.NewHTTPClient(towards)
	if err != nil {
		return nil, fmt.Errorf("making the client for other workers: %w", err)
	}
	a.metrics = a.newMetrics(cfg)
	observed := observer{a.metrics}
	if a.security, err = newSecurity(cfg, a.admin, a.metrics.Registry(), log); err != nil {
		return nil, err
	}
	if a.node, err = a.newNode(peers, observed); err != nil {
		return nil, fmt.Errorf("making the cluster node: %w", err)
	}
	if err = a.newState(); err != nil {
		return nil, err
	}
	host, err := NewWASMHost(context.Background(), cfg, log.Named("wasm"))
	if err != nil {
		return nil, err
	}
	if a.programs, a.unload, err = NewPrograms(host, ext.Functions); err != nil {
		return nil, err
	}
	files, err := a.newFiles(peers)
	if err != nil {
		return nil, err
	}
	if a.factory, err = a.newFactory(ext.Runtimes); err != nil {
		return nil, err
	}
	if a.cleanup, err = a.newCleanup(withTokens{files.store, a.pods}); err != nil {
		return nil, err
	}
	if a.pods != nil && cfg.AuthenticationEnabled && cfg.Computed.FunctionAuth == config.FunctionAuthSecret {
		a.security.podTokens = &podTokens{secrets: a.pods, cleanups: a.cleanup, log: log.Named("credentials")}
	}
	a.supervisor, err = supervisor.New(supervisor.Options{
		Cluster: a.node, Factory: a.factory, Packages: files.fetcher, Cleaner: a.cleanup,
		Restart:        supervisor.RestartPolicy{Initial: cfg.Go.RestartBackoffInitial, Max: cfg.Go.RestartBackoffMax, StableAfter: cfg.Go.RestartBackoffReset},
		ParallelStarts: cfg.Computed.StartParallelism, StopTimeout: 2 * cfg.Go.InstanceStopTimeout,
		CallTimeout: cfg.Go.InstanceCallTimeout, ScrapeTimeout: cfg.Go.ScrapeTimeout, Log: log.Named("supervisor"), Observer: observed,
	})
	if err != nil {
		return nil, err
	}
	a.api, err = a.newAPI(files, peers, a.metrics)
	return a, err
}

// Supported refuses what the configuration may say but this worker cannot do, instead of doing something else.
func Supported(cfg *config.Worker) error {
	switch {
	case cfg.StateStorageServiceURL != "" && cfg.Computed.State != config.StateBookKeeper:
		return fmt.Errorf("stateStorageProviderImplementation: %s is not available in this worker; leave the key blank and name BookKeeper's table service "+
			"in stateStorageServiceUrl, or leave that blank for functions without state", cfg.StateStorageProviderImplementation)
	}
	return supportedSecurity(cfg)
}

// BrokerConfig is how the worker reaches the broker.
func BrokerConfig(cfg *config.Worker) broker.Config {
	return broker.Config{
		ServiceURL: cfg.PulsarServiceURL, WebServiceURL: cfg.PulsarWebServiceURL,
		AuthPlugin: cfg.Computed.BrokerAuth.Plugin, AuthParams: cfg.Computed.BrokerAuth.Params,
		TrustCertsFile: cfg.Computed.Files.BrokerTrustCerts, UseTLS: cfg.UseTLS,
		AllowInsecure: cfg.TLSAllowInsecureConnection, HostnameVerification: cfg.TLSEnableHostnameVerification,
	}
}

func (a *App) newNode(peers *http.Client, observer cluster.Observer) (*node.Node, error) {
	cfg := a.cfg
	return node.New(node.Options{
		Self:      cluster.WorkerInfo{WorkerID: cfg.WorkerID, Hostname: cfg.WorkerHostname, Port: cfg.Computed.Port},
		Namespace: cfg.PulsarFunctionsNamespace, PulsarCluster: cfg.PulsarFunctionsCluster,
		MetadataTopic: cfg.FunctionMetadataTopicName, CoordinationTopic: cfg.ClusterCoordinationTopicName, AssignmentTopic: cfg.FunctionAssignmentTopicName,
		CompactedMetadata: cfg.UseCompactedMetadataTopic, ExternallyManaged: cfg.Computed.Runtime == config.RuntimeKubernetes,
		Client: a.client, Admin: a.admin, HTTP: peers, TLS: cfg.Computed.TLS,
		FailureCheck: milliseconds(cfg.FailureCheckFreqMs), RescheduleTimeout: milliseconds(cfg.RescheduleTimeoutMs),
		RebalanceCheck: time.Duration(cfg.RebalanceCheckFreqSec) * time.Second, DrainProbe: time.Duration(cfg.WorkerListProbeIntervalSec) * time.Second,
		Compaction: time.Duration(cfg.TopicCompactionFrequencySec) * time.Second,
		Observer:   observer, Log: a.log.Named("cluster"),
	})
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// files are the parts that keep and find packages.
type files struct {
	store   packages.Store
	fetcher *packages.Fetcher
	urls    *packages.URLPolicy
	catalog *catalog.Catalog
	temp    string
}

func (a *App) newFiles(peers *http.Client) (*files, error) {
	cfg := a.cfg
	f := &files{temp: filepath.Join(cfg.Computed.Files.TempDirectory, "functions-worker-"+cfg.WorkerID)}
	a.uploads = f.temp
	var err error
	switch cfg.Computed.PackageStore {
	case "broker":
		f.store = packages.NewBrokerStore(a.admin)
	case "filesystem":
		if f.store, err = packages.NewFileStore(cfg.Computed.Files.PackageDirectory); err != nil {
			return nil, fmt.Errorf("goWorker.packageDirectory: %w", err)
		}
	default:
		topics := packages.NewTopicStore(a.client, a.admin, cfg.PulsarFunctionsNamespace, a.log.Named("packages"))
		f.store, a.sweeper = topics, topics
	}
	f.urls, err = packages.NewURLPolicy(packages.URLPolicyConfig{
		ConnectorsDirectory: cfg.Computed.Files.ConnectorsDirectory, FunctionsDirectory: cfg.Computed.Files.FunctionsDirectory,
		ReferenceConnectors: cfg.EnableReferencingConnectorDirectoryFiles, ReferenceFunctions: cfg.EnableReferencingFunctionsDirectoryFiles,
		ConnectorPatterns: cfg.AdditionalEnabledConnectorURLPatterns, FunctionPatterns: cfg.AdditionalEnabledFunctionsURLPatterns,
	})
	if err != nil {
		return nil, err
	}
	networks, err := packages.ParseNetworks(cfg.Go.PackageURLNetworks)
	if err != nil {
		return nil, fmt.Errorf("goWorker.packageUrlNetworks: %w", err)
	}
	f.catalog = catalog.New(cfg.Computed.Files.ConnectorsDirectory, cfg.Computed.Files.FunctionsDirectory, a.log.Named("catalog"))
	f.catalog.Compiled(compiledIn(a.programs)...)
	f.catalog.CompiledConnectors(compiledConnectors(a.programs)...)
	f.fetcher, err = packages.NewFetcher(packages.FetcherConfig{
		DownloadDirectory: cfg.Computed.Files.DownloadDirectory, Store: f.store, Service: a.admin, Builtins: f.catalog, URLs: f.urls, Networks: networks,
		MaxSize: int64(cfg.Go.MaxPackageSize), Peers: a.peerAddresses, PeerClient: peers, Log: a.log.Named("packages"),
		Private: cfg.Computed.Runtime != config.RuntimeKubernetes && process.SeparateUsers(cfg.Go.FunctionUser),
	})
	return f, err
}

// peerAddresses are the base URLs of the other members, who may have packages that only they can read.
func (a *App) peerAddresses(ctx context.Context) ([]string, error) {
	members, err := a.node.Members(ctx)
	if err != nil {
		return nil, err
	}
	scheme := "http://"
	if a.cfg.Computed.TLS {
		scheme = "https://"
	}
	var urls []string
	for _, m := range members {
		if m.WorkerID != a.cfg.WorkerID {
			urls = append(urls, scheme+net.JoinHostPort(m.Hostname, fmt.Sprint(m.Port)))
		}
	}
	return urls, nil
}

// emptyUploads removes the uploads of an earlier life of this worker; to be called when it is sure that no other worker
// with this id is alive.
func (a *App) emptyUploads() error {
	if err := os.RemoveAll(a.uploads); err != nil {
		return fmt.Errorf("emptying the directory for uploads (goWorker.tempDirectory): %w", err)
	}
	if err := os.MkdirAll(a.uploads, 0o700); err != nil {
		return fmt.Errorf("making the directory for uploads (goWorker.tempDirectory): %w", err)
	}
	return nil
}

func (a *App) close() {
	if a.trigger != nil {
		a.trigger.Close()
	}
	if a.security != nil {
		if err := a.security.close(); err != nil {
			a.log.Warn("the audit log could not be closed", zap.Error(err))
		}
	}
	if a.state != nil {
		if err := a.state.Close(); err != nil {
			a.log.Warn("the client of the state store could not be closed", zap.Error(err))
		}
	}
	if a.unload != nil {
		a.unload(context.Background())
	}
	if a.client != nil {
		a.client.Close()
	}
	if a.admin != nil {
		a.admin.Close()
	}
}
