package function

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// jsonSchema derives the definition that Pulsar wants for its JSON schema from a Go type: fields by their JSON names,
// each of which may be null, as the Java client derives it. It is empty for a type that has none: anything but a struct,
// and structs with fields of unknown form (interfaces, types that write themselves).
func jsonSchema(t reflect.Type) string { return recordSchema(t, false) }

// avroSchema is jsonSchema for values that are written as Avro: there, bytes are bytes.
func avroSchema(t reflect.Type) string { return recordSchema(t, true) }

func recordSchema(t reflect.Type, binary bool) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	b := schemaBuilder{binary: binary, known: map[reflect.Type]string{}, names: map[string]bool{}}
	definition, ok := b.of(t)
	if !ok {
		return ""
	}
	data, err := json.Marshal(definition)
	if err != nil {
		return ""
	}
	return string(data)
}

// schemaBuilder remembers records, which are defined once and then named.
type schemaBuilder struct {
	binary bool // Avro, not JSON
	known  map[reflect.Type]string
	names  map[string]bool
}

func (b *schemaBuilder) of(t reflect.Type) (any, bool) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "string", true
	case t.Kind() != reflect.Pointer && implementsJSON(t):
		return nil, false
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean", true
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16:
		return "int", true
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return "long", true
	case reflect.Float32:
		return "float", true
	case reflect.Float64:
		return "double", true
	case reflect.String:
		return "string", true
	case reflect.Pointer:
		return b.of(t.Elem())
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && (!b.binary || t.Kind() == reflect.Slice) {
			if b.binary {
				return "bytes", true
			}
			return "string", true // JSON writes bytes as base64
		}
		items, ok := b.of(t.Elem())
		return map[string]any{"type": "array", "items": items}, ok
	case reflect.Map:
		values, ok := b.of(t.Elem())
		return map[string]any{"type": "map", "values": values}, ok && t.Key().Kind() == reflect.String
	case reflect.Struct:
		return b.record(t)
	}
	return nil, false
}

func (b *schemaBuilder) record(t reflect.Type) (any, bool) {
	if name, ok := b.known[t]; ok {
		return name, true
	}
	name := t.Name()
	if !plainName(name) || b.names[name] {
		name = fmt.Sprintf("Record%d", len(b.names)+1)
	}
	b.known[t], b.names[name] = name, true
	fields := []any{}
	for field := range t.Fields() {
		if field.Anonymous {
			return nil, false // embedded fields follow rules of their own
		}
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || tag == "-" {
			continue
		}
		if tag == "" {
			tag = field.Name
		}
		fieldType, ok := b.of(field.Type)
		if !ok || !plainName(tag) {
			return nil, false
		}
		fields = append(fields, map[string]any{"name": tag, "type": []any{"null", fieldType}, "default": nil})
	}
	return map[string]any{"type": "record", "name": name, "fields": fields}, true
}

// plainName says whether a name may stand in a definition.
func plainName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
