package function

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// ErrNoResult, returned by a handler as its error, means success without a result. It is for handlers whose result type
// has no nil, such as string.
var ErrNoResult = errors.New("no result")

// adapted is a user's function in one form, whatever runs it: the engine of a process or of a worker, or the host of a
// WebAssembly guest.
type adapted struct {
	handler func(ctx context.Context, input []byte) (*result, error)
	// window is set instead of handler for a function that takes windows.
	window *windowed
	// input and output are the types on the wire; nil: none.
	input, output *codec
}

// result is what a handler gives back; nil stands for none.
type result struct {
	Message
	// explicit results keep their own key and properties; others take the input's key.
	explicit bool
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// signature is what adapt found out about a function.
type signature struct {
	takesContext  bool
	in, out       *codec // nil: takes no input, gives no result
	returnsErrors bool
}

// adapt checks the form of a user's function and wraps it.
func adapt(handler any) (adapted, error) {
	if handler == nil {
		return adapted{}, errors.New("the handler is nil")
	}
	if w, ok := handler.(WindowHandler); ok {
		return w.adapted, w.err
	}
	value := reflect.ValueOf(handler)
	if value.Kind() != reflect.Func {
		return adapted{}, fmt.Errorf("the handler is a %s, not a function", value.Type())
	}
	if value.IsNil() {
		return adapted{}, fmt.Errorf("the handler is a nil %s", value.Type())
	}
	sig, err := signatureOf(value.Type())
	if err != nil {
		return adapted{}, fmt.Errorf("the handler %s cannot be used: %w", value.Type(), err)
	}
	a := adapted{handler: direct(handler)}
	if a.handler == nil {
		a.handler = func(ctx context.Context, input []byte) (*result, error) { return sig.call(ctx, value, input) }
	}
	a.input, a.output = sig.in, sig.out
	return a, nil
}

func signatureOf(t reflect.Type) (signature, error) {
	var s signature
	if t.IsVariadic() {
		return s, errors.New("it takes a variable number of arguments")
	}
	if err := s.arguments(t); err != nil {
		return s, err
	}
	return s, s.results(t)
}

func (s *signature) arguments(t reflect.Type) (err error) {
	switch {
	case t.NumIn() > 2:
		return fmt.Errorf("it takes %d arguments; at most a context.Context and the input are possible", t.NumIn())
	case t.NumIn() == 2 && t.In(0) != contextType:
		return fmt.Errorf("it takes two arguments, but the first is %s and not context.Context", t.In(0))
	case t.NumIn() == 2 && t.In(1) == contextType:
		return errors.New("its second argument is a context.Context; that one comes first, the input second")
	}
	s.takesContext = t.NumIn() > 0 && t.In(0) == contextType
	if n := t.NumIn(); n == 2 || n == 1 && !s.takesContext {
		if s.in, err = codecOf(t.In(n - 1)); err != nil {
			return fmt.Errorf("its input: %w", err)
		}
		if s.in.explicit {
			return errors.New("its input is a *Message; take []byte, and the rest from FromContext(ctx).Message()")
		}
	}
	return nil
}

func (s *signature) results(t reflect.Type) (err error) {
	switch n := t.NumOut(); {
	case n == 0:
		return nil
	case n > 2:
		return fmt.Errorf("it returns %d values; at most a result and an error are possible", n)
	case t.Out(n-1) != errorType:
		return fmt.Errorf("its last return value is %s and not error", t.Out(n-1))
	case n == 2:
		if s.out, err = codecOf(t.Out(0)); err != nil {
			return fmt.Errorf("its result: %w", err)
		}
	}
	s.returnsErrors = true
	return nil
}

func (s signature) call(ctx context.Context, f reflect.Value, input []byte) (*result, error) {
	var args []reflect.Value
	if s.takesContext {
		args = append(args, reflect.ValueOf(ctx))
	}
	if s.in != nil {
		in, err := s.in.decode(input)
		if err != nil {
			return nil, fmt.Errorf("reading the input of %d bytes: %w", len(input), err)
		}
		args = append(args, in)
	}
	results := f.Call(args)
	if s.returnsErrors {
		if err, _ := results[len(results)-1].Interface().(error); errors.Is(err, ErrNoResult) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	if s.out == nil {
		return nil, nil
	}
	out, err := s.out.encode(results[0])
	if err != nil {
		return nil, fmt.Errorf("writing the result: %w", err)
	}
	return out, nil
}
