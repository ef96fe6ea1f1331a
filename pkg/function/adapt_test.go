package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/instance"
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
		{"name":"x","type":["null","long"],"default":null},{"name":"s","type":["null","string"],"default":null}]}`, a.schemas.Output.GetSchemaInfo().Schema)
	require.JSONEq(t, `{"type":"record","name":"tree","fields":[
		{"name":"name","type":["null","string"],"default":null},
		{"name":"children","type":["null",{"type":"array","items":"tree"}],"default":null},
		{"name":"when","type":["null","string"],"default":null},
		{"name":"tags","type":["null",{"type":"map","values":"string"}],"default":null},
		{"name":"Blob","type":["null","string"],"default":null}]}`, a.schemas.Input.GetSchemaInfo().Schema)
	a, err = adapt(func(map[string]any) (struct{ V any }, error) { return struct{ V any }{}, nil })
	require.NoError(t, err)
	require.Nil(t, a.schemas.Input)
	require.Nil(t, a.schemas.Output)
}

func TestFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = `{"tenant":"t","nameSpace":"n","name":"f","pulsarServiceURL":"pulsar://x"}`
	for name, tc := range map[string]struct {
		args    []string
		want    string
		wantErr string
	}{
		"JSON":           {args: []string{"-instance-conf", text}, want: "f"},
		"two dashes":     {args: []string{"--instance-conf=" + text}, want: "f"},
		"nothing":        {wantErr: "pulsar-admin functions create --go"},
		"unknown flag":   {args: []string{"-zzz"}, wantErr: "not defined"},
		"an argument":    {args: []string{"-instance-conf", text, "more"}, wantErr: `unexpected argument "more"`},
		"a missing file": {args: []string{"-instance-conf-path", "none.yaml"}, wantErr: "none.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parseFlags(tc.args, &bytes.Buffer{})
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, cfg.Details.GetName())
		})
	}
	_, err := parseFlags([]string{"-help"}, &bytes.Buffer{})
	require.ErrorIs(t, err, flag.ErrHelp)
	require.NoError(t, os.Mkdir("conf", 0o700))
	require.NoError(t, os.WriteFile(defaultConfFile, []byte(text), 0o600))
	cfg, err := parseFlags(nil, &bytes.Buffer{})
	require.NoError(t, err, "the default file is read when nothing else is given")
	require.Equal(t, "f", cfg.Details.GetName())
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		ExitOK: nil, ExitFailed: errors.New("x"), ExitUsage: instance.ErrConfig, ExitOrphaned: instance.ErrOrphaned,
	} {
		require.Equal(t, want, exitCode(zap.NewNop(), err))
	}
	require.Equal(t, ExitOK, exitCode(zap.NewNop(), instance.ErrIdle))
}

func TestLogLevel(t *testing.T) {
	var out bytes.Buffer
	newLog(&out, "warn").Info("hidden")
	require.Empty(t, out.String())
	newLog(&out, "loud").Info("shown")
	require.Contains(t, out.String(), "LOGGING_LEVEL is none of")
	require.Contains(t, out.String(), "shown")
}

func TestFromContextElsewhere(t *testing.T) {
	_, ok := FromContext(t.Context())
	require.False(t, ok)
}
