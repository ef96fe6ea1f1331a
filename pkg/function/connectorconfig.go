//go:build !wasip1

package function

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/functions-worker/functions-worker/internal/instance"
)

// readConfig reads the configs of a source or a sink.
func readConfig[C any](configs []byte) (C, error) {
	var config C
	decoder := json.NewDecoder(strings.NewReader(string(configs)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return config, fmt.Errorf("the configs: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return config, errors.New("the configs: there is more than one JSON value")
	}
	if v, ok := any(&config).(interface{ Validate() error }); ok { // also of C itself
		if err := v.Validate(); err != nil {
			return config, fmt.Errorf("the configs: %w", err)
		}
	}
	return config, nil
}

// checkConfig refuses configs at their submission. It is code of the source or sink, which may panic.
func checkConfig[C any](configs string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("checking the configs: panic: %v", v)
		}
	}()
	if strings.TrimSpace(configs) == "" {
		configs = "{}"
	}
	_, err = readConfig[C]([]byte(configs))
	return err
}

// configFields describes the fields of a struct; a map has none.
func configFields(t reflect.Type) ([]instance.ConfigField, error) {
	switch {
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		return nil, checkJSON(t, map[reflect.Type]bool{})
	case t.Kind() != reflect.Struct:
		return nil, fmt.Errorf("%s is neither a struct nor a map with texts as keys", t)
	}
	if err := checkJSON(t, map[reflect.Type]bool{}); err != nil {
		return nil, err
	}
	fields := []instance.ConfigField{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields = append(fields, instance.ConfigField{Name: name, Type: javaType(f.Type), Help: f.Tag.Get("help"), Default: f.Tag.Get("default"),
			Required: f.Tag.Get("required") == "true", Sensitive: f.Tag.Get("sensitive") == "true"})
	}
	return fields, nil
}

// javaType spells a type as the descriptions of Java connectors do.
func javaType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16:
		return "int"
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		return "long"
	case reflect.Float32:
		return "float"
	case reflect.Float64:
		return "double"
	case reflect.String:
		return "java.lang.String"
	case reflect.Pointer:
		return javaType(t.Elem())
	case reflect.Slice, reflect.Array:
		return "java.util.List<" + boxed(t.Elem()) + ">"
	case reflect.Map:
		return "java.util.Map<" + boxed(t.Key()) + ", " + boxed(t.Elem()) + ">"
	}
	return "java.lang.Object"
}

// boxed is javaType where no primitive can stand.
func boxed(t reflect.Type) string {
	switch name := javaType(t); name {
	case "int":
		return "java.lang.Integer"
	case "boolean", "long", "float", "double":
		return "java.lang." + strings.ToUpper(name[:1]) + name[1:]
	default:
		return name
	}
}
