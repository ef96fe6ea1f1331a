package avrojson

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// text is JSON in the making; nil takes everything and keeps nothing.
type text struct {
	buf  []byte
	most int // bytes
}

// fits refuses JSON that has become too long, whatever comes after.
func (t *text) fits() error {
	if t != nil && len(t.buf) > t.most {
		return fmt.Errorf("the value has more than %d bytes as JSON", t.most)
	}
	return nil
}

func (t *text) raw(s string) {
	if t != nil {
		t.buf = append(t.buf, s...)
	}
}

func (t *text) open(bracket byte) {
	if t != nil {
		t.buf = append(t.buf, bracket)
	}
}

func (t *text) separate(first bool) {
	if !first {
		t.raw(",")
	}
}

func (t *text) name(s string) {
	t.text(s)
	t.raw(":")
}

// text writes invalid UTF-8 as the replacement character.
func (t *text) text(s string) {
	if t == nil {
		return
	}
	quoted, err := json.Marshal(s)
	if err == nil { // strings always can be
		t.buf = append(t.buf, quoted...)
	}
}

func (t *text) base64(data []byte) {
	if t == nil {
		return
	}
	t.buf = append(t.buf, '"')
	t.buf = base64.StdEncoding.AppendEncode(t.buf, data)
	t.buf = append(t.buf, '"')
}

func (t *text) boolean(b bool) {
	if t != nil {
		t.buf = strconv.AppendBool(t.buf, b)
	}
}

func (t *text) integer(n int64) {
	if t != nil {
		t.buf = strconv.AppendInt(t.buf, n, 10)
	}
}

func (t *text) float32(bits uint32) error { return t.float(float64(math.Float32frombits(bits)), 32) }

func (t *text) float64(bits uint64) error { return t.float(math.Float64frombits(bits), 64) }

func (t *text) float(f float64, size int) error {
	switch {
	case t == nil:
		return nil
	case math.IsNaN(f) || math.IsInf(f, 0):
		return fmt.Errorf("the number %v has no form in JSON", f)
	}
	t.buf = strconv.AppendFloat(t.buf, f, 'g', -1, size)
	return nil
}
