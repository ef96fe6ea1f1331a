package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/kubernetes"
)

// secretBook remembers what was put; answers are the errors of the next calls.
type secretBook struct {
	tokens  map[string]string
	answers []error
	entries []cleanup.Entry
}

func (b *secretBook) PutToken(_ context.Context, _ *pb.FunctionDetails, id, token string, replace bool) error {
	if len(b.answers) > 0 {
		err := b.answers[0]
		b.answers = b.answers[1:]
		if err != nil {
			return err
		}
	}
	if _, taken := b.tokens[id]; taken && !replace {
		return kubernetes.ErrTaken
	}
	b.tokens[id] = token
	return nil
}

func (b *secretBook) Add(_ context.Context, e cleanup.Entry) { b.entries = append(b.entries, e) }

func TestTokensForPods(t *testing.T) {
	details := &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f", CustomRuntimeOptions: `{"jobNamespace":"x"}`}
	request := func(token string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		return r.WithContext(authn.NewContext(r.Context(), authn.Identity{Role: "a", Token: token}))
	}
	newTokens := func(answers ...error) (*podTokens, *secretBook) {
		b := &secretBook{tokens: map[string]string{}, answers: answers}
		return &podTokens{secrets: b, cleanups: b, log: zap.NewNop()}, b
	}
	t.Run("register", func(t *testing.T) {
		p, b := newTokens(kubernetes.ErrTaken)
		spec, err := p.Cache(t.Context(), request("jwt"), details, nil)
		require.NoError(t, err)
		require.Equal(t, map[string]string{string(spec.GetData()): "jwt"}, b.tokens)
		require.Len(t, b.entries, 2, "every Secret that may have been made is written down before")
		require.Equal(t, []string{cleanup.CredentialKey(spec, details.CustomRuntimeOptions)}, b.entries[1].Packages)
		require.Positive(t, b.entries[1].SettleSeconds)
	})
	t.Run("update keeps the Secret", func(t *testing.T) {
		p, b := newTokens()
		existing := &pb.FunctionAuthenticationSpec{Data: []byte("ab1cd")}
		spec, err := p.Cache(t.Context(), request("new"), details, existing)
		require.NoError(t, err)
		require.Equal(t, existing, spec)
		require.Equal(t, map[string]string{"ab1cd": "new"}, b.tokens)
		require.Empty(t, b.entries)
	})
	t.Run("update of a function with a token in clear", func(t *testing.T) {
		p, b := newTokens()
		spec, err := p.Cache(t.Context(), request("new"), details, &pb.FunctionAuthenticationSpec{Data: []byte("eyJ.e30.x")})
		require.NoError(t, err)
		require.True(t, kubernetes.IsTokenID(spec.GetData()))
		require.Len(t, b.tokens, 1)
	})
	t.Run("no token", func(t *testing.T) {
		p, b := newTokens()
		spec, err := p.Cache(t.Context(), request(""), details, &pb.FunctionAuthenticationSpec{Data: []byte("ab1cd")})
		require.NoError(t, err)
		require.Nil(t, spec)
		require.Empty(t, b.tokens)
	})
	t.Run("no right", func(t *testing.T) {
		p, _ := newTokens(errors.New("the worker may not create secrets"))
		_, err := p.Cache(t.Context(), request("jwt"), details, nil)
		require.ErrorContains(t, err, "may not create secrets", "the function is not created without its credentials")
	})
	t.Run("no free name", func(t *testing.T) {
		p, _ := newTokens(kubernetes.ErrTaken, kubernetes.ErrTaken, kubernetes.ErrTaken, kubernetes.ErrTaken, kubernetes.ErrTaken)
		_, err := p.Cache(t.Context(), request("jwt"), details, nil)
		require.ErrorContains(t, err, "5 attempts")
	})
}
