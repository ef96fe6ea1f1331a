package authz

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/broker"
)

// fakePolicies is the broker's view of two tenants.
type fakePolicies struct {
	asked atomic.Int32
	fail  error
	delay time.Duration
	admin []string
}

func (f *fakePolicies) wait(ctx context.Context) error {
	f.asked.Add(1)
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.fail
}

func (f *fakePolicies) Tenant(ctx context.Context, tenant string) (*broker.TenantInfo, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	if tenant != "t" {
		return nil, &broker.Error{Op: "reading tenant", Code: http.StatusNotFound, Reason: "Tenant does not exist"}
	}
	return &broker.TenantInfo{AdminRoles: append([]string{"admin"}, f.admin...)}, nil
}

func (f *fakePolicies) NamespacePolicies(ctx context.Context, namespace string) (*broker.NamespacePolicies, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	if namespace != "t/n" {
		return nil, &broker.Error{Op: "reading namespace", Code: http.StatusNotFound, Reason: "Namespace does not exist"}
	}
	return &broker.NamespacePolicies{Auth: &broker.AuthPolicies{
		Namespace: map[string][]string{"fn": {"functions"}, "io": {"sinks", "sources"}, "producer": {"produce", "consume"}},
		Topics:    map[string]map[string][]string{"persistent://t/n/in": {"one-topic": {"produce"}, "fn-topic": {"functions"}}},
	}}, nil
}

func request(id *authn.Identity, original ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/x", nil)
	r.Header["X-Original-Principal"] = original
	if id != nil {
		r = r.WithContext(authn.NewContext(r.Context(), *id))
	}
	return r
}

func TestRules(t *testing.T) {
	functions := Question{Tenant: "t", Namespace: "n", Action: Functions}
	tests := map[string]struct {
		role     string
		original []string
		q        Question
		want     bool
		wantErr  error
	}{
		"superuser":                               {role: "root", q: functions, want: true},
		"superuser, missing tenant":               {role: "root", q: Question{Tenant: "x", Namespace: "n", Action: Functions}, want: true},
		"superuser only":                          {role: "root", want: true},
		"tenant admin":                            {role: "admin", q: functions, want: true},
		"tenant admin, missing namespace":         {role: "admin", q: Question{Tenant: "t", Namespace: "x", Action: Sinks}, want: true},
		"tenant admin, superuser only":            {role: "admin"},
		"grant":                                   {role: "fn", q: functions, want: true},
		"grant for another action":                {role: "fn", q: Question{Tenant: "t", Namespace: "n", Action: Sinks}},
		"grant for sinks":                         {role: "io", q: Question{Tenant: "t", Namespace: "n", Action: Sinks}, want: true},
		"grant for sources":                       {role: "io", q: Question{Tenant: "t", Namespace: "n", Action: Sources}, want: true},
		"no grant for functions":                  {role: "io", q: functions},
		"grant of a topic":                        {role: "fn-topic", q: functions},
		"produce by namespace":                    {role: "producer", q: Question{Tenant: "t", Namespace: "n", Action: Produce, Topic: "persistent://t/n/in"}, want: true},
		"produce by topic":                        {role: "one-topic", q: Question{Tenant: "t", Namespace: "n", Action: Produce, Topic: "persistent://t/n/in"}, want: true},
		"produce to another topic":                {role: "one-topic", q: Question{Tenant: "t", Namespace: "n", Action: Produce, Topic: "persistent://t/n/other"}},
		"no grant":                                {role: "nobody", q: functions},
		"missing namespace":                       {role: "fn", q: Question{Tenant: "t", Namespace: "x", Action: Functions}},
		"missing tenant":                          {role: "fn", q: Question{Tenant: "x", Namespace: "n", Action: Functions}, wantErr: ErrNoTenant},
		"a way out of the path":                   {role: "fn", q: Question{Tenant: "t", Namespace: "../t/n", Action: Functions}},
		"no role":                                 {role: "", q: functions},
		"blank role":                              {role: " ", q: functions},
		"same principal":                          {role: "fn", original: []string{"fn"}, q: functions, want: true},
		"blank principal":                         {role: "fn", original: []string{" "}, q: functions, want: true},
		"other principal":                         {role: "root", original: []string{"fn"}, q: functions},
		"websocket principal":                     {role: "fn", original: []string{websocketPrincipal}, q: functions, want: true},
		"proxy without principal":                 {role: "root-proxy", q: functions},
		"proxy with a proxy":                      {role: "root-proxy", original: []string{"proxy"}, q: functions},
		"proxy and principal both allowed":        {role: "root-proxy", original: []string{"fn"}, q: functions, want: true},
		"proxy allowed, principal not":            {role: "root-proxy", original: []string{"nobody"}, q: functions},
		"principal allowed, proxy not":            {role: "proxy", original: []string{"fn"}, q: functions},
		"proxy superuser, principal not":          {role: "root-proxy", original: []string{"admin"}},
		"both superusers":                         {role: "root-proxy", original: []string{"root"}, want: true},
		"two principals":                          {role: "root-proxy", original: []string{"root", "nobody"}},
		"proxy with the websocket principal":      {role: "root-proxy", original: []string{websocketPrincipal}, want: true},
		"weak proxy with the websocket principal": {role: "proxy", original: []string{websocketPrincipal}, q: functions},
	}
	a, err := New(Options{Superusers: []string{"root", "root-proxy", ""}, ProxyRoles: []string{"proxy", "root-proxy"}, Policies: &fakePolicies{}})
	require.NoError(t, err)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := a.Authorize(request(&authn.Identity{Role: tc.role, Roles: []string{tc.role, "root"}}, tc.original...), tc.q)
			require.ErrorIs(t, err, tc.wantErr)
			require.Equal(t, tc.want, got)
		})
	}
	got, err := a.Authorize(request(nil), functions)
	require.NoError(t, err)
	require.False(t, got, "authorization without authentication lets nobody in")
	_, err = New(Options{})
	require.Error(t, err)
}

