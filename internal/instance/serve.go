package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// ErrOrphaned ends Serve when the worker that promised health checks has stopped calling.
var ErrOrphaned = errors.New("the worker has not asked for the health of this instance for three intervals; it is taken as gone")

// ErrConfig marks errors in what the instance was told: starting it again will not help.
var ErrConfig = errors.New("the instance's configuration cannot be used")

const readHeaderTimeout = 5 * time.Second

// ServeOptions are what an instance is given beyond its configuration.
type ServeOptions struct {
	// State gives the function its state; nil: it is not enabled.
	State OpenState
	// MaxConcurrency is Options.MaxConcurrency.
	MaxConcurrency int
	// KeysDirectory has the keys of end-to-end encryption (NewKeyFiles).
	KeysDirectory string
}

// Serve runs an instance as a process does: control service and metrics endpoint first, then the engine with a
// client of its own, until ctx ends (nil), the engine fails, or the worker is gone (ErrOrphaned).
func Serve(ctx context.Context, cfg *Config, program Program, o ServeOptions, log *zap.Logger) error {
	if cfg.DetailsError != nil {
		log.Warn("reading the instance configuration", zap.Error(cfg.DetailsError))
	}
	towards := broker.Config{
		ServiceURL: cfg.ServiceURL, WebServiceURL: cfg.WebServiceURL, AuthPlugin: cfg.AuthPlugin, AuthParams: cfg.AuthParams, TrustCertsFile: cfg.TrustCertsFile,
		AllowInsecure: cfg.AllowInsecure, HostnameVerification: cfg.HostnameVerification,
	}
	client, err := broker.NewClient(towards, log)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer client.Close()
	hostname, _ := os.Hostname() // only told to the broker
	schemas := SchemasOf(program)
	schemas.Lookup = AdminSchemas(towards)
	opts := Options{Config: cfg, Program: program, Client: NewPulsarClient(client, schemas, log).WithKeys(NewKeyFiles(o.KeysDirectory, cfg.Details)), Log: log, Hostname: hostname,
		MaxConcurrency: o.MaxConcurrency}
	if o.State != nil {
		d := cfg.Details
		opts.State = o.State(d.GetTenant(), d.GetNamespace(), d.GetName())
	}
	engine, err := New(opts)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return serve(ctx, cfg, engine, log)
}

// serve is Serve with an engine.
func serve(ctx context.Context, cfg *Config, engine *Engine, log *zap.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	control, ready := NewControl(engine), health.NewServer()
	ready.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	stopControl, err := startControl(cfg.Port, control, ready)
	if err != nil {
		return err
	}
	defer stopControl()
	stopMetrics, err := startMetrics(cfg.MetricsPort, engine)
	if err != nil {
		return err
	}
	defer stopMetrics()
	var watchdog sync.WaitGroup
	defer watchdog.Wait()
	defer cancel(nil)
	if cfg.HealthInterval > 0 {
		watchdog.Go(func() {
			if control.Watch(ctx, cfg.HealthInterval) {
				cancel(ErrOrphaned)
			}
		})
	}
	watchdog.Go(func() {
		select {
		case <-engine.Started():
			ready.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
			log.Info("instance started", zap.String("function", pb.FullyQualifiedName(cfg.Details)), zap.Int("instance", cfg.InstanceID))
		case <-ctx.Done():
		}
	})
	if err := engine.Run(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrOrphaned) {
		return cause
	}
	return nil
}

// startControl serves the control service, and the one that probes of Kubernetes ask, on all interfaces; a port of 0 or less
// turns it off.
func startControl(port int, control pb.InstanceControlServer, ready healthpb.HealthServer) (stop func(), err error) {
	if port <= 0 {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return nil, fmt.Errorf("opening the control port: %w", err)
	}
	server := grpc.NewServer()
	pb.RegisterInstanceControlServer(server, control)
	healthpb.RegisterHealthServer(server, ready)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // ends with Stop
	return func() {
		server.Stop()
		serving.Wait()
	}, nil
}

// startMetrics serves the metrics in Prometheus text at / and /metrics.
func startMetrics(port int, engine *Engine) (stop func(), err error) {
	if port <= 0 {
		return func() {}, nil
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(engine.stats); err != nil {
		return nil, fmt.Errorf("registering the metrics: %w", err)
	}
	// with the labels of the instance, as the worker puts the texts of all its instances together
	process := prometheus.WrapRegistererWith(engine.stats.Labels(), registry)
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return nil, fmt.Errorf("opening the metrics port: %w", err)
	}
	mux := http.NewServeMux()
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	mux.Handle("GET /{$}", handler)
	mux.Handle("GET /metrics", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // ends with Close
	return func() {
		_ = server.Close()
		serving.Wait()
	}, nil
}
