package component

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// DecodeJSON reads a text into the struct dst points to, as Jackson does for the Java worker: names are exact, texts are
// read as numbers and the other way round, fractions are cut for integers. Unlike there, properties that are not known are
// ignored (contract component-configs.md, 1). what begins the texts of errors, all of which are about the text.
func DecodeJSON(what string, data []byte, dst any) error {
	v, err := parseJSON(data)
	if err != nil {
		return fmt.Errorf("%s is not valid JSON: %w", what, err)
	}
	if v == nil {
		return fmt.Errorf("%s is not provided", what)
	}
	if err := decodeValue(v, reflect.ValueOf(dst).Elem()); err != nil {
		return fmt.Errorf("%s cannot be read: %w", what, err)
	}
	return nil
}

func decodeConfig(what string, data []byte, dst any) error {
	return DecodeJSON(what+" config", data, dst)
}

// notProvided says whether a config's text counts as absent.
func notProvided(data []byte) bool { return len(bytes.TrimSpace(data)) == 0 }

// decodeError tells where in the config a value did not fit.
type decodeError struct {
	path string
	want string
	got  any
}

func (e *decodeError) Error() string {
	path := e.path
	if path == "" {
		path = "it"
	}
	return fmt.Sprintf("%s should be %s, not %s", path, e.want, describe(e.got))
}

// under puts the name of an outer member before the path of an error.
func under(name string, err error) error {
	de, ok := err.(*decodeError)
	if !ok {
		return err
	}
	switch {
	case de.path == "":
		de.path = name
	case strings.HasPrefix(de.path, "["):
		de.path = name + de.path
	default:
		de.path = name + "." + de.path
	}
	return de
}

type enumeration interface{ names() []string }

func decodeValue(v any, dst reflect.Value) error {
	switch dst.Addr().Interface().(type) {
	case *Object, *FloatObject:
		return decodeFreeForm(v, dst)
	}
	if e, ok := dst.Interface().(enumeration); ok {
		return decodeEnum(v, dst, e.names())
	}
	switch dst.Kind() {
	case reflect.Pointer:
		return decodePointer(v, dst)
	case reflect.Struct:
		return decodeStruct(v, dst)
	case reflect.Map:
		return decodeMap(v, dst)
	case reflect.Slice:
		return decodeList(v, dst)
	case reflect.String:
		return decodeString(v, dst)
	case reflect.Bool:
		return decodeBool(v, dst)
	case reflect.Int32, reflect.Int64:
		return decodeInteger(v, dst)
	default:
		return decodeDouble(v, dst)
	}
}

func decodePointer(v any, dst reflect.Value) error {
	if v == nil {
		dst.SetZero()
		return nil
	}
	// An empty text for a number or a boolean is null.
	if s, ok := v.(string); ok && strings.TrimSpace(s) == "" && dst.Type().Elem().Kind() != reflect.String &&
		dst.Type().Elem().Kind() != reflect.Struct {
		dst.SetZero()
		return nil
	}
	target := reflect.New(dst.Type().Elem())
	if c, ok := target.Interface().(*ConsumerConfig); ok {
		*c = *NewConsumerConfig()
		if s, ok := v.(string); ok { // a bare text is a schema type
			c.SchemaType = &s
			dst.Set(target)
			return nil
		}
	}
	if err := decodeValue(v, target.Elem()); err != nil {
		return err
	}
	dst.Set(target)
	return nil
}

func decodeStruct(v any, dst reflect.Value) error {
	o, ok := v.(Object)
	if !ok {
		return &decodeError{want: "an object", got: v}
	}
	t := dst.Type()
	for _, m := range o {
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || (f.Tag.Get("json") != m.Name && f.Tag.Get("alias") != m.Name) {
				continue
			}
			if err := decodeValue(m.Value, dst.Field(i)); err != nil {
				return under(m.Name, err)
			}
			break
		}
	}
	return nil
}

