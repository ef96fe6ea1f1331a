package state

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/functions-worker/functions-worker/internal/state/tablepb"
)

// fake is a table service in memory, with the real one's manners: a table's id never comes again, a new table is not
// routed at first, and a lost race is an INTERNAL_SERVER_ERROR.
type fake struct {
	tablepb.UnimplementedRootRangeServiceServer
	tablepb.UnimplementedTableServiceServer

	mu         sync.Mutex
	namespaces map[string]map[string]*fakeTable
	byID       map[int64]*fakeTable
	lastID     int64
	calls      map[string]int // full method name -> calls

	unrouted int // table calls that fail after a creation
	// fault is asked before each call, with how often the method was called before; nil error: go on.
	fault func(ctx context.Context, method string, before int) error
	// answer replaces the code of an answer when it gives one.
	answer func(method string, before int) tablepb.StatusCode
}

type fakeTable struct {
	props    *tablepb.StreamProperties
	unrouted int
	values   map[string]*tablepb.KeyValue
}

// startFake serves on a local port; stop ends it, and serve may be called again with the address.
func startFake(t *testing.T) (f *fake, address string) {
	t.Helper()
	f = &fake{namespaces: map[string]map[string]*fakeTable{}, byID: map[int64]*fakeTable{}, calls: map[string]int{}, lastID: 1023, unrouted: 2}
	stop, address := f.serve(t, "127.0.0.1:0")
	t.Cleanup(stop)
	return f, address
}

func (f *fake) serve(t *testing.T, address string) (stop func(), bound string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	server := grpc.NewServer(grpc.UnaryInterceptor(f.intercept))
	tablepb.RegisterRootRangeServiceServer(server, f)
	tablepb.RegisterTableServiceServer(server, f)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	return func() { server.Stop(); <-served }, listener.Addr().String()
}

func (f *fake) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	f.mu.Lock()
	before := f.calls[info.FullMethod]
	f.calls[info.FullMethod]++
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, info.FullMethod, before); err != nil {
			return nil, err
		}
	}
	return handle(ctx, req)
}

// code is what a call shall answer instead of being done.
func (f *fake) code(method string) tablepb.StatusCode {
	if f.answer == nil {
		return tablepb.StatusCode_SUCCESS
	}
	return f.answer(method, f.calls[method]-1)
}

