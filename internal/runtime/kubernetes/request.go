package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Forbidden: the API server refuses something for lack of a right. It says which one to grant.
type Forbidden struct {
	Verb, Group, Resource, Namespace string
	Err                              error
}

func (e *Forbidden) Error() string {
	group := e.Group
	if group == "" {
		group = `""`
	}
	return fmt.Sprintf("the worker may not %s %s in the Kubernetes namespace %s: grant its service account the verb %q on %s (apiGroups: [%s]), see the Role in deploy/kubernetes/role.yaml; the API server said: %v",
		e.Verb, e.Resource, e.Namespace, e.Verb, e.Resource, group, e.Err)
}

func (e *Forbidden) Unwrap() error { return e.Err }

// Refused: the worker may ask for it, but a quota or a policy of the cluster (an admission plug-in or webhook) does not let it pass.
type Refused struct {
	Verb, Resource, Namespace string
	Err                       error
}

func (e *Refused) Error() string {
	return fmt.Sprintf("a quota or policy of the Kubernetes namespace %s does not let the worker %s %s: %v", e.Namespace, e.Verb, e.Resource, e.Err)
}

func (e *Refused) Unwrap() error { return e.Err }

// action names a request for messages and rights.
type action struct{ verb, group, resource, namespace, name string }

func (a action) wrap(err error) error {
	if err == nil {
		return nil
	}
	if apierrors.IsForbidden(err) && !apierrors.HasStatusCause(err, metav1.CauseType("NamespaceTerminating")) {
		// Both have the same code and reason. Of a missing right the API server says: User "x" cannot create resource "services" in …
		if strings.Contains(err.Error(), " cannot "+a.verb+" resource ") {
			return &Forbidden{a.verb, a.group, a.resource, a.namespace, err}
		}
		return &Refused{a.verb, a.resource, a.namespace, err}
	}
	if apierrors.IsUnauthorized(err) {
		err = fmt.Errorf("the API server does not accept the worker's credentials; its service account token or kube config is not valid, or no longer: %w", err)
	}
	return fmt.Errorf("%s %s %s/%s: %w", a.verb, a.resource, a.namespace, a.name, err)
}

// transient errors may be gone at the next attempt. A conflict is not among them: whoever gets one has to look again.
func transient(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return !errors.Is(err, context.Canceled) // no answer: refused, reset, timed out
	}
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsUnexpectedServerError(err) || apierrors.IsGone(err) || apierrors.IsResourceExpired(err) || status.Status().Code >= 500
}

const (
	firstPause  = 100 * time.Millisecond
	longestWait = 5 * time.Second
	maxAttempts = 6
)

// request makes one request, and again with growing pauses while it fails for a passing reason.
func request[T any](ctx context.Context, timeout time.Duration, a action, do func(context.Context) (T, error)) (T, error) {
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, min(2*pause, longestWait) {
		one, cancel := context.WithTimeout(ctx, timeout)
		answer, err := do(one)
		cancel()
		if err == nil || ctx.Err() != nil || !transient(err) || attempt == maxAttempts {
			return answer, a.wrap(err)
		}
		wait := pause/2 + rand.N(pause) // a thousand functions do not come back at once
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
		if sleep(ctx, wait) != nil {
			return answer, a.wrap(err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
