package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/catalog"
)

// anyKind stands for all kinds where a list or a download is not about one of them.
const anyKind Kind = -1

func offers(class *string) bool { return class != nil && *class != "" }

// listConnectors answers the built-in connectors that offer the given kind, ordered by name. Each kind is open to
// everybody; all of them together need a superuser, as worker/connectors does (CVE-2026-105936).
func (s *Server) listConnectors(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if k == anyKind {
			if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
				return err
			}
		}
		answer := []catalog.ConnectorDefinition{}
		if s.opts.Catalog != nil {
			for _, d := range s.opts.Catalog.Connectors() {
				if (k == Sink && !offers(d.SinkClass)) || (k == Source && !offers(d.SourceClass)) {
					continue
				}
				answer = append(answer, d)
			}
		}
		slices.SortFunc(answer, func(a, b catalog.ConnectorDefinition) int { return strings.Compare(a.Name, b.Name) })
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

func (s *Server) listFunctions(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	answer := []catalog.FunctionDefinition{}
	if s.opts.Catalog != nil {
		answer = append(answer, s.opts.Catalog.Functions()...)
	}
	slices.SortFunc(answer, func(a, b catalog.FunctionDefinition) int { return strings.Compare(a.Name, b.Name) })
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// configDefinition describes the config class of a built-in connector.
func (s *Server) configDefinition(k Kind) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name, err := param(r, "connector")
		if err != nil {
			return err
		}
		var fields []archive.ConfigField
		declared := false
		if s.opts.Catalog != nil {
			if fields, declared, err = s.opts.Catalog.ConfigFields(k == Source, name); err != nil {
				return fail(http.StatusInternalServerError, err.Error())
			}
		}
		if !declared {
			return failf(http.StatusNotFound, "builtin %s does not exist", kindName(k))
		}
		if fields == nil {
			fields = []archive.ConfigField{}
		}
		writeJSON(w, http.StatusOK, fields)
		return nil
	}
}

// reloadConnectors reads the connectors directory of this worker again.
func (s *Server) reloadConnectors(w http.ResponseWriter, r *http.Request) error {
	if err := s.allowText(r, Access{Right: RightSuperuser}, "This operation requires super-user access"); err != nil {
		return err
	}
	return s.reload(w, Catalog.ReloadConnectors)
}

// reloadFunctions reads the functions directory of this worker again.
func (s *Server) reloadFunctions(w http.ResponseWriter, r *http.Request) error {
	if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
		return err
	}
	return s.reload(w, Catalog.ReloadFunctions)
}

func (s *Server) reload(w http.ResponseWriter, load func(Catalog) error) error {
	if s.opts.Catalog != nil {
		if err := load(s.opts.Catalog); err != nil {
			return fail(http.StatusInternalServerError, err.Error())
		}
	}
	void(w, http.StatusNoContent)
	return nil
}
