package api

import (
	"net/http"
	"strings"

	"github.com/functions-worker/functions-worker/internal/broker"
)

// The worker fetches packages and triggers functions with its own rights, usually those of a superuser. What it does so
// for a caller, the caller must be allowed to do.

// allowPackage checks the rights for a package by name, which may belong to another tenant (CVE-2026-105930).
func (s *Server) allowPackage(r *http.Request, rawURL string) error {
	if !isPackageURL(rawURL) || s.opts.Authz == nil {
		return nil
	}
	name, err := broker.ParsePackageName(rawURL)
	if err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	return s.allow(r, Access{Right: RightPackages, Tenant: name.Tenant, Namespace: name.Namespace})
}

// allowProduce checks the rights for the topic that a trigger sends to (CVE-2026-105935).
func (s *Server) allowProduce(r *http.Request, topic string) error {
	if s.opts.Authz == nil {
		return nil
	}
	full := fullTopic(topic)
	_, rest, _ := strings.Cut(full, "://")
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return s.allow(r, Access{Right: RightSuperuser})
	}
	return s.allow(r, Access{Right: RightProduce, Tenant: parts[0], Namespace: parts[1], Topic: full})
}
