package component

import "strings"

// validTopic says whether a text is a topic name to the Java worker (contract component-configs.md, 3.2):
// name, tenant/namespace/name, or a full name with its domain.
func validTopic(topic string) bool {
	domain, rest, full := strings.Cut(topic, "://")
	if !full {
		parts := strings.FieldsFunc(topic, func(r rune) bool { return r == '/' })
		switch len(parts) {
		case 1:
			return !blank(parts[0])
		case 3:
			return validTopic("persistent://" + topic)
		default:
			return false
		}
	}
	if domain != "persistent" && domain != "non-persistent" {
		return false
	}
	parts := strings.SplitN(rest, "/", 4)
	if len(parts) < 3 {
		return false
	}
	last := len(parts) - 1
	for _, name := range parts[:last] {
		if !validName(name) {
			return false
		}
	}
	return !blank(parts[last])
}

// validName says whether a text can name a tenant, a cluster or a namespace.
func validName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("-=:._", r)
	}) < 0
}
