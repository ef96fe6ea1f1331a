package function

import "context"

// Exit codes of a function process.
const (
	// ExitOK: stopped by a signal, or idle for as long as its configuration allows.
	ExitOK = 0
	// ExitFailed: the instance could not start, or failed for good; the last line of the log says why.
	ExitFailed = 1
	// ExitUsage: wrong flags, configuration or handler; starting it again will not help.
	ExitUsage = 2
	// ExitOrphaned: the worker that started it is gone.
	ExitOrphaned = 3
)

// Start runs handler as a Pulsar function and ends the process when the instance ends; it does not return.
//
// The handler is a function of one of these forms, where In and Out are []byte, string, json.RawMessage, a Go type that
// is read from and written as JSON, or a pointer to one; Out can also be *Message, for a result with key, properties or
// a topic of its own:
//
//	func()                          func() error
//	func(In) error                  func(In) (Out, error)
//	func() (Out, error)             func(context.Context) error
//	func(context.Context, In) error func(context.Context) (Out, error)
//	func(context.Context, In) (Out, error)
//
// Any other form ends the process with ExitUsage and a message that says what is wrong.
//
// Built with GOOS=wasip1 GOARCH=wasm -buildmode=c-shared the program is a guest of the worker: the worker calls main
// once, Start takes note of the handler, and main ends there.
func Start(handler any) {
	a, err := adapt(handler)
	finish(start(a, err))
}

// Run is Start for a handler whose types the compiler checks.
func Run[In, Out any](handler func(ctx context.Context, in In) (Out, error)) {
	Start(handler)
}
