package goroutine

import (
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/broker"
)

// clients are the connections of all functions: a few per identity, made when they are first needed. Those of an
// identity are closed when its last instance has ended.
type clients struct {
	size int
	make func(broker.Config) (pulsar.Client, error)

	mu     sync.Mutex
	groups map[identity]*group
}

// identity is who a function is towards the broker.
type identity struct{ plugin, params string }

type group struct {
	users   int
	members []pulsar.Client // nil where none was needed yet
}

func newClients(size int, memoryLimit int64, log *zap.Logger) *clients {
	share := int64(0)
	if memoryLimit > 0 {
		share = max(1, memoryLimit/int64(size))
	}
	return &clients{size: size, groups: map[identity]*group{}, make: func(cfg broker.Config) (pulsar.Client, error) {
		cfg.MemoryLimit = share
		return broker.NewClient(cfg, log)
	}}
}

// acquire gives the client of an instance; the caller calls release once.
func (c *clients) acquire(cfg broker.Config, key string) (_ pulsar.Client, release func(), err error) {
	who := identity{cfg.AuthPlugin, cfg.AuthParams}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(key))
	i := int(hash.Sum32() % uint32(c.size))

	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[who]
	if g == nil {
		g = &group{members: make([]pulsar.Client, c.size)}
	}
	if g.members[i] == nil {
		if g.members[i], err = c.make(cfg); err != nil {
			return nil, nil, fmt.Errorf("making the Pulsar client of functions: %w", err)
		}
	}
	g.users++
	c.groups[who] = g
	return g.members[i], sync.OnceFunc(func() { c.release(who, g) }), nil
}

func (c *clients) release(who identity, g *group) {
	c.mu.Lock()
	g.users--
	last := g.users == 0
	if last {
		delete(c.groups, who)
	}
	c.mu.Unlock()
	if last {
		for _, client := range g.members {
			if client != nil {
				client.Close()
			}
		}
	}
}
