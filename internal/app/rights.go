package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/auth/authz"
	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/config"
)

// startRightsCheck says once in the log what the worker's own role lacks: to ask the broker for the rights of callers, without which
// everybody is refused who is no superuser of this worker, and to forward changes to other workers.
func (a *App) startRightsCheck(ctx context.Context) (stop func(context.Context) error) {
	if !a.cfg.AuthorizationEnabled {
		return func(context.Context) error { return nil }
	}
	return inBackground(ctx, func(ctx context.Context) {
		if err := a.admin.ActAsSuperuser(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("requests of callers that are no superusers here will fail: the worker's role must be in superUserRoles of the brokers, to ask them for the rights of callers",
				zap.Error(err))
		}
		if err := CheckOwnRole(ctx, a.cfg); err != nil && ctx.Err() == nil {
			a.log.Error("other workers of the cluster that are configured as this one will refuse what it forwards to them", zap.Error(err))
		}
	})
}

// CheckOwnRole tells whether a worker that is configured as this one would do what this one asks it for: workers forward changes to the
// leader and ask each other for the status of instances, as superusers. Nil where nothing is asked of them.
func CheckOwnRole(ctx context.Context, cfg *config.Worker) error {
	if !cfg.AuthenticationEnabled || !cfg.AuthorizationEnabled {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return fmt.Errorf("asking for the worker's own role: %w", err)
	}
	signed, err := broker.Sign(BrokerConfig(cfg), request)
	if err != nil {
		return err
	}
	if !signed {
		return errors.New("this worker has no credentials: set brokerClientAuthenticationPlugin and brokerClientAuthenticationParameters, " +
			"and name the role in superUserRoles of the workers and of the brokers")
	}
	tls, err := newTLS(cfg, zap.NewNop())
	if err != nil {
		return err
	}
	own, err := newAuthenticator(cfg, tls, nil, zap.NewNop())
	if err != nil {
		return err
	}
	id, err := own.Authenticate(request)
	if err != nil {
		return fmt.Errorf("the worker's own credentials (brokerClientAuthentication… keys) do not pass its authenticationProviders: %w", err)
	}
	admin, err := broker.NewAdmin(BrokerConfig(cfg), nil) // never asked: superusers are known without it
	if err != nil {
		return err
	}
	defer admin.Close()
	rules, err := newAuthorizer(cfg, admin)
	if err != nil {
		return err
	}
	allowed, err := rules.Authorize(request.WithContext(authn.NewContext(ctx, id)), authz.Question{})
	if err != nil || allowed {
		return err
	}
	if slices.Contains(cfg.ProxyRoles, id.Role) {
		return fmt.Errorf("the worker's own role %q is one of proxyRoles, which may only speak for others: give the worker a role of its own", id.Role)
	}
	return fmt.Errorf("superUserRoles (%s) does not name the worker's own role %q: add it on all workers", strings.Join(cfg.SuperUserRoles, ", "), id.Role)
}
