package api

import (
	"net/http"
)

type handler = func(w http.ResponseWriter, r *http.Request) error

// componentRoutes are the endpoints that all three kinds have.
func (s *Server) componentRoutes(prefix string, k Kind) []route {
	one, all := prefix+"/{tenant}/{namespace}/{name}", prefix+"/{tenant}/{namespace}"
	return []route{
		{method: "POST", pattern: one, body: bodyMultipart, json: true, handle: s.register(k, false)},
		{method: "PUT", pattern: one, body: bodyMultipart, json: true, handle: s.update(k, false)},
		{method: "DELETE", pattern: one, json: true, handle: s.deregister(k, http.StatusNoContent)},
		{method: "GET", pattern: one, json: true, handle: s.get(k)},
		{method: "GET", pattern: all, json: true, handle: s.list(k)},
		{method: "GET", pattern: one + "/status", json: true, handle: s.status(k)},
		{method: "GET", pattern: one + "/{id}/status", json: true, handle: s.instanceStatus(k)},
		{method: "POST", pattern: one + "/restart", body: bodyAction, json: true, handle: s.restart(k, http.StatusNoContent)},
		{method: "POST", pattern: one + "/{id}/restart", body: bodyAction, json: true, handle: s.restartInstance(k, http.StatusNoContent)},
		{method: "POST", pattern: one + "/stop", body: bodyAction, json: true, handle: s.changeState(k, stop, http.StatusNoContent)},
		{method: "POST", pattern: one + "/{id}/stop", body: bodyAction, json: true, handle: s.changeState(k, stop, http.StatusNoContent)},
		{method: "POST", pattern: one + "/start", body: bodyAction, json: true, handle: s.changeState(k, start, http.StatusNoContent)},
		{method: "POST", pattern: one + "/{id}/start", body: bodyAction, json: true, handle: s.changeState(k, start, http.StatusNoContent)},
	}
}

// functionRoutes is rest-api contract, section 3.
func (s *Server) functionRoutes() []route {
	const prefix = "/admin/v3/functions"
	one := prefix + "/{tenant}/{namespace}/{name}"
	return append(s.componentRoutes(prefix, Function), []route{
		{method: "GET", pattern: one + "/stats", json: true, handle: s.stats(Function)},
		{method: "GET", pattern: one + "/{id}/stats", json: true, handle: s.instanceStats(Function)},
		{method: "POST", pattern: one + "/trigger", body: bodyMultipart, handle: s.trigger(http.StatusNoContent)},
		{method: "GET", pattern: one + "/state/{key}", json: true, handle: s.getState(false)},
		{method: "POST", pattern: one + "/state/{key}", body: bodyMultipart, json: true, handle: s.putState},
		{method: "GET", pattern: one + "/download", handle: s.downloadByName},
		{method: "POST", pattern: prefix + "/upload", body: bodyMultipart, json: true, handle: s.uploadPackage(http.StatusNoContent)},
		{method: "GET", pattern: prefix + "/download", handle: s.downloadByPath},
		{method: "GET", pattern: prefix + "/connectors", json: true, handle: s.listConnectors(anyKind)},
		{method: "GET", pattern: prefix + "/builtins", json: true, handle: s.listFunctions},
		{method: "POST", pattern: prefix + "/builtins/reload", body: bodyAction, json: true, handle: s.reloadFunctions},
		{method: "PUT", pattern: prefix + "/leader/{tenant}/{namespace}/{name}", body: bodyMultipart, json: true, handle: s.writeAsLeader},
	}...)
}

// connectorRoutes is rest-api contract, section 4.
func (s *Server) connectorRoutes(prefix string, k Kind) []route {
	list, reload := "/builtin"+kindName(k)+"s", "/reloadBuiltIn"+k.String()+"s"
	return append(s.componentRoutes(prefix, k), []route{
		{method: "GET", pattern: prefix + list, json: true, handle: s.listConnectors(k)},
		{method: "GET", pattern: prefix + list + "/{connector}/configdefinition", json: true, handle: s.configDefinition(k)},
		{method: "POST", pattern: prefix + reload, body: bodyAction, json: true, handle: s.reloadConnectors},
	}...)
}

