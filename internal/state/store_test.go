package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/functions-worker/functions-worker/internal/state/tablepb"
)

// The contract of a Store, on the fake and on the real table service. They share it so that the fake cannot drift.
func TestStoreContract(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		_, address := startFake(t)
		testContract(t, "bk://"+address)
	})
	t.Run("table service", func(t *testing.T) {
		url := os.Getenv("PULSAR_TEST_STATE_URL")
		if url == "" {
			t.Skip("needs BookKeeper's table service: run scripts/test.sh packages")
		}
		testContract(t, url)
	})
}

func newStore(t *testing.T, o Options) *BookKeeper {
	t.Helper()
	o.Log = zaptest.NewLogger(t)
	s, err := NewBookKeeper(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func testContract(t *testing.T, url string) {
	ctx := context.Background()
	s := newStore(t, Options{URL: url, Timeout: 60 * time.Second})
	tenant, name := fmt.Sprintf("state-test%06x", rand.IntN(1<<24)), "f-1"
	t.Cleanup(func() {
		_, _ = s.streams.DeleteNamespace(toRoot(context.WithoutCancel(ctx)), &tablepb.DeleteNamespaceRequest{Name: tableNamespace(tenant, "n-s")})
	})
	get := func(key string) ([]byte, *int64, int64, error) { return s.Get(ctx, tenant, "n-s", name, key) }
	put := func(key string, value []byte) error { return s.Put(ctx, tenant, "n-s", name, key, value) }

	require.NoError(t, s.Ping(ctx))
	_, _, _, err := get("k")
	require.ErrorIs(t, err, ErrNoTable)
	require.NoError(t, s.Delete(ctx, tenant, "n-s", name, "k"), "nothing to delete")
	require.NoError(t, s.Cleanup(ctx, tenant, "n-s", name), "nothing to clean up")
	_, err = s.find(ctx, tableNamespace(tenant, "n-s"), name)
	require.ErrorContains(t, err, "NAMESPACE_NOT_FOUND", "reading must create nothing")

	values := map[string][]byte{
		"text": []byte("hello"), "empty": {}, "bytes": {0xff, 0, 1}, "eight": []byte("12345678"),
		"with blank/slash%é": []byte("x"), strings.Repeat("k", maxKey): []byte(strings.Repeat("v", maxRecord-2*maxKey)), "large": []byte(strings.Repeat("v", maxRecord-10)),
	}
	for key, value := range values {
		require.NoError(t, put(key, value), "putting %.20s", key)
	}
	for key, want := range values {
		value, number, _, err := get(key)
		require.NoError(t, err, "getting %.20s", key)
		require.Nil(t, number)
		require.Equal(t, string(want), string(value))
	}
	_, _, _, err = get("nosuch")
	require.ErrorIs(t, err, ErrNoKey)
	require.ErrorIs(t, put("large", make([]byte, maxRecord)), ErrLimit)
	require.ErrorIs(t, put(strings.Repeat("k", maxKey+1), nil), ErrLimit)
	require.Error(t, put("", nil))
	testVersions(t, get, put)
	testCounters(t, s, tenant, name, get, put)

	require.NoError(t, s.Delete(ctx, tenant, "n-s", name, "text"))
	require.NoError(t, s.Delete(ctx, tenant, "n-s", name, "text"), "already deleted")
	_, _, _, err = get("text")
	require.ErrorIs(t, err, ErrNoKey)

	testOperations(t, s, tenant, "n-s", name)
	testParallelCreation(t, url, tenant)
	require.NoError(t, s.Cleanup(ctx, tenant, "n-s", name))
	_, _, _, err = get("empty")
	require.ErrorIs(t, err, ErrNoTable)
	require.NoError(t, put("other", []byte("new life")))
	_, _, _, err = get("empty")
	require.ErrorIs(t, err, ErrNoKey, "a new table has nothing of the old one")
	require.NoError(t, s.Cleanup(ctx, tenant, "n-s", name))
}

func testVersions(t *testing.T, get func(string) ([]byte, *int64, int64, error), put func(string, []byte) error) {
	require.NoError(t, put("versioned", []byte("1")))
	_, _, first, err := get("versioned")
	require.NoError(t, err)
	require.Zero(t, first)
	require.NoError(t, put("versioned", []byte("2")))
	value, _, second, err := get("versioned")
	require.NoError(t, err)
	require.Equal(t, "2", string(value))
	require.Equal(t, first+1, second)
}

// testCounters writes a counter as instances do.
func testCounters(t *testing.T, s *BookKeeper, tenant, name string, get func(string) ([]byte, *int64, int64, error), put func(string, []byte) error) {
	ctx := context.Background()
	table, err := s.open(ctx, tableNamespace(tenant, "n-s"), name)
	require.NoError(t, err)
	for _, amount := range []int64{5, -7} {
		require.NoError(t, s.retry(ctx, func(ctx context.Context) error {
			_, err := s.tables.Increment(routed(ctx, table, "count"), &tablepb.IncrementRequest{Key: []byte("count"), Amount: amount, Header: header(table, "count")})
			return err
		}))
	}
	value, number, _, err := get("count")
	require.NoError(t, err)
	require.NotNil(t, number)
	require.EqualValues(t, -2, *number)
	require.Equal(t, binary.BigEndian.AppendUint64(nil, ^uint64(1)), value)
	require.ErrorIs(t, put("count", []byte("no counter")), ErrCounter)
	require.NoError(t, s.Delete(ctx, tenant, "n-s", name, "count"))
	require.NoError(t, put("count", []byte("no counter")))
	value, number, _, err = get("count")
	require.NoError(t, err)
	require.Nil(t, number)
	require.Equal(t, "no counter", string(value))
}

// testParallelCreation lets several workers make the first put into one new namespace at once.
func testParallelCreation(t *testing.T, url, tenant string) {
	ctx := context.Background()
	const writers = 6
	stores := make([]*BookKeeper, writers)
	for i := range stores {
		stores[i] = newStore(t, Options{URL: url, Timeout: 60 * time.Second})
	}
	defer func() {
		require.NoError(t, stores[0].Cleanup(ctx, tenant, "raced", "f"))
		_, _ = stores[0].streams.DeleteNamespace(toRoot(ctx), &tablepb.DeleteNamespaceRequest{Name: tableNamespace(tenant, "raced")})
	}()
	var group sync.WaitGroup
	errs := make([]error, writers)
	for i, s := range stores {
		group.Go(func() { errs[i] = s.Put(ctx, tenant, "raced", "f", fmt.Sprint("k", i), []byte{byte(i)}) })
	}
	group.Wait()
	for i := range stores {
		require.NoError(t, errs[i])
		value, _, _, err := stores[0].Get(ctx, tenant, "raced", "f", fmt.Sprint("k", i))
		require.NoError(t, err)
		require.Equal(t, []byte{byte(i)}, value)
	}
}
