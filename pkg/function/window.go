package function

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// WindowMessage is one message of a window.
type WindowMessage[T any] struct {
	// Value is what the payload was read as.
	Value T
	// Record has the rest: topic, key, properties, times, id.
	Record
}

// WindowHandler is a handler that takes windows of messages; Window makes it.
type WindowHandler struct {
	adapted adapted
	err     error
}

// Window makes a handler for windows of messages, to be given to Builtin. In and Out are those of Start. When windows end,
// and which messages they have, is the function's windowConfig; a window always has a message. An error has those messages of the
// window delivered again, by the function's retry rules, that were in no window before:
//
//	function.Builtin("sum", function.Window(func(ctx context.Context, window []function.WindowMessage[int]) (int, error) {
//		sum := 0
//		for _, m := range window {
//			sum += m.Value
//		}
//		return sum, nil
//	}))
//
// Context.Message is nil in such a handler, and results take no key and properties from the messages.
func Window[In, Out any](handler func(ctx context.Context, window []WindowMessage[In]) (Out, error)) WindowHandler {
	fail := func(err error) WindowHandler {
		return WindowHandler{err: fmt.Errorf("the handler %T cannot be used: %w", handler, err)}
	}
	if handler == nil {
		return fail(errors.New("it is nil"))
	}
	in, err := codecOf(reflect.TypeFor[In]())
	if err == nil && in.explicit {
		err = errors.New("it is a *Message; take []byte, the rest is in the WindowMessage")
	}
	if err != nil {
		return fail(fmt.Errorf("its input: %w", err))
	}
	out, err := codecOf(reflect.TypeFor[Out]())
	if err != nil {
		return fail(fmt.Errorf("its result: %w", err))
	}
	w := &windowed{
		read: in.read,
		handle: func(ctx context.Context, messages []windowMessage) (*result, error) {
			window := make([]WindowMessage[In], len(messages))
			for i, m := range messages {
				value, _ := m.read.(In) // of the codec of In; an interface may be nil
				window[i] = WindowMessage[In]{Value: value, Record: m.record}
			}
			value, err := handler(ctx, window)
			if errors.Is(err, ErrNoResult) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return out.write(reflect.ValueOf(&value).Elem())
		},
	}
	return WindowHandler{adapted: adapted{window: w, input: in, output: out}}
}

// windowed is a function over windows in one form.
type windowed struct {
	read   func(payload []byte) (any, error)
	handle func(ctx context.Context, messages []windowMessage) (*result, error)
}

// windowMessage is a message and what read made of it.
type windowMessage struct {
	record Record
	read   any
}
