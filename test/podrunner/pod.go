package podrunner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// pod is one pod that runs here.
type pod struct {
	runner *Runner
	spec   *corev1.Pod
	net    *namespace
	dir    string

	ending  chan struct{} // closed when the pod has to end
	endOnce sync.Once

	issued map[string]string // service account tokens by volume; prepareVolumes and then refresh use it, one after the other

	mu         sync.Mutex
	containers map[string]*container
	statuses   map[string]*corev1.ContainerStatus
}

func newPod(r *Runner, spec *corev1.Pod, ns *namespace) *pod {
	return &pod{runner: r, spec: spec.DeepCopy(), net: ns, dir: filepath.Join(r.opts.Dir, "pods", string(spec.UID)), ending: make(chan struct{}),
		issued: map[string]string{}, containers: map[string]*container{}, statuses: map[string]*corev1.ContainerStatus{}}
}

// stop asks the pod to end; run returns when it has.
func (p *pod) stop() { p.endOnce.Do(func() { close(p.ending) }) }

func (p *pod) stopping() bool {
	select {
	case <-p.ending:
		return true
	default:
		return false
	}
}

// run goes through the init containers, then keeps the containers alive until stop.
func (p *pod) run(ctx context.Context) {
	defer os.RemoveAll(p.dir)
	if err := p.prepareVolumes(ctx); err != nil {
		p.fail(ctx, "volumes", err)
		<-p.ending
		return
	}
	for i := range p.spec.Spec.InitContainers {
		for p.once(ctx, &p.spec.Spec.InitContainers[i]) != nil && !p.stopping() {
			p.pause(time.Second)
		}
		if p.stopping() {
			return
		}
	}
	var running sync.WaitGroup
	running.Go(func() { p.refresh(ctx) })
	for i := range p.spec.Spec.Containers {
		spec := &p.spec.Spec.Containers[i]
		running.Go(func() {
			for wait := time.Second; !p.stopping(); wait = min(2*wait, 10*time.Second) {
				_ = p.once(ctx, spec) // the status says how it ended
				p.pause(wait)
			}
		})
	}
	running.Wait()
}

// refresh renews what the volumes hold, once a second until the pod ends; a kubelet takes up to a minute.
func (p *pod) refresh(ctx context.Context) {
	for p.pause(time.Second); !p.stopping(); p.pause(time.Second) {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := p.refreshVolumes(one); err != nil {
			p.runner.opts.Log("pod %s: renewing its volumes: %v", p.spec.Name, err)
		}
		cancel()
	}
}

func (p *pod) pause(d time.Duration) {
	select {
	case <-p.ending:
	case <-time.After(d):
	}
}

// once runs a container until it ends, or until the pod has to.
func (p *pod) once(ctx context.Context, spec *corev1.Container) error {
	c, err := p.start(ctx, spec)
	if err != nil {
		p.fail(ctx, spec.Name, err)
		return err
	}
	p.mu.Lock()
	p.containers[spec.Name] = c
	p.mu.Unlock()
	p.update(ctx, spec, func(s *corev1.ContainerStatus) {
		started := true
		s.Started = &started
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	})
	ready, stopReady := context.WithCancel(ctx)
	var probing sync.WaitGroup
	probing.Go(func() { p.awaitReady(ready, spec) })
	select {
	case <-c.done:
	case <-p.ending:
		grace := 30 * time.Second
		if s := p.spec.Spec.TerminationGracePeriodSeconds; s != nil {
			grace = time.Duration(*s) * time.Second
		}
		_ = c.signal(syscall.SIGTERM)
		select {
		case <-c.done:
		case <-time.After(grace):
			p.runner.opts.Log("pod %s: container %s did not end in %s and is killed", p.spec.Name, spec.Name, grace)
			c.kill()
			<-c.done
		}
	}
	stopReady()
	probing.Wait()
	code := c.exitCode()
	p.update(ctx, spec, func(s *corev1.ContainerStatus) {
		reason := "Completed"
		if code != 0 {
			reason = "Error"
		}
		s.LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: int32(code), Reason: reason, FinishedAt: metav1.Now()}}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		s.Ready = false
		s.RestartCount++
	})
	if code != 0 {
		return fmt.Errorf("container %s ended with status %d", spec.Name, code)
	}
	return nil
}

// awaitReady marks the container ready once its readiness probe succeeds, at once if it has none.
func (p *pod) awaitReady(ctx context.Context, spec *corev1.Container) {
	for spec.ReadinessProbe != nil && !p.succeeds(ctx, spec, spec.ReadinessProbe.ProbeHandler) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	if ctx.Err() == nil {
		p.update(ctx, spec, func(s *corev1.ContainerStatus) { s.Ready = true })
	}
}

func (p *pod) signal(name string, s os.Signal) error {
	p.mu.Lock()
	c := p.containers[name]
	p.mu.Unlock()
	if c == nil {
		return fmt.Errorf("container %s has not started", name)
	}
	return c.signal(s.(syscall.Signal))
}

func (p *pod) fail(ctx context.Context, what string, err error) {
	p.runner.opts.Log("pod %s: %s: %v", p.spec.Name, what, err)
	for i := range p.spec.Spec.Containers {
		p.update(ctx, &p.spec.Spec.Containers[i], func(s *corev1.ContainerStatus) {
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerError", Message: err.Error()}}
		})
	}
}

// update changes the status of a container and reports the pod's to the API server.
func (p *pod) update(ctx context.Context, spec *corev1.Container, change func(*corev1.ContainerStatus)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.statuses[spec.Name]
	if s == nil {
		s = &corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, ImageID: spec.Image}
		p.statuses[spec.Name] = s
	}
	change(s)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pods := p.runner.opts.Client.CoreV1().Pods(p.spec.Namespace)
		now, err := pods.Get(ctx, p.spec.Name, metav1.GetOptions{})
		if err != nil || now.UID != p.spec.UID {
			return errors.Join(err, errGone)
		}
		p.fill(&now.Status)
		_, err = pods.UpdateStatus(ctx, now, metav1.UpdateOptions{})
		return err
	})
	if err != nil && !errors.Is(err, errGone) {
		p.runner.opts.Log("pod %s: reporting its status: %v", p.spec.Name, err)
	}
}

var errGone = errors.New("the pod is gone")

func (p *pod) fill(status *corev1.PodStatus) {
	status.Phase, status.PodIP, status.PodIPs = corev1.PodRunning, p.net.ip, []corev1.PodIP{{IP: p.net.ip}}
	if status.StartTime == nil {
		now := metav1.Now()
		status.StartTime = &now
	}
	ready := corev1.ConditionTrue
	status.ContainerStatuses, status.InitContainerStatuses = nil, nil
	for _, c := range p.spec.Spec.InitContainers {
		if s := p.statuses[c.Name]; s != nil {
			status.InitContainerStatuses = append(status.InitContainerStatuses, *s)
		}
	}
	for _, c := range p.spec.Spec.Containers {
		s := p.statuses[c.Name]
		if s == nil {
			status.Phase, ready = corev1.PodPending, corev1.ConditionFalse
			continue
		}
		if !s.Ready {
			ready = corev1.ConditionFalse
		}
		status.ContainerStatuses = append(status.ContainerStatuses, *s)
	}
	status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
		{Type: corev1.ContainersReady, Status: ready}, {Type: corev1.PodReady, Status: ready},
	}
}
