package launch

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// MessageJSON writes a message as the Java worker does (protobuf's JSON mapping without white space; process contract,
// section 3.6): fields by number under their proto names, defaults left out, enums by name, 64-bit integers quoted,
// doubles as Java prints them, and text escaped so that it is safe inside single quotes. Unknown fields are left out,
// because instances refuse what they do not know. asciiOnly also escapes everything beyond ASCII: a JVM under a
// C locale garbles such arguments. Map entries are sorted by key.
func MessageJSON(m proto.Message, asciiOnly bool) string {
	w := jsonWriter{asciiOnly: asciiOnly}
	w.message(m.ProtoReflect())
	return w.b.String()
}

type jsonWriter struct {
	b         strings.Builder
	asciiOnly bool
}

func (w *jsonWriter) message(m protoreflect.Message) {
	type field struct {
		d protoreflect.FieldDescriptor
		v protoreflect.Value
	}
	var fields []field
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		fields = append(fields, field{d, v})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return int(a.d.Number()) - int(b.d.Number()) })
	w.b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.text(f.d.JSONName())
		w.b.WriteByte(':')
		switch {
		case f.d.IsMap():
			w.mapOf(f.d, f.v.Map())
		case f.d.IsList():
			w.list(f.d, f.v.List())
		default:
			w.value(f.d, f.v)
		}
	}
	w.b.WriteByte('}')
}

func (w *jsonWriter) mapOf(d protoreflect.FieldDescriptor, m protoreflect.Map) {
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	w.b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.text(k.String())
		w.b.WriteByte(':')
		w.value(d.MapValue(), m.Get(k))
	}
	w.b.WriteByte('}')
}

func (w *jsonWriter) list(d protoreflect.FieldDescriptor, l protoreflect.List) {
	w.b.WriteByte('[')
	for i := range l.Len() {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.value(d, l.Get(i))
	}
	w.b.WriteByte(']')
}

func (w *jsonWriter) value(d protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch d.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		w.message(v.Message())
	case protoreflect.EnumKind:
		if e := d.Enum().Values().ByNumber(v.Enum()); e != nil {
			w.text(string(e.Name()))
		} else {
			w.b.WriteString(strconv.Itoa(int(v.Enum())))
		}
	case protoreflect.StringKind:
		w.text(v.String())
	case protoreflect.BoolKind:
		w.b.WriteString(strconv.FormatBool(v.Bool()))
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		w.b.WriteString(JavaDouble(v.Float()))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		w.b.WriteString(`"` + v.String() + `"`)
	default: // 32-bit integers; the messages have no bytes fields
		w.b.WriteString(v.String())
	}
}

const hexDigits = "0123456789abcdef"

// text writes a JSON string with the escapes of Gson's html-safe mode.
func (w *jsonWriter) text(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			w.b.WriteByte('\\')
			w.b.WriteRune(r)
		case '\n':
			w.b.WriteString(`\n`)
		case '\r':
			w.b.WriteString(`\r`)
		case '\t':
			w.b.WriteString(`\t`)
		case '\b':
			w.b.WriteString(`\b`)
		case '\f':
			w.b.WriteString(`\f`)
		case '<', '>', '&', '=', '\'', '\u2028', '\u2029':
			w.unicode(r)
		case utf8.RuneError:
			w.unicode(utf8.RuneError) // invalid UTF-8 too: an argument must stay valid JSON
		default:
			if r < 0x20 || (w.asciiOnly && r > 0x7e) {
				w.unicode(r)
			} else {
				w.b.WriteRune(r)
			}
		}
	}
	w.b.WriteByte('"')
}

func (w *jsonWriter) unicode(r rune) {
	if r > 0xffff { // as a surrogate pair
		r -= 0x10000
		w.unicode(0xd800 + r>>10)
		w.unicode(0xdc00 + r&0x3ff)
		return
	}
	w.b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		w.b.WriteByte(hexDigits[r>>shift&0xf])
	}
}

// JavaDouble prints a number as java.lang.Double.toString does: 1.0, 0.25, 1.0E10.
func JavaDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return `"NaN"`
	case math.IsInf(f, 1):
		return `"Infinity"`
	case math.IsInf(f, -1):
		return `"-Infinity"`
	case f == 0:
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	if abs := math.Abs(f); abs >= 1e-3 && abs < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(s, "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent) // drops the plus sign and leading zeros
	return mantissa + "E" + strconv.Itoa(n)
}
