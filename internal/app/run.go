package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"
)

// Run serves until ctx ends (then nil is returned) or something fails for good.
func (a *App) Run(ctx context.Context) (err error) {
	defer a.close()
	var stops stack
	defer func() {
		// What is under way gets its time to end, whatever ended Run.
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Go.ShutdownTimeout)
		defer cancel()
		err = errors.Join(err, stops.run(stopping, a.log))
		a.log.Info("stopped")
	}()

	stops.push("closing the process runtime", a.factory.Close)
	stops.push("ending the cluster node", a.node.Stop)
	if err := a.node.Start(ctx); err != nil {
		return ended(ctx, fmt.Errorf("starting: %w", err))
	}
	stops.push("ending the clean-up", a.startCleanup(ctx))

	listener, err := a.listen(ctx)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		if err := a.api.Serve(context.WithoutCancel(ctx), listener, nil); err != nil {
			failed <- err
		}
	}()
	stops.push("closing the port", func(ctx context.Context) error {
		err := a.api.Shutdown(ctx)
		<-serving
		return err
	})

	instances, stopInstances := context.WithCancel(context.WithoutCancel(ctx))
	supervised := make(chan struct{})
	go func() {
		defer close(supervised)
		if err := a.supervisor.Run(instances); err != nil {
			failed <- err
		}
	}()
	stops.push("stopping the instances", func(ctx context.Context) error {
		stopInstances()
		select {
		case <-supervised:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})

	sweeping := make(chan struct{})
	go func() { // ends with instances
		defer close(sweeping)
		a.sweep(instances)
	}()
	stops.push("ending the sweep of package topics", func(context.Context) error {
		stopInstances()
		<-sweeping
		return nil
	})

	stops.push("leaving the cluster", a.node.Leave)
	if err := a.node.Join(ctx); err != nil {
		return ended(ctx, fmt.Errorf("joining the cluster: %w", err))
	}
	a.metrics.Started(time.Since(a.started))
	a.log.Info("the worker is ready", zap.String("workerId", a.cfg.WorkerID), zap.Stringer("address", listener.Addr()), zap.Duration("took", time.Since(a.started)))

	select {
	case <-ctx.Done():
		a.log.Info("asked to stop")
		return nil
	case err := <-failed:
		return err
	}
}

// ended hides an error that only says that the caller wanted to stop.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *App) listen(ctx context.Context) (net.Listener, error) {
	address := net.JoinHostPort(a.cfg.Go.ListenAddress, fmt.Sprint(*a.cfg.WorkerPort))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening the port (workerPort %d): %w", *a.cfg.WorkerPort, err)
	}
	return listener, nil
}

// stack holds what has been started, so that it is stopped last in, first out.
type stack struct{ steps []step }

type step struct {
	what string
	do   func(context.Context) error
}

func (s *stack) push(what string, do func(context.Context) error) {
	s.steps = append(s.steps, step{what, do})
}

// run takes every step, also after one has failed.
func (s *stack) run(ctx context.Context, log *zap.Logger) error {
	var all error
	for i := len(s.steps) - 1; i >= 0; i-- {
		began := time.Now()
		if err := s.steps[i].do(ctx); err != nil {
			log.Warn("not stopped as it should be", zap.String("step", s.steps[i].what), zap.Error(err))
			all = errors.Join(all, fmt.Errorf("%s: %w", s.steps[i].what, err))
		}
		if took := time.Since(began); took > time.Second {
			log.Info("a slow step of stopping", zap.String("step", s.steps[i].what), zap.Duration("took", took))
		}
	}
	return all
}
