package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

const masked = "********"

var (
	secretName = regexp.MustCompile(`(?i)pass(word|wd|phrase)?$|password|passwd|secret|private|credential|jaas|auth_?param|token$|apikey|api_key|accesskey|key$`)
	jwt        = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*`)
	userInfo   = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s]*@`)
	argument   = regexp.MustCompile(`^(-{1,2}[^=]+)=(.+)$`)
)

// show is the printable form of a value of the key.
func (k Key) show(text string) string {
	switch k.Secret {
	case "mask":
		return maskAll(text)
	case "params", "properties":
		return maskParams(text)
	case "args":
		return printable(maskArgument(text))
	}
	return printable(maskText(text))
}

func maskAll(text string) string {
	if text == "" {
		return ""
	}
	return masked
}

// maskParams keeps what is safe of authentication parameters: a file's name, and which form they have.
func maskParams(text string) string {
	switch {
	case text == "":
		return ""
	case strings.HasPrefix(text, "file:"), strings.HasPrefix(text, "token:file:"):
		return printable(maskText(text))
	case strings.HasPrefix(text, "token:"):
		return "token:" + masked
	}
	return masked
}

// maskText hides user-info in URLs and anything that looks like a signed token.
func maskText(text string) string {
	text = userInfo.ReplaceAllString(text, "${1}"+masked+"@")
	return jwt.ReplaceAllString(text, masked)
}

func maskArgument(text string) string {
	if m := argument.FindStringSubmatch(text); m != nil && secretName.MatchString(m[1]) {
		return m[1] + "=" + masked
	}
	return maskText(text)
}

// maskEntry is for maps with free keys.
func maskEntry(name, value string) string {
	if value == "" {
		return ""
	}
	if strings.HasPrefix(value, "data:") {
		return "data:" + masked
	}
	if secretName.MatchString(name) {
		return maskParams(value)
	}
	if u, err := url.Parse(value); err == nil && u.RawQuery != "" {
		u.RawQuery = masked
		return maskText(u.String())
	}
	return maskText(value)
}

func maskTree(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = maskTree(k, item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = maskTree(name, item)
		}
		return out
	case string:
		return maskEntry(name, v)
	case nil, bool:
		return v
	}
	if secretName.MatchString(name) {
		return masked
	}
	return v
}

// printable bounds a text and escapes what would break a log line.
func printable(text string) string {
	const limit = 200
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == 0x2028 || r == 0x2029 {
			return '\uFFFD'
		}
		return r
	}, text)
}

// Redacted is the effective configuration as YAML, in the documented order, with every secret masked: passwords,
// authentication parameters, secret properties, and user-info in URLs.
func (w Worker) Redacted() string {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	redactObject(reflect.ValueOf(w), Keys(), doc)
	out, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Sprintf("the configuration cannot be printed: %v", err)
	}
	return string(out)
}

// String, GoString and MarshalJSON redact too, so that no careless print shows a secret.
func (w Worker) String() string   { return w.Redacted() }
func (w Worker) GoString() string { return w.Redacted() }

// MarshalJSON writes the redacted configuration.
func (w Worker) MarshalJSON() ([]byte, error) {
	var v map[string]any
	if err := yaml.Unmarshal([]byte(w.Redacted()), &v); err != nil {
		return nil, fmt.Errorf("printing the configuration: %w", err)
	}
	return json.Marshal(v)
}

func redactObject(v reflect.Value, keys []Key, doc *yaml.Node) {
	for _, k := range keys {
		value := &yaml.Node{}
		redactValue(v.FieldByIndex(k.index), k, value)
		doc.Content = append(doc.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: k.Name}, value)
	}
}

func redactValue(v reflect.Value, k Key, out *yaml.Node) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			*out = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
			return
		}
		v = v.Elem()
	}
	if len(k.Nested) > 0 {
		out.Kind = yaml.MappingNode
		redactObject(v, k.Nested, out)
		return
	}
	// Encode cannot fail for these types, and a lost value only shortens a print.
	_ = out.Encode(redactedAny(v, k))
}

func redactedAny(v reflect.Value, k Key) any {
	switch value := v.Interface().(type) {
	case duration:
		return value.String()
	case ByteSize:
		return value.String()
	case string:
		return k.show(value)
	case []string:
		out := make([]string, len(value))
		for i, text := range value {
			out[i] = k.show(text)
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(value))
		for name, text := range value {
			out[name] = printable(maskEntry(name, text))
		}
		return out
	case map[string]any:
		return maskTree("", value)
	}
	return v.Interface()
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
