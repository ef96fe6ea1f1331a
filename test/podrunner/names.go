package podrunner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const clusterDomain = "svc.cluster.local"

// dns answers for the names of pods and services, as a cluster's DNS does.
type dns struct {
	conn    net.PacketConn
	serving sync.WaitGroup

	mu    sync.Mutex
	names map[string]netip.Addr // lower case, without the last dot
}

func serveDNS(address string) (*dns, error) {
	conn, err := net.ListenPacket("udp", net.JoinHostPort(address, "53"))
	if err != nil {
		return nil, fmt.Errorf("serving names: %w", err)
	}
	d := &dns{conn: conn, names: map[string]netip.Addr{}}
	d.serving.Go(d.serve)
	return d, nil
}

func (d *dns) close() {
	_ = d.conn.Close()
	d.serving.Wait()
}

func (d *dns) serve() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer, err := d.answer(buffer[:n]); err == nil {
			_, _ = d.conn.WriteTo(answer, from) // who asked asks again
		}
	}
}

func (d *dns) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, errors.New("not one question")
	}
	q := m.Questions[0]
	d.mu.Lock()
	address, known := d.names[strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))]
	d.mu.Unlock()
	m.Response, m.Authoritative, m.RecursionAvailable = true, true, true
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	switch {
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: address.As4()}}}
	}
	return m.Pack()
}

// HostsFile is like a pod's /etc/hosts with all names, for a process of this machine that has to find pods.
func (r *Runner) HostsFile() string { return filepath.Join(r.opts.Dir, "hosts") }

// publishNames gives pods and services their addresses: a pod of a service has <pod>.<service>, a service leads to one of its pods.
func (r *Runner) publishNames(ctx context.Context) error {
	services, err := r.opts.Client.CoreV1().Services(r.opts.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	names := map[string]netip.Addr{}
	add := func(name, address string) {
		if parsed, err := netip.ParseAddr(address); err == nil {
			names[strings.ToLower(name)] = parsed
		}
	}
	local := "." + r.opts.Namespace + "." + clusterDomain
	for name, address := range r.opts.Hosts {
		add(name, address)
		add(name+local, address)
	}
	r.mu.Lock()
	for _, p := range r.pods {
		if p.spec.Spec.Subdomain != "" {
			add(p.spec.Name+"."+p.spec.Spec.Subdomain+local, p.net.ip)
		}
	}
	for _, s := range services.Items {
		for _, p := range r.pods {
			if len(s.Spec.Selector) > 0 && !p.stopping() && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.spec.Labels)) {
				add(s.Name+local, p.net.ip)
				break
			}
		}
	}
	r.mu.Unlock()
	r.dns.mu.Lock()
	r.dns.names = names
	r.dns.mu.Unlock()
	hosts := "127.0.0.1 localhost\n"
	for _, name := range slices.Sorted(maps.Keys(names)) {
		hosts += names[name].String() + " " + name + " " + strings.TrimSuffix(name, local) + "\n"
	}
	return writeIfNew(r.HostsFile(), hosts)
}

// writeNetworkFiles makes the pod's /etc/hosts, with its own name, and its /etc/resolv.conf.
func (p *pod) writeNetworkFiles() error {
	names := p.spec.Name
	if p.spec.Spec.Subdomain != "" { // the long name first: `hostname -f` takes the first of the line
		names = p.spec.Name + "." + p.spec.Spec.Subdomain + "." + p.spec.Namespace + "." + clusterDomain + " " + p.spec.Name
	}
	search := p.spec.Namespace + "." + clusterDomain + " " + clusterDomain + " cluster.local"
	return writeFiles(p.dir, map[string][]byte{
		"hosts":       []byte("127.0.0.1 localhost\n" + p.net.ip + " " + names + "\n"),
		"resolv.conf": []byte("nameserver " + p.runner.net.address() + "\nsearch " + search + "\noptions ndots:5\n"),
	}, 0o644)
}

// writeIfNew exchanges the file: whoever reads it meanwhile sees all of the old or all of the new text.
func writeIfNew(file, text string) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
