package app

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/functions-worker/functions-worker/internal/api"
	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/auth/authz"
	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
)

func TestQuestionOf(t *testing.T) {
	for _, tc := range []struct {
		access api.Access
		want   authz.Question
	}{
		{api.Access{Right: api.RightSuperuser, Tenant: "t", Namespace: "n"}, authz.Question{}},
		{api.Access{Right: api.RightComponent, Kind: api.Function, Tenant: "t", Namespace: "n"}, authz.Question{Tenant: "t", Namespace: "n", Action: authz.Functions}},
		{api.Access{Right: api.RightComponent, Kind: api.Sink, Tenant: "t", Namespace: "n"}, authz.Question{Tenant: "t", Namespace: "n", Action: authz.Sinks}},
		{api.Access{Right: api.RightComponent, Kind: api.Source, Tenant: "t", Namespace: "n"}, authz.Question{Tenant: "t", Namespace: "n", Action: authz.Sources}},
		{api.Access{Right: api.RightPackages, Tenant: "t", Namespace: "n"}, authz.Question{Tenant: "t", Namespace: "n", Action: authz.Packages}},
		{api.Access{Right: api.RightConsume, Tenant: "t", Namespace: "n", Topic: "x"}, authz.Question{Tenant: "t", Namespace: "n", Action: authz.Consume, Topic: "x"}},
		{api.Access{Right: api.RightProduce, Tenant: "t", Namespace: "n", Topic: "x"}, authz.Question{Tenant: "t", Namespace: "n", Action: authz.Produce, Topic: "x"}},
	} {
		got, err := questionOf(tc.access)
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
	_, err := questionOf(api.Access{Right: 99, Tenant: "t"})
	require.Error(t, err, "a right that nobody knows must not become an easier one")
	_, err = questionOf(api.Access{Right: api.RightComponent, Kind: -1, Tenant: "t"})
	require.Error(t, err)
}

// TestInstanceAuth: what instances get follows from authenticationEnabled alone, and is the submitter's, not the worker's.
func TestInstanceAuth(t *testing.T) {
	const provider = "functionAuthProviderClassName: org.apache.pulsar.functions.auth.ClearTextFunctionTokenAuthProvider\ntlsTrustCertsFilePath: ca.pem\nuseTls: true\n"
	make := func(more string) (*process.Auth, func(*pb.FunctionMetaData, process.Auth) (process.Auth, error)) {
		t.Helper()
		cfg := load(t, more)
		admin, err := broker.NewAdmin(BrokerConfig(load(t, "")), nil)
		require.NoError(t, err)
		s, err := newSecurity(cfg, admin, prometheus.NewRegistry(), zaptest.NewLogger(t))
		require.NoError(t, err)
		return s.instanceAuth(cfg)
	}
	base, derive := make("brokerClientAuthenticationEnabled: true\n" + ownCredentials)
	require.Nil(t, base, "the worker's clients authenticate, functions do not")
	require.Nil(t, derive)

	base, derive = make(authenticated(goodKey, ownCredentials+provider))
	require.Equal(t, "ca.pem", base.TrustCertsFile, "as it stands in the file")
	require.True(t, base.UseTLS)
	meta := &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f"}}
	_, err := derive(meta, *base)
	require.ErrorContains(t, err, "--update-auth-data")
	meta.FunctionAuthSpec = &pb.FunctionAuthenticationSpec{Data: []byte("j.w.t")}
	got, err := derive(meta, *base)
	require.NoError(t, err)
	data, err := os.ReadFile(strings.TrimPrefix(got.Params, "file://"))
	require.NoError(t, err)
	require.Equal(t, "j.w.t", string(data))
	require.Equal(t, "token:a.b.c", base.Params, "the base must not change")

	base, derive = make(authenticated(goodKey, ownCredentials+"goWorker: {functionsUseWorkerCredentials: true}\n"))
	require.Nil(t, derive)
	require.Equal(t, "token:a.b.c", base.Params)
}

func TestOutcomesAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	count := countOutcomes(registry)
	count(authn.Outcome{Provider: "AuthenticationProviderToken", Method: "token"})
	count(authn.Outcome{Provider: "AuthenticationProviderToken", Method: "token", Reason: "INVALID_TOKEN"})
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 2)
}
