package component

import (
	"encoding/json"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// gsonText is the compact JSON that Gson writes into the strings of FunctionDetails (contract
// component-configs.md, 2.7): null members are left out, and the characters that hurt in HTML or in a quoted
// shell word are escaped.
func gsonText(o Object) string {
	var b strings.Builder
	writeGson(&b, o)
	return b.String()
}

func writeGson(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case Object:
		if v == nil {
			b.WriteString("null")
			return
		}
		b.WriteByte('{')
		first := true
		for _, m := range v {
			if m.Value == nil {
				continue
			}
			if !first {
				b.WriteByte(',')
			}
			first = false
			writeGsonString(b, m.Name)
			b.WriteByte(':')
			writeGson(b, m.Value)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeGson(b, e)
		}
		b.WriteByte(']')
	case string:
		writeGsonString(b, v)
	case json.Number:
		b.WriteString(gsonNumber(v))
	case bool:
		b.WriteString(strconv.FormatBool(v))
	}
}

// gsonNumber leaves integers as they are and spells the others as Java doubles.
func gsonNumber(n json.Number) string {
	if strings.ContainsAny(string(n), ".eE") {
		return floatText(n)
	}
	if n == "-0" {
		return "0"
	}
	return string(n)
}

func writeGsonString(b *strings.Builder, s string) {
	const hex = "0123456789abcdef"
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || strings.ContainsRune("<>&='", r):
			b.WriteString(`\u00`)
			b.WriteByte(hex[r>>4])
			b.WriteByte(hex[r&15])
		case r == '\u2028':
			b.WriteString(`\u2028`)
		case r == '\u2029':
			b.WriteString(`\u2029`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// hashOrder puts members into the order in which a java.util.HashMap gives them, so that the texts which a
// Java worker and this one write are the same. presized is the count that the map was first filled with at
// once; 0 for a map filled one by one.
func hashOrder(o Object, presized int) Object {
	table := hashTable(len(o), presized)
	out := slices.Clone(o)
	slices.SortStableFunc(out, func(a, b Member) int { return javaBucket(a.Name, table) - javaBucket(b.Name, table) })
	return out
}

// hashTable is the size that the table of a HashMap has grown to: a power of two, at most three quarters full.
func hashTable(size, presized int) int {
	table := 16
	if presized > 0 {
		table = 1 << bits.Len(uint(float64(presized)/0.75+1)-1)
	}
	for size*4 > table*3 {
		table *= 2
	}
	return table
}

func javaBucket(s string, table int) int {
	var h uint32
	for _, u := range utf16.Encode([]rune(s)) {
		h = 31*h + uint32(u)
	}
	return int((h ^ h>>16) & uint32(table-1))
}
