package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type point struct {
	X int    `json:"x"`
	S string `json:"s,omitempty"`
}

type named []byte

func TestHandlerForms(t *testing.T) {
	bad := errors.New("bad")
	for name, tc := range map[string]struct {
		handler any
		input   string
		want    string // "-": no result
		wantErr string
	}{
		"nothing":                     {handler: func() {}, want: "-"},
		"error only":                  {handler: func() error { return nil }, want: "-"},
		"error only, failing":         {handler: func() error { return bad }, wantErr: "bad"},
		"input":                       {handler: func([]byte) error { return nil }, want: "-"},
		"input without error":         {handler: func([]byte) {}, want: "-"},
		"input and result":            {handler: func(in []byte) ([]byte, error) { return append(in, '!'), nil }, input: "a", want: "a!"},
		"result":                      {handler: func() ([]byte, error) { return []byte("r"), nil }, want: "r"},
		"context":                     {handler: func(context.Context) error { return nil }, want: "-"},
		"context, no error":           {handler: func(context.Context) {}, want: "-"},
		"context and result":          {handler: func(context.Context) ([]byte, error) { return []byte("r"), nil }, want: "r"},
		"context and input":           {handler: func(context.Context, []byte) error { return bad }, wantErr: "bad"},
		"context, input and result":   {handler: func(_ context.Context, in []byte) ([]byte, error) { return in, nil }, input: "a", want: "a"},
		"nil is no result":            {handler: func([]byte) ([]byte, error) { return nil, nil }, want: "-"},
		"empty is a result":           {handler: func([]byte) ([]byte, error) { return []byte{}, nil }, want: ""},
		"an error wins over a result": {handler: func([]byte) ([]byte, error) { return []byte("r"), bad }, wantErr: "bad"},
		"text":                        {handler: func(in string) (string, error) { return in + "?", nil }, input: "a", want: "a?"},
		"text without result":         {handler: func(string) (string, error) { return "", ErrNoResult }, want: "-"},
		"named bytes":                 {handler: func(in named) (named, error) { return in, nil }, input: "a", want: "a"},
		"raw JSON":                    {handler: func(in json.RawMessage) (json.RawMessage, error) { return in, nil }, input: "not even", want: "not even"},
		"JSON values":                 {handler: func(in point) (point, error) { in.X++; return in, nil }, input: `{"x":1,"s":"q"}`, want: `{"x":2,"s":"q"}`},
		"JSON pointers":               {handler: func(in *point) (*point, error) { return in, nil }, input: `{"x":1}`, want: `{"x":1}`},
		"no JSON result":              {handler: func(point) (*point, error) { return nil, nil }, input: `{}`, want: "-"},
		"numbers":                     {handler: func(in int) (float64, error) { return float64(in) / 2, nil }, input: "3", want: "1.5"},
		"maps":                        {handler: func(in map[string]any) ([]string, error) { return []string{in["a"].(string)}, nil }, input: `{"a":"b"}`, want: `["b"]`},
		"interfaces":                  {handler: func(in any) (any, error) { return in, nil }, input: `[1]`, want: `[1]`},
		"not JSON":                    {handler: func(point) error { return nil }, input: "{", wantErr: "reading the input of 1 bytes: as JSON into function.point"},
		"an explicit message":         {handler: func([]byte) (*Message, error) { return &Message{Payload: []byte("m"), Key: "k"}, nil }, want: "m"},
		"no explicit message":         {handler: func([]byte) (*Message, error) { return nil, nil }, want: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := adapt(tc.handler)
			require.NoError(t, err)
			result, err := a.handler(t.Context(), []byte(tc.input))
			switch {
			case tc.wantErr != "":
				require.ErrorContains(t, err, tc.wantErr)
			case tc.want == "-":
				require.NoError(t, err)
				require.Nil(t, result)
			default:
				require.NoError(t, err)
				require.NotNil(t, result)
				require.NotNil(t, result.Payload)
				require.Equal(t, tc.want, string(result.Payload))
			}
		})
	}
}