// legacyRoutes is rest-api contract, section 10: version 2 of the functions endpoints.
func (s *Server) legacyRoutes(prefix string) []route {
	one := prefix + "/{tenant}/{namespace}/{name}"
	return []route{
		{method: "POST", pattern: one, body: bodyMultipart, handle: s.register(Function, true)},
		{method: "PUT", pattern: one, body: bodyMultipart, handle: s.update(Function, true)},
		{method: "DELETE", pattern: one, handle: s.deregister(Function, http.StatusOK)},
		{method: "GET", pattern: one, handle: s.legacyGet},
		{method: "GET", pattern: prefix + "/{tenant}/{namespace}", handle: s.list(Function)},
		{method: "GET", pattern: one + "/status", handle: s.legacyStatus},
		{method: "GET", pattern: one + "/{id}/status", handle: s.legacyInstanceStatus},
		{method: "POST", pattern: one + "/trigger", body: bodyMultipart, handle: s.trigger(http.StatusOK)},
		{method: "GET", pattern: one + "/state/{key}", handle: s.getState(true)},
		{method: "POST", pattern: one + "/restart", body: bodyAction, handle: s.restart(Function, http.StatusOK)},
		{method: "POST", pattern: one + "/{id}/restart", body: bodyAction, handle: s.restartInstance(Function, http.StatusOK)},
		{method: "POST", pattern: one + "/stop", body: bodyAction, handle: s.changeState(Function, stop, http.StatusOK)},
		{method: "POST", pattern: one + "/{id}/stop", body: bodyAction, handle: s.changeState(Function, stop, http.StatusOK)},
		{method: "POST", pattern: prefix + "/upload", body: bodyMultipart, handle: s.uploadPackage(http.StatusOK)},
		{method: "GET", pattern: prefix + "/download", handle: s.downloadByPath},
		{method: "GET", pattern: prefix + "/connectors", handle: s.listConnectors(anyKind)},
	}
}

// workerRoutes is the first table of rest-api contract, section 5.
func (s *Server) workerRoutes(prefix string) []route {
	return []route{
		{method: "GET", pattern: prefix + "/cluster", json: true, handle: s.members},
		{method: "GET", pattern: prefix + "/cluster/leader", json: true, handle: s.leader},
		{method: "GET", pattern: prefix + "/cluster/leader/ready", json: true, handle: s.leaderReady},
		{method: "GET", pattern: prefix + "/assignments", json: true, handle: s.assignments},
		{method: "GET", pattern: prefix + "/connectors", json: true, handle: s.superuser(s.listConnectors(anyKind))},
		{method: "PUT", pattern: prefix + "/rebalance", body: bodyAction, json: true, handle: s.rebalance},
		{method: "PUT", pattern: prefix + "/drain", body: bodyAction, json: true, handle: s.drain},
		{method: "PUT", pattern: prefix + "/leader/drain", body: bodyAction, json: true, handle: s.drain},
		{method: "GET", pattern: prefix + "/drain", json: true, handle: s.drainStatus},
		{method: "GET", pattern: prefix + "/leader/drain", json: true, handle: s.drainStatus},
	}
}

func (s *Server) workerStatsRoutes(prefix string) []route {
	return []route{
		{method: "GET", pattern: prefix + "/metrics", json: true, handle: s.superuser(s.processMetrics)},
		{method: "GET", pattern: prefix + "/functionsmetrics", json: true, handle: s.superuser(s.functionsMetrics)},
	}
}

// rootRoutes: version, health and metrics.
func (s *Server) rootRoutes() []route {
	return []route{
		{method: "GET", pattern: "/version", early: true, json: true, handle: s.version},
		{method: "GET", pattern: "/initialized", early: true, handle: s.initialized},
		{method: "GET", pattern: "/livez", early: true, handle: s.live},
		{method: "GET", pattern: "/readyz", early: true, handle: s.ready},
		{method: "GET", pattern: "/metrics", early: true, handle: s.metrics},
	}
}

// superuser puts the superuser check before a handler.
func (s *Server) superuser(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.allow(r, Access{Right: RightSuperuser}); err != nil {
			return err
		}
		return next(w, r)
	}
}
