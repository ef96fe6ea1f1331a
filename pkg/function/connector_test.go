package function

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
)

type spot struct{ X int }

type numbersConfig struct {
	Step   int             `json:"step" help:"How far apart." default:"1"`
	Secret string          `json:"secret" required:"true" sensitive:"true"`
	Tags   []int32         `json:"tags"`
	Labels map[string]bool `json:"labels"`
}

func (c numbersConfig) Validate() error {
	if c.Step < 0 {
		return errors.New("step is below 0")
	}
	return nil
}

type numbers struct {
	config numbersConfig
	closed bool
	value  *spot
	err    error
}

func (n *numbers) Open(_ context.Context, c numbersConfig) error { n.config = c; return nil }
func (n *numbers) Read(context.Context) (*SourceRecord[*spot], error) {
	return &SourceRecord[*spot]{Value: n.value, Key: "k", Topic: "t", Partition: "p", Sequence: 4, EventTime: time.UnixMilli(7), Properties: map[string]string{"a": "b"}}, n.err
}
func (n *numbers) Close(context.Context) error { n.closed = true; return nil }

func TestBuiltinSource(t *testing.T) {
	source := &numbers{value: &spot{X: 3}}
	b, err := BuiltinSource("numbers", func() Source[*spot, numbersConfig] { return source }).Described("Counts.").Internal()
	require.NoError(t, err)
	require.Equal(t, "numbers Counts. SOURCE", b.Name+" "+b.Description+" "+b.Kind.String())
	require.Equal(t, []instance.ConfigField{
		{Name: "step", Type: "long", Help: "How far apart.", Default: "1"}, {Name: "secret", Type: "java.lang.String", Required: true, Sensitive: true},
		{Name: "tags", Type: "java.util.List<java.lang.Integer>"}, {Name: "labels", Type: "java.util.Map<java.lang.String, java.lang.Boolean>"},
	}, b.Fields)
	for configs, want := range map[string]string{
		"": "", `{"step":2}`: "", `{"step":"2"}`: "cannot unmarshal string", `{"stepp":2}`: `unknown field "stepp"`, `{"step":-1}`: "step is below 0", `[1]`: "cannot unmarshal array", `{} {}`: "more than one",
	} {
		err := b.Validate(&pb.FunctionDetails{Source: &pb.SourceSpec{Configs: configs}})
		if want == "" {
			require.NoError(t, err, configs)
			continue
		}
		require.ErrorContains(t, err, want, configs)
		require.ErrorContains(t, err, "the configs", configs)
	}
	program, err := b.Load(t.Context(), instance.Package{})
	require.NoError(t, err)
	s := program.(instance.Source)
	require.NoError(t, s.Open(t.Context(), []byte(`{"step":5}`)))
	require.Equal(t, 5, source.config.Step)
	r, err := s.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, &instance.SourceRecord{Message: instance.Message{Topic: "t", Payload: []byte(`{"X":3}`), Key: "k", Properties: map[string]string{"a": "b"}, EventTime: time.UnixMilli(7)},
		Partition: "p", Sequence: 4}, r)
	require.NotNil(t, instance.SchemasOf(program).Output, "the schema of the struct")
	source.value = nil
	_, err = s.Read(t.Context())
	require.ErrorContains(t, err, "nil")
	source.err = errors.New("gone")
	_, err = s.Read(t.Context())
	require.ErrorIs(t, err, source.err)
	require.NoError(t, s.Leave(t.Context()))
	require.True(t, source.closed)
	_, err = program.Handle(t.Context(), nil)
	require.Error(t, err)
}

type memory struct{ got []SinkRecord[spot] }

func (m *memory) Open(context.Context, map[string]any) error { return nil }
func (m *memory) Write(_ context.Context, r SinkRecord[spot]) error {
	m.got = append(m.got, r)
	return nil
}
func (m *memory) Close(context.Context) error { return nil }

func TestBuiltinSinkReadsItsType(t *testing.T) {
	sink := &memory{}
	b, err := BuiltinSink("memory", func() Sink[spot, map[string]any] { return sink }).Internal()
	require.NoError(t, err)
	require.Equal(t, pb.FunctionDetails_SINK, b.Kind)
	require.Nil(t, b.Fields, "a map may hold anything")
	require.NoError(t, b.Validate(&pb.FunctionDetails{Sink: &pb.SinkSpec{Configs: `{"any":{"thing":1}}`}}))
	program, err := b.Load(t.Context(), instance.Package{})
	require.NoError(t, err)
	ctx := instance.NewContext(t.Context(), &instance.Context{})
	_, err = program.Handle(ctx, []byte(`{"X":1}`))
	require.NoError(t, err)
	require.Equal(t, spot{1}, sink.got[0].Value)
	_, err = program.Handle(ctx, []byte(`no JSON`))
	require.ErrorContains(t, err, "reading the input of 7 bytes")
	require.Len(t, sink.got, 1)
}

func TestConnectorsThatCannotBeUsed(t *testing.T) {
	for want, c := range map[string]Compiled{
		`compiled-in source "s": there is no function that makes it`: BuiltinSource[string, numbersConfig]("s", nil),
		`compiled-in sink "s": its values: chan int`:                 BuiltinSink("s", func() Sink[chan int, numbersConfig] { return nil }),
		`compiled-in sink "s": its configs: int is neither`:          BuiltinSink("s", func() Sink[string, int] { return nil }),
		`use []byte instead of *Message`:                             BuiltinSource("s", func() Source[*Message, numbersConfig] { return nil }),
		`take []byte, the rest is in the SinkRecord`:                 BuiltinSink("s", func() Sink[*Message, numbersConfig] { return nil }),
	} {
		_, err := c.Internal()
		require.ErrorContains(t, err, want)
	}
}
