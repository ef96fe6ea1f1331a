package membership

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster"
)

func consumer(name string) broker.ConsumerStats {
	return broker.ConsumerStats{Name: name, Metadata: map[string]string{"id": name}, Address: "/127.0.0.1:1", ConnectedSince: "now"}
}

func TestFromStats(t *testing.T) {
	w1, w2 := cluster.WorkerInfo{WorkerID: "w1", Hostname: "h1", Port: 6750}, cluster.WorkerInfo{WorkerID: "w2", Hostname: "h2", Port: 6751}
	tests := map[string]struct {
		sub            broker.SubscriptionStats
		wantMembers    []cluster.WorkerInfo
		wantLeader     *cluster.WorkerInfo
		wantUnreadable int
	}{
		"nobody": {},
		"two, one active": {sub: broker.SubscriptionStats{ActiveConsumerName: "w2:h2:6751",
			Consumers: []broker.ConsumerStats{consumer("w1:h1:6750"), consumer("w2:h2:6751")}},
			wantMembers: []cluster.WorkerInfo{w1, w2}, wantLeader: &w2},
		"consumers that are no workers hide only themselves": {sub: broker.SubscriptionStats{ActiveConsumerName: "x",
			Consumers: []broker.ConsumerStats{{Name: "x"}, consumer("a:b"), consumer("a:b:c:1"), consumer("a:b:port"), consumer(":h:1"), consumer("w1:h1:6750")}},
			wantMembers: []cluster.WorkerInfo{w1}, wantUnreadable: 5},
		"a lingering connection next to the new one": {sub: broker.SubscriptionStats{ActiveConsumerName: "w1:h1:6750",
			Consumers: []broker.ConsumerStats{consumer("w1:h1:6750"), consumer("w1:h1:6750")}},
			wantMembers: []cluster.WorkerInfo{w1}, wantLeader: &w1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := FromStats(&broker.TopicStats{Subscriptions: map[string]broker.SubscriptionStats{"participants": test.sub}})
			require.Equal(t, test.wantMembers, v.Members)
			require.Equal(t, test.wantLeader, v.Leader)
			require.Len(t, v.Unreadable, test.wantUnreadable)
		})
	}
	require.Empty(t, FromStats(&broker.TopicStats{}).Members, "the subscription is missing")
}

func TestCheck(t *testing.T) {
	good := cluster.WorkerInfo{WorkerID: "w", Hostname: "h", Port: 6750}
	require.NoError(t, Check(good))
	read, err := Parse(Announcement(good))
	require.NoError(t, err)
	require.Equal(t, good, read)
	for _, bad := range []cluster.WorkerInfo{{Hostname: "h", Port: 1}, {WorkerID: "a:b", Hostname: "h", Port: 1}, {WorkerID: "w", Hostname: "::1", Port: 1},
		{WorkerID: "w", Port: 1}, {WorkerID: "w", Hostname: "h"}, {WorkerID: "w", Hostname: "h", Port: 65536}} {
		require.Error(t, Check(bad), bad)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("w:h:6750")
	f.Fuzz(func(t *testing.T, s string) {
		if w, err := Parse(s); err == nil {
			again, err := Parse(Announcement(w))
			if err != nil || again != w {
				t.Fatalf("%q is read as %v", s, w)
			}
		}
	})
}
