package function

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// codec translates between payloads and one Go type.
type codec struct {
	goType   reflect.Type
	kind     codecKind
	explicit bool   // the type is *Message
	schema   string // the definition of the JSON schema of JSON types; empty if there is none
	avro     string // likewise, of Avro
	wire     wire   // of types that write themselves; nil for the others
}

// wire is how a type of its own kind is read and written.
type wire interface {
	decode(payload []byte) (reflect.Value, error)
	encode(v reflect.Value) ([]byte, error)
}

type codecKind int

const (
	rawBytes codecKind = iota
	text
	jsonValue
)

var (
	rawMessageType = reflect.TypeFor[json.RawMessage]()
	messageType    = reflect.TypeFor[*Message]()
)

// codecOf refuses types that cannot be written as JSON at all; the error names the type.
func codecOf(t reflect.Type) (*codec, error) {
	switch {
	case t == messageType:
		return &codec{goType: t, explicit: true}, nil
	case t == messageType.Elem():
		return nil, fmt.Errorf("%s must be used as a pointer", t)
	case t == rawMessageType:
		return &codec{goType: t, kind: rawBytes}, nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return &codec{goType: t, kind: rawBytes}, nil
	case t.Kind() == reflect.String:
		return &codec{goType: t, kind: text}, nil
	}
	if w, err := wireOf(t); w != nil || err != nil {
		return &codec{goType: t, wire: w}, err
	}
	if err := checkJSON(t, map[reflect.Type]bool{}); err != nil {
		return nil, err
	}
	return &codec{goType: t, kind: jsonValue, schema: jsonSchema(t), avro: avroSchema(t)}, nil
}

// checkJSON looks for channels, functions and complex numbers, which encoding/json refuses only when it meets them.
func checkJSON(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] || implementsJSON(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s cannot be read from or written as JSON", t)
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return checkJSON(t.Elem(), seen)
	case reflect.Struct:
		for field := range t.Fields() {
			if !field.IsExported() || field.Tag.Get("json") == "-" {
				continue
			}
			if err := checkJSON(field.Type, seen); err != nil {
				return fmt.Errorf("field %s of %s: %w", field.Name, t, err)
			}
		}
	}
	return nil
}

var (
	marshalerType     = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
)

func implementsJSON(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(marshalerType) || p.Implements(textMarshalerType)
}

// read is decode with what was read in the error.
func (c *codec) read(input []byte) (any, error) {
	v, err := c.decode(input)
	if err != nil {
		return nil, fmt.Errorf("reading the input of %d bytes: %w", len(input), err)
	}
	return v.Interface(), nil
}

// write is encode with what was written in the error.
func (c *codec) write(v reflect.Value) (*result, error) {
	r, err := c.encode(v)
	if err != nil {
		return nil, fmt.Errorf("writing the result: %w", err)
	}
	return r, nil
}

func (c *codec) decode(input []byte) (reflect.Value, error) {
	if c.wire != nil {
		return c.wire.decode(input)
	}
	switch c.kind {
	case rawBytes:
		return reflect.ValueOf(input).Convert(c.goType), nil
	case text:
		return reflect.ValueOf(string(input)).Convert(c.goType), nil
	}
	target := reflect.New(c.goType)
	if err := json.Unmarshal(input, target.Interface()); err != nil {
		return reflect.Value{}, fmt.Errorf("as JSON into %s: %w", c.goType, err)
	}
	return target.Elem(), nil
}

// encode gives nil for a nil pointer, slice, map or interface: no result.
func (c *codec) encode(v reflect.Value) (*result, error) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
	}
	if c.explicit {
		m, _ := v.Interface().(*Message)
		return &result{Message: *m, explicit: true}, nil
	}
	out := &result{}
	if c.wire != nil {
		data, err := c.wire.encode(v)
		out.Payload = data
		return out, err
	}
	switch c.kind {
	case rawBytes:
		out.Payload = v.Bytes()
	case text:
		out.Payload = []byte(v.String())
	default:
		data, err := json.Marshal(v.Interface())
		if err != nil {
			return nil, fmt.Errorf("of type %s as JSON: %w", c.goType, err)
		}
		out.Payload = data
	}
	return out, nil
}
