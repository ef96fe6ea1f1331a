package launch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// ConfigJSON is Gson's html-safe JSON of a configuration map, keys sorted, all ASCII.
func ConfigJSON(m map[string]any) string {
	w := jsonWriter{asciiOnly: true}
	w.any(m)
	return w.b.String()
}

func (w *jsonWriter) any(v any) {
	switch v := v.(type) {
	case string:
		w.text(v)
	case map[string]any:
		w.b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.text(k)
			w.b.WriteByte(':')
			w.any(v[k])
		}
		w.b.WriteByte('}')
	case []any:
		w.b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.any(e)
		}
		w.b.WriteByte(']')
	default: // numbers, booleans, null; anything odd becomes text
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(v); err != nil || bytes.IndexByte(b.Bytes(), '\'') >= 0 {
			w.text(fmt.Sprint(v))
			return
		}
		w.b.Write(bytes.TrimSpace(b.Bytes()))
	}
}

// SplitFlags splits at every white space character that is followed by an even number of double quotes and keeps the
// quotes (section 3.4). Empty pieces are dropped: java would take one for the name of the main class.
func SplitFlags(s string) []string {
	quotes := strings.Count(s, `"`)
	var out []string
	var piece strings.Builder
	flush := func() {
		if piece.Len() > 0 {
			out = append(out, piece.String())
			piece.Reset()
		}
	}
	for _, r := range s {
		if r == '"' {
			quotes--
		}
		if r < unicode.MaxASCII && unicode.IsSpace(r) && quotes%2 == 0 {
			flush()
			continue
		}
		piece.WriteRune(r)
	}
	flush()
	return out
}
