package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// restartTimeout bounds stopping and starting one instance.
const restartTimeout = 60 * time.Second

// restartInstance restarts one instance; it writes nothing to any topic.
func (s *Server) restartInstance(k Kind, success int) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, _, err := s.known(r, k)
		if err != nil {
			return err
		}
		id, err := instanceID(r)
		if err != nil {
			return err
		}
		if s.opts.Runtime.ExternallyManaged() {
			return fail(http.StatusNotImplemented, "Externally managed schedulers can't do per instance stop")
		}
		p, err := s.place(r.Context(), t, id)
		if err != nil {
			return err
		}
		switch {
		case p == nil:
			return failf(http.StatusBadRequest, "%s/%d doesn't exist", t.fqfn(), id)
		case !p.mine:
			return failf(http.StatusBadRequest, "%s/%d has not been assigned yet", t.fqfn(), id)
		}
		if err := s.restartLocal(r.Context(), p.key); err != nil {
			return err
		}
		void(w, success)
		return nil
	}
}

func (s *Server) restartLocal(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartTimeout)
	defer cancel()
	return s.opts.Instances.Restart(ctx, key)
}

// restart restarts all instances: own ones here, the others through their owners, all at the same time and without
// any lock. Instances whose worker is gone are skipped; they will be assigned anew.
func (s *Server) restart(k Kind, success int) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, _, err := s.known(r, k)
		if err != nil {
			return err
		}
		places, err := s.places(r.Context(), t.fqfn())
		if err != nil {
			return err
		}
		if len(places) == 0 {
			return failf(http.StatusBadRequest, "%s has not been assigned yet", t.fqfn())
		}
		var mu sync.Mutex
		var failed error
		each(len(places), func(i int) {
			if err := s.restartPlace(r.Context(), t, places[i]); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
		if failed != nil {
			return fail(http.StatusInternalServerError, failed.Error())
		}
		void(w, success)
		return nil
	}
}

func (s *Server) restartPlace(ctx context.Context, t target, p place) error {
	switch {
	case p.mine:
		return s.restartLocal(ctx, p.key)
	case p.owner == nil:
		return nil
	}
	path := componentPath(t) + "/restart" // an external runtime: the owner restarts the whole function
	if p.id >= 0 {
		path = componentPath(t) + "/" + itoa(p.id) + "/restart"
	}
	_, _, err := s.askPeerFor(ctx, restartTimeout, http.MethodPost, *p.owner, path)
	return err
}
