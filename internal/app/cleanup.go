package app

import (
	"context"

	"github.com/functions-worker/functions-worker/internal/cleanup"
)

// newCleanup makes the part that removes what deleted functions leave. Its topic is named after the metadata topic,
// because clusters of their own may share a namespace, and one must not judge the entries of another.
func (a *App) newCleanup(store cleanup.Packages) (*cleanup.Service, error) {
	cfg, log := a.cfg, a.log.Named("cleanup")
	queue := cleanup.NewPulsar(cleanup.PulsarOptions{
		Client: a.client, Admin: a.admin, Worker: cfg.WorkerID, Log: log,
		Topic: "persistent://" + cfg.PulsarFunctionsNamespace + "/" + cfg.FunctionMetadataTopicName + "-cleanups",
	})
	return cleanup.New(cleanup.Options{Queue: queue, Cluster: a.node, Broker: a.admin, Packages: store, Worker: cfg.WorkerID, Log: log})
}

// startCleanup begins when both topics are read: what is superfluous is decided by them. The returned function ends it,
// after everything that may record something.
func (a *App) startCleanup(ctx context.Context) (stop func(context.Context) error) {
	return inBackground(ctx, a.cleanup.Run)
}

// inBackground runs something until the returned function is called, which waits for its end.
func inBackground(ctx context.Context, run func(context.Context)) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	return func(stopping context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-stopping.Done():
			return stopping.Err()
		}
	}
}
