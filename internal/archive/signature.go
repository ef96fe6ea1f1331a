package archive

import (
	"errors"
	"fmt"
	"strings"
)

// typeKind is the form of a Java type.
type typeKind int

const (
	kindClass typeKind = iota
	kindPrimitive
	kindArray
	kindVariable
	kindWildcard
)

// javaType is a type as generic signatures write it. Values are never changed after they are made.
type javaType struct {
	kind     typeKind
	name     string      // binary name of a class, keyword of a primitive, name of a variable, "?" "? extends" "? super"
	args     []*javaType // type arguments; none for raw and for plain types
	owner    *javaType   // enclosing type, if that one has type arguments
	elem     *javaType   // element of an array, bound of a wildcard
	fromCode bool        // an erased name that compiled code refers to, as opposed to one that a user typed
}

// typeParameter is a declared type variable with its first bound.
type typeParameter struct {
	name  string
	bound *javaType // nil: java.lang.Object
}

// classSignature is a parsed Signature attribute of a class.
type classSignature struct {
	params     []typeParameter
	super      *javaType
	interfaces []*javaType
}

func rawClass(name string) *javaType { return &javaType{kind: kindClass, name: name} }

const objectName = "java.lang.Object"

// primitiveNames maps the letters of descriptors.
func primitiveName(c byte) string {
	switch c {
	case 'B':
		return "byte"
	case 'C':
		return "char"
	case 'D':
		return "double"
	case 'F':
		return "float"
	case 'I':
		return "int"
	case 'J':
		return "long"
	case 'S':
		return "short"
	case 'Z':
		return "boolean"
	case 'V':
		return "void"
	}
	return ""
}

func primitiveLetter(name string) string {
	for _, c := range []byte("BCDFIJSZV") {
		if primitiveName(c) == name {
			return string(c)
		}
	}
	return ""
}

// parseClassSignature reads the Signature attribute of a class (JVM specification 4.7.9.1).
func parseClassSignature(s string) (*classSignature, error) {
	p := &signatureParser{s: s}
	sig := &classSignature{params: p.typeParameters()}
	sig.super = p.classType(0)
	for p.err == nil && p.pos < len(p.s) {
		sig.interfaces = append(sig.interfaces, p.classType(0))
	}
	return sig, p.finish()
}

// parseFieldSignature reads a field's Signature attribute or descriptor.
func parseFieldSignature(s string) (*javaType, error) {
	p := &signatureParser{s: s}
	t := p.fieldType(0)
	return t, p.finish()
}

type signatureParser struct {
	s     string
	pos   int
	nodes int
	err   error
}

func (p *signatureParser) finish() error {
	if p.err == nil && p.pos != len(p.s) {
		p.fail("something follows the end")
	}
	if p.err != nil {
		return fmt.Errorf("generic signature %.200q: %w", p.s, p.err)
	}
	return nil
}

func (p *signatureParser) fail(msg string) *javaType {
	if p.err == nil {
		p.err = fmt.Errorf("%s at byte %d", msg, p.pos)
	}
	return rawClass(objectName)
}

func (p *signatureParser) peek() byte {
	if p.err != nil || p.pos >= len(p.s) {
		return 0
	}
	return p.s[p.pos]
}

func (p *signatureParser) accept(c byte) bool {
	if p.peek() == c && c != 0 {
		p.pos++
		return true
	}
	return false
}

// identifier reads up to one of the separators, which it leaves.
func (p *signatureParser) identifier() string {
	start := p.pos
	for p.pos < len(p.s) && !strings.ContainsRune(";.<>:[", rune(p.s[p.pos])) {
		p.pos++
	}
	switch n := p.pos - start; {
	case n == 0:
		p.fail("a name is missing")
	case n > maxClassName:
		p.fail("a name is too long")
	}
	return p.s[start:p.pos]
}

func (p *signatureParser) typeParameters() []typeParameter {
	if !p.accept('<') {
		return nil
	}
	var out []typeParameter
	for p.err == nil && !p.accept('>') {
		param := typeParameter{name: p.identifier()}
		if !p.accept(':') {
			p.fail("the bound of a type parameter is missing")
			return nil
		}
		if p.peek() != ':' && p.peek() != '>' {
			param.bound = p.fieldType(0)
		}
		for p.accept(':') {
			bound := p.fieldType(0)
			if param.bound == nil {
				param.bound = bound // the class bound is empty: the erasure is the first interface
			}
		}
		out = append(out, param)
	}
	return out
}