func TestMultiRoles(t *testing.T) {
	a, err := New(Options{Superusers: []string{"root"}, MultiRoles: true, Policies: &fakePolicies{}})
	require.NoError(t, err)
	functions := Question{Tenant: "t", Namespace: "n", Action: Functions}
	tests := map[string]struct {
		id   authn.Identity
		q    Question
		want bool
	}{
		"second role is granted":     {authn.Identity{Role: "a", Roles: []string{"a", "fn"}}, functions, true},
		"second role is superuser":   {authn.Identity{Role: "a", Roles: []string{"a", "root"}}, Question{}, true},
		"second role is admin":       {authn.Identity{Role: "a", Roles: []string{"a", "admin"}}, functions, true},
		"none":                       {authn.Identity{Role: "a", Roles: []string{"a", "b"}}, functions, false},
		"a caller without a token":   {authn.Identity{Role: "root", Method: "tls"}, functions, false},
		"empty roles are not a role": {authn.Identity{Roles: []string{""}}, functions, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := a.Authorize(request(&tc.id), tc.q)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

// TestCache: policies are asked for once in a while; a revoked or new right counts soon, absence even sooner.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePolicies{delay: time.Millisecond}
		a, err := New(Options{Policies: f, Keep: 5 * time.Second})
		require.NoError(t, err)
		ask := func(role, tenant string) bool {
			ok, _ := a.Authorize(request(&authn.Identity{Role: role}), Question{Tenant: tenant, Namespace: "n", Action: Functions})
			return ok
		}
		for range 10 {
			go ask("fn", "t")
		}
		time.Sleep(time.Second)
		require.EqualValues(t, 2, f.asked.Load(), "ten at once are one question for the tenant and one for the namespace")
		f.admin = []string{"late"}
		require.False(t, ask("late", "t"))
		time.Sleep(5 * time.Second)
		require.True(t, ask("late", "t"))

		before := f.asked.Load()
		require.False(t, ask("late", "x"))
		require.False(t, ask("late", "x"))
		require.Equal(t, before+1, f.asked.Load())
		time.Sleep(time.Second)
		require.False(t, ask("late", "x"))
		require.Equal(t, before+2, f.asked.Load())
	})
}

// TestFailuresAreErrors: what the broker does not answer is neither yes nor no, and is asked again.
func TestFailuresAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePolicies{fail: errors.New("no broker")}
		a, err := New(Options{Superusers: []string{"root"}, Policies: f, Timeout: 3 * time.Second})
		require.NoError(t, err)
		q := Question{Tenant: "t", Namespace: "n", Action: Functions}
		_, err = a.Authorize(request(&authn.Identity{Role: "fn"}), q)
		require.ErrorContains(t, err, "no broker")
		ok, err := a.Authorize(request(&authn.Identity{Role: "root"}), q)
		require.NoError(t, err)
		require.True(t, ok, "superusers need no broker")
		f.fail = &broker.Error{Op: "reading", Code: http.StatusUnauthorized, Reason: "the worker is no superuser"}
		_, err = a.Authorize(request(&authn.Identity{Role: "fn"}), q)
		require.ErrorContains(t, err, "no superuser")
		f.fail, f.delay = nil, time.Hour
		start := time.Now()
		_, err = a.Authorize(request(&authn.Identity{Role: "fn"}), q)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
		synctest.Wait() // the question itself ends at the same moment
		f.delay = 0
		ok, err = a.Authorize(request(&authn.Identity{Role: "fn"}), q)
		require.NoError(t, err)
		require.True(t, ok)
	})
}
