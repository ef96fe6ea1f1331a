package function

import (
	"context"
	"reflect"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/functions-worker/functions-worker/internal/instance"
)

func TestProtobufMessages(t *testing.T) {
	b, err := Builtin("seconds", func(_ context.Context, in *durationpb.Duration) (*wrapperspb.Int64Value, error) {
		if in.Seconds == 0 {
			return nil, nil
		}
		return wrapperspb.Int64(in.Seconds), nil
	}).Internal()
	require.NoError(t, err)
	program, err := b.Load(t.Context(), instance.Package{})
	require.NoError(t, err)

	payload, err := proto.Marshal(&durationpb.Duration{Seconds: 77})
	require.NoError(t, err)
	result, err := program.Handle(t.Context(), payload)
	require.NoError(t, err)
	var out wrapperspb.Int64Value
	require.NoError(t, proto.Unmarshal(result.Payload, &out))
	require.EqualValues(t, 77, out.Value)

	result, err = program.Handle(t.Context(), nil)
	require.NoError(t, err)
	require.Nil(t, result, "a nil message is no result")
	_, err = program.Handle(t.Context(), []byte{0xff})
	require.ErrorContains(t, err, "reading the input of 1 bytes: as the Protobuf message google.protobuf.Duration")

	schemas := instance.SchemasOf(program)
	for schema, name := range map[pulsar.Schema]string{schemas.Input: "google.protobuf.Duration", schemas.Output: "google.protobuf.Int64Value"} {
		require.Equal(t, pulsar.ProtoNative, schema.GetSchemaInfo().Type)
		require.Contains(t, schema.GetSchemaInfo().Schema, name)
	}
	_, err = wireOf(reflect.TypeFor[durationpb.Duration]())
	require.ErrorContains(t, err, "durationpb.Duration is a Protobuf message and must be used as a pointer")
}

// FuzzProtobuf: any payload gives a message or an error.
func FuzzProtobuf(f *testing.F) {
	a, err := adapt(func(in *durationpb.Duration) (*durationpb.Duration, error) { return in, nil })
	require.NoError(f, err)
	f.Add([]byte{0x08, 77})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if r, err := a.handler(t.Context(), payload); (r == nil) == (err == nil) {
			t.Fatal(r, err)
		}
	})
}
