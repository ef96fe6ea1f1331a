package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/state/tablepb"
)

// Limits of one request. The service writes each put as one log record of at most 1 MiB - 8 KiB, with the key in it twice,
// and answers INTERNAL_SERVER_ERROR to more. Headers end at 8 KiB, and the key travels in one too, in base64.
const (
	maxRecord = 1<<20 - 8<<10 - 64
	maxKey    = 5 << 10
	maxAnswer = 8 << 20
)

// cleanupTimeout: somebody waits for the answer to a delete, which does not depend on this.
const cleanupTimeout = 5 * time.Second

// Settings of new tables: those of a Java worker.
const (
	tableRanges      = 4
	tableSplit       = 2
	tableSegmentSize = 128 << 20
)

// Options of a BookKeeper store.
type Options struct {
	URL string // stateStorageServiceUrl: bk://HOST:PORT, several hosts separated by commas
	// Timeout bounds one operation with all its attempts; 15 s when 0.
	Timeout time.Duration
	// CallTimeout bounds one attempt; 5 s when 0.
	CallTimeout time.Duration
	Log         *zap.Logger // nil: nothing is logged
}

// BookKeeper is a Store in BookKeeper's table service.
type BookKeeper struct {
	conn    *grpc.ClientConn
	streams tablepb.RootRangeServiceClient
	tables  tablepb.TableServiceClient
	opts    Options
}

var _ Store = (*BookKeeper)(nil)

// NewBookKeeper makes a store and does not connect yet. It fails on a URL that it cannot use.
func NewBookKeeper(o Options) (*BookKeeper, error) {
	addresses, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	conn, err := dial(addresses)
	if err != nil {
		return nil, err
	}
	return &BookKeeper{conn: conn, streams: tablepb.NewRootRangeServiceClient(conn), tables: tablepb.NewTableServiceClient(conn), opts: o}, nil
}

// dial makes the connection object; any of the hosts serves every table, so the first that answers is used.
func dial(addresses []string) (*grpc.ClientConn, error) {
	// Workers that are started with one configuration shall not all use one host.
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	hosts := manual.NewBuilderWithScheme("bk")
	var state resolver.State
	for _, a := range addresses {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: a})
	}
	hosts.InitialState(state)
	conn, err := grpc.NewClient("bk:///tables", grpc.WithResolvers(hosts), grpc.WithAuthority(addresses[0]),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause}, MinConnectTimeout: 5 * time.Second}),
		// Calls are too short for a ping; but this also bounds how long a silent peer keeps the connection.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("making the client of the table service: %w", err)
	}
	return conn, nil
}

// Close ends the connection; operations under way fail.
func (b *BookKeeper) Close() error { return b.conn.Close() }

// Ping asks the service for a table that need not exist.
func (b *BookKeeper) Ping(ctx context.Context) error {
	err := b.retry(ctx, func(ctx context.Context) error {
		_, err := b.open(ctx, "public_default", "functions-worker-ping")
		return err
	})
	if errors.Is(err, ErrNoTable) {
		return nil
	}
	return err
}

// Get implements Store.
func (b *BookKeeper) Get(ctx context.Context, tenant, namespace, name, key string) (value []byte, number *int64, version int64, err error) {
	if err := checkKey(key); err != nil {
		return nil, nil, 0, err
	}
	var found *tablepb.KeyValue
	err = b.retry(ctx, func(ctx context.Context) error {
		table, err := b.open(ctx, tableNamespace(tenant, namespace), name)
		if err != nil {
			return err
		}
		answer, err := b.tables.Range(routed(ctx, table, key), &tablepb.RangeRequest{Key: []byte(key), Header: header(table, key)})
		if err == nil {
			err = answered(answer.GetHeader().GetCode())
		}
		switch {
		case isAnswer(err, tablepb.StatusCode_KEY_NOT_FOUND), err == nil && len(answer.GetKvs()) == 0:
			return ErrNoKey
		case err != nil:
			return err
		}
		found = answer.GetKvs()[0]
		return nil
	})
	if err != nil {
		return nil, nil, 0, b.failed(err, "reading the state", tenant, namespace, name)
	}
	if found.GetIsNumber() {
		n := found.GetNumberValue()
		return binary.BigEndian.AppendUint64(nil, uint64(n)), &n, found.GetVersion(), nil
	}
	return found.GetValue(), nil, found.GetVersion(), nil
}

// Put implements Store.
func (b *BookKeeper) Put(ctx context.Context, tenant, namespace, name, key string, value []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if room := maxRecord - 2*len(key); len(value) > room {
		return fmt.Errorf("%w: the value has %d bytes, and at most %d are possible with this key", ErrLimit, len(value), room)
	}
	err := b.retry(ctx, func(ctx context.Context) error {
		table, err := b.openOrCreate(ctx, tableNamespace(tenant, namespace), name)
		if err != nil {
			return err
		}
		answer, err := b.tables.Put(routed(ctx, table, key), &tablepb.PutRequest{Key: []byte(key), Value: value, Header: header(table, key)})
		if err != nil {
			return err
		}
		return answered(answer.GetHeader().GetCode())
	})
	if isAnswer(err, tablepb.StatusCode_BAD_REQUEST) { // what it says to a put on a counter, and nothing else that passed the checks above
		err = ErrCounter
	}
	return b.failed(err, "writing the state", tenant, namespace, name)
}

