package function

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/instance"
)

func TestWindowForms(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		handler WindowHandler
		inputs  []string
		want    string // "-": no result
		wantErr string
	}{
		"JSON": {Window(func(_ context.Context, w []WindowMessage[point]) (point, error) {
			return point{X: w[0].Value.X + w[1].Value.X}, nil
		}), []string{`{"x":1}`, `{"x":2}`}, `{"x":3}`, ""},
		"anything":          {Window(func(_ context.Context, w []WindowMessage[any]) (any, error) { return w[1].Value, nil }), []string{"null", `[1]`}, `[1]`, ""},
		"null":              {Window(func(_ context.Context, w []WindowMessage[any]) (any, error) { return w[0].Value, nil }), []string{"null"}, "-", ""},
		"bytes":             {Window(func(_ context.Context, w []WindowMessage[[]byte]) ([]byte, error) { return w[0].Value, nil }), []string{"a"}, "a", ""},
		"no result":         {Window(func(context.Context, []WindowMessage[string]) (string, error) { return "", ErrNoResult }), []string{"a"}, "-", ""},
		"an error":          {Window(func(context.Context, []WindowMessage[string]) (string, error) { return "", errors.New("bad") }), []string{"a"}, "", "bad"},
		"cannot be read":    {Window(func(context.Context, []WindowMessage[int]) (string, error) { return "", nil }), []string{"x"}, "", "reading the input of 1 bytes: as JSON into int"},
		"cannot be written": {Window(func(context.Context, []WindowMessage[string]) (any, error) { return func() {}, nil }), []string{"x"}, "", "writing the result: of type interface {}"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Builtin("w", tc.handler).Internal()
			require.NoError(t, err)
			require.True(t, b.Windows)
			program, err := b.Load(ctx, instance.Package{})
			require.NoError(t, err)
			windowed, ok := program.(instance.Windowed)
			require.True(t, ok && windowed.TakesWindows())
			var messages []instance.WindowMessage
			for _, in := range tc.inputs {
				var read any
				if read, err = windowed.Read([]byte(in)); err == nil {
					messages = append(messages, instance.WindowMessage{Read: read})
				}
			}
			var result *instance.Result
			if err == nil {
				result, err = windowed.HandleWindow(ctx, messages)
			}
			switch {
			case tc.wantErr != "":
				require.ErrorContains(t, err, tc.wantErr)
			case tc.want == "-":
				require.NoError(t, err)
				require.Nil(t, result)
			default:
				require.NoError(t, err)
				require.Equal(t, tc.want, string(result.Payload))
			}
		})
	}
}

func TestWindowFormsThatAreRefused(t *testing.T) {
	for want, c := range map[string]Compiled{
		"it is nil":                             Builtin("w", Window[string, string](nil)),
		"its input: it is a *Message":           Builtin("w", Window(func(context.Context, []WindowMessage[*Message]) (string, error) { return "", nil })),
		"its result: chan int cannot":           Builtin("w", Window(func(context.Context, []WindowMessage[string]) (chan int, error) { return nil, nil })),
		"windows are handled one at a time":     Concurrent("w", 2, Window(func(context.Context, []WindowMessage[string]) (string, error) { return "", nil })),
		`compiled-in function "w": the handler`: Builtin("w", Window[string, string](nil)),
	} {
		_, err := c.Internal()
		require.ErrorContains(t, err, want)
	}
	b, err := Builtin("w", func(string) error { return nil }).Internal()
	require.NoError(t, err)
	require.False(t, b.Windows)
}
