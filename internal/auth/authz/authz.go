// Package authz answers "may they?" for an authenticated caller, by the rules of the Java worker (security-and-metrics
// contract, section 3): superusers, administrators of the tenant, and grants of the namespace, read through the broker's
// admin REST with the worker's own credentials.
//
// internal/auth/authn has put the caller into the request's context. What was read is kept for a few seconds, questions that
// many callers ask at once are asked of the broker once, and what cannot be decided is an error, never an answer.
package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/broker"
)

// Action is a right that a namespace grants to a role.
type Action string

// The actions that the worker asks for.
const (
	Functions Action = "functions"
	Sinks     Action = "sinks"
	Sources   Action = "sources"
	Packages  Action = "packages"
	Produce   Action = "produce"
	Consume   Action = "consume"
)

// Question is what a request needs. Without a tenant it needs a superuser.
type Question struct {
	Tenant, Namespace string
	Action            Action
	// Topic, with Produce and Consume: a grant for this topic, persistent://tenant/namespace/topic, suffices.
	Topic string
}

// Policies reads what the broker knows about tenants and namespaces (*broker.Admin).
type Policies interface {
	Tenant(ctx context.Context, tenant string) (*broker.TenantInfo, error)
	NamespacePolicies(ctx context.Context, namespace string) (*broker.NamespacePolicies, error)
}

// Options are the rules' settings.
type Options struct {
	Superusers, ProxyRoles []string
	// MultiRoles: all roles of the caller's token count (MultiRolesTokenAuthorizationProvider).
	MultiRoles bool
	Policies   Policies
	Timeout    time.Duration    // of one decision; default 30 s
	Keep       time.Duration    // how long policies are kept; default 5 s. Absence is kept a fifth of it
	Now        func() time.Time // nil: time.Now
}

// Authorizer decides. It is safe for concurrent use.
type Authorizer struct {
	superusers, proxies map[string]bool
	multiRoles          bool
	timeout             time.Duration
	tenants             *cache[*broker.TenantInfo]
	namespaces          *cache[*broker.NamespacePolicies]
}

// New makes an Authorizer.
func New(o Options) (*Authorizer, error) {
	if o.Policies == nil {
		return nil, errors.New("making the authorization: there is nothing to read policies from")
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Keep <= 0 {
		o.Keep = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Authorizer{
		superusers: set(o.Superusers), proxies: set(o.ProxyRoles), multiRoles: o.MultiRoles, timeout: o.Timeout,
		tenants:    newCache(o, o.Policies.Tenant),
		namespaces: newCache(o, o.Policies.NamespacePolicies),
	}, nil
}

func set(names []string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" {
			m[n] = true
		}
	}
	return m
}

const (
	// websocketPrincipal is sent by proxies that have no principal to name; it counts as none.
	websocketPrincipal = "__websocket_dummy_original_principle"
)

// ErrNoTenant is the answer about a tenant that does not exist; the text is the Java worker's.
var ErrNoTenant = errors.New("org.apache.pulsar.common.util.RestException: Tenant does not exist")

// Authorize says whether the caller of r may do it; an error means that it could not be decided.
func (a *Authorizer) Authorize(r *http.Request, q Question) (bool, error) {
	id, _ := authn.FromContext(r.Context()) // nobody authenticated: no role, never allowed
	principals, ok := a.principals(r, id)
	if !ok {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	for _, roles := range principals {
		allowed, err := a.mayAny(ctx, roles, q)
		if err != nil || !allowed {
			return false, err
		}
	}
	return true, nil
}

// principals are those who must all be allowed, each with its roles (contract, section 3.2); false is a denial.
func (a *Authorizer) principals(r *http.Request, id authn.Identity) ([][]string, bool) {
	own := []string{id.Role}
	if a.multiRoles {
		own = id.Roles
	}
	values := r.Header.Values(authn.PrincipalHeader)
	if len(values) > 1 {
		return nil, false // which one counts must not depend on who reads the request
	}
	original := ""
	if len(values) == 1 {
		original = values[0]
	}
	blank := strings.TrimSpace(original) == ""
	switch {
	case original == websocketPrincipal:
		return [][]string{own}, true
	case a.proxies[id.Role]:
		if blank || a.proxies[original] {
			return nil, false
		}
		return [][]string{own, {original}}, true
	case blank || original == id.Role:
		return [][]string{own}, true
	}
	return nil, false
}

func (a *Authorizer) mayAny(ctx context.Context, roles []string, q Question) (bool, error) {
	roles = slices.DeleteFunc(slices.Clone(roles), func(role string) bool { return strings.TrimSpace(role) == "" })
	if len(roles) == 0 {
		return false, nil
	}
	if slices.ContainsFunc(roles, func(role string) bool { return a.superusers[role] }) {
		return true, nil
	}
	if q.Tenant == "" {
		return false, nil
	}
	if !plain(q.Tenant) || !plain(q.Namespace) {
		return false, nil // no such namespace can be, and nothing may be asked of the broker with such a path
	}
	tenant, err := a.tenants.get(ctx, q.Tenant)
	if err != nil {
		return false, fmt.Errorf("authorization: %w", err)
	}
	if tenant == nil {
		return false, ErrNoTenant
	}
	if overlap(tenant.AdminRoles, roles) {
		return true, nil
	}
	policies, err := a.namespaces.get(ctx, q.Tenant+"/"+q.Namespace)
	if err != nil {
		return false, fmt.Errorf("authorization: %w", err)
	}
	if policies == nil || policies.Auth == nil {
		return false, nil
	}
	return granted(policies.Auth, roles, q), nil
}

func granted(auth *broker.AuthPolicies, roles []string, q Question) bool {
	for _, role := range roles {
		if slices.Contains(auth.Namespace[role], string(q.Action)) {
			return true
		}
		if q.Topic != "" && slices.Contains(auth.Topics[q.Topic][role], string(q.Action)) {
			return true
		}
	}
	return false
}

func plain(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\\x00")
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
