package instance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/hamba/avro/v2"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/avrojson"
	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

const pointSchema = `{"type":"record","name":"Point","fields":[{"name":"x","type":["null","int"],"default":null}]}`

// versioned is a message that says which schema it was written with.
type versioned struct {
	*fakeMessage
	version []byte
}

func (m versioned) SchemaVersion() []byte { return m.version }

func version(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func TestPayloadsAreReadByTheirSchema(t *testing.T) {
	encoded, err := avro.Marshal(avro.MustParse(pointSchema), map[string]any{"x": 7})
	require.NoError(t, err)
	lookups := 0
	lookup := func(_ context.Context, topic string, v []byte) (*broker.Schema, error) {
		lookups++
		switch n := string(v); {
		case topic == "none":
			return nil, nil
		case len(n) == 0:
			return &broker.Schema{Type: "AVRO", Data: pointSchema}, nil
		case n == string(version(3)):
			return &broker.Schema{Type: "AVRO", Data: pointSchema}, nil
		case n == string(version(4)):
			return nil, errors.New("the broker is away")
		case n == string(version(5)):
			return &broker.Schema{Type: "AVRO", Data: "{"}, nil
		}
		return &broker.Schema{Type: []string{"JSON", "STRING", "BYTES", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "BOOLEAN", "PROTOBUF_NATIVE"}[v[7]-100]}, nil
	}
	typed, err := pulsar.NewAvroSchemaWithValidation(pointSchema, nil)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		schemaType, topic string
		version           []byte
		payload           []byte
		noType            bool
		want, wantErr     string
	}{
		"by its version":           {schemaType: "AVRO", version: version(3), payload: encoded, want: `{"x":7}`},
		"by the handler's type":    {schemaType: "avro", payload: encoded, want: `{"x":7}`},
		"by the newest":            {schemaType: "AUTO_CONSUME", noType: true, payload: encoded, want: `{"x":7}`},
		"cut off":                  {schemaType: "AVRO", version: version(3), payload: []byte{2}, wantErr: "reading the message of 1 bytes by its Avro schema: field x: the data ends"},
		"nobody knows":             {schemaType: "AVRO", topic: "none", noType: true, payload: encoded, wantErr: "finding the schema of the message: topic none has none"},
		"a topic without one":      {schemaType: "auto_consume", topic: "none", payload: []byte("x"), want: "x"},
		"the broker is away":       {schemaType: "AVRO", version: version(4), wantErr: "finding the schema of the message: the broker is away"},
		"a definition that is bad": {schemaType: "AVRO", version: version(5), wantErr: "reading the Avro schema"},
		"JSON":                     {schemaType: "AUTO_CONSUME", version: version(100), payload: []byte(`{}`), want: `{}`},
		"STRING":                   {schemaType: "AUTO_CONSUME", version: version(101), payload: []byte("a b"), want: "a b"},
		"INT8":                     {schemaType: "AUTO_CONSUME", version: version(103), payload: []byte{0xff}, want: "-1"},
		"INT16":                    {schemaType: "AUTO_CONSUME", version: version(104), payload: []byte{0xff, 0xfe}, want: "-2"},
		"INT32":                    {schemaType: "AUTO_CONSUME", version: version(105), payload: []byte{0, 0, 1, 0}, want: "256"},
		"INT64":                    {schemaType: "AUTO_CONSUME", version: version(106), payload: version(1 << 60), want: fmt.Sprint(int64(1) << 60)},
		"FLOAT":                    {schemaType: "AUTO_CONSUME", version: version(107), payload: binary.BigEndian.AppendUint32(nil, math.Float32bits(1.5)), want: "1.5"},
		"DOUBLE":                   {schemaType: "AUTO_CONSUME", version: version(108), payload: binary.BigEndian.AppendUint64(nil, math.Float64bits(-2.5)), want: "-2.5"},
		"BOOLEAN":                  {schemaType: "AUTO_CONSUME", version: version(109), payload: []byte{1}, want: "true"},
		"another length":           {schemaType: "AUTO_CONSUME", version: version(105), payload: []byte{1}, wantErr: "a value of type INT32 has 4 bytes, not 1"},
		"another type":             {schemaType: "AUTO_CONSUME", version: version(110), wantErr: "messages of the schema type PROTOBUF_NATIVE cannot be read here"},
	} {
		t.Run(name, func(t *testing.T) {
			schemas := Schemas{AvroInput: typed, Lookup: lookup}
			if tc.noType {
				schemas.AvroInput = nil
			}
			reader := NewPulsarClient(nil, schemas, nil).newSchemaReader(tc.schemaType)
			m := schemaMessage{versioned{&fakeMessage{topic: tc.topic, payload: tc.payload}, tc.version}, reader}
			got, err := payloadOf(t.Context(), m)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, string(got))
			before := lookups
			_, err = payloadOf(t.Context(), m)
			require.NoError(t, err)
			if tc.topic != "none" {
				require.Equal(t, before, lookups, "a schema is looked up once")
			}
		})
	}
	require.Nil(t, NewPulsarClient(nil, Schemas{}, nil).newSchemaReader("JSON"))
	reader := NewPulsarClient(nil, Schemas{Lookup: lookup}, nil).newSchemaReader("AUTO_CONSUME")
	for i := range maxSchemas + 10 {
		_, err := payloadOf(t.Context(), schemaMessage{versioned{&fakeMessage{topic: fmt.Sprint(i), payload: encoded}, version(3)}, reader})
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(reader.known), maxSchemas)
}

