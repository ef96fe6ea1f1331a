// Package podrunner runs the pods of a Kubernetes control plane that has no nodes: it stands where the kubelet, the network and the
// cluster's DNS would, so that tests see what the real command of a pod does.
//
// Every pod gets a network namespace with an address of its own on a bridge, and every container a copy-on-write view of
// its image's files, a process namespace, and what its spec says: environment, volumes, service account token, user, working
// directory, probes over TCP, restarts. A DNS server knows the names of pods and services. It needs root, `ip` and `unshare`.
//
// Life cycle: Start watches the pods of one namespace until Stop, which ends all containers and removes what was made.
package podrunner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Image is where the files of a container come from.
type Image struct {
	// Root is the directory with the image's files; "/" are those of this machine.
	Root string
	// Mounts are directories of this machine to lay over Root, by their place in the image; containers write into a layer of their own.
	Mounts map[string]string
	// Env is the environment that the image brings, NAME=value.
	Env []string
	// WorkingDir and the ids are the image's own; a pod's spec goes before them.
	WorkingDir string
	UID, GID   int64
	// ReadOnly are paths of this machine to show as they are, such as a toolchain on another file system.
	ReadOnly []string
}

// Options say what to run and how it reaches the world.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	// Dir takes logs and layers.
	Dir string
	// Images by the name that pods use.
	Images map[string]Image
	// Forward are ports that pods find on 127.0.0.1, and the address on this machine where each leads.
	Forward map[int]string
	// Hosts are more names and their addresses.
	Hosts map[string]string
	// APIServer is host:port of the control plane on this machine, CA its certificate: what in-cluster clients use.
	APIServer string
	CA        []byte
	// Log takes one line at a time.
	Log func(format string, args ...any)
}

// Runner runs the pods of one namespace.
type Runner struct {
	opts    Options
	net     *network
	dns     *dns
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*pod
}

// Supported says why pods cannot be run here, nil if they can.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("running pods needs root: network and mount namespaces")
	}
	for _, tool := range []string{"ip", "unshare", "mount", "chroot", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("running pods needs %s (packages iproute2, util-linux, coreutils)", tool)
		}
	}
	return nil
}

// Start begins to watch.
func Start(ctx context.Context, o Options) (*Runner, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	net, err := newNetwork(ctx, fmt.Sprintf("fw%04x", rand.IntN(1<<16)))
	if err != nil {
		return nil, fmt.Errorf("making the pods' network: %w", err)
	}
	names, err := serveDNS(net.address())
	if err != nil {
		return nil, errors.Join(err, net.remove())
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Runner{opts: o, net: net, dns: names, cancel: cancel, pods: map[types.UID]*pod{}}
	r.running.Go(func() { r.watch(ctx) })
	return r, nil
}

// Stop ends all containers and removes the network.
func (r *Runner) Stop() {
	r.cancel()
	r.running.Wait()
	r.dns.close()
	if err := r.net.remove(); err != nil {
		r.opts.Log("removing the pods' network: %v", err)
	}
}

// LogFile is where the output of a container goes, all its runs one after the other.
func (r *Runner) LogFile(podName, container string) string {
	return filepath.Join(r.opts.Dir, podName+"."+container+".log")
}

// Resolver is the address at which the names of pods and services are answered, for what runs on this machine itself.
func (r *Runner) Resolver() string { return r.net.address() }

// Address is where a running pod can be reached from this machine, "" if it does not run here.
func (r *Runner) Address(podName string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		if p.spec.Name == podName && !p.stopping() {
			return p.net.ip
		}
	}
	return ""
}

// Signal sends a signal to the first process of a pod's container, as the kubelet or the kernel would.
func (r *Runner) Signal(podName, container string, signal os.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		if p.spec.Name == podName {
			return p.signal(container, signal)
		}
	}
	return fmt.Errorf("pod %s does not run here", podName)
}

// watch lists again and again: at the size of a test simpler than a watch that can be cut off, and as quick.
func (r *Runner) watch(ctx context.Context) {
	ticker := time.NewTicker(150 * time.Millisecond)
	defer ticker.Stop()
	defer r.endAll()
	for {
		if err := r.sync(ctx); err != nil && ctx.Err() == nil {
			r.opts.Log("looking at the pods: %v", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sync starts pods that are new, ends those that are to be deleted, and forgets those that are gone.
func (r *Runner) sync(ctx context.Context) error {
	list, err := r.opts.Client.CoreV1().Pods(r.opts.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	seen := map[types.UID]bool{}
	for i := range list.Items {
		spec := &list.Items[i]
		seen[spec.UID] = true
		r.mu.Lock()
		p := r.pods[spec.UID]
		r.mu.Unlock()
		switch {
		case p == nil && spec.DeletionTimestamp == nil:
			if err := r.startPod(ctx, spec); err != nil {
				return fmt.Errorf("pod %s: %w", spec.Name, err)
			}
		case p == nil:
			r.confirmDeleted(ctx, spec)
		case spec.DeletionTimestamp != nil:
			p.stop()
		}
	}
	r.mu.Lock()
	for uid, p := range r.pods {
		if !seen[uid] {
			p.stop()
		}
	}
	r.mu.Unlock()
	return r.publishNames(ctx)
}

func (r *Runner) startPod(ctx context.Context, spec *corev1.Pod) error {
	if spec.Spec.NodeName == "" {
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: spec.Name, UID: spec.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: "podrunner"}}
		if err := r.opts.Client.CoreV1().Pods(r.opts.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("binding: %w", err)
		}
	}
	ns, err := r.net.join(ctx, r.opts.Forward)
	if err != nil {
		return err
	}
	p := newPod(r, spec, ns)
	if err := p.writeNetworkFiles(); err != nil {
		ns.leave()
		return err
	}
	r.mu.Lock()
	r.pods[spec.UID] = p
	r.mu.Unlock()
	if err := r.publishNames(ctx); err != nil {
		return err
	}
	r.opts.Log("pod %s starts with address %s", spec.Name, ns.ip)
	r.running.Go(func() {
		p.run(context.WithoutCancel(ctx))
		ns.leave()
		r.mu.Lock()
		delete(r.pods, spec.UID)
		r.mu.Unlock()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		r.confirmDeleted(end, spec)
		r.opts.Log("pod %s ended", spec.Name)
	})
	return nil
}

// confirmDeleted tells the API server that nothing of the pod runs any more, if it waits for that.
func (r *Runner) confirmDeleted(ctx context.Context, spec *corev1.Pod) {
	pods := r.opts.Client.CoreV1().Pods(r.opts.Namespace)
	now, err := pods.Get(ctx, spec.Name, metav1.GetOptions{})
	if err != nil || now.UID != spec.UID || now.DeletionTimestamp == nil {
		return
	}
	zero := int64(0)
	_ = pods.Delete(ctx, spec.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &spec.UID}}) // the next look tries again
}

func (r *Runner) endAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		p.stop()
	}
}
