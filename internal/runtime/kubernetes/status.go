package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/instancerpc"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// StatusOf asks one instance. When it cannot answer, the error tells what Kubernetes knows of its pod.
func (r *run) StatusOf(ctx context.Context, id int32) (*runtime.FunctionStatus, error) {
	client, err := r.client(id)
	if err != nil {
		return nil, err
	}
	// Kubernetes has to be asked within the same deadline.
	status, err := instancerpc.Call(ctx, r.share(ctx), client.GetFunctionStatus)
	if err != nil {
		return nil, r.explain(ctx, id, err)
	}
	return status, nil
}

// MetricsOf asks one instance for its counters.
func (r *run) MetricsOf(ctx context.Context, id int32) (*runtime.MetricsData, error) {
	client, err := r.client(id)
	if err != nil {
		return nil, err
	}
	return instancerpc.Call(ctx, r.f.o.CallTimeout, client.GetMetrics)
}

// share is the part of the remaining time that the call to the instance gets.
func (r *run) share(ctx context.Context) time.Duration {
	d := r.f.o.CallTimeout
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline))
	}
	return d * 2 / 3
}

func (r *run) client(id int32) (pb.InstanceControlClient, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state != started:
		return nil, errNotAlive
	case id < 0 || id >= r.meta.GetFunctionDetails().GetParallelism():
		return nil, errors.New("Invalid InstanceId") //lint:ignore ST1005 the text of the Java worker
	}
	if c, ok := r.conns[id]; ok {
		return pb.NewInstanceControlClient(c), nil
	}
	address := fmt.Sprintf("%[1]s-%[2]d.%[1]s.%[3]s.svc.%[4]s:%[5]d", r.place.name, id, r.place.namespace, r.f.o.ClusterDomain, r.port)
	c, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 2 * time.Second,
			Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 5 * time.Second}}))
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to instance %d: %w", id, err)
	}
	if r.conns == nil {
		r.conns = map[int32]*grpc.ClientConn{}
	}
	r.conns[id] = c
	return pb.NewInstanceControlClient(c), nil
}

// explain adds the state of the pod, and what keeps the objects from being as they should.
func (r *run) explain(ctx context.Context, id int32, err error) error {
	texts, place := []string{err.Error()}, r.where()
	pods, podsErr := r.f.pods.get(ctx, place, r.listPods)
	name := fmt.Sprintf("%s-%d", place.name, id)
	if podsErr != nil {
		texts = append(texts, "its pod cannot be looked at: "+podsErr.Error())
	} else {
		text := "there is no pod " + name
		for i := range pods {
			if pods[i].Name == name {
				text = describePod(&pods[i])
			}
		}
		texts = append(texts, text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != "" {
		texts = append(texts, r.trouble)
	}
	return errors.New(strings.Join(texts, "; "))
}

func (r *run) listPods(ctx context.Context) ([]corev1.Pod, error) {
	want, err := r.wanted()
	if err != nil {
		return nil, err
	}
	return r.f.listPods(ctx, want)
}

// describePod says in one line why a pod does not answer.
func describePod(p *corev1.Pod) string {
	text := fmt.Sprintf("pod %s is %s", p.Name, cmp.Or(string(p.Status.Phase), "Unknown"))
	if p.DeletionTimestamp != nil {
		text += ", being deleted"
	}
	add := func(reason, message string) {
		if reason != "" {
			text += ": " + reason
		}
		if message = strings.TrimSpace(message); message != "" {
			if len(message) > maxMessage {
				message = message[:maxMessage] + "…"
			}
			text += ": " + message
		}
	}
	add(p.Status.Reason, p.Status.Message)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			add(c.Reason, c.Message)
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		done := c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
		if c.Name != containerName && (c.Name != packageContainer || done) {
			continue
		}
		if c.Name == packageContainer {
			text += "; fetching the package"
		}
		if w := c.State.Waiting; w != nil {
			add(w.Reason, w.Message)
		}
		for _, t := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if t != nil {
				text += fmt.Sprintf("; it ended with exit code %d", t.ExitCode)
				add(t.Reason, t.Message)
				break
			}
		}
		if c.RestartCount > 0 {
			text += fmt.Sprintf("; %d restarts", c.RestartCount)
		}
	}
	return text
}

const maxMessage = 500

// podCache answers the questions of all instances of a function with one request.
type podCache struct {
	group *singleflight.Group
	mu    sync.Mutex
	known map[objectKey]knownPods
}

type knownPods struct {
	at   time.Time
	pods []corev1.Pod
}

const podsFresh = time.Second

func (c *podCache) get(ctx context.Context, key objectKey, list func(context.Context) ([]corev1.Pod, error)) ([]corev1.Pod, error) {
	c.mu.Lock()
	k, ok := c.known[key]
	c.mu.Unlock()
	if ok && time.Since(k.at) < podsFresh {
		return k.pods, nil
	}
	v, err, _ := c.group.Do(key.namespace+"/"+key.name, func() (any, error) {
		pods, err := list(ctx)
		if err == nil {
			c.keep(key, pods)
		}
		return pods, err
	})
	pods, _ := v.([]corev1.Pod)
	return pods, err
}

func (c *podCache) keep(key objectKey, pods []corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for k, v := range c.known {
		if now.Sub(v.at) >= podsFresh {
			delete(c.known, k)
		}
	}
	if c.known == nil {
		c.known = map[objectKey]knownPods{}
	}
	c.known[key] = knownPods{now, pods}
}