// Delete implements Store.
func (b *BookKeeper) Delete(ctx context.Context, tenant, namespace, name, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := b.retry(ctx, func(ctx context.Context) error {
		table, err := b.open(ctx, tableNamespace(tenant, namespace), name)
		if err != nil {
			return err
		}
		answer, err := b.tables.Delete(routed(ctx, table, key), &tablepb.DeleteRangeRequest{Key: []byte(key), Header: header(table, key)})
		if err != nil {
			return err
		}
		return answered(answer.GetHeader().GetCode())
	})
	if errors.Is(err, ErrNoTable) || isAnswer(err, tablepb.StatusCode_KEY_NOT_FOUND) {
		return nil
	}
	return b.failed(err, "deleting from the state", tenant, namespace, name)
}

// Increment implements Store. Only what surely was not done is tried again: an increment done twice would count twice.
func (b *BookKeeper) Increment(ctx context.Context, tenant, namespace, name, key string, amount int64) (int64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	var total int64
	err := b.retry(ctx, func(ctx context.Context) error {
		table, err := b.openOrCreate(ctx, tableNamespace(tenant, namespace), name)
		if err != nil {
			return err
		}
		answer, err := b.tables.Increment(routed(ctx, table, key), &tablepb.IncrementRequest{
			Key: []byte(key), Amount: amount, GetTotal: true, Header: header(table, key),
		})
		if err == nil {
			err = answered(answer.GetHeader().GetCode())
		}
		total = answer.GetTotalAmount()
		return onlyIfNotDone(err)
	})
	if isAnswer(err, tablepb.StatusCode_BAD_REQUEST) {
		err = ErrNoCounter
	}
	return total, b.failed(err, "incrementing a counter in the state", tenant, namespace, name)
}

// CompareAndSet implements Store.
func (b *BookKeeper) CompareAndSet(ctx context.Context, tenant, namespace, name, key string, version int64, value []byte) (int64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if room := maxRecord - 3*len(key) - 64; len(value) > room {
		return 0, fmt.Errorf("%w: the value has %d bytes, and at most %d are possible with this key", ErrLimit, len(value), room)
	}
	condition := &tablepb.Compare{
		Result: tablepb.Compare_EQUAL, Target: tablepb.Compare_VERSION, Key: []byte(key),
		TargetUnion: &tablepb.Compare_Version{Version: version},
	}
	if version == instance.NoVersion { // a key without a value has no value that equals: the service compares with an empty one
		condition.Target, condition.TargetUnion = tablepb.Compare_VALUE, &tablepb.Compare_Value{}
	}
	var done bool
	err := b.retry(ctx, func(ctx context.Context) error {
		table, err := b.openOrCreate(ctx, tableNamespace(tenant, namespace), name)
		if err != nil {
			return err
		}
		put := &tablepb.PutRequest{Key: []byte(key), Value: value, Header: header(table, key)}
		answer, err := b.tables.Txn(routed(ctx, table, key), &tablepb.TxnRequest{
			Compare: []*tablepb.Compare{condition}, Success: []*tablepb.RequestOp{{Request: &tablepb.RequestOp_RequestPut{RequestPut: put}}},
			Header: header(table, key),
		})
		if err == nil {
			err = answered(answer.GetHeader().GetCode())
		}
		done = answer.GetSucceeded()
		return onlyIfNotDone(err)
	})
	switch {
	case isAnswer(err, tablepb.StatusCode_KEY_NOT_FOUND), err == nil && !done:
		return 0, instance.ErrStateChanged
	case isAnswer(err, tablepb.StatusCode_BAD_REQUEST):
		err = ErrCounter
	}
	return version + 1, b.failed(err, "writing the state", tenant, namespace, name)
}

// Cleanup implements Store.
func (b *BookKeeper) Cleanup(ctx context.Context, tenant, namespace, name string) error {
	err := retry(ctx, min(b.opts.Timeout, cleanupTimeout), b.opts.CallTimeout, func(ctx context.Context) error {
		answer, err := b.streams.DeleteStream(toRoot(ctx), &tablepb.DeleteStreamRequest{NsName: tableNamespace(tenant, namespace), Name: name})
		if err != nil {
			return err
		}
		return noTable(answered(answer.GetCode()))
	})
	if errors.Is(err, ErrNoTable) {
		return nil
	}
	return b.failed(err, "removing the state", tenant, namespace, name)
}

func (b *BookKeeper) retry(ctx context.Context, attempt func(context.Context) error) error {
	return retry(ctx, b.opts.Timeout, b.opts.CallTimeout, attempt)
}

// failed says what was being done; the sentinel errors speak for themselves.
func (b *BookKeeper) failed(err error, doing, tenant, namespace, name string) error {
	if err == nil || errors.Is(err, ErrNoKey) || errors.Is(err, ErrNoTable) {
		return err
	}
	if status.Code(err) == codes.ResourceExhausted {
		err = fmt.Errorf("%w: %w", ErrLimit, err)
	}
	return fmt.Errorf("%s of %s/%s/%s: %w", doing, tenant, namespace, name, err)
}

