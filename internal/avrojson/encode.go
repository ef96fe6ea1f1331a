package avrojson

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hamba/avro/v2"
)

// FromJSON gives the value of the schema that JSON text stands for. A field that the text lacks is null where the schema allows that.
func (s *Schema) FromJSON(data []byte) ([]byte, error) {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading the JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading the JSON: there is more than one value")
	}
	return appendValue(nil, s.parsed, value, 0)
}

func appendValue(to []byte, schema avro.Schema, value any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the value nests deeper than %d", maxDepth)
	}
	switch s := schema.(type) {
	case *avro.RefSchema:
		return appendValue(to, s.Schema(), value, depth)
	case *avro.RecordSchema:
		return appendRecord(to, s, value, depth)
	case *avro.ArraySchema:
		items, ok := value.([]any)
		if !ok && value != nil {
			return nil, mismatch(schema, value)
		}
		if len(items) > 0 {
			to = binary.AppendVarint(to, int64(len(items)))
		}
		for _, item := range items {
			var err error
			if to, err = appendValue(to, s.Items(), item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(to, 0), nil
	case *avro.MapSchema:
		return appendMap(to, s, value, depth)
	case *avro.UnionSchema:
		for i, branch := range s.Types() {
			if fits(branch, value) {
				return appendValue(binary.AppendVarint(to, int64(i)), branch, value, depth+1)
			}
		}
		return nil, mismatch(schema, value)
	}
	return appendScalar(to, schema, value)
}

func appendRecord(to []byte, s *avro.RecordSchema, value any, depth int) ([]byte, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, mismatch(s, value)
	}
	known := 0
	for _, field := range s.Fields() {
		member, there := object[field.Name()]
		if there {
			known++
		}
		var err error
		if to, err = appendValue(to, field.Type(), member, depth+1); err != nil {
			return nil, fmt.Errorf("field %.100s: %w", field.Name(), err)
		}
	}
	if known < len(object) {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if !slices.ContainsFunc(s.Fields(), func(f *avro.Field) bool { return f.Name() == name }) {
				return nil, fmt.Errorf("the schema has no field %.100s", name)
			}
		}
	}
	return to, nil
}

func appendMap(to []byte, s *avro.MapSchema, value any, depth int) ([]byte, error) {
	object, ok := value.(map[string]any)
	if !ok && value != nil {
		return nil, mismatch(s, value)
	}
	if len(object) > 0 {
		to = binary.AppendVarint(to, int64(len(object)))
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		var err error
		if to, err = appendValue(appendText(to, name), s.Values(), object[name], depth+1); err != nil {
			return nil, fmt.Errorf("member %.100s: %w", name, err)
		}
	}
	return append(to, 0), nil
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendVarint(to, int64(len(s))), s...)
}

func appendScalar(to []byte, schema avro.Schema, value any) ([]byte, error) {
	if !fits(schema, value) {
		return nil, mismatch(schema, value)
	}
	switch v := value.(type) {
	case nil:
		return to, nil
	case bool:
		if v {
			return append(to, 1), nil
		}
		return append(to, 0), nil
	case json.Number:
		return appendNumber(to, schema.Type(), v)
	case string:
		return appendString(to, schema, v)
	}
	return nil, mismatch(schema, value)
}

func appendNumber(to []byte, kind avro.Type, v json.Number) ([]byte, error) {
	switch kind {
	case avro.Int, avro.Long:
		n, err := v.Int64()
		if err != nil || kind == avro.Int && (n < math.MinInt32 || n > math.MaxInt32) {
			return nil, fmt.Errorf("%s does not fit the type %s", v, kind)
		}
		return binary.AppendVarint(to, n), nil
	}
	f, err := v.Float64()
	if err != nil {
		return nil, fmt.Errorf("%s does not fit the type %s", v, kind)
	}
	if kind == avro.Float {
		return binary.LittleEndian.AppendUint32(to, math.Float32bits(float32(f))), nil
	}
	return binary.LittleEndian.AppendUint64(to, math.Float64bits(f)), nil
}

func appendString(to []byte, schema avro.Schema, v string) ([]byte, error) {
	switch s := schema.(type) {
	case *avro.EnumSchema:
		i := slices.Index(s.Symbols(), v)
		if i < 0 {
			return nil, fmt.Errorf("%.100q is no symbol of %.100s", v, s.Name())
		}
		return binary.AppendVarint(to, int64(i)), nil
	case *avro.FixedSchema:
		data, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(data) != s.Size() {
			return nil, fmt.Errorf("the text is not base64 of %d bytes, which %s has", s.Size(), s.Name())
		}
		return append(to, data...), nil
	}
	if schema.Type() == avro.String {
		return appendText(to, v), nil
	}
	data, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return nil, fmt.Errorf("the text is not base64, which bytes are in JSON: %w", err)
	}
	return append(binary.AppendVarint(to, int64(len(data))), data...), nil
}

// fits says whether a value of JSON can be one of the schema, by its kind.
func fits(schema avro.Schema, value any) bool {
	if r, ok := schema.(*avro.RefSchema); ok {
		schema = r.Schema()
	}
	kind := schema.Type()
	switch value.(type) {
	case nil:
		return kind == avro.Null
	case bool:
		return kind == avro.Boolean
	case json.Number:
		return kind == avro.Int || kind == avro.Long || kind == avro.Float || kind == avro.Double
	case string:
		return kind == avro.String || kind == avro.Bytes || kind == avro.Enum || kind == avro.Fixed
	case []any:
		return kind == avro.Array
	case map[string]any:
		return kind == avro.Record || kind == avro.Map
	}
	return false
}

func mismatch(schema avro.Schema, value any) error {
	name := "an object"
	switch value.(type) {
	case nil:
		name = "null"
	case bool:
		name = "a truth value"
	case json.Number:
		name = "a number"
	case string:
		name = "a text"
	case []any:
		name = "an array"
	}
	return fmt.Errorf("%s cannot be of the type %s", name, schema.Type())
}
