package kubernetes

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/functions-worker/functions-worker/pkg/runtime"
)

type state int

const (
	fresh state = iota
	failed
	started
	over
)

// run is a function in the cluster. Stop deletes its objects, Detach leaves them to others.
type run struct {
	f           *Factory
	want        objects
	parallelism int32

	life sync.Mutex // held by Start and Stop

	mu      sync.Mutex
	state   state
	conns   map[int32]*grpc.ClientConn
	trouble string // what the reconciliation met last; "" = all is well
	exit    runtime.Exit
	done    chan struct{}
}

var (
	_ runtime.Runtime  = (*run)(nil)
	_ runtime.Detacher = (*run)(nil)
	_ runtime.Multi    = (*run)(nil)
)

var (
	errNotAlive = errors.New("Not alive") //lint:ignore ST1005 the text of the Java worker
	errAgain    = errors.New("it was started or stopped before")
)

// Start makes the cluster hold the objects. A failed start deletes nothing: what is there may be running.
func (r *run) Start(ctx context.Context) error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.current() != fresh {
		return errAgain
	}
	err := r.f.apply(ctx, r.want)
	if err == nil {
		err = r.f.begin(r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == over: // let go of meanwhile
		r.f.end(r)
		if err == nil {
			err = errAgain
		}
	case err != nil:
		r.state, r.exit.Reason = failed, err.Error()
	default:
		r.state = started
	}
	return err
}

// Stop deletes the objects and waits until they have gone. After a failed start it deletes nothing.
func (r *run) Stop(ctx context.Context) error {
	r.life.Lock()
	defer r.life.Unlock()
	before := r.current()
	if before == over {
		return nil
	}
	r.f.end(r) // nobody repairs what is being deleted
	var err error
	reason := "deleted"
	if before == failed {
		reason = ""
	} else if err = r.f.remove(ctx, r.want); err != nil {
		reason = "not deleted: " + err.Error()
	}
	r.finish(reason)
	return err
}

// Detach lets go without a request.
func (r *run) Detach() {
	r.f.end(r)
	r.finish("left to the next worker")
}

func (r *run) finish(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == over {
		return
	}
	r.state = over
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
	r.exit.Time, r.exit.Asked = time.Now(), true
	if reason != "" {
		r.exit.Reason = reason
	}
	close(r.done)
}

func (r *run) current() state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Done is closed by Stop and Detach only: the cluster keeps the instances alive.
func (r *run) Done() <-chan struct{} { return r.done }

// Exit says how it ended.
func (r *run) Exit() runtime.Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit
}

// Status tells whether the function is in the cluster; StatusOf asks one instance.
func (r *run) Status(context.Context) (*runtime.FunctionStatus, error) {
	if r.current() != started {
		return nil, errNotAlive
	}
	return &runtime.FunctionStatus{Running: true}, nil
}

// Metrics has no numbers for all instances together; MetricsOf asks one.
func (r *run) Metrics(context.Context) (*runtime.MetricsData, error) {
	if r.current() != started {
		return nil, errNotAlive
	}
	return &runtime.MetricsData{}, nil
}

// Scrape writes nothing: pods are scraped where they run.
func (r *run) Scrape(context.Context, io.Writer) error {
	if r.current() != started {
		return errNotAlive
	}
	return nil
}
