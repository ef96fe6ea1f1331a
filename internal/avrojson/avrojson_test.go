package avrojson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const everything = `{"type":"record","name":"Everything","fields":[
	{"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"f","type":"float"},{"name":"d","type":"double"},
	{"name":"s","type":"string"},{"name":"raw","type":"bytes"},{"name":"fix","type":{"type":"fixed","name":"Three","size":3}},
	{"name":"e","type":{"type":"enum","name":"Color","symbols":["RED","BLUE"]}},
	{"name":"list","type":{"type":"array","items":"int"}},{"name":"map","type":{"type":"map","values":"string"}},
	{"name":"maybe","type":["null","string"],"default":null},
	{"name":"next","type":["null","Everything"],"default":null}]}`

type everythingType struct {
	B     bool              `avro:"b" json:"b"`
	I     int32             `avro:"i" json:"i"`
	L     int64             `avro:"l" json:"l"`
	F     float32           `avro:"f" json:"f"`
	D     float64           `avro:"d" json:"d"`
	S     string            `avro:"s" json:"s"`
	Raw   []byte            `avro:"raw" json:"raw"`
	Fix   [3]byte           `avro:"fix" json:"-"`
	FixIs []byte            `avro:"-" json:"fix"`
	E     string            `avro:"e" json:"e"`
	List  []int32           `avro:"list" json:"list"`
	Map   map[string]string `avro:"map" json:"map"`
	Maybe *string           `avro:"maybe" json:"maybe"`
	Next  *everythingType   `avro:"next" json:"next"`
}

func draw(t *rapid.T, depth int) *everythingType {
	v := &everythingType{
		B: rapid.Bool().Draw(t, "b"), I: rapid.Int32().Draw(t, "i"), L: rapid.Int64().Draw(t, "l"), F: float32(rapid.Int16().Draw(t, "f")) / 8,
		D: rapid.Float64().Draw(t, "d"), S: rapid.String().Draw(t, "s"), Raw: rapid.SliceOf(rapid.Byte()).Draw(t, "raw"),
		E: rapid.SampledFrom([]string{"RED", "BLUE"}).Draw(t, "e"), List: rapid.SliceOf(rapid.Int32()).Draw(t, "list"),
		Map: rapid.MapOfN(rapid.String(), rapid.String(), 0, 1).Draw(t, "map"),
	}
	copy(v.Fix[:], rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, "fix"))
	v.FixIs = v.Fix[:]
	if text := rapid.String().Draw(t, "maybe"); text != "" {
		v.Maybe = &text
	}
	if depth > 0 && rapid.Bool().Draw(t, "more") {
		v.Next = draw(t, depth-1)
	}
	return v
}

// TestAgainstTheLibrary: its encoder is the oracle, both ways.
func TestAgainstTheLibrary(t *testing.T) {
	schema, err := Parse(everything)
	require.NoError(t, err)
	oracle := avro.MustParse(everything)
	rapid.Check(t, func(t *rapid.T) {
		v := draw(t, 3)
		want, err := avro.Marshal(oracle, v)
		require.NoError(t, err)
		require.NoError(t, schema.Check(want))
		text, err := schema.ToJSON(want)
		require.NoError(t, err)
		plain, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, string(plain), string(text))
		binary, err := schema.FromJSON(text)
		require.NoError(t, err)
		var back everythingType
		require.NoError(t, avro.Unmarshal(oracle, binary, &back)) // blocks may be written otherwise
		again, err := avro.Marshal(oracle, back)
		require.NoError(t, err)
		require.Equal(t, want, again)
	})
}