func (p *signatureParser) fieldType(depth int) *javaType {
	if depth > maxSignatureDepth {
		return p.fail("nested too deeply")
	}
	if p.nodes++; p.nodes > maxTypeNodes {
		return p.fail("too many parts")
	}
	switch c := p.peek(); c {
	case 'L':
		return p.classType(depth)
	case '[':
		p.pos++
		return &javaType{kind: kindArray, elem: p.fieldType(depth + 1)}
	case 'T':
		p.pos++
		t := &javaType{kind: kindVariable, name: p.identifier()}
		if !p.accept(';') {
			return p.fail("';' is missing")
		}
		return t
	default:
		if name := primitiveName(c); name != "" {
			p.pos++
			return &javaType{kind: kindPrimitive, name: name}
		}
		return p.fail("a type is missing")
	}
}

func (p *signatureParser) classType(depth int) *javaType {
	if depth > maxSignatureDepth {
		return p.fail("nested too deeply")
	}
	if !p.accept('L') {
		return p.fail("a class type is missing")
	}
	t := &javaType{kind: kindClass, name: strings.ReplaceAll(p.identifier(), "/", ".")}
	t.args = p.typeArguments(depth)
	for level := 0; p.accept('.'); level++ {
		if p.nodes++; p.nodes > maxTypeNodes || level > maxSignatureDepth {
			return p.fail("too many parts")
		}
		inner := &javaType{kind: kindClass, name: t.name + "$" + p.identifier()}
		if len(t.args) > 0 || t.owner != nil {
			inner.owner = t
		}
		inner.args = p.typeArguments(depth)
		t = inner
	}
	if !p.accept(';') {
		return p.fail("';' is missing")
	}
	return t
}

func (p *signatureParser) typeArguments(depth int) []*javaType {
	if !p.accept('<') {
		return nil
	}
	var out []*javaType
	for p.err == nil && !p.accept('>') {
		switch {
		case p.accept('*'):
			out = append(out, &javaType{kind: kindWildcard, name: "?"})
		case p.accept('+'):
			out = append(out, &javaType{kind: kindWildcard, name: "? extends", elem: p.fieldType(depth + 1)})
		case p.accept('-'):
			out = append(out, &javaType{kind: kindWildcard, name: "? super", elem: p.fieldType(depth + 1)})
		default:
			out = append(out, p.fieldType(depth+1))
		}
	}
	return out
}

// spelling is how Java source and the Java worker's messages write a type: byte[], java.util.List<java.lang.String>.
func (t *javaType) spelling() string {
	var b strings.Builder
	t.spell(&b)
	return b.String()
}

func (t *javaType) spell(b *strings.Builder) {
	switch t.kind {
	case kindArray:
		t.elem.spell(b)
		b.WriteString("[]")
	case kindWildcard:
		b.WriteString(t.name)
		if t.elem != nil {
			b.WriteByte(' ')
			t.elem.spell(b)
		}
	default:
		if t.owner != nil {
			t.owner.spell(b)
			b.WriteByte('$')
			b.WriteString(strings.TrimPrefix(t.name, t.owner.name+"$"))
		} else {
			b.WriteString(t.name)
		}
		for i, arg := range t.args {
			b.WriteString([]string{", ", "<"}[btoi(i == 0)])
			arg.spell(b)
		}
		if len(t.args) > 0 {
			b.WriteByte('>')
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Spelling turns a stored type name such as "[B" into the spelling of Java source, "byte[]". Names of classes stay.
func Spelling(name string) string {
	t, err := parseTypeName(name)
	if err != nil {
		return name
	}
	return t.spelling()
}

// parseTypeName reads a binary class name, a primitive's keyword or an array in JVM form.
func parseTypeName(name string) (*javaType, error) {
	switch {
	case name == "":
		return nil, errors.New("the class name is empty")
	case strings.Contains(name, "/"):
		return nil, fmt.Errorf("%s contains the illegal character '/'", name)
	case name[0] == '[':
		return parseFieldSignature(strings.ReplaceAll(name, ".", "/"))
	case primitiveLetter(name) != "":
		return &javaType{kind: kindPrimitive, name: name}, nil
	}
	return rawClass(name), nil
}
