package api

import (
	"math"
	"strconv"
	"strings"
)

// javaDouble is a number that Java writes as a double: with a decimal point, NaN and infinities as text.
type javaDouble float64

// MarshalJSON writes 1 as 1.0.
func (d javaDouble) MarshalJSON() ([]byte, error) {
	f := float64(d)
	switch {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Infinity"`), nil
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs >= 1e7 || abs < 1e-3) {
		format = 'E'
	}
	text := strconv.FormatFloat(f, format, -1, 64)
	mantissa, exponent, scientific := strings.Cut(text, "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if !scientific {
		return []byte(mantissa), nil
	}
	e, err := strconv.Atoi(exponent)
	return []byte(mantissa + "E" + strconv.Itoa(e)), err
}

// UnmarshalJSON reads what MarshalJSON and Jackson write.
func (d *javaDouble) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	*d = javaDouble(f)
	return err
}
