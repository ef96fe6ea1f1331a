package function

import (
	"context"
	"errors"
)

// direct calls the commonest forms of handlers without reflection, which in a WebAssembly guest costs more than the rest of the call; nil
// for the others. Results are those of signature.call.
func direct(handler any) func(ctx context.Context, input []byte) (*result, error) {
	switch f := handler.(type) {
	case func(context.Context, []byte) ([]byte, error):
		return func(ctx context.Context, input []byte) (*result, error) { return plainBytes(f(ctx, input)) }
	case func([]byte) ([]byte, error):
		return func(_ context.Context, input []byte) (*result, error) { return plainBytes(f(input)) }
	case func(context.Context, string) (string, error):
		return func(ctx context.Context, input []byte) (*result, error) { return plainText(f(ctx, string(input))) }
	case func(string) (string, error):
		return func(_ context.Context, input []byte) (*result, error) { return plainText(f(string(input))) }
	}
	return nil
}

func plainBytes(out []byte, err error) (*result, error) {
	if errors.Is(err, ErrNoResult) || err == nil && out == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &result{Message: Message{Payload: out}}, nil
}

func plainText(out string, err error) (*result, error) {
	if errors.Is(err, ErrNoResult) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &result{Message: Message{Payload: []byte(out)}}, nil
}
