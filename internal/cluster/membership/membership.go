// Package membership tells who is in the cluster and who leads it, from the broker's statistics of the coordination
// topic: every worker holds a consumer there, and the broker makes one of them active (coordination contract, section 4).
// Nothing is ever published to that topic.
package membership

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster"
)

// Subscription is the one all workers share.
const Subscription = "participants"

// IDProperty is the consumer property that announces a worker.
const IDProperty = "id"

// Announcement is the consumer name and property of a worker: workerId:hostname:port.
func Announcement(w cluster.WorkerInfo) string {
	return w.WorkerID + ":" + w.Hostname + ":" + strconv.Itoa(w.Port)
}

// Check refuses a worker whose announcement nobody could read; it would disable membership on every Java worker.
func Check(w cluster.WorkerInfo) error {
	switch {
	case w.WorkerID == "" || strings.Contains(w.WorkerID, ":"):
		return fmt.Errorf("worker id %q must not be empty or contain a colon: set workerId", w.WorkerID)
	case w.Hostname == "" || strings.Contains(w.Hostname, ":"):
		return fmt.Errorf("worker hostname %q must not be empty or contain a colon (an IPv6 address needs a name): set workerHostname", w.Hostname)
	case w.Port <= 0 || w.Port > 65535:
		return fmt.Errorf("worker port %d is not between 1 and 65535: set workerPort or workerPortTls", w.Port)
	}
	return nil
}

// Parse reads an announcement.
func Parse(s string) (cluster.WorkerInfo, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return cluster.WorkerInfo{}, fmt.Errorf("%q is not workerId:hostname:port", s)
	}
	port, err := strconv.Atoi(parts[2])
	if err != nil {
		return cluster.WorkerInfo{}, fmt.Errorf("%q is not workerId:hostname:port: %w", s, err)
	}
	w := cluster.WorkerInfo{WorkerID: parts[0], Hostname: parts[1], Port: port}
	return w, Check(w)
}

// Consumer is one connection of a worker.
type Consumer struct {
	Name, Address, ConnectedSince string
}

// View is the membership at one moment.
type View struct {
	Members []cluster.WorkerInfo // in the broker's order, each once
	// LeaderName is the name of the active consumer, "" when there is none. Leader is its worker, nil when none of
	// the consumers with that name can be read.
	LeaderName string
	Leader     *cluster.WorkerInfo
	Consumers  []Consumer
	Unreadable []string // announcements of consumers that are no worker, to be complained about
}

// Connections are the consumers with a name; they change whenever that worker has connected anew.
func (v View) Connections(name string) []Consumer {
	var own []Consumer
	for _, c := range v.Consumers {
		if c.Name == name {
			own = append(own, c)
		}
	}
	slices.SortFunc(own, func(a, b Consumer) int {
		return strings.Compare(a.Address+a.ConnectedSince, b.Address+b.ConnectedSince)
	})
	return own
}

// IDs are the worker ids of the members.
func (v View) IDs() []string {
	ids := make([]string, 0, len(v.Members))
	for _, m := range v.Members {
		ids = append(ids, m.WorkerID)
	}
	return ids
}

// Stats is what membership needs of the broker.
type Stats interface {
	TopicStats(ctx context.Context, topic string) (*broker.TopicStats, error)
}

// Read asks the broker.
func Read(ctx context.Context, stats Stats, topic string) (View, error) {
	s, err := stats.TopicStats(ctx, topic)
	if err != nil {
		return View{}, fmt.Errorf("asking the broker who is in the cluster: %w", err)
	}
	return FromStats(s), nil
}

// FromStats derives the view. One consumer that cannot be read hides only itself (in a Java worker it disables
// everything). A missing subscription is an empty cluster.
func FromStats(s *broker.TopicStats) View {
	sub := s.Subscriptions[Subscription]
	v := View{LeaderName: sub.ActiveConsumerName}
	seen := map[cluster.WorkerInfo]bool{}
	for _, c := range sub.Consumers {
		v.Consumers = append(v.Consumers, Consumer{Name: c.Name, Address: c.Address, ConnectedSince: c.ConnectedSince})
		w, err := Parse(c.Metadata[IDProperty])
		if err != nil {
			v.Unreadable = append(v.Unreadable, fmt.Sprintf("consumer %q at %s: %v", c.Name, c.Address, err))
			continue
		}
		if c.Name == v.LeaderName && v.LeaderName != "" {
			v.Leader = &w
		}
		if !seen[w] { // after an abrupt end the old connection may still be listed next to the new one
			seen[w] = true
			v.Members = append(v.Members, w)
		}
	}
	return v
}
