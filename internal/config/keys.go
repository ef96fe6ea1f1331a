package config

import (
	"reflect"
	"strings"
)

// Key is the declaration of one key, read from the struct tags.
type Key struct {
	Path        string // dotted, for example goWorker.logLevel
	Name        string
	Section     string
	Type        string // as documentation names it
	Default     string // "" means none (null)
	JavaDefault string // default in the Java code when it differs, else ""
	Dist        string
	Category    string // A, N, J or U
	Secret      string // how the value is masked; "" = printed as it is
	Accept      []string
	Min         string
	Required    bool
	Description string
	Nested      []Key // of an object

	index []int // path of field indexes from the struct that holds the key
	typ   reflect.Type
}

// Keys lists all top-level keys in their documented order, each with the keys nested in it.
func Keys() []Key { return keysOf(reflect.TypeFor[Worker](), "", "", nil) }

// RuntimeKeys lists the keys of functionRuntimeFactoryConfigs for one runtime; nil for an unknown one.
func RuntimeKeys(kind RuntimeKind) []Key {
	switch kind {
	case RuntimeProcess:
		return keysOf(reflect.TypeFor[ProcessRuntime](), "functionRuntimeFactoryConfigs.", "", nil)
	case RuntimeThread:
		return keysOf(reflect.TypeFor[ThreadRuntime](), "functionRuntimeFactoryConfigs.", "", nil)
	case RuntimeKubernetes:
		return keysOf(reflect.TypeFor[K8sRuntime](), "functionRuntimeFactoryConfigs.", "", nil)
	}
	return nil
}

func keysOf(t reflect.Type, prefix, section string, index []int) []Key {
	var keys []Key
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		if s := f.Tag.Get("section"); s != "" {
			section = s
		}
		name, ok := f.Tag.Lookup("yaml")
		if !ok {
			if f.Anonymous {
				keys = append(keys, keysOf(f.Type, prefix, section, at)...)
			}
			continue
		}
		k := Key{
			Path: prefix + name, Name: name, Section: section, Type: typeName(f.Type),
			Default: f.Tag.Get("default"), JavaDefault: f.Tag.Get("javaDefault"), Dist: f.Tag.Get("dist"),
			Category: f.Tag.Get("cat"), Secret: f.Tag.Get("secret"), Min: f.Tag.Get("min"),
			Required: f.Tag.Get("required") == "true", Description: f.Tag.Get("desc"), index: at, typ: f.Type,
		}
		if a := f.Tag.Get("accept"); a != "" {
			k.Accept = strings.Split(a, "|")
		}
		if st := structType(f.Type); st != nil {
			k.Nested = keysOf(st, k.Path+".", section, nil)
		}
		keys = append(keys, k)
	}
	return keys
}

// structType is the struct behind t when t is an object with declared keys, else nil.
func structType(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		return t
	}
	return nil
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[duration]():
		return "duration"
	case reflect.TypeFor[ByteSize]():
		return "size"
	case reflect.TypeFor[[]string]():
		return "list of text"
	case reflect.TypeFor[map[string]string]():
		return "map of text"
	case reflect.TypeFor[map[string]any]():
		return "map"
	case reflect.TypeFor[[]map[string]any]():
		return "list of maps"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int32:
		return "int"
	case reflect.Int64:
		return "long"
	case reflect.Float64:
		return "double"
	case reflect.Struct:
		return "object"
	}
	return "string"
}

// nearest is the key that name probably meant, or "".
func nearest(name string, keys []Key) string {
	best, bestDistance := "", 1+max(2, len(name)/4)
	for _, k := range keys {
		if strings.EqualFold(k.Name, name) {
			return k.Name
		}
		if d := distance(strings.ToLower(name), strings.ToLower(k.Name), bestDistance); d < bestDistance {
			best, bestDistance = k.Name, d
		}
	}
	for _, k := range keys {
		if best == "" && len(name) >= 4 && strings.HasPrefix(strings.ToLower(k.Name), strings.ToLower(name)) {
			best = k.Name
		}
	}
	return best
}

// distance is the edit distance of a and b, or limit when it is at least that.
func distance(a, b string, limit int) int {
	if diff := len(a) - len(b); diff >= limit || -diff >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := previous
			if a[i-1] != b[j-1] {
				cost++
			}
			previous = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}
