package metrics

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// sample is one parsed line of Prometheus text.
type sample struct {
	name   string
	labels []label
	series string // name and sorted labels, to find duplicates
}

type label struct{ name, value string }

// number reports whether a label is there and holds a number.
func (s sample) number(name string) bool {
	for _, l := range s.labels {
		if l.name == name {
			_, err := strconv.ParseFloat(l.value, 64)
			return err == nil
		}
	}
	return false
}

// parseSample checks a line of the form name{label="value",…} number [timestamp].
func parseSample(line string) (sample, bool) {
	if !utf8.ValidString(line) {
		return sample{}, false
	}
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 || !validName(line[:end]) {
		return sample{}, false
	}
	s := sample{name: line[:end]}
	rest := strings.TrimLeft(line[end:], " \t")
	if strings.HasPrefix(rest, "{") {
		var ok bool
		if s.labels, rest, ok = parseLabels(rest[1:]); !ok {
			return sample{}, false
		}
	}
	fields := strings.Fields(rest)
	if len(fields) < 1 || len(fields) > 2 || strings.ContainsAny(fields[0], "_pPxX") {
		return sample{}, false
	}
	if _, err := strconv.ParseFloat(fields[0], 64); err != nil {
		return sample{}, false
	}
	if len(fields) == 2 {
		if _, err := strconv.ParseInt(fields[1], 10, 64); err != nil {
			return sample{}, false
		}
	}
	s.series = s.key()
	return s, true
}

// key is the identity of a series.
func (s sample) key() string {
	sorted := slices.Clone(s.labels)
	slices.SortFunc(sorted, func(a, b label) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	b.WriteString(s.name)
	for _, l := range sorted {
		b.WriteString("\x00" + l.name + "\x00" + l.value)
	}
	return b.String()
}

// parseLabels reads the labels after the opening brace and returns what follows the closing one.
func parseLabels(text string) (labels []label, rest string, ok bool) {
	seen := map[string]bool{}
	for {
		text = strings.TrimLeft(text, " \t")
		if strings.HasPrefix(text, "}") {
			return labels, text[1:], true
		}
		eq := strings.IndexByte(text, '=')
		if eq < 0 {
			return nil, "", false
		}
		name := strings.TrimSpace(text[:eq])
		if !validLabel(name) || seen[name] {
			return nil, "", false
		}
		seen[name] = true
		var value string
		if value, text, ok = parseQuoted(strings.TrimLeft(text[eq+1:], " \t")); !ok {
			return nil, "", false
		}
		labels = append(labels, label{name, value})
		text = strings.TrimLeft(text, " \t")
		switch {
		case strings.HasPrefix(text, ","):
			text = text[1:]
		case !strings.HasPrefix(text, "}"):
			return nil, "", false
		}
	}
}

// parseQuoted reads a quoted label value with the escapes \\, \" and \n.
func parseQuoted(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		return "", "", false
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return text[1:i], text[i+1:], true
		case '\\':
			if i++; i == len(text) || !strings.ContainsRune(`\"n`, rune(text[i])) {
				return "", "", false
			}
		}
	}
	return "", "", false
}

// validName and validLabel are the names that the text format allows.
func validName(s string) bool { return validIdentifier(s, true) }

func validLabel(s string) bool { return s != "__name__" && validIdentifier(s, false) }

func validIdentifier(s string, colon bool) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (colon && c == ':')
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
