//go:build wasip1

package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	_ "unsafe" // for go:linkname
)

//go:linkname mainMain main.main
func mainMain()

// handler is what main gave to Start.
var handler func(ctx context.Context, input []byte) (*result, error)

// start takes note of the handler; main ends after it.
func start(a adapted, adaptErr error) int {
	if adaptErr != nil {
		fmt.Fprintln(os.Stderr, "function:", adaptErr)
		return ExitUsage
	}
	if a.window != nil {
		fmt.Fprintln(os.Stderr, "function: a handler of windows can be compiled into a worker, but cannot be a WebAssembly module")
		return ExitUsage
	}
	handler = a.handler
	return ExitOK
}

// finish ends main, or the guest when the handler cannot be used.
func finish(code int) {
	if code != ExitOK {
		os.Exit(code)
	}
	runtime.Goexit()
}

// version marks a guest of version 1 of the ABI; nobody calls it.
//
//go:wasmexport pulsar_abi_version_1
func version() {}

// prepare calls main, which calls Start: in a reactor nobody else does.
//
//go:wasmexport pulsar_start
func prepare() int32 {
	done := make(chan struct{})
	go func() {
		defer close(done)
		mainMain()
	}()
	<-done
	if handler == nil {
		fail("main ended without a call of function.Start or function.Run")
		return 1
	}
	return 0
}

// handle takes one message.
//
//go:wasmexport pulsar_handle
func handle(size int32) int32 {
	input := make([]byte, size)
	if size > 0 {
		hostInput(&input[0], uint32(size))
	}
	r, err := guarded(input)
	if err != nil {
		fail(err.Error())
		return 1
	}
	if r != nil {
		send(r)
	}
	return 0
}

// guarded turns a panic into an error, as the engine does for functions that it calls itself.
func guarded(input []byte) (r *result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return handler(context.WithValue(context.Background(), guestKey{}, true), input)
}

func send(r *result) {
	if len(r.Payload) > 0 {
		hostOutput(&r.Payload[0], uint32(len(r.Payload)))
	} else {
		hostOutput(nil, 0)
	}
	if r.Topic != "" {
		hostOutputTopic(r.Topic)
	}
	if !r.explicit {
		return
	}
	hostOutputKey(r.Key)
	for name, value := range r.Properties {
		hostOutputProperty(name, value)
	}
	if !r.EventTime.IsZero() {
		hostOutputEventTime(r.EventTime.UnixMilli())
	}
	if r.DeliverAfter > 0 {
		hostOutputDeliverAfter(r.DeliverAfter.Milliseconds())
	}
}

func fail(text string) { hostFail(text) }

// Answers of the host instead of a length.
const (
	codeNone     = -1
	codeFailed   = -2
	codeChanged  = -3
	codeDisabled = -4
)

// held fetches the last value of the host.
func held(size int32) []byte {
	b := make([]byte, size)
	if size > 0 {
		hostHeld(&b[0], uint32(size))
	}
	return b
}

// heldError is the reason that the host gave.
func heldError(code int32) error {
	if code == codeChanged {
		return ErrStateChanged
	}
	reason := errors.New(string(held(hostHeld(nil, 0))))
	if code == codeDisabled {
		return disabledError{reason}
	}
	return reason
}

// value asks the host for a value; false when there is none. What does not fit the buffer at once is fetched after.
func value(ask func(buf *byte, size uint32) int32) ([]byte, bool, error) {
	var buf [256]byte
	n := ask(&buf[0], uint32(len(buf)))
	switch {
	case n == codeNone:
		return nil, false, nil
	case n < 0:
		return nil, false, heldError(n)
	case int(n) <= len(buf):
		return append([]byte{}, buf[:n]...), true, nil
	}
	return held(n), true, nil
}

// jsonValue asks the host for a value in JSON.
func jsonOf(target any, ask func(buf *byte, size uint32) int32) bool {
	data, ok, err := value(ask)
	return err == nil && ok && json.Unmarshal(data, target) == nil
}
