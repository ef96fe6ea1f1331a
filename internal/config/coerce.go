package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Scalars are read as the YAML loader of the Java worker reads them (contract section 2.2): YAML 1.1 rules for
// unquoted ones, plain decimal text for quoted ones.
var (
	yamlDecimal = regexp.MustCompile(`^[-+]?(0|[1-9][0-9_]*)$`)
	yamlOctal   = regexp.MustCompile(`^[-+]?0[0-7_]+$`)
	yamlHex     = regexp.MustCompile(`^[-+]?0x[0-9a-fA-F_]+$`)
	yamlBinary  = regexp.MustCompile(`^[-+]?0b[01_]+$`)
	yamlFloat   = regexp.MustCompile(`^[-+]?([0-9][0-9_]*)?\.[0-9_]*([eE][-+]?[0-9]+)?$`)
	textInt     = regexp.MustCompile(`^[-+]?[0-9]+$`)
	textFloat   = regexp.MustCompile(`^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

// errBlank: the scalar is an empty text, which counts as no value.
var errBlank = errors.New("blank")

// yamlInteger is the value of an unquoted scalar that YAML 1.1 takes for an integer.
func yamlInteger(text string) (*big.Int, bool) {
	clean := strings.ReplaceAll(text, "_", "")
	base := 0
	switch {
	case yamlDecimal.MatchString(text):
		base = 10
	case yamlOctal.MatchString(text):
		base = 8
	case yamlHex.MatchString(text):
		base, clean = 16, strings.Replace(clean, "0x", "", 1)
	case yamlBinary.MatchString(text):
		base, clean = 2, strings.Replace(clean, "0b", "", 1)
	default:
		return nil, false
	}
	if len(clean) > 80 {
		return nil, false
	}
	return new(big.Int).SetString(clean, base)
}

// integer coerces a scalar to an integer of the given size in bits.
func (n *node) integer(bits int) (int64, error) {
	text := n.text
	if n.plain {
		if v, ok := yamlInteger(text); ok {
			return fit(v, bits)
		}
		if yamlFloat.MatchString(text) && len(text) < 400 {
			f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
			if err == nil {
				v, _ := big.NewFloat(math.Trunc(f)).Int(nil)
				return fit(v, bits)
			}
		}
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, errBlank
	}
	if !textInt.MatchString(text) || len(text) > 80 {
		return 0, errors.New("it is not a whole number")
	}
	v, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return 0, errors.New("it is not a whole number")
	}
	return fit(v, bits)
}

func fit(v *big.Int, bits int) (int64, error) {
	if limit := new(big.Int).Lsh(big.NewInt(1), uint(bits-1)); v.Cmp(limit) >= 0 || v.Cmp(new(big.Int).Neg(limit)) < 0 {
		return 0, fmt.Errorf("it does not fit into %d bits", bits)
	}
	return v.Int64(), nil
}

func (n *node) float() (float64, error) {
	text := n.text
	if n.plain {
		if v, ok := yamlInteger(text); ok {
			f, _ := new(big.Float).SetInt(v).Float64()
			return f, nil
		}
		if yamlFloat.MatchString(text) {
			text = strings.ReplaceAll(text, "_", "")
		}
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, errBlank
	}
	if !textFloat.MatchString(text) {
		return 0, errors.New("it is not a number")
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return 0, errors.New("it is out of range")
	}
	return f, nil
}

func (n *node) boolean() (bool, error) {
	if n.plain {
		switch n.text {
		case "yes", "Yes", "YES", "on", "On", "ON":
			return true, nil
		case "no", "No", "NO", "off", "Off", "OFF":
			return false, nil
		}
		if v, ok := yamlInteger(n.text); ok {
			return v.Sign() != 0, nil
		}
	}
	switch strings.TrimSpace(n.text) {
	case "":
		return false, errBlank
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	return false, errors.New("it is neither true nor false")
}

// nativeScalar gives an undeclared value its type, as a YAML reader would.
func (n *node) nativeScalar() any {
	if !n.plain {
		return n.text
	}
	switch n.text {
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	}
	if v, ok := yamlInteger(n.text); ok {
		if v.IsInt64() {
			return v.Int64()
		}
		return n.text
	}
	if yamlFloat.MatchString(n.text) && n.text != "." {
		if f, err := n.float(); err == nil {
			return f
		}
	}
	return n.text
}

func (n *node) duration() (time.Duration, error) {
	text := strings.TrimSpace(n.text)
	if text == "" {
		return 0, errBlank
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("it is not a duration with a unit, such as 500ms, 10s or 2m")
	}
	if d < 0 {
		return 0, errors.New("it is negative")
	}
	return d, nil
}

var sizeUnits = []struct {
	suffix string
	shift  uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}}

func (n *node) size() (ByteSize, error) {
	text := strings.TrimSpace(n.text)
	for _, u := range sizeUnits {
		number, found := strings.CutSuffix(text, u.suffix)
		if !found {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || v < 0 || v > math.MaxInt64>>u.shift {
			return 0, errors.New("it is not a size such as 64KiB, 512MiB or 2GiB")
		}
		return ByteSize(v << u.shift), nil
	}
	v, err := n.integer(64)
	if err == nil && v < 0 {
		err = errors.New("it is negative")
	}
	return ByteSize(v), err
}

// String writes the size with the largest unit that divides it.
func (b ByteSize) String() string {
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if b != 0 && b%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(b>>u.shift), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
