package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/functions-worker/functions-worker/internal/gcpace"
	"github.com/functions-worker/functions-worker/internal/listener"
)

// Run serves until ctx ends (then nil is returned) or something fails for good.
func (a *App) Run(ctx context.Context) (err error) {
	defer a.close()
	defer gcpace.Start()()
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
	if err := a.emptyUploads(); err != nil {
		return err
	}
	stops.push("ending the clean-up", a.startCleanup(ctx))

	ports, err := a.listen(ctx)
	if err != nil {
		return err
	}
	failed := make(chan error, len(ports)+1)
	var serving sync.WaitGroup
	for _, p := range ports {
		serving.Go(func() {
			if err := a.api.Serve(context.WithoutCancel(ctx), p.listener, p.tls); err != nil {
				failed <- err
			}
		})
	}
	stops.push("closing the ports", func(ctx context.Context) error {
		err := a.api.Shutdown(ctx)
		serving.Wait()
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

	stops.push("ending the sweep of Kubernetes objects", a.startSweep(ctx))
	stops.push("ending the look at the rights in Kubernetes", a.startTokenCheck(ctx))
	stops.push("ending the look at the rights in the broker", a.startRightsCheck(ctx))

	stops.push("leaving the cluster", a.node.Leave)
	if err := a.node.Join(ctx); err != nil {
		return ended(ctx, fmt.Errorf("joining the cluster: %w", err))
	}
	a.metrics.Started(time.Since(a.started))
	a.log.Info("the worker is ready", zap.String("workerId", a.cfg.WorkerID), zap.Array("addresses", ports), zap.Duration("took", time.Since(a.started)))

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

// port is one open listener of the API; tls is nil for plain HTTP.
type port struct {
	listener net.Listener
	tls      *tls.Config
}

type ports []port

// MarshalLogArray names the addresses.
func (ps ports) MarshalLogArray(e zapcore.ArrayEncoder) error {
	for _, p := range ps {
		e.AppendString(p.listener.Addr().String())
	}
	return nil
}

// listen opens the plain port, the TLS port, or both: all or none.
func (a *App) listen(ctx context.Context) (open ports, err error) {
	defer func() {
		if err != nil {
			for _, p := range open {
				_ = p.listener.Close()
			}
			open = nil
		}
	}()
	one := func(key string, number int, conf *tls.Config) error {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(a.cfg.Go.ListenAddress, fmt.Sprint(number)))
		if err != nil {
			return fmt.Errorf("opening the port (%s %d): %w", key, number, err)
		}
		if a.cfg.WebServiceHaProxyProtocolEnabled {
			l = listener.WithProxyHeaders(l)
		}
		open = append(open, port{l, conf})
		return nil
	}
	if a.cfg.WorkerPort != nil {
		if err := one("workerPort", *a.cfg.WorkerPort, nil); err != nil {
			return open, err
		}
	}
	if a.security != nil && a.security.tls != nil {
		if err := one("workerPortTls", *a.cfg.WorkerPortTLS, a.security.tls.Config()); err != nil {
			return open, err
		}
	}
	return open, nil
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
