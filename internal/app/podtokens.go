package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/kubernetes"
)

// podTokens is KubernetesSecretsTokenAuthProvider towards submitters: their token goes into a Secret, whose id the metadata
// holds. A Secret that no metadata names in the end is removed by the clean-up, like a package.
type podTokens struct {
	secrets interface { // *kubernetes.Factory
		PutToken(ctx context.Context, d *pb.FunctionDetails, id, token string, replace bool) error
	}
	cleanups interface {
		Add(ctx context.Context, e cleanup.Entry)
	}
	log *zap.Logger
}

const tokenTries = 5

// Cache stores the token of a submitter's request. An update keeps the Secret, so that pods get the new token without being
// replaced. A caller without a token leaves the function without credentials, as with a Java worker.
func (p *podTokens) Cache(ctx context.Context, r *http.Request, d *pb.FunctionDetails, existing *pb.FunctionAuthenticationSpec) (*pb.FunctionAuthenticationSpec, error) {
	id, ok := authn.FromContext(r.Context())
	name := pb.FullyQualifiedName(d)
	if !ok || id.Token == "" {
		p.log.Warn("a function gets no credentials: its submitter has authenticated without a token", zap.String("function", name))
		return nil, nil
	}
	if kept := string(existing.GetData()); kubernetes.IsTokenID([]byte(kept)) {
		if err := p.secrets.PutToken(ctx, d, kept, id.Token, true); err != nil {
			return nil, fmt.Errorf("replacing the token of the function: %w", err)
		}
		return existing, nil
	}
	for range tokenTries {
		spec := &pb.FunctionAuthenticationSpec{Data: []byte(kubernetes.NewTokenID())}
		// before, so that dying in between leaves nothing behind
		p.cleanups.Add(ctx, cleanup.Uploaded(name, cleanup.CredentialKey(spec, d.GetCustomRuntimeOptions())))
		err := p.secrets.PutToken(ctx, d, string(spec.Data), id.Token, false)
		if err == nil {
			return spec, nil
		}
		if !errors.Is(err, kubernetes.ErrTaken) {
			return nil, fmt.Errorf("keeping the token of the function: %w", err)
		}
	}
	return nil, fmt.Errorf("no free name was found for the Secret of the function in %d attempts", tokenTries)
}

// withTokens lets the clean-up remove tokens like packages.
type withTokens struct {
	cleanup.Packages
	pods *kubernetes.Factory // nil: functions do not run in Kubernetes
}

// Delete removes what has this key.
func (w withTokens) Delete(ctx context.Context, key string) error {
	id, options, ok := cleanup.ParseCredentialKey(key)
	switch {
	case !ok:
		return w.Packages.Delete(ctx, key)
	case w.pods == nil:
		return nil
	}
	return w.pods.RemoveToken(ctx, options, id)
}
