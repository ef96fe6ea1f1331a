package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/instance"
)

// memoryTopics are topics in memory, shared by the stores of a test as a broker is.
type memoryTopics struct {
	mu        sync.Mutex
	topics    map[string]*log.Memory
	compacted int
}

func newMemoryTopics() *memoryTopics { return &memoryTopics{topics: map[string]*log.Memory{}} }

func (m *memoryTopics) Exists(_ context.Context, topic string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.topics[topic] != nil, nil
}

func (m *memoryTopics) Create(_ context.Context, topic string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.topics[topic] == nil {
		m.topics[topic] = log.NewMemory()
	}
	return nil
}

func (m *memoryTopics) Delete(_ context.Context, topic string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.topics, topic)
	return nil
}

func (m *memoryTopics) Compact(_ context.Context, topic string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compacted++
	m.topics[topic].Compact()
	return nil
}

func (m *memoryTopics) Log(topic string) log.Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.topics[topic]
}

func (m *memoryTopics) only(t *testing.T) *log.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Len(t, m.topics, 1)
	for _, l := range m.topics {
		return l
	}
	return nil
}

func newTopicStore(t *testing.T, topics Topics, o TopicOptions) *Topic {
	t.Helper()
	o.Topics, o.Namespace = topics, "public/functions"
	if o.Name == "" {
		o.Name = "worker"
	}
	s := NewTopic(o)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Several workers with several instances each change one counter, and one key by compare-and-set: nothing is lost.
func TestTopicStoreUnderSeveralWriters(t *testing.T) {
	topics := newMemoryTopics()
	const workers, each = 3, 40
	var group sync.WaitGroup
	for w := range workers {
		s := newTopicStore(t, topics, TopicOptions{Name: fmt.Sprint("w", w), Timeout: 60 * time.Second})
		for range 2 {
			group.Go(func() {
				for range each {
					_, err := s.Increment(t.Context(), "t", "n", "f", "count", 1)
					if err != nil {
						t.Error(err)
						return
					}
					add(t, s)
				}
			})
		}
	}
	group.Wait()
	s := newTopicStore(t, topics, TopicOptions{Name: "reader"})
	_, number, _, err := s.Get(t.Context(), "t", "n", "f", "count")
	require.NoError(t, err)
	require.EqualValues(t, workers*2*each, *number)
	data, _, version, err := s.Get(t.Context(), "t", "n", "f", "list")
	require.NoError(t, err)
	require.Len(t, data, workers*2*each)
	require.EqualValues(t, workers*2*each-1, version)
}

// add appends one byte by compare-and-set, as often as it takes.
func add(t *testing.T, s Store) {
	for {
		data, _, version, err := s.Get(t.Context(), "t", "n", "f", "list")
		if errors.Is(err, ErrNoKey) || errors.Is(err, ErrNoTable) {
			version, err = instance.NoVersion, nil
		}
		if err != nil {
			t.Error(err)
			return
		}
		_, err = s.CompareAndSet(t.Context(), "t", "n", "f", "list", version, append(data, 'x'))
		if err == nil {
			return
		}
		if !errors.Is(err, instance.ErrStateChanged) {
			t.Error(err)
			return
		}
	}
}

// An append whose confirmation is lost is found, and one that was lost is made again: each counts once.
func TestTopicStoreWithLostConfirmations(t *testing.T) {
	topics := newMemoryTopics()
	s := newTopicStore(t, topics, TopicOptions{})
	_, err := s.Increment(t.Context(), "t", "n", "f", "count", 1)
	require.NoError(t, err)
	l := topics.only(t)
	for i, fault := range []log.Fault{log.LostAck, log.LostSend, log.LostAck} {
		l.FailNext(fault)
		total, err := s.Increment(t.Context(), "t", "n", "f", "count", 1)
		require.NoError(t, err)
		require.EqualValues(t, i+2, total)
	}
	l.Fence()
	total, err := s.Increment(t.Context(), "t", "n", "f", "count", 1)
	require.NoError(t, err)
	require.EqualValues(t, 5, total)
	l.FailNext(log.Refuse)
	require.ErrorIs(t, s.Put(t.Context(), "t", "n", "f", "k", []byte("v")), ErrLimit)
}

// A worker that dies in the middle of holding the topic is let go, and another goes on.
func TestTopicStoreAfterADeadWriter(t *testing.T) {
	topics := newMemoryTopics()
	a := newTopicStore(t, topics, TopicOptions{Name: "a"})
	b := newTopicStore(t, topics, TopicOptions{Name: "b", Timeout: 300 * time.Millisecond})
	require.NoError(t, a.Put(t.Context(), "t", "n", "f", "k", []byte("a")))
	l := topics.only(t)
	dead, err := l.OpenWriter(t.Context(), "dead")
	for errors.Is(err, log.ErrBusy) {
		time.Sleep(time.Millisecond)
		dead, err = l.OpenWriter(t.Context(), "dead")
	}
	require.NoError(t, err)
	err = b.Put(t.Context(), "t", "n", "f", "k", []byte("b"))
	require.ErrorContains(t, err, "becoming the only writer")
	require.ErrorIs(t, err, log.ErrBusy)
	dead.Close()
	require.NoError(t, b.Put(t.Context(), "t", "n", "f", "k", []byte("b")))
	data, _, _, err := a.Get(t.Context(), "t", "n", "f", "k")
	require.NoError(t, err)
	require.Equal(t, "b", string(data))
}

func TestTopicStoreCompactsForgetsAndReadsAgain(t *testing.T) {
	topics := newMemoryTopics()
	s := newTopicStore(t, topics, TopicOptions{CompactEvery: 10, Idle: 200 * time.Millisecond})
	for i := range 20 {
		require.NoError(t, s.Put(t.Context(), "t", "n", "f", fmt.Sprint("k", i%4), []byte(fmt.Sprint(i))))
	}
	require.NoError(t, s.Delete(t.Context(), "t", "n", "f", "k0"))
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.tables) == 0
	}, 5*time.Second, 10*time.Millisecond, "idle tables are forgotten")
	require.Eventually(t, func() bool {
		topics.mu.Lock()
		defer topics.mu.Unlock()
		return topics.compacted > 0
	}, 5*time.Second, 10*time.Millisecond)
	require.LessOrEqual(t, len(topics.only(t).Entries()), 4)
	data, _, version, err := s.Get(t.Context(), "t", "n", "f", "k3")
	require.NoError(t, err)
	require.Equal(t, "19", string(data))
	require.EqualValues(t, 4, version)
	_, _, _, err = s.Get(t.Context(), "t", "n", "f", "k0")
	require.ErrorIs(t, err, ErrNoKey)
}

func TestTopicStoreBounds(t *testing.T) {
	s := newTopicStore(t, newMemoryTopics(), TopicOptions{MaxTable: 100})
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k", make([]byte, 90)))
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "k", make([]byte, 95)), "it replaces the other")
	require.ErrorIs(t, s.Put(t.Context(), "t", "n", "f", "l", make([]byte, 10)), ErrLimit)
	require.NoError(t, s.Put(t.Context(), "t", "n", "g", "l", make([]byte, 10)), "each function has its own bound")
	require.NoError(t, s.Delete(t.Context(), "t", "n", "f", "k"))
	require.NoError(t, s.Put(t.Context(), "t", "n", "f", "l", make([]byte, 10)))
	require.NotEqual(t, s.topicName("a-b", "c", "d"), s.topicName("a", "b-c", "d"))
}