func decodeMap(v any, dst reflect.Value) error {
	if v == nil {
		if dst.Type().Elem().Kind() == reflect.String && dst.IsValid() && !dst.IsNil() {
			dst.Set(reflect.MakeMap(dst.Type())) // the maps of a ConsumerConfig are never null
		}
		return nil
	}
	o, ok := v.(Object)
	if !ok {
		return &decodeError{want: "an object", got: v}
	}
	m := reflect.MakeMapWithSize(dst.Type(), len(o))
	for _, member := range o {
		e := reflect.New(dst.Type().Elem()).Elem()
		if err := decodeValue(member.Value, e); err != nil {
			return under("["+strconv.Quote(shorten(member.Name))+"]", err)
		}
		if e.Kind() == reflect.Pointer && e.IsNil() {
			return under("["+strconv.Quote(shorten(member.Name))+"]", &decodeError{want: "an object", got: nil})
		}
		m.SetMapIndex(reflect.ValueOf(member.Name), e)
	}
	dst.Set(m)
	return nil
}

func decodeList(v any, dst reflect.Value) error {
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return &decodeError{want: "an array", got: v}
	}
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, e := range list {
		if e == nil {
			return under(fmt.Sprintf("[%d]", i), &decodeError{want: "a text", got: nil})
		}
		if err := decodeValue(e, out.Index(i)); err != nil {
			return under(fmt.Sprintf("[%d]", i), err)
		}
	}
	dst.Set(out)
	return nil
}

func decodeString(v any, dst reflect.Value) error {
	switch v := v.(type) {
	case nil:
		dst.SetString("")
	case string:
		dst.SetString(v)
	case json.Number:
		dst.SetString(string(v))
	case bool:
		dst.SetString(strconv.FormatBool(v))
	default:
		return &decodeError{want: "a text", got: v}
	}
	return nil
}

func decodeBool(v any, dst reflect.Value) error {
	switch v := v.(type) {
	case nil:
		dst.SetBool(false)
		return nil
	case bool:
		dst.SetBool(v)
		return nil
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			dst.SetBool(strings.Trim(string(v), "-0") != "")
			return nil
		}
	case string:
		switch strings.TrimSpace(v) {
		case "true", "True", "TRUE":
			dst.SetBool(true)
			return nil
		case "false", "False", "FALSE", "":
			dst.SetBool(false)
			return nil
		}
	}
	return &decodeError{want: "true or false", got: v}
}

func decodeInteger(v any, dst reflect.Value) error {
	size := dst.Type().Bits()
	want := fmt.Sprintf("an integer of %d bits", size)
	switch n := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(string(n), 10, size); err == nil {
			dst.SetInt(i)
			return nil
		}
		if !strings.ContainsAny(string(n), ".eE") {
			break
		}
		limit := math.Ldexp(1, size-1)
		if f, err := n.Float64(); err == nil && math.Trunc(f) >= -limit && math.Trunc(f) < limit {
			dst.SetInt(int64(f)) // fractions are cut off
			return nil
		}
	case string:
		if i, err := strconv.ParseInt(strings.TrimSpace(n), 10, size); err == nil {
			dst.SetInt(i)
			return nil
		}
	}
	return &decodeError{want: want, got: v}
}

func decodeDouble(v any, dst reflect.Value) error {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = string(v)
	case string:
		text = strings.TrimSpace(v)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return &decodeError{want: "a number", got: v}
	}
	dst.SetFloat(f)
	return nil
}

func decodeEnum(v any, dst reflect.Value, names []string) error {
	switch v := v.(type) {
	case nil:
		dst.SetString("")
		return nil
	case string:
		for _, n := range names {
			if n == strings.TrimSpace(v) {
				dst.SetString(n)
				return nil
			}
		}
	case json.Number:
		if i, err := strconv.Atoi(string(v)); err == nil && i >= 0 && i < len(names) {
			dst.SetString(names[i])
			return nil
		}
	}
	return &decodeError{want: "one of " + strings.Join(names, ", "), got: v}
}

func decodeFreeForm(v any, dst reflect.Value) error {
	if v == nil {
		dst.SetZero()
		return nil
	}
	o, ok := v.(Object)
	if !ok {
		return &decodeError{want: "an object", got: v}
	}
	dst.Set(reflect.ValueOf(o).Convert(dst.Type()))
	return nil
}
