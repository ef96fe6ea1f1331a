package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

// live gives the configuration of the broker that tests may use, and a namespace of this test's own.
func live(t *testing.T) (Config, *Admin, string) {
	t.Helper()
	cfg := Config{ServiceURL: os.Getenv("PULSAR_TEST_SERVICE_URL"), WebServiceURL: os.Getenv("PULSAR_TEST_WEB_URL")}
	if cfg.ServiceURL == "" || cfg.WebServiceURL == "" {
		t.Skip("needs a broker: set PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL, or run make test")
	}
	admin, err := NewAdmin(cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	var id [6]byte
	_, err = rand.Read(id[:])
	require.NoError(t, err)
	namespace := "public/broker-" + hex.EncodeToString(id[:])
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		topics, _ := admin.Topics(ctx, namespace) // none when the namespace was never made
		for _, topic := range topics {
			assert.NoError(t, admin.DeleteTopic(ctx, topic, true))
		}
		if err := admin.DeleteNamespace(ctx, namespace, false); err != nil && !IsNotFound(err) {
			t.Logf("clean-up: %v", err)
		}
		admin.Close()
	})
	return cfg, admin, namespace
}

func TestAdminAgainstBroker(t *testing.T) {
	cfg, admin, namespace := live(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	clusters, err := admin.Clusters(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, clusters)
	conf, err := admin.InternalConfiguration(ctx)
	require.NoError(t, err)
	assert.NotEmpty(t, conf.MetadataStoreURL)

	exists, err := admin.TenantExists(ctx, "public")
	require.NoError(t, err)
	assert.True(t, exists)
	exists, err = admin.TenantExists(ctx, "no-such-tenant")
	require.NoError(t, err)
	assert.False(t, exists)

	_, err = admin.NamespacePolicies(ctx, namespace)
	require.True(t, IsNotFound(err), "%v", err)
	want := NamespacePolicies{
		ReplicationClusters: []string{clusters[0]},
		Retention:           &RetentionPolicies{TimeInMinutes: -1, SizeInMB: -1},
		InactiveTopics:      &InactiveTopicPolicies{},
	}
	require.NoError(t, admin.CreateNamespace(ctx, namespace, want))
	require.True(t, IsConflict(admin.CreateNamespace(ctx, namespace, want)))
	got, err := admin.NamespacePolicies(ctx, namespace)
	require.NoError(t, err)
	assert.Equal(t, want.Retention, got.Retention)
	require.NotNil(t, got.InactiveTopics)
	assert.False(t, got.InactiveTopics.DeleteWhileInactive)
	names, err := admin.Namespaces(ctx, "public")
	require.NoError(t, err)
	assert.Contains(t, names, namespace)

	// every character that needs encoding, in topic and subscription
	for _, local := range []string{"plain", "with blank+plus%25&é"} {
		topic := "persistent://" + namespace + "/" + local
		sub := "public/default/fn+%é"
		require.NoError(t, admin.CreateTopic(ctx, topic))
		require.True(t, IsConflict(admin.CreateTopic(ctx, topic)))
		topics, err := admin.Topics(ctx, namespace)
		require.NoError(t, err)
		assert.Contains(t, topics, topic)

		require.NoError(t, admin.CreateSubscription(ctx, topic, sub, Earliest))
		require.True(t, IsConflict(admin.CreateSubscription(ctx, topic, sub, Latest)))
		subs, err := admin.Subscriptions(ctx, topic)
		require.NoError(t, err)
		assert.Equal(t, []string{sub}, subs)
		require.NoError(t, admin.DeleteSubscription(ctx, topic, sub, false))
		require.True(t, IsNotFound(admin.DeleteSubscription(ctx, topic, sub, false)))

		require.NoError(t, admin.CreateSubscription(ctx, topic, sub, Latest))
		require.NoError(t, admin.UnsubscribeNamespace(ctx, namespace, sub))
		subs, err = admin.Subscriptions(ctx, topic)
		require.NoError(t, err)
		assert.Empty(t, subs, "unsubscribing the namespace removes a name with a slash")

		partitions, err := admin.PartitionedTopicPartitions(ctx, topic)
		require.NoError(t, err)
		assert.Zero(t, partitions)
		require.NoError(t, admin.CompactTopic(ctx, topic))
	}

	stats := connectedStats(t, ctx, cfg, admin, "persistent://"+namespace+"/plain")
	require.Len(t, stats.Publishers, 1)
	assert.Equal(t, "me", stats.Publishers[0].Name)
	assert.Equal(t, "Exclusive", stats.Publishers[0].AccessMode)
	sub := stats.Subscriptions["participants"]
	assert.Equal(t, "Failover", sub.Type)
	assert.Equal(t, "w:h:1", sub.ActiveConsumerName)
	require.Len(t, sub.Consumers, 1)
	assert.Equal(t, map[string]string{"id": "w:h:1"}, sub.Consumers[0].Metadata)
	assert.Equal(t, "w:h:1", sub.Consumers[0].Name)
	assert.NotEmpty(t, sub.Consumers[0].Address)

	require.NoError(t, admin.DeleteTopic(ctx, "persistent://"+namespace+"/plain", true))
	_, err = admin.TopicStats(ctx, "persistent://"+namespace+"/plain")
	require.True(t, IsNotFound(err), "%v", err)
}

// connectedStats reads the stats of a topic while a producer and a member of a cluster are connected.
func connectedStats(t *testing.T, ctx context.Context, cfg Config, admin *Admin, topic string) *TopicStats {
	t.Helper()
	client, err := NewClient(cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	defer client.Close()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: topic, Name: "me", ProducerAccessMode: pulsar.ProducerAccessModeExclusive, SendTimeout: -1})
	require.NoError(t, err)
	defer producer.Close()
	consumer, err := client.Subscribe(pulsar.ConsumerOptions{Topic: topic, SubscriptionName: "participants", Type: pulsar.Failover,
		Name: "w:h:1", Properties: map[string]string{"id": "w:h:1"}})
	require.NoError(t, err)
	defer consumer.Close()
	var stats *TopicStats
	require.Eventually(t, func() bool {
		stats, err = admin.TopicStats(ctx, topic)
		return err == nil && stats.Subscriptions["participants"].ActiveConsumerName != ""
	}, 20*time.Second, 100*time.Millisecond)
	return stats
}

func TestPackagesServiceOfBroker(t *testing.T) {
	_, admin, namespace := live(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, admin.CreateNamespace(ctx, namespace, NamespacePolicies{}))
	name, err := ParsePackageName("function://" + namespace + "/pkg@3")
	require.NoError(t, err)

	_, err = admin.PackageMetadata(ctx, name)
	require.True(t, IsNotFound(err), "%v", err)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	meta := PackageMetadata{CreateTime: 12345, Properties: map[string]string{"a": "b"}}
	require.NoError(t, admin.UploadPackage(ctx, name, meta, "code.jar", bytes.NewReader(data)))
	require.True(t, IsConflict(admin.UploadPackage(ctx, name, meta, "code.jar", strings.NewReader("x"))))

	body, err := admin.DownloadPackage(ctx, name)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.True(t, bytes.Equal(data, got))
	gotMeta, err := admin.PackageMetadata(ctx, name)
	require.NoError(t, err)
	assert.NotZero(t, gotMeta.CreateTime) // the broker's own clock
	assert.Equal(t, "b", gotMeta.Properties["a"])
	require.NoError(t, admin.DeletePackage(ctx, name))
	_, err = admin.PackageMetadata(ctx, name)
	require.True(t, IsNotFound(err), "%v", err)
}