// open finds the id of a table; ErrNoTable when there is none.
func (b *BookKeeper) open(ctx context.Context, namespace, name string) (int64, error) {
	id, err := b.find(ctx, namespace, name)
	return id, noTable(err)
}

func (b *BookKeeper) find(ctx context.Context, namespace, name string) (int64, error) {
	answer, err := b.streams.GetStream(toRoot(ctx), &tablepb.GetStreamRequest{
		Id: &tablepb.GetStreamRequest_StreamName{StreamName: &tablepb.StreamName{NamespaceName: namespace, StreamName: name}},
	})
	if err == nil {
		err = answered(answer.GetCode())
	}
	if err != nil {
		return 0, err
	}
	if kind := answer.GetStreamProps().GetStreamConf().GetStorageType(); kind != tablepb.StorageType_TABLE {
		return 0, fmt.Errorf("%s/%s of the table service is a %s and no table", namespace, name, kind)
	}
	return answer.GetStreamProps().GetStreamId(), nil
}

// openOrCreate also creates what is missing. Whoever loses the race for a creation finds the winner's table.
func (b *BookKeeper) openOrCreate(ctx context.Context, namespace, name string) (int64, error) {
	id, err := b.find(ctx, namespace, name)
	switch {
	case isAnswer(err, tablepb.StatusCode_NAMESPACE_NOT_FOUND):
		answer, err := b.streams.CreateNamespace(toRoot(ctx), &tablepb.CreateNamespaceRequest{
			Name: namespace, NsConf: &tablepb.NamespaceConfiguration{DefaultStreamConf: tableSettings()},
		})
		if err == nil {
			err = answered(answer.GetCode())
		}
		if err != nil && !isAnswer(err, tablepb.StatusCode_NAMESPACE_EXISTS, tablepb.StatusCode_INTERNAL_SERVER_ERROR) {
			return 0, fmt.Errorf("creating the namespace %s of the table service: %w", namespace, err)
		}
	case isAnswer(err, tablepb.StatusCode_STREAM_NOT_FOUND):
	default:
		return id, err
	}
	answer, err := b.streams.CreateStream(toRoot(ctx), &tablepb.CreateStreamRequest{NsName: namespace, Name: name, StreamConf: tableSettings()})
	if err == nil {
		err = answered(answer.GetCode())
	}
	if err != nil && !isAnswer(err, tablepb.StatusCode_STREAM_EXISTS, tablepb.StatusCode_NAMESPACE_NOT_FOUND, tablepb.StatusCode_INTERNAL_SERVER_ERROR) {
		return 0, fmt.Errorf("creating the table %s/%s: %w", namespace, name, err)
	}
	if err == nil {
		b.opts.Log.Info("created a state table", zap.String("namespace", namespace), zap.String("table", name))
	}
	id, err = b.find(ctx, namespace, name)
	if errors.Is(noTable(err), ErrNoTable) {
		err = errNotCreated
	}
	return id, err
}

// noTable turns the two answers for a missing table into ErrNoTable.
func noTable(err error) error {
	if isAnswer(err, tablepb.StatusCode_NAMESPACE_NOT_FOUND, tablepb.StatusCode_STREAM_NOT_FOUND) {
		return ErrNoTable
	}
	return err
}

func tableSettings() *tablepb.StreamConfiguration {
	return &tablepb.StreamConfiguration{
		KeyType: tablepb.RangeKeyType_HASH, MinNumRanges: tableRanges, InitialNumRanges: tableRanges, StorageType: tablepb.StorageType_TABLE,
		SplitPolicy:     &tablepb.SplitPolicy{Type: tablepb.SplitPolicyType_FIXED, FixedRangePolicy: &tablepb.FixedRangeSplitPolicy{NumRanges: tableSplit}},
		RollingPolicy:   &tablepb.SegmentRollingPolicy{SizePolicy: &tablepb.SizeBasedSegmentRollingPolicy{MaxSegmentSize: tableSegmentSize}},
		RetentionPolicy: &tablepb.RetentionPolicy{TimePolicy: &tablepb.TimeBasedRetentionPolicy{RetentionMinutes: -1}},
	}
}

func checkKey(key string) error {
	if key == "" {
		return errors.New("a key of a function's state cannot be empty")
	}
	if len(key) > maxKey {
		return fmt.Errorf("%w: the key has %d bytes, and at most %d are possible", ErrLimit, len(key), maxKey)
	}
	return nil
}

// toRoot leads a call to the container that holds names: number 0.
func toRoot(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "bk-rt-sc-id-bin", eightBytes(0))
}

// routed lets the service find the range of the key; it is said in metadata and in the request (see header).
func routed(ctx context.Context, table int64, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "bk-rt-sid-bin", eightBytes(table), "bk-rt-key-bin", key)
}

func header(table int64, key string) *tablepb.RoutingHeader {
	return &tablepb.RoutingHeader{StreamId: table, RKey: []byte(key)}
}

func eightBytes(n int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(n))) }