func TestRefused(t *testing.T) {
	deep := `{"type":"record","name":"N","fields":[{"name":"n","type":["null","N"]}]}`
	for name, tc := range map[string]struct{ definition, data, want string }{
		"ends early":           {`"string"`, "\x06ab", "ends before"},
		"negative length":      {`"bytes"`, "\x01", "length is negative"},
		"length beyond memory": {`"bytes"`, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "ends before"},
		"items of no bytes":    {`{"type":"array","items":"null"}`, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "as JSON"},
		"the smallest count":   {`{"type":"array","items":"null"}`, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", "too many empty parts"},
		"branch":               {`["null","int"]`, "\x04", "branch 2 does not exist"},
		"symbol":               {`{"type":"enum","name":"E","symbols":["A"]}`, "\x02", "symbol 1 does not exist"},
		"number too long":      {`"long"`, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "number is too long"},
		"nests too deep":       {deep, strings.Repeat("\x02", 600) + "\x00", "nests deeper than"},
		"not a number":         {`"double"`, "\x00\x00\x00\x00\x00\x00\xf8\x7f", "NaN has no form in JSON"},
		"where it ends":        {`{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`, "", "field a: the data ends"},
		"long names again and again": {`{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"` + strings.Repeat("n", 1000) + `","type":"null"}]}}`,
			"\x80\xb5\x18", "as JSON"}, // 200,000 records of no bytes
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := Parse(tc.definition)
			require.NoError(t, err)
			_, err = schema.ToJSON([]byte(tc.data))
			require.ErrorContains(t, err, tc.want)
			require.Less(t, len(err.Error()), 10_000)
		})
	}
	endless, err := Parse(`{"type":"array","items":"null"}`)
	require.NoError(t, err)
	require.ErrorContains(t, endless.Check([]byte("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")), "too many empty parts")
	for name, tc := range map[string]struct{ definition, text, want string }{
		"no JSON":        {`"string"`, `{`, "reading the JSON"},
		"two values":     {`"string"`, `"a" "b"`, "more than one value"},
		"another kind":   {`"string"`, `1`, "a number cannot be of the type string"},
		"too large":      {`"int"`, `3000000000`, "does not fit the type int"},
		"a fraction":     {`"long"`, `1.5`, "does not fit the type long"},
		"no branch":      {`["null","int"]`, `"x"`, "a text cannot be of the type union"},
		"symbol":         {`{"type":"enum","name":"E","symbols":["A"]}`, `"B"`, `"B" is no symbol of E`},
		"size":           {`{"type":"fixed","name":"F","size":2}`, `"AAAA"`, "not base64 of 2 bytes"},
		"base64":         {`"bytes"`, `"%"`, "not base64"},
		"missing field":  {`{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`, `{}`, "field a: null cannot be of the type int"},
		"unknown field":  {`{"type":"record","name":"R","fields":[{"name":"a","type":["null","int"]}]}`, `{"z":1}`, "the schema has no field z"},
		"inside a map":   {`{"type":"map","values":"int"}`, `{"k":"x"}`, "member k: a text cannot be"},
		"inside an item": {`{"type":"array","items":"boolean"}`, `[{}]`, "an object cannot be of the type boolean"},
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := Parse(tc.definition)
			require.NoError(t, err)
			_, err = schema.FromJSON([]byte(tc.text))
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err = Parse(strings.Repeat(" ", maxDefinition) + `"int"`)
	require.ErrorContains(t, err, "more than")
	_, err = Parse(`{"type":"nothing"}`)
	require.ErrorContains(t, err, "reading the Avro schema")
}

// FuzzToJSON: whatever a message says, the answer is JSON or an error, in bounded memory.
func FuzzToJSON(f *testing.F) {
	schemas := []string{everything, `{"type":"array","items":"null"}`, `{"type":"map","values":["null","bytes"]}`, `"string"`}
	f.Add(uint8(0), []byte("\x01\x02\x04"))
	f.Add(uint8(1), []byte("\xfe\xff\xff\xff\x01\x00"))
	f.Add(uint8(2), []byte("\x02\x02a\x02\x02b\x00"))
	f.Add(uint8(3), []byte("\x04\xff\xfe"))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		schema, err := Parse(schemas[int(which)%len(schemas)])
		require.NoError(t, err)
		text, err := schema.ToJSON(data)
		require.Equal(t, err == nil, err == nil && json.Valid(text))
		if err == nil {
			require.NoError(t, schema.Check(data))
			if _, err := schema.FromJSON(text); err != nil {
				require.NotContains(t, err.Error(), "reading the JSON")
			}
		}
	})
}