func (f *fake) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *fake) faults(fault func(ctx context.Context, method string, before int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func meta(ctx context.Context, key string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get(key); len(values) == 1 {
		return values[0]
	}
	return ""
}

func (f *fake) checkRoot(ctx context.Context) error {
	if meta(ctx, "bk-rt-sc-id-bin") != eightBytes(0) {
		return status.Error(codes.InvalidArgument, "no container")
	}
	return nil
}

func (f *fake) CreateNamespace(ctx context.Context, r *tablepb.CreateNamespaceRequest) (*tablepb.CreateNamespaceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code := f.code(tablepb.RootRangeService_CreateNamespace_FullMethodName); code != 0 {
		return &tablepb.CreateNamespaceResponse{Code: code}, nil
	}
	if f.namespaces[r.GetName()] != nil {
		return &tablepb.CreateNamespaceResponse{Code: tablepb.StatusCode_INTERNAL_SERVER_ERROR}, nil
	}
	f.namespaces[r.GetName()] = map[string]*fakeTable{}
	return &tablepb.CreateNamespaceResponse{}, f.checkRoot(ctx)
}

func (f *fake) CreateStream(ctx context.Context, r *tablepb.CreateStreamRequest) (*tablepb.CreateStreamResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code := f.code(tablepb.RootRangeService_CreateStream_FullMethodName); code != 0 {
		return &tablepb.CreateStreamResponse{Code: code}, nil
	}
	tables := f.namespaces[r.GetNsName()]
	if tables == nil {
		return &tablepb.CreateStreamResponse{Code: tablepb.StatusCode_NAMESPACE_NOT_FOUND}, nil
	}
	if tables[r.GetName()] != nil {
		return &tablepb.CreateStreamResponse{Code: tablepb.StatusCode_INTERNAL_SERVER_ERROR}, nil
	}
	f.lastID++
	props := &tablepb.StreamProperties{StreamId: f.lastID, StreamName: r.GetName(), StreamConf: r.GetStreamConf()}
	tables[r.GetName()] = &fakeTable{props: props, unrouted: f.unrouted, values: map[string]*tablepb.KeyValue{}}
	f.byID[f.lastID] = tables[r.GetName()]
	return &tablepb.CreateStreamResponse{StreamProps: props}, f.checkRoot(ctx)
}

func (f *fake) DeleteStream(ctx context.Context, r *tablepb.DeleteStreamRequest) (*tablepb.DeleteStreamResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tables := f.namespaces[r.GetNsName()]
	if tables == nil {
		return &tablepb.DeleteStreamResponse{Code: tablepb.StatusCode_NAMESPACE_NOT_FOUND}, nil
	}
	if tables[r.GetName()] == nil {
		return &tablepb.DeleteStreamResponse{Code: tablepb.StatusCode_STREAM_NOT_FOUND}, nil
	}
	delete(tables, r.GetName())
	return &tablepb.DeleteStreamResponse{}, f.checkRoot(ctx)
}

func (f *fake) GetStream(ctx context.Context, r *tablepb.GetStreamRequest) (*tablepb.GetStreamResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code := f.code(tablepb.RootRangeService_GetStream_FullMethodName); code != 0 {
		return &tablepb.GetStreamResponse{Code: code}, nil
	}
	tables := f.namespaces[r.GetStreamName().GetNamespaceName()]
	if tables == nil {
		return &tablepb.GetStreamResponse{Code: tablepb.StatusCode_NAMESPACE_NOT_FOUND}, nil
	}
	table := tables[r.GetStreamName().GetStreamName()]
	if table == nil {
		return &tablepb.GetStreamResponse{Code: tablepb.StatusCode_STREAM_NOT_FOUND}, nil
	}
	return &tablepb.GetStreamResponse{StreamProps: table.props}, f.checkRoot(ctx)
}

// table finds the table of a call by its metadata, which must agree with the request.
func (f *fake) table(ctx context.Context, h *tablepb.RoutingHeader, key []byte) (*fakeTable, error) {
	sid := meta(ctx, "bk-rt-sid-bin")
	if len(sid) != 8 || meta(ctx, "bk-rt-key-bin") != string(key) || string(h.GetRKey()) != string(key) {
		return nil, status.Error(codes.InvalidArgument, "not routed")
	}
	id := int64(binary.BigEndian.Uint64([]byte(sid)))
	table := f.byID[id]
	if table == nil || h.GetStreamId() != id {
		return nil, status.Error(codes.InvalidArgument, "no such stream")
	}
	if table.unrouted > 0 {
		table.unrouted--
		return nil, status.Error(codes.NotFound, "")
	}
	return table, nil
}

func (f *fake) Range(ctx context.Context, r *tablepb.RangeRequest) (*tablepb.RangeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	table, err := f.table(ctx, r.GetHeader(), r.GetKey())
	if err != nil {
		return nil, err
	}
	answer := &tablepb.RangeResponse{Header: &tablepb.ResponseHeader{}}
	if kv := table.values[string(r.GetKey())]; kv != nil {
		answer.Kvs, answer.Count = []*tablepb.KeyValue{kv}, 1
	}
	return answer, nil
}

func (f *fake) Put(ctx context.Context, r *tablepb.PutRequest) (*tablepb.PutResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	table, err := f.table(ctx, r.GetHeader(), r.GetKey())
	if err != nil {
		return nil, err
	}
	if code := f.code(tablepb.TableService_Put_FullMethodName); code != 0 {
		return &tablepb.PutResponse{Header: &tablepb.ResponseHeader{Code: code}}, nil
	}
	version := int64(0)
	if old := table.values[string(r.GetKey())]; old != nil {
		version = old.GetVersion() + 1
		if old.GetIsNumber() {
			return &tablepb.PutResponse{Header: &tablepb.ResponseHeader{Code: tablepb.StatusCode_BAD_REQUEST}}, nil
		}
	}
	table.values[string(r.GetKey())] = &tablepb.KeyValue{Key: r.GetKey(), Value: r.GetValue(), Version: version}
	return &tablepb.PutResponse{Header: &tablepb.ResponseHeader{}}, nil
}

func (f *fake) Increment(ctx context.Context, r *tablepb.IncrementRequest) (*tablepb.IncrementResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	table, err := f.table(ctx, r.GetHeader(), r.GetKey())
	if err != nil {
		return nil, err
	}
	kv := &tablepb.KeyValue{Key: r.GetKey(), IsNumber: true, NumberValue: r.GetAmount()}
	if old := table.values[string(r.GetKey())]; old != nil && !old.GetIsNumber() {
		return &tablepb.IncrementResponse{Header: &tablepb.ResponseHeader{Code: tablepb.StatusCode_BAD_REQUEST}}, nil
	} else if old != nil {
		kv.NumberValue, kv.Version = old.GetNumberValue()+r.GetAmount(), old.GetVersion()+1
	}
	table.values[string(r.GetKey())] = kv
	return &tablepb.IncrementResponse{Header: &tablepb.ResponseHeader{}, TotalAmount: kv.GetNumberValue()}, nil
}

func (f *fake) Delete(ctx context.Context, r *tablepb.DeleteRangeRequest) (*tablepb.DeleteRangeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	table, err := f.table(ctx, r.GetHeader(), r.GetKey())
	if err != nil {
		return nil, err
	}
	answer := &tablepb.DeleteRangeResponse{Header: &tablepb.ResponseHeader{}}
	if table.values[string(r.GetKey())] != nil {
		delete(table.values, string(r.GetKey()))
		answer.Deleted = 1
	}
	return answer, nil
}

// Txn knows what the store uses: one condition and one put. A condition on a key without a value holds only when it
// compares with no value, as in the real service.
func (f *fake) Txn(ctx context.Context, r *tablepb.TxnRequest) (*tablepb.TxnResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	condition, put := r.GetCompare()[0], r.GetSuccess()[0].GetRequestPut()
	table, err := f.table(ctx, r.GetHeader(), condition.GetKey())
	if err != nil {
		return nil, err
	}
	old := table.values[string(condition.GetKey())]
	var holds bool
	if condition.GetTarget() == tablepb.Compare_VALUE {
		holds = old == nil
	} else {
		holds = old != nil && old.GetVersion() == condition.GetVersion()
	}
	answer := &tablepb.TxnResponse{Header: &tablepb.ResponseHeader{}, Succeeded: holds}
	if holds {
		kv := &tablepb.KeyValue{Key: put.GetKey(), Value: put.GetValue()}
		if old != nil {
			kv.Version = old.GetVersion() + 1
		}
		table.values[string(put.GetKey())] = kv
	}
	return answer, nil
}
