package state

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/instance"
)

// testOperations is the part of the contract that functions see, for every store.
func testOperations(t *testing.T, store Store, tenant, namespace, name string) {
	ctx := context.Background()
	s := Opener(store)(tenant, namespace, name)
	v, err := s.Get(ctx, "cas")
	require.NoError(t, err)
	require.Nil(t, v)

	first, err := s.CompareAndSet(ctx, "cas", instance.NoVersion, []byte("1"))
	require.NoError(t, err)
	_, err = s.CompareAndSet(ctx, "cas", instance.NoVersion, []byte("x"))
	require.ErrorIs(t, err, instance.ErrStateChanged)
	v, err = s.Get(ctx, "cas")
	require.NoError(t, err)
	require.Equal(t, "1", string(v.Value))
	require.Equal(t, first, v.Version)
	second, err := s.CompareAndSet(ctx, "cas", first, []byte("2"))
	require.NoError(t, err)
	_, err = s.CompareAndSet(ctx, "cas", first, []byte("x"))
	require.ErrorIs(t, err, instance.ErrStateChanged)
	require.NoError(t, s.Put(ctx, "cas", []byte("3")))
	_, err = s.CompareAndSet(ctx, "cas", second, []byte("x"))
	require.ErrorIs(t, err, instance.ErrStateChanged, "a plain put changes the version")
	_, err = s.CompareAndSet(ctx, "nosuch", 5, []byte("x"))
	require.ErrorIs(t, err, instance.ErrStateChanged)

	n, err := s.Counter(ctx, "number")
	require.NoError(t, err)
	require.Zero(t, n)
	for _, step := range []struct{ amount, want int64 }{{5, 5}, {-7, -2}, {0, -2}} {
		n, err = s.Increment(ctx, "number", step.amount)
		require.NoError(t, err)
		require.Equal(t, step.want, n)
	}
	n, err = s.Counter(ctx, "number")
	require.NoError(t, err)
	require.EqualValues(t, -2, n)
	require.ErrorIs(t, s.Put(ctx, "number", []byte("x")), ErrCounter)
	_, err = s.Increment(ctx, "cas", 1)
	require.ErrorIs(t, err, ErrNoCounter)
	_, err = s.Counter(ctx, "cas")
	require.ErrorIs(t, err, ErrNoCounter)

	require.NoError(t, s.Put(ctx, "empty", []byte{}))
	v, err = s.Get(ctx, "empty")
	require.NoError(t, err)
	require.NotNil(t, v, "an empty value is a value")
	require.NoError(t, s.Put(ctx, "empty", nil))
	v, err = s.Get(ctx, "empty")
	require.NoError(t, err)
	require.Nil(t, v, "nil deletes")
	for _, key := range []string{"cas", "number", "nosuch"} {
		require.NoError(t, s.Delete(ctx, key))
	}

	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				if _, err := s.Increment(ctx, "together", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	n, err = s.Counter(ctx, "together")
	require.NoError(t, err)
	require.EqualValues(t, 20, n)
	require.NoError(t, s.Delete(ctx, "together"))
}

// testLife is the part of the contract about tables: they come with the first write and go with the function.
func testLife(t *testing.T, s Store, tenant, namespace, name string) {
	ctx := context.Background()
	_, _, _, err := s.Get(ctx, tenant, namespace, name, "k")
	require.ErrorIs(t, err, ErrNoTable)
	require.NoError(t, s.Delete(ctx, tenant, namespace, name, "k"), "nothing to delete")
	require.NoError(t, s.Cleanup(ctx, tenant, namespace, name), "nothing to clean up")
	_, _, _, err = s.Get(ctx, tenant, namespace, name, "k")
	require.ErrorIs(t, err, ErrNoTable, "none of this creates a table")
	require.NoError(t, s.Put(ctx, tenant, namespace, name, "k", []byte("v")))
	data, number, version, err := s.Get(ctx, tenant, namespace, name, "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(data))
	require.Nil(t, number)
	require.Zero(t, version)
	_, _, _, err = s.Get(ctx, tenant, namespace, name, "other")
	require.ErrorIs(t, err, ErrNoKey)
	require.Error(t, s.Put(ctx, tenant, namespace, name, "", nil))
	require.ErrorIs(t, s.Put(ctx, tenant, namespace, name, "large", make([]byte, 2<<20)), ErrLimit)
	require.NoError(t, s.Cleanup(ctx, tenant, namespace, name))
	_, _, _, err = s.Get(ctx, tenant, namespace, name, "k")
	require.ErrorIs(t, err, ErrNoTable)
	require.NoError(t, s.Put(ctx, tenant, namespace, name, "other", []byte("new life")))
	_, _, _, err = s.Get(ctx, tenant, namespace, name, "k")
	require.ErrorIs(t, err, ErrNoKey, "a new table has nothing of the old one")
	require.NoError(t, s.Cleanup(ctx, tenant, namespace, name))
}

func TestTopicStoreContract(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		s := newTopicStore(t, newMemoryTopics(), TopicOptions{Timeout: 60 * time.Second})
		testLife(t, s, "t", "n", "life")
		testOperations(t, s, "t", "n", "f")
	})
	t.Run("broker", func(t *testing.T) {
		service, web := os.Getenv("PULSAR_TEST_SERVICE_URL"), os.Getenv("PULSAR_TEST_WEB_URL")
		if service == "" || web == "" {
			t.Skip("needs a broker: run scripts/test.sh packages")
		}
		cfg := broker.Config{ServiceURL: service, WebServiceURL: web}
		client, err := broker.NewClient(cfg, nil)
		require.NoError(t, err)
		t.Cleanup(client.Close)
		admin, err := broker.NewAdmin(cfg, nil)
		require.NoError(t, err)
		namespace := "public/state-" + uuid.NewString()[:8]
		require.NoError(t, admin.CreateNamespace(t.Context(), namespace, broker.NamespacePolicies{Retention: &broker.RetentionPolicies{TimeInMinutes: -1, SizeInMB: -1}}))
		t.Cleanup(func() {
			ctx := context.Background()
			topics, err := admin.Topics(ctx, namespace)
			for _, topic := range topics {
				err = errors.Join(err, admin.DeleteTopic(ctx, topic, true))
			}
			require.NoError(t, errors.Join(err, admin.DeleteNamespace(ctx, namespace, false)))
		})
		topics := NewBrokerTopics(client, admin)
		s := newTopicStore(t, topics, TopicOptions{Timeout: 60 * time.Second})
		s.opts.Namespace = namespace
		testLife(t, s, "t", "n", "life")
		testOperations(t, s, "t", "n", "f")

		// two workers at once, and a compaction in between
		other := newTopicStore(t, topics, TopicOptions{Name: "other", Timeout: 60 * time.Second})
		other.opts.Namespace = namespace
		var group sync.WaitGroup
		for _, store := range []Store{s, other} {
			group.Go(func() {
				for range 20 {
					if _, err := store.Increment(t.Context(), "t", "n", "f", "both", 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		require.NoError(t, topics.Compact(t.Context(), s.topicName("t", "n", "f")))
		late := newTopicStore(t, topics, TopicOptions{Name: "late", Timeout: 60 * time.Second})
		late.opts.Namespace = namespace
		_, number, _, err := late.Get(t.Context(), "t", "n", "f", "both")
		require.NoError(t, err)
		require.EqualValues(t, 40, *number)
	})
}
