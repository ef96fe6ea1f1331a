package avrojson

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hamba/avro/v2"
)

const (
	// maxDepth bounds how deep a value nests, maxSteps how many parts it has that take no bytes.
	maxDepth = 500
	maxSteps = 1 << 20
	// maxDefinition and maxOutput bound a schema's text and the JSON of a value, in bytes; maxGrowth how many times as long as the value
	// its JSON may be, beyond a megabyte.
	maxDefinition = 1 << 20
	maxOutput     = 64 << 20
	maxGrowth     = 16
)

var (
	errEnd   = errors.New("the data ends before the value does")
	errSteps = errors.New("the value has too many empty parts")
)

// Schema is a parsed definition. It is safe for concurrent use.
type Schema struct{ parsed avro.Schema }

// Parse reads the JSON of a definition.
func Parse(definition string) (*Schema, error) {
	if len(definition) > maxDefinition {
		return nil, fmt.Errorf("the Avro schema has %d bytes, more than %d", len(definition), maxDefinition)
	}
	parsed, err := avro.ParseWithCache(definition, "", &avro.SchemaCache{}) // names of one topic must not meet those of another
	if err != nil {
		return nil, fmt.Errorf("reading the Avro schema: %w", err)
	}
	return &Schema{parsed}, nil
}

// Check says why data does not begin with a value of the schema.
func (s *Schema) Check(data []byte) error {
	w := walk{rest: data, steps: len(data) + maxSteps}
	return w.value(s.parsed, 0)
}

// ToJSON gives the JSON of the value that data begins with.
func (s *Schema) ToJSON(data []byte) ([]byte, error) {
	w := walk{rest: data, steps: len(data) + maxSteps, out: &text{most: min(maxOutput, maxGrowth*len(data)+1<<20)}}
	if err := w.value(s.parsed, 0); err != nil {
		return nil, err
	}
	return w.out.buf, nil
}

// walk goes over an encoded value part by part, so that hostile counts and lengths cost nothing.
type walk struct {
	rest  []byte
	steps int // parts that may still come
	out   *text
}

func (w *walk) value(schema avro.Schema, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the value nests deeper than %d", maxDepth)
	}
	if w.steps--; w.steps < 0 {
		return errSteps
	}
	if err := w.out.fits(); err != nil {
		return err
	}
	switch s := schema.(type) {
	case *avro.RefSchema:
		return w.value(s.Schema(), depth)
	case *avro.RecordSchema:
		return w.record(s, depth)
	case *avro.ArraySchema:
		return w.blocks('[', ']', func() error { return w.value(s.Items(), depth+1) })
	case *avro.MapSchema:
		return w.blocks('{', '}', func() error {
			key, err := w.bytes()
			if err != nil {
				return err
			}
			w.out.name(string(key))
			return w.value(s.Values(), depth+1)
		})
	case *avro.UnionSchema:
		branch, err := w.index("branch", len(s.Types()))
		if err != nil {
			return err
		}
		return w.value(s.Types()[branch], depth+1)
	case *avro.EnumSchema:
		symbol, err := w.index("symbol", len(s.Symbols()))
		if err == nil {
			w.out.text(s.Symbols()[symbol])
		}
		return err
	case *avro.FixedSchema:
		data, err := w.take(s.Size())
		if err == nil {
			w.out.base64(data)
		}
		return err
	}
	return w.primitive(schema.Type())
}

func (w *walk) record(s *avro.RecordSchema, depth int) error {
	w.out.open('{')
	for i, field := range s.Fields() {
		w.out.separate(i == 0)
		w.out.name(field.Name())
		if err := w.value(field.Type(), depth+1); err != nil {
			return fmt.Errorf("field %.100s: %w", field.Name(), err)
		}
	}
	w.out.open('}')
	return nil
}

func (w *walk) primitive(kind avro.Type) error {
	switch kind {
	case avro.Null:
		w.out.raw("null")
		return nil
	case avro.Boolean:
		data, err := w.take(1)
		if err == nil {
			w.out.boolean(data[0] != 0)
		}
		return err
	case avro.Float:
		data, err := w.take(4)
		if err != nil {
			return err
		}
		return w.out.float32(binary.LittleEndian.Uint32(data))
	case avro.Double:
		data, err := w.take(8)
		if err != nil {
			return err
		}
		return w.out.float64(binary.LittleEndian.Uint64(data))
	case avro.Int, avro.Long:
		n, err := w.number()
		if err == nil {
			w.out.integer(n)
		}
		return err
	case avro.String:
		data, err := w.bytes()
		if err == nil {
			w.out.text(string(data))
		}
		return err
	case avro.Bytes:
		data, err := w.bytes()
		if err == nil {
			w.out.base64(data)
		}
		return err
	}
	return fmt.Errorf("type %s is not known", kind)
}

// blocks reads an array or a map: blocks of elements, each with its count, until an empty one.
func (w *walk) blocks(open, end byte, element func() error) error {
	w.out.open(open)
	for first := true; ; {
		count, err := w.number()
		if err != nil {
			return err
		}
		if count == 0 {
			w.out.open(end)
			return nil
		}
		if count < 0 { // then the block's size in bytes follows, for readers that skip
			if _, err := w.number(); err != nil {
				return err
			}
			count = -count
		}
		if count < 0 {
			return errSteps
		}
		for ; count > 0; count-- {
			w.out.separate(first)
			first = false
			if err := element(); err != nil {
				return err
			}
		}
	}
}

func (w *walk) index(what string, length int) (int, error) {
	n, err := w.number()
	if err == nil && (n < 0 || n >= int64(length)) {
		err = fmt.Errorf("%s %d does not exist", what, n)
	}
	return int(n), err
}

func (w *walk) number() (int64, error) {
	n, used := binary.Varint(w.rest)
	switch {
	case used == 0:
		return 0, errEnd
	case used < 0:
		return 0, errors.New("a number is too long")
	}
	w.rest = w.rest[used:]
	return n, nil
}

func (w *walk) bytes() ([]byte, error) {
	n, err := w.number()
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("a length is negative: %d", n)
	}
	if n > int64(len(w.rest)) {
		return nil, errEnd
	}
	return w.take(int(n))
}

// take gives the next bytes, which stay part of the data.
func (w *walk) take(n int) ([]byte, error) {
	if n > len(w.rest) {
		return nil, errEnd
	}
	data := w.rest[:n]
	w.rest = w.rest[n:]
	return data, nil
}
