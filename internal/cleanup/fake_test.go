package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// memoryQueue is a topic with one failover subscription, for several workers.
type memoryQueue struct {
	mu      sync.Mutex
	entries [][]byte // nil: done
	active  *memoryEnd
	changed chan struct{}
	putErr  error
	ackErr  error
}

func newMemoryQueue() *memoryQueue { return &memoryQueue{changed: make(chan struct{})} }

func (q *memoryQueue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *memoryQueue) set(change func(*memoryQueue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q)
	q.wake()
}

// left is how many entries are not done.
func (q *memoryQueue) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(q.entries), func(e []byte) bool { return e == nil }))
}

// end is one worker's end of the queue. The latest one that is opened or activated is the receiver.
func (q *memoryQueue) end() *memoryEnd {
	e := &memoryEnd{q: q}
	q.activate(e)
	return e
}

func (q *memoryQueue) activate(e *memoryEnd) {
	q.set(func(q *memoryQueue) { q.active, e.next = e, 0 })
}

type memoryEnd struct {
	q    *memoryQueue
	next int // entry to deliver
}

func (e *memoryEnd) Put(_ context.Context, data []byte) error {
	e.q.mu.Lock()
	defer e.q.mu.Unlock()
	if e.q.putErr != nil {
		return e.q.putErr
	}
	e.q.entries = append(e.q.entries, data)
	e.q.wake()
	return nil
}

func (e *memoryEnd) Receive(ctx context.Context) (Item, error) {
	for {
		e.q.mu.Lock()
		changed := e.q.changed
		if e.q.active == e {
			for e.next < len(e.q.entries) {
				i := e.next
				e.next++
				if e.q.entries[i] != nil {
					defer e.q.mu.Unlock()
					return memoryItem{e, i, e.q.entries[i]}, nil
				}
			}
		}
		e.q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (e *memoryEnd) Receiving(context.Context) (bool, error) {
	e.q.mu.Lock()
	defer e.q.mu.Unlock()
	return e.q.active == e, nil
}

func (e *memoryEnd) Close() {}

type memoryItem struct {
	end  *memoryEnd
	at   int
	data []byte
}

func (i memoryItem) Data() []byte { return i.data }

func (i memoryItem) Done() error {
	q := i.end.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ackErr != nil {
		return q.ackErr
	}
	q.entries[i.at] = nil
	return nil
}

// Return is heard only from the receiver, as a broker does it.
func (i memoryItem) Return() {
	i.end.q.set(func(q *memoryQueue) {
		if q.active == i.end {
			i.end.next = 0
		}
	})
}

// fakeWorld is cluster, broker and package store.
type fakeWorld struct {
	mu         sync.Mutex
	functions  map[string]*pb.FunctionMetaData
	assigned   []*pb.FunctionMetaData
	catchUpErr error
	calls      []string
	answer     func(call string) error
}

func newFakeWorld() *fakeWorld { return &fakeWorld{functions: map[string]*pb.FunctionMetaData{}} }

func (f *fakeWorld) set(change func(*fakeWorld)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeWorld) register(meta *pb.FunctionMetaData) {
	f.set(func(f *fakeWorld) { f.functions[pb.FullyQualifiedName(meta.GetFunctionDetails())] = meta })
}

func (f *fakeWorld) remove(name string) { f.set(func(f *fakeWorld) { delete(f.functions, name) }) }

func (f *fakeWorld) CatchUp(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.catchUpErr
}

func (f *fakeWorld) AllFunctions() []*pb.FunctionMetaData {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*pb.FunctionMetaData
	for _, meta := range f.functions {
		all = append(all, meta)
	}
	return all
}

func (f *fakeWorld) Assignments() map[string]map[string]*pb.Assignment {
	f.mu.Lock()
	defer f.mu.Unlock()
	instances := map[string]*pb.Assignment{}
	for i, meta := range f.assigned {
		instances[fmt.Sprint(i)] = &pb.Assignment{WorkerId: "w", Instance: &pb.Instance{FunctionMetaData: meta}}
	}
	return map[string]map[string]*pb.Assignment{"w": instances}
}

func (f *fakeWorld) call(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	call := fmt.Sprintf(format, args...)
	f.calls = append(f.calls, call)
	if f.answer == nil {
		return nil
	}
	return f.answer(call)
}

// did are the calls so far, in order; those of different entries run side by side.
func (f *fakeWorld) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *fakeWorld) CreateSubscription(_ context.Context, topic, sub string, p broker.Position) error {
	return f.call("create %s %s latest=%t", topic, sub, p == broker.Latest)
}

func (f *fakeWorld) DeleteSubscription(_ context.Context, topic, sub string, force bool) error {
	return f.call("delete %s %s force=%t", topic, sub, force)
}

func (f *fakeWorld) UnsubscribeNamespace(_ context.Context, ns, sub string) error {
	return f.call("unsubscribe %s %s", ns, sub)
}

func (f *fakeWorld) DeleteTopic(_ context.Context, topic string, force bool) error {
	return f.call("delete topic %s force=%t", topic, force)
}

func (f *fakeWorld) Delete(_ context.Context, key string) error { return f.call("package %s", key) }

var errAway = errors.New("connection refused")

func code(c int) error { return &broker.Error{Op: "test", Code: c, Reason: "r"} }

// component is a function that consumes in with its default subscription and cleans up.
func component(createTime uint64, change ...func(*pb.FunctionMetaData)) *pb.FunctionMetaData {
	meta := &pb.FunctionMetaData{CreateTime: createTime, PackageLocation: &pb.PackageLocationMetaData{PackagePath: fmt.Sprintf("key%d", createTime)},
		FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f", ComponentType: pb.FunctionDetails_FUNCTION,
			Source: &pb.SourceSpec{CleanupSubscription: true, InputSpecs: map[string]*pb.ConsumerSpec{"in": {}}}}}
	for _, c := range change {
		c(meta)
	}
	return meta
}

// uploaded is a component whose package was uploaded for it.
func uploaded(createTime uint64) *pb.FunctionMetaData {
	return component(createTime, func(m *pb.FunctionMetaData) { m.PackageLocation.OriginalFileName = "x.py" })
}

func named(name string) func(*pb.FunctionMetaData) {
	return func(m *pb.FunctionMetaData) { m.FunctionDetails.Name = name }
}

func source(s *pb.SourceSpec) func(*pb.FunctionMetaData) {
	return func(m *pb.FunctionMetaData) {
		if m.FunctionDetails.Source = s; len(s.InputSpecs) == 0 {
			m.FunctionDetails.ComponentType = pb.FunctionDetails_SOURCE
		}
	}
}

const (
	unsubscribeIn = "delete persistent://public/default/in t/n/f force=false"
	batchConfigs  = `{"__BATCHSOURCECONFIGS__":"{}"}`
)
