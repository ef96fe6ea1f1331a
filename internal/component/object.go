package component

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
)

// Limits of a config's JSON text; a text beyond them is refused before it costs memory.
const (
	maxConfigBytes = 16 << 20
	maxConfigDepth = 500
)

// Member is one name and value of an Object.
type Member struct {
	Name string
	// Value is nil, bool, string, json.Number, Object or []any of these.
	Value any
}

// Object is a free-form JSON object that keeps the order of its members and the spelling of its numbers.
// The nil Object is JSON null.
type Object []Member

// FloatObject is an Object whose numbers are written as floating point, as the Java worker answers user
// configs and secrets (5 becomes 5.0; contract component-configs.md, 2.3).
type FloatObject Object

// Get returns the value of a member.
func (o Object) Get(name string) (any, bool) {
	for _, m := range o {
		if m.Name == name {
			return m.Value, true
		}
	}
	return nil, false
}

// Without returns the members except those of these names.
func (o Object) Without(names ...string) Object {
	out := make(Object, 0, len(o))
next:
	for _, m := range o {
		for _, n := range names {
			if m.Name == n {
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

// ParseObject reads one JSON object; null gives a nil Object.
func ParseObject(data []byte) (Object, error) {
	v, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case Object:
		return v, nil
	default:
		return nil, fmt.Errorf("a JSON object is expected, not %s", describe(v))
	}
}

// parseJSON reads one JSON value and refuses anything after it.
func parseJSON(data []byte) (any, error) {
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("the text has %d bytes, more than the %d that are read", len(data), maxConfigBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("there is more text after the JSON value (at byte %d)", d.InputOffset())
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxConfigDepth {
		return nil, fmt.Errorf("the JSON is nested deeper than %d levels", maxConfigDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return parseMembers(d, depth)
}

func parseMembers(d *json.Decoder, depth int) (any, error) {
	o := Object{}
	at := map[string]int{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("a member's name is expected at byte %d", d.InputOffset())
		}
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		if i, seen := at[name]; seen {
			o[i].Value = v // the last of several wins, at the place of the first
			continue
		}
		at[name] = len(o)
		o = append(o, Member{Name: name, Value: v})
	}
	_, err := d.Token()
	return o, err
}

// MarshalJSON writes the members in their order, numbers as they were read.
func (o Object) MarshalJSON() ([]byte, error) { return appendJSON(nil, o, false) }

// MarshalJSON writes the members in their order, numbers as floating point.
func (o FloatObject) MarshalJSON() ([]byte, error) { return appendJSON(nil, Object(o), true) }

// UnmarshalJSON reads a JSON object or null.
func (o *Object) UnmarshalJSON(data []byte) (err error) {
	*o, err = ParseObject(data)
	return err
}

// UnmarshalJSON reads a JSON object or null.
func (o *FloatObject) UnmarshalJSON(data []byte) error { return (*Object)(o).UnmarshalJSON(data) }

func appendJSON(b []byte, v any, floats bool) ([]byte, error) {
	switch v := v.(type) {
	case Object:
		if v == nil {
			return append(b, "null"...), nil
		}
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ',')
			}
			name, err := json.Marshal(m.Name)
			if err != nil {
				return nil, err
			}
			if b, err = appendJSON(append(append(b, name...), ':'), m.Value, floats); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendJSON(b, e, floats); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case json.Number:
		if floats {
			return append(b, floatText(v)...), nil
		}
		return append(b, v...), nil
	default:
		text, err := json.Marshal(v)
		return append(b, text...), err
	}
}

// floatText spells a number as Java spells a double; one that no double can hold stays as it is.
func floatText(n json.Number) string {
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return string(n)
	}
	return javaDouble(f)
}

// javaDouble is Double.toString of JDK 19 and later: the shortest text that reads back the same, as a plain
// decimal from 0.001 up to 10 million.
func javaDouble(f float64) string {
	abs := f
	if abs < 0 {
		abs = -abs
	}
	if abs == 0 || (abs >= 1e-3 && abs < 1e7) {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	e, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	return mantissa + "E" + strconv.Itoa(e)
}

// equalJSON compares two values: objects without regard to order, numbers by their value.
func equalJSON(a, b any) bool {
	switch a := a.(type) {
	case Object:
		b, ok := b.(Object)
		if !ok || len(a) != len(b) || (a == nil) != (b == nil) {
			return false
		}
		at := make(map[string]any, len(b))
		for _, m := range b {
			at[m.Name] = m.Value
		}
		for _, m := range a {
			if v, ok := at[m.Name]; !ok || !equalJSON(m.Value, v) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equalJSON(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && equalNumbers(a, b)
	default:
		return a == b
	}
}

func equalNumbers(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	if errX != nil || errY != nil || x != y {
		return false
	}
	i, okI := new(big.Int).SetString(string(a), 10)
	j, okJ := new(big.Int).SetString(string(b), 10)
	return !okI || !okJ || i.Cmp(j) == 0 // two integers beyond a double's precision must be the same digits
}

// describe names the JSON type of a value for a message.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case Object:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "the text " + strconv.Quote(shorten(v))
	case json.Number:
		return "the number " + shorten(string(v))
	default:
		return fmt.Sprint(v)
	}
}

// shorten keeps a value that a client sent from filling the answer.
func shorten(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
