package function

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// codec translates between payloads and one Go type.
type codec struct {
	goType   reflect.Type
	kind     codecKind
	explicit bool          // the type is *Message
	schema   pulsar.Schema // of JSON types; nil if there is none
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
	if err := checkJSON(t, map[reflect.Type]bool{}); err != nil {
		return nil, err
	}
	return &codec{goType: t, kind: jsonValue, schema: jsonSchema(t)}, nil
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

func (c *codec) decode(input []byte) (reflect.Value, error) {
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
func (c *codec) encode(v reflect.Value) (*instance.Result, error) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
	}
	if c.explicit {
		m, _ := v.Interface().(*Message)
		return &instance.Result{Message: *m.message(), Explicit: true}, nil
	}
	result := &instance.Result{}
	switch c.kind {
	case rawBytes:
		result.Payload = v.Bytes()
	case text:
		result.Payload = []byte(v.String())
	default:
		data, err := json.Marshal(v.Interface())
		if err != nil {
			return nil, fmt.Errorf("of type %s as JSON: %w", c.goType, err)
		}
		result.Payload = data
	}
	return result, nil
}