// avroClient gives its inputs a schemaReader and its producers an Avro schema.
type avroClient struct {
	*fakeClient
	reader *schemaReader
}

func (c avroClient) Subscribe(ctx context.Context, in Input) (Consumer, error) {
	consumer, err := c.fakeClient.Subscribe(ctx, in)
	return schemaConsumer{consumer, c.reader}, err
}

func (c avroClient) Producer(ctx context.Context, out Output) (Producer, error) {
	p, err := c.fakeClient.Producer(ctx, out)
	if err != nil {
		return nil, err
	}
	schema, err := pulsar.NewAvroSchemaWithValidation(pointSchema, nil)
	if err != nil {
		return nil, err
	}
	return withAvro(p, schema)
}

// TestAvroThroughTheEngine: what cannot be read or written is an error of that message alone.
func TestAvroThroughTheEngine(t *testing.T) {
	schema, err := avrojson.Parse(pointSchema)
	require.NoError(t, err)
	one, err := schema.FromJSON([]byte(`{"x":1}`))
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		own, err := pulsar.NewAvroSchemaWithValidation(pointSchema, nil)
		require.NoError(t, err)
		reader := NewPulsarClient(nil, Schemas{AvroInput: own}, nil).newSchemaReader("AVRO")
		client := avroClient{newFakeClient(), reader}
		var got []string
		e, stop := startEngine(t, Options{Config: testConfig(guarantee(pb.ProcessingGuarantees_ATLEAST_ONCE)), Client: client,
			Program: Handler(func(_ context.Context, in []byte) (*Result, error) {
				got = append(got, string(in))
				return &Result{Message: Message{Payload: []byte(strings.Replace(string(in), "1", "2", 1))}}, nil
			})})
		<-e.Started()
		for _, payload := range []string{string(one), "\x02", string(one)} {
			client.consumer("in").put(payload)
		}
		synctest.Wait()
		require.NoError(t, stop())
		require.Equal(t, []string{`{"x":1}`, `{"x":1}`}, got)
		sent := client.sent("out")
		require.Len(t, sent, 2)
		text, err := schema.ToJSON(sent[0].Payload)
		require.NoError(t, err)
		require.Equal(t, `{"x":2}`, string(text))
		acked, nacked := client.consumer("in").answers()
		require.Len(t, acked, 2)
		require.Equal(t, []string{"\x02"}, nacked)
		require.Contains(t, e.Stats().Status(true).LatestUserExceptions[0].ExceptionString, "by its Avro schema")
	})
}
