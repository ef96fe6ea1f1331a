// Package goroutine is the runtime behind ThreadRuntimeFactory: functions compiled into the worker and WebAssembly
// modules run as goroutines of the worker, on its own shared clients. What needs a program of another language (Java,
// Python, native Go binaries, connectors) is handed to another factory, which runs it as a process.
//
// A run is one internal/instance Engine. It cannot harm the worker by a panic, which is an error of that message. A call
// that never returns cannot be ended by anybody: when the instance is stopped, its inputs and outputs are closed, the run
// ends with a reason that says so, and the goroutine is left behind; Leftovers counts them.
//
// Clients are shared per credentials, a few of them, and instances are spread over these. What an instance has received
// and not handled waits in its own consumer, within that consumer's permits, so a slow one does not hold up the others.
package goroutine
