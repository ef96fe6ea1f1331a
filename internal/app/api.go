package app

import (
	"net/http"
	"time"

	"github.com/functions-worker/functions-worker/internal/api"
	"github.com/functions-worker/functions-worker/internal/component"
	"github.com/functions-worker/functions-worker/internal/metrics"
)

// pulsarVersion is what GET /version answers: the release whose worker this one stands in for.
const pulsarVersion = "4.0.8"

func (a *App) newAPI(f *files, peers *http.Client, page *metrics.Worker) (*api.Server, error) {
	cfg := a.cfg
	codecs := component.Options{ForwardSourceMessageProperty: cfg.ForwardSourceMessageProperty, CompiledIn: f.catalog.IsCompiled, CompiledConnector: f.catalog.CompiledConnector}
	limits := api.Limits{MaxConcurrentRequests: cfg.MaxConcurrentHTTPRequests, MaxConnections: cfg.MaxHTTPServerConnections}
	if cfg.HTTPRequestsLimitEnabled {
		limits.RequestsPerSecond = cfg.HTTPRequestsMaxPerSecond
	}
	a.trigger = api.NewPulsarTrigger(a.client, a.admin, cfg.WorkerID)
	options := api.Options{
		Cluster: a.node, Instances: a.supervisor, Runtime: a.factory, Broker: a.admin,
		Store: api.StorePackages(f.store), Cleanups: a.cleanup, Packages: api.OpenPackages(f.fetcher), URLs: f.urls, Catalog: f.catalog,
		Codecs: api.Codecs(codecs), CheckPackage: checkPackage(WASMLimits(cfg), a.podHost()),
		Trigger: a.trigger, Metrics: page, Peers: peers, Log: a.log.Named("api"),
		Version: pulsarVersion, FunctionsName: cfg.PulsarFunctionsCluster, PeerTLS: cfg.Computed.TLS,
		PeerTimeout: cfg.Go.InstanceCallTimeout + 2*time.Second, PackageManagement: cfg.FunctionsWorkerEnablePackageManagement,
		UploadBuiltins: cfg.UploadBuiltinSinksSources, TempDir: f.temp, MaxPackageSize: int64(cfg.Go.MaxPackageSize), Limits: limits,
	}
	if a.state != nil { // a nil pointer in the interface would be a store
		options.State = a.state
	}
	a.security.apply(&options, cfg)
	return api.New(options)
}
