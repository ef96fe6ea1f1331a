package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

// portBook hands out free ports. A port is held by a listener until just before the child starts, and is remembered
// until the run ends, so that two instances never get the same one.
type portBook struct {
	mu          sync.Mutex
	taken       map[int]bool
	first, last int // ports below the range that the kernel gives to outgoing connections; first > last: none
}

func newPortBook() *portBook {
	b := &portBook{taken: map[int]bool{}, first: 15000, last: 0}
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if low, err := strconv.Atoi(strings.Fields(string(text) + " 0")[0]); err == nil {
			b.last = low - 1
		}
	}
	return b
}

// heldPort is one reserved port; let closes the listener, free forgets the port.
type heldPort struct {
	number   int
	listener net.Listener
	book     *portBook
}

func (b *portBook) reserve() (*heldPort, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lastErr error
	for try := range 100 {
		// A JVM binds its port seconds after its start; ports that outgoing connections may get are the second choice.
		port := 0
		if b.last-b.first > 1000 && try < 50 {
			port = b.first + rand.IntN(b.last-b.first+1)
			if b.taken[port] {
				continue
			}
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			lastErr = err
			continue
		}
		number := l.Addr().(*net.TCPAddr).Port
		if b.taken[number] {
			_ = l.Close()
			continue
		}
		b.taken[number] = true
		return &heldPort{number: number, listener: l, book: b}, nil
	}
	return nil, fmt.Errorf("finding a free port for an instance: %w", lastErr)
}

func (p *heldPort) let() { _ = p.listener.Close() }

func (p *heldPort) free() {
	_ = p.listener.Close()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	delete(p.book.taken, p.number)
}