// TestDirectCalls: the forms that are called without reflection give what the others do.
func TestDirectCalls(t *testing.T) {
	bytesOf := map[string]func([]byte) ([]byte, error){
		"result":           func(in []byte) ([]byte, error) { return append(in, '!'), nil },
		"nil":              func([]byte) ([]byte, error) { return nil, nil },
		"empty":            func([]byte) ([]byte, error) { return []byte{}, nil },
		"no result":        func([]byte) ([]byte, error) { return []byte("x"), ErrNoResult },
		"wrapped":          func([]byte) ([]byte, error) { return nil, fmt.Errorf("today: %w", ErrNoResult) },
		"error":            func([]byte) ([]byte, error) { return nil, errors.New("bad") },
		"error and result": func([]byte) ([]byte, error) { return []byte("x"), errors.New("bad") },
	}
	for name, f := range bytesOf {
		text := func(in string) (string, error) {
			out, err := f([]byte(in))
			return string(out), err
		}
		for _, handler := range []any{
			f, func(_ context.Context, in []byte) ([]byte, error) { return f(in) },
			text, func(_ context.Context, in string) (string, error) { return text(in) },
		} {
			quick := direct(handler)
			require.NotNil(t, quick)
			value := reflect.ValueOf(handler)
			sig, err := signatureOf(value.Type())
			require.NoError(t, err)
			for _, input := range []string{"", "a"} {
				want, wantErr := sig.call(t.Context(), value, []byte(input))
				got, gotErr := quick(t.Context(), []byte(input))
				require.Equal(t, want, got, "%s of %s", name, value.Type())
				require.Equal(t, wantErr, gotErr, "%s of %s", name, value.Type())
			}
		}
	}
	require.Nil(t, direct(func(named) (named, error) { return nil, nil }))
}

func TestRefusedForms(t *testing.T) {
	for name, tc := range map[string]struct {
		handler any
		want    string
	}{
		"nil":             {want: "the handler is nil"},
		"no function":     {handler: 1, want: "the handler is a int, not a function"},
		"nil function":    {handler: (func())(nil), want: "nil func()"},
		"three arguments": {handler: func(context.Context, []byte, int) {}, want: "it takes 3 arguments"},
		"input first":     {handler: func([]byte, context.Context) {}, want: "the first is []uint8 and not context.Context"},
		"two contexts":    {handler: func(context.Context, context.Context) {}, want: "second argument is a context.Context"},
		"variadic":        {handler: func(...[]byte) {}, want: "variable number"},
		"three results":   {handler: func() (int, int, error) { return 0, 0, nil }, want: "it returns 3 values"},
		"no error":        {handler: func() []byte { return nil }, want: "its last return value is []uint8 and not error"},
		//lint:ignore ST1008 an error that is not last is the point of the test
		"error first":          {handler: func() (error, []byte) { return nil, nil }, want: "not error"},
		"a channel":            {handler: func(chan int) {}, want: "its input: chan int cannot be read from or written as JSON"},
		"a channel in a field": {handler: func() (struct{ C chan int }, error) { return struct{ C chan int }{}, nil }, want: "field C of"},
		"a message as input":   {handler: func(*Message) {}, want: "its input is a *Message"},
		"a message by value":   {handler: func() (Message, error) { return Message{}, nil }, want: "must be used as a pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adapt(tc.handler)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, ExitUsage, start(adapted{}, err))
		})
	}
}

type tree struct {
	Name     string            `json:"name"`
	Children []*tree           `json:"children"`
	When     time.Time         `json:"when"`
	Tags     map[string]string `json:"tags"`
	Blob     []byte
	Hidden   chan int `json:"-"`
}

func TestJSONSchema(t *testing.T) {
	a, err := adapt(func(*tree) (point, error) { return point{}, nil })
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"record","name":"point","fields":[
		{"name":"x","type":["null","long"],"default":null},{"name":"s","type":["null","string"],"default":null}]}`, a.output.schema)
	require.JSONEq(t, `{"type":"record","name":"tree","fields":[
		{"name":"name","type":["null","string"],"default":null},
		{"name":"children","type":["null",{"type":"array","items":"tree"}],"default":null},
		{"name":"when","type":["null","string"],"default":null},
		{"name":"tags","type":["null",{"type":"map","values":"string"}],"default":null},
		{"name":"Blob","type":["null","string"],"default":null}]}`, a.input.schema)
	a, err = adapt(func(map[string]any) (struct{ V any }, error) { return struct{ V any }{}, nil })
	require.NoError(t, err)
	require.Empty(t, a.input.schema)
	require.Empty(t, a.output.schema)
}

func TestFromContextElsewhere(t *testing.T) {
	_, ok := FromContext(t.Context())
	require.False(t, ok)
}
