package api

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/broker"
)

const person = `{"type":"record","name":"Person","namespace":"a","fields":[
	{"name":"name","type":["null","string"]},{"name":"age","type":"int"},
	{"name":"tags","type":{"type":"array","items":"string"}},{"name":"marks","type":{"type":"map","values":"double"}},
	{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},{"name":"id","type":{"type":"fixed","name":"Id","size":4}},
	{"name":"next","type":["null","Person"]}]}`

func encoded(t *testing.T, schema string, value any) string {
	t.Helper()
	data, err := avro.Marshal(avro.MustParse(schema), value)
	require.NoError(t, err)
	return string(data)
}

func varint(n int64) string { return string(binary.AppendVarint(nil, n)) }

func TestConforms(t *testing.T) {
	someone := map[string]any{"name": map[string]any{"string": "x"}, "age": 7, "tags": []string{"a", "b"}, "marks": map[string]any{"m": 1.5}, "kind": "B", "id": [4]byte{1, 2, 3, 4},
		"next": nil}
	valid := encoded(t, person, someone)
	list := func(items string) string { return `{"type":"array","items":` + items + `}` }
	tests := map[string]struct {
		schema *broker.Schema
		data   string
		want   string // part of the refusal; empty: accepted
	}{
		"no schema":             {nil, "\xff", ""},
		"bytes":                 {&broker.Schema{Type: "BYTES"}, "\xff", ""},
		"string":                {&broker.Schema{Type: "STRING"}, "anything", ""},
		"JSON":                  {&broker.Schema{Type: "JSON", Data: person}, ` {"a":[1,2]} `, ""},
		"JSON cut off":          {&broker.Schema{Type: "JSON", Data: person}, `{"a":`, "schema is JSON: unexpected EOF"},
		"JSON and more":         {&broker.Schema{Type: "JSON", Data: person}, `{} x`, "more after the first value"},
		"JSON that is text":     {&broker.Schema{Type: "JSON", Data: person}, `hello`, "invalid character"},
		"JSON that is empty":    {&broker.Schema{Type: "JSON", Data: person}, ``, "EOF"},
		"INT32":                 {&broker.Schema{Type: "INT32"}, "1234", ""},
		"INT32 as text":         {&broker.Schema{Type: "INT32"}, "12345", "has 4 bytes, not 5"},
		"a type of the future":  {&broker.Schema{Type: "CBOR"}, "x", ""},
		"AVRO":                  {&broker.Schema{Type: "AVRO", Data: person}, valid, ""},
		"AVRO cut off":          {&broker.Schema{Type: "AVRO", Data: person}, valid[:len(valid)-1], "field next: the data ends"},
		"AVRO as text":          {&broker.Schema{Type: "AVRO", Data: person}, "hello", "field name: branch 52 does not exist"},
		"AVRO of what?":         {&broker.Schema{Type: "AVRO", Data: "{nope"}, "x", ""},
		"a long string":         {&broker.Schema{Type: "AVRO", Data: `"string"`}, varint(1<<40) + "x", "the data ends"},
		"a negative length":     {&broker.Schema{Type: "AVRO", Data: `"bytes"`}, varint(-3), "negative"},
		"an unknown symbol":     {&broker.Schema{Type: "AVRO", Data: `{"type":"enum","name":"E","symbols":["A"]}`}, varint(1), "symbol 1 does not exist"},
		"a block with its size": {&broker.Schema{Type: "AVRO", Data: list(`"int"`)}, varint(-2) + varint(2) + varint(1) + varint(2) + varint(0), ""},
		"endless nothing":       {&broker.Schema{Type: "AVRO", Data: list(`"null"`)}, varint(1<<62) + varint(0), "too many empty parts"},
		"count without sign":    {&broker.Schema{Type: "AVRO", Data: list(`"null"`)}, varint(-1<<63) + varint(0), "too many empty parts"},
		"a number too long":     {&broker.Schema{Type: "AVRO", Data: `"long"`}, strings.Repeat("\xff", 11), "too long"},
		"deep":                  {&broker.Schema{Type: "AVRO", Data: `{"type":"record","name":"N","fields":[{"name":"n","type":["null","N"]}]}`}, strings.Repeat(varint(1), 2000), "nests deeper"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			err := conforms(tt.schema, []byte(tt.data))
			require.Less(t, time.Since(start), 5*time.Second)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestProducerSchema(t *testing.T) {
	require.Nil(t, producerSchema(nil))
	require.Nil(t, producerSchema(&broker.Schema{Type: "BYTES"}))
	info := producerSchema(&broker.Schema{Type: "LOCAL_DATE", Data: "", Properties: map[string]string{"a": "b"}}).GetSchemaInfo()
	require.EqualValues(t, 17, info.Type)
	require.Equal(t, map[string]string{"a": "b"}, info.Properties)
}

// FuzzConforms checks that no definition and no data make the walk panic or last.
func FuzzConforms(f *testing.F) {
	f.Add(person, []byte{2, 2, 'x', 14, 0, 0, 0, 1, 2, 3, 4, 0})
	f.Add(`{"type":"array","items":{"type":"map","values":"null"}}`, []byte(varint(1<<40)))
	f.Fuzz(func(t *testing.T, definition string, data []byte) {
		start := time.Now()
		_ = conforms(&broker.Schema{Type: "AVRO", Data: definition}, data)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}
