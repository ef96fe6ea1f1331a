package archive

import "fmt"

const fieldDoc = "org.apache.pulsar.io.core.annotations.FieldDoc"

// ConfigField describes one field of a connector's configuration class (contract rest-api 9.7 and
// component-configs 8.6). Attributes is empty for a field without FieldDoc, and has exactly the keys required,
// sensitive, defaultValue and help for one with it.
type ConfigField struct {
	FieldName  string            `json:"fieldName"`
	TypeName   string            `json:"typeName"` // in the spelling of Java source, with type arguments
	Attributes map[string]string `json:"attributes"`
}

// ConfigFields lists the fields of a configuration class and then those of its super classes in the package,
// static ones left out. Type variables of super classes are replaced by what the subclass binds.
func (p *Package) ConfigFields(className string) ([]ConfigField, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fields, text := []ConfigField{}, 0
	t := rawClass(className)
	for depth := 0; t != nil; depth++ {
		r := p.lookup(t.name)
		if r.err != nil {
			return nil, fmt.Errorf("read the fields of %s: %w", className, r.err)
		}
		if depth > maxHierarchyDepth {
			return nil, limitErrorf("%s: more than %d super types above a class", p.name, maxHierarchyDepth)
		}
		for _, f := range r.class.Fields {
			if f.Access&AccStatic != 0 {
				continue
			}
			field, err := p.configField(f, t, r)
			if err != nil {
				return nil, err
			}
			fields, text = append(fields, field), text+len(field.TypeName)
			if len(fields) > maxConfigFields || text > maxConfigText {
				return nil, limitErrorf("%s: %s has more than %d fields or %d bytes of types", p.name, className, maxConfigFields, maxConfigText)
			}
		}
		if r.super.super == nil {
			break
		}
		var err error
		if t, err = p.substitute(r.super.super, t, r); err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// configField describes a field of the class r, seen as its type t.
func (p *Package) configField(f Member, t *javaType, r *classResult) (ConfigField, error) {
	fieldType, err := typeOfField(f)
	if err != nil {
		return ConfigField{}, fmt.Errorf("field %s of %s: %w", f.Name, r.class.Name, err)
	}
	if len(t.args) > 0 {
		if fieldType, err = p.substitute(fieldType, t, r); err != nil {
			return ConfigField{}, err
		}
	}
	return ConfigField{FieldName: f.Name, TypeName: fieldType.spelling(), Attributes: fieldAttributes(f)}, nil
}

func typeOfField(f Member) (*javaType, error) {
	if f.Signature != "" {
		if t, err := parseFieldSignature(f.Signature); err == nil {
			return t, nil
		}
	}
	return parseFieldSignature(f.Descriptor)
}

func fieldAttributes(f Member) map[string]string {
	for _, a := range f.Annotations {
		if a.Type != fieldDoc {
			continue
		}
		// required and sensitive have defaults in the annotation, which compiled code does not repeat.
		attributes := map[string]string{"required": "false", "sensitive": "false", "defaultValue": "", "help": ""}
		for name := range attributes {
			if v, ok := a.Values[name]; ok {
				attributes[name] = v
			}
		}
		return attributes
	}
	return map[string]string{}
}
