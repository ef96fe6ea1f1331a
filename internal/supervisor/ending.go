package supervisor

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// stop ends one run. It is not cut short by the change that caused it.
func (t *task) stop(rt runtime.Runtime, spec *pb.Instance) {
	if t.letGo(rt, spec) {
		return
	}
	t.set(func(v *view) { v.phase, v.message = Stopping, "" })
	ctx, cancel := context.WithTimeout(context.Background(), t.s.o.StopTimeout)
	defer cancel()
	if err := rt.Stop(ctx); err != nil {
		t.logger().Error("instance could not be stopped", zap.Error(err))
	}
	select {
	case <-rt.Done():
	case <-ctx.Done():
	}
}

// letGo detaches from an instance that another system keeps alive, when the worker shuts down, when the instance is no
// longer assigned here (whether it is to be deleted is decided when it is known that its function is gone), or when it
// has changed: the next start changes it in place. A restart without a change ends it.
func (t *task) letGo(rt runtime.Runtime, spec *pb.Instance) bool {
	d, ok := rt.(runtime.Detacher)
	if !ok || !t.s.o.Factory.ExternallyManaged() {
		return false
	}
	wanted := t.wanted()
	changed := wanted != nil && pb.WantsToRun(wanted) && !proto.Equal(wanted, spec)
	if t.root.Err() == nil && wanted != nil && !changed {
		return false
	}
	d.Detach()
	return true
}

func (t *task) removeFiles(spec *pb.Instance) {
	if t.s.o.Factory.ExternallyManaged() {
		return
	}
	if err := t.s.o.Packages.Remove(spec.GetFunctionMetaData().GetFunctionDetails(), spec.GetInstanceId()); err != nil {
		t.logger().Warn("the files of the instance could not be removed", zap.Error(err))
	}
}

// goAway ends what a no longer assigned instance leaves: files, and if its function is gone for good, what it has in the broker.
// It gives up when ctx ends: the instance was assigned here again, or the worker shuts down.
func (t *task) goAway(ctx context.Context) {
	t.mu.Lock()
	spec := t.last
	t.mu.Unlock()
	d := spec.GetFunctionMetaData().GetFunctionDetails()
	t.set(func(v *view) { *v = view{phase: Cleaning} })
	t.removeFiles(spec)
	gone := func(ctx context.Context) (bool, error) {
		return t.s.o.Cluster.GoneForGood(ctx, pb.FullyQualifiedName(d))
	}
	yes, ok := t.ask(ctx, gone)
	if !ok || !yes {
		return
	}
	if t.s.o.Factory.ExternallyManaged() {
		t.deleteExternal(ctx, spec)
	}
	if t.s.o.Cleaner != nil {
		t.s.o.Cleaner.Clean(ctx, spec.GetFunctionMetaData())
	}
}

// ask repeats a question to the cluster until it is answered or ctx ends.
func (t *task) ask(ctx context.Context, question func(context.Context) (bool, error)) (answer, ok bool) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		yes, err := question(ctx)
		if err == nil {
			return yes, true
		}
		t.logger().Warn("cannot tell yet whether the function is deleted", zap.Error(err), zap.Duration("retryIn", wait))
		sleep(ctx, wait)
	}
	return false, false
}

// deleteExternal ends an instance that another system keeps alive, through a runtime made for that purpose, and tries
// again until it has succeeded or ctx ends.
func (t *task) deleteExternal(ctx context.Context, spec *pb.Instance) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		rt, err := t.s.o.Factory.New(runtime.Instance{Spec: spec})
		if err != nil {
			t.logger().Error("a function cannot be removed from the runtime", zap.Error(err))
			return
		}
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.s.o.StopTimeout)
		err = rt.Stop(stopping)
		cancel()
		if err == nil {
			t.set(func(v *view) { v.message = "" })
			return
		}
		t.logger().Error("a function could not be removed from the runtime", zap.Error(err), zap.Duration("retryIn", wait))
		t.set(func(v *view) { v.message = "not removed from the runtime yet: " + err.Error() })
		sleep(ctx, wait)
	}
}
