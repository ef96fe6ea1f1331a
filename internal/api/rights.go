package api

import (
	"net/http"
	"strings"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cleanup"
	"github.com/functions-worker/functions-worker/internal/pb"
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

// allowCleanup checks the rights on the subscriptions that the deletion of a component will remove, with the worker's own: a name
// that the submitter chose may be somebody else's. The default one is the component's.
func (s *Server) allowCleanup(r *http.Request, d *pb.FunctionDetails) error {
	if name := d.GetSource().GetSubscriptionName(); s.opts.Authz == nil || name == "" || name == pb.FullyQualifiedName(d) {
		return nil
	}
	leftovers, _ := cleanup.Leftovers(d) // what is no topic name is not removed
	for _, l := range leftovers {
		var err error
		switch l.Kind {
		case cleanup.Subscription:
			err = s.allowTopic(r, RightConsume, l.Topic)
		case cleanup.Pattern:
			tenant, namespace, _ := strings.Cut(l.Namespace, "/")
			err = s.allow(r, Access{Right: RightConsume, Tenant: tenant, Namespace: namespace})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// allowProduce checks the rights for the topic that a trigger sends to (CVE-2026-105935).
func (s *Server) allowProduce(r *http.Request, topic string) error {
	if s.opts.Authz == nil {
		return nil
	}
	return s.allowTopic(r, RightProduce, fullTopic(topic))
}

// allowTopic checks a right for a topic by its full name; what is no such name needs a superuser.
func (s *Server) allowTopic(r *http.Request, right Right, full string) error {
	_, rest, _ := strings.Cut(full, "://")
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return s.allow(r, Access{Right: RightSuperuser})
	}
	return s.allow(r, Access{Right: right, Tenant: parts[0], Namespace: parts[1], Topic: full})
}
