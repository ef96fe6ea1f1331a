package podrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// network is a bridge on this machine with a /24 of private addresses; .1 is this machine.
type network struct {
	name   string
	prefix string // the first three numbers

	mu   sync.Mutex
	last int
}

func newNetwork(ctx context.Context, name string) (*network, error) {
	n := &network{name: name, prefix: fmt.Sprintf("10.%d.%d", 200+rand.IntN(50), rand.IntN(256)), last: 1}
	for _, command := range []string{"link add " + name + " type bridge", "addr add " + n.prefix + ".1/24 dev " + name, "link set " + name + " up"} {
		if err := ip(ctx, command); err != nil {
			return nil, errors.Join(err, n.remove())
		}
	}
	return n, nil
}

// address is this machine's on the bridge.
func (n *network) address() string { return n.prefix + ".1" }

func (n *network) remove() error { return ip(context.Background(), "link del "+n.name) }

// ip runs one command of iproute2.
func ip(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// namespace is the network of one pod.
type namespace struct {
	name, ip  string
	listeners []net.Listener
	serving   sync.WaitGroup
}

// join makes a namespace with an address on the bridge and forwards the ports of its loopback.
func (n *network) join(ctx context.Context, forward map[int]string) (*namespace, error) {
	n.mu.Lock()
	n.last++
	number := n.last
	n.mu.Unlock()
	if number > 254 {
		return nil, errors.New("the network has no address left")
	}
	ns := &namespace{name: fmt.Sprintf("%s-%d", n.name, number), ip: fmt.Sprintf("%s.%d", n.prefix, number)}
	veth := fmt.Sprintf("%sv%d", n.name, number)
	for _, command := range []string{
		"netns add " + ns.name,
		"link add " + veth + " type veth peer name eth0 netns " + ns.name,
		"link set " + veth + " master " + n.name + " up",
		"-n " + ns.name + " addr add " + ns.ip + "/24 dev eth0",
		"-n " + ns.name + " link set eth0 up",
		"-n " + ns.name + " link set lo up",
		"-n " + ns.name + " route add default via " + n.prefix + ".1",
	} {
		if err := ip(ctx, command); err != nil {
			ns.leave()
			return nil, err
		}
	}
	for port, target := range forward {
		l, err := ns.listen(port)
		if err != nil {
			ns.leave()
			return nil, fmt.Errorf("forwarding port %d: %w", port, err)
		}
		ns.listeners = append(ns.listeners, l)
		ns.serving.Go(func() { forwardTo(l, target) })
	}
	return ns, nil
}

// leave removes the namespace with its interface.
func (ns *namespace) leave() {
	for _, l := range ns.listeners {
		_ = l.Close()
	}
	ns.serving.Wait()
	_ = ip(context.Background(), "netns del "+ns.name) // not there when making it failed
}

// listen opens a port of the namespace's loopback: a socket stays in the namespace in which it was made.
func (ns *namespace) listen(port int) (net.Listener, error) {
	runtime.LockOSThread() // and never unlocked when the way back fails: such a thread ends with its goroutine
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(home)
	there, err := unix.Open("/var/run/netns/"+ns.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return l, err
}

// forwardTo copies each connection to target until the listener closes; open connections end with their ends.
func forwardTo(l net.Listener, target string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection: containers of the pod have ended before the pod's network goes
			defer in.Close()
			out, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer out.Close()
			done := make(chan struct{}, 2)
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					done <- struct{}{}
				}()
			}
			<-done
		}()
	}
}
