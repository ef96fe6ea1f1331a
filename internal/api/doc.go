// Package api is the REST interface of the worker: what pulsar-admin, other workers and Prometheus talk to.
//
// It turns requests into calls of the cluster (metadata, assignments, leadership), the supervisor (own instances),
// the package store and the broker, all seen through small interfaces declared here, and turns their answers into
// the JSON and the status codes of the Java worker 4.0.8 (rest-api contract). It keeps no state of its own.
//
// Life cycle: New makes a Server; Serve answers on one listener until Shutdown, which lets running requests end.
// The handler is the same for every listener, plain or TLS.
package api
