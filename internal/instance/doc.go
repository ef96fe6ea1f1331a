// Package instance is the engine of one function instance: it consumes the inputs, calls the handler, sends the results,
// acknowledges, and counts. It is what a Go function built with pkg/function runs in its own process, and what a
// worker runs in goroutines for functions compiled into it.
//
// Pure pieces: Config (what the worker passes on the command line), Plan (which consumers and producers that means),
// Policy (when an input is acknowledged), Stats (counters, status, Prometheus families). Around them: Engine,
// which talks to Pulsar only through the interface Client, and Serve, which makes a whole process of it (control
// service, metrics endpoint, watchdog, orderly stop).
//
// Life cycle: New checks everything that can be checked without a broker; Run opens log topic, output and inputs in
// this order, consumes until its context ends, then finishes what is in flight and closes in reverse.
package instance
