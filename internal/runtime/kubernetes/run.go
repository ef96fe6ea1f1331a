package kubernetes

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/functions-worker/functions-worker/internal/pb"
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
	f    *Factory
	meta *pb.FunctionMetaData // shared with the rest of the worker

	life sync.Mutex // held by Start and Stop

	mu      sync.Mutex
	place   objectKey // of the objects; does not change once they are there
	options *Options  // with which the objects are built, anew each time that they are needed: they are larger than all else here
	port    int       // of the instances' control service
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
	err := r.launch(ctx)
	if r.started(err) {
		return err
	}
	r.f.end(r)
	if err == nil {
		err = errAgain
	}
	return err
}

// started records how the start went; false when the run was let go of meanwhile.
func (r *run) started(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == over:
		return false
	case err != nil:
		r.state, r.exit.Reason = failed, err.Error()
	default:
		r.state = started
	}
	return true
}

func (r *run) launch(ctx context.Context) error {
	if err := r.f.firstSettings(ctx); err != nil {
		return err
	}
	if err := r.f.findWorkerImage(ctx, r.meta); err != nil {
		return err
	}
	o := r.f.settings.get()
	want, err := o.build(r.meta) // New may not wait for the settings
	if err != nil {
		return err
	}
	r.wish(o, want)
	if err := r.f.apply(ctx, want); err != nil {
		return err
	}
	return r.f.begin(r, want)
}

// wish makes the objects that these options give the wanted ones.
func (r *run) wish(o *Options, want objects) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options, r.place = o, want.place()
	if r.port != want.port {
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.port, r.conns = want.port, nil
	}
}

// wanted builds the objects. It has succeeded before with these options.
func (r *run) wanted() (objects, error) {
	r.mu.Lock()
	o, place := r.options, r.place
	r.mu.Unlock()
	return o.at(place).build(r.meta)
}

func (r *run) where() objectKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.place
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
	} else if err = r.remove(ctx); err != nil {
		reason = "not deleted: " + err.Error()
	}
	r.finish(reason)
	return err
}

func (r *run) remove(ctx context.Context) error {
	want, err := r.wanted()
	if err != nil {
		return err
	}
	return r.f.remove(ctx, want)
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
