package archive

import (
	"errors"
	"fmt"
	"strings"

	"github.com/functions-worker/functions-worker/internal/component"
)

// Java names of the types that functions and connectors are made of.
const (
	pulsarFunction    = "org.apache.pulsar.functions.api.Function"
	windowFunction    = "org.apache.pulsar.functions.api.WindowFunction"
	recordType        = "org.apache.pulsar.functions.api.Record"
	javaFunction      = "java.util.function.Function"
	collectionType    = "java.util.Collection"
	completableFuture = "java.util.concurrent.CompletableFuture"
)

var _ interface {
	component.Classes
	component.WindowClasses
	component.ConstructorClasses
	component.DescribedClasses
} = (*Package)(nil)

// FunctionTypes gives the stored input and output type names of a function class that runs without windows, and
// through which interface it is a function. Output types are unwrapped as Java does: Record<T> and
// CompletableFuture<T> stand for T (contract component-configs 8.2).
func (p *Package) FunctionTypes(className string) (in, out string, kind component.FunctionKind, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, candidate := range []struct {
		iface string
		kind  component.FunctionKind
	}{
		{pulsarFunction, component.PulsarFunction},
		{javaFunction, component.JavaFunction},
		{windowFunction, component.WindowFunction},
	} {
		yes, err := p.functionImplements(className, candidate.iface)
		if err != nil {
			return "", "", component.NotAFunction, err
		}
		if yes {
			in, out, err := p.functionTypes(className, candidate.iface)
			return in, out, candidate.kind, err
		}
	}
	return "", "", component.NotAFunction, javaErrorf("Function class %s does not implement the correct interface", className)
}

// WindowFunctionTypes gives the types of a function class that runs in windows: those of a WindowFunction as they
// are, those of a java.util.function.Function with the element of its Collection as input.
func (p *Package) WindowFunctionTypes(className string) (in, out string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	yes, err := p.functionImplements(className, windowFunction)
	if err != nil {
		return "", "", err
	}
	if yes {
		return p.functionTypes(className, windowFunction)
	}
	if yes, err = p.functionImplements(className, javaFunction); err != nil {
		return "", "", err
	}
	if !yes {
		return "", "", javaErrorf("Function class %s cannot run in windows: it implements neither %s nor %s", className, windowFunction, javaFunction)
	}
	args, decl, err := p.bind(className, javaFunction, 2)
	if err != nil {
		return "", "", err
	}
	collection, err := p.isA(args[0], decl, collectionType)
	if err != nil {
		return "", "", err
	}
	if !collection {
		return "", "", javaErrorf("Window function must take a collection as input")
	}
	elem, err := p.firstArgument(args[0], decl, collectionType)
	if err != nil {
		return "", "", err
	}
	return p.inAndOut(elem, args[1], decl)
}

func (p *Package) functionImplements(className, iface string) (bool, error) {
	t, err := parseTypeName(className)
	if err != nil {
		return false, err
	}
	yes, err := p.assignable(t, rawClass(iface))
	if _, missing := errors.AsType[*ClassNotFoundError](err); missing {
		return false, &classPathError{className: className, err: err}
	}
	return yes, err
}

// javaErrorf makes an error with the text of the Java worker, which does not follow Go's style.
func javaErrorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// classPathError is Java's message for a function class that, itself or in a super type, is not there.
type classPathError struct {
	className string
	err       error
}

func (e *classPathError) Error() string {
	text := fmt.Sprintf("Function class %s must be in class path", e.className)
	if missing, ok := errors.AsType[*ClassNotFoundError](e.err); ok && missing.Name != e.className {
		text += fmt.Sprintf(" (%v)", e.err)
	}
	return text
}

func (e *classPathError) Unwrap() error { return e.err }

func (p *Package) functionTypes(className, iface string) (in, out string, err error) {
	args, decl, err := p.bind(className, iface, 2)
	if err != nil {
		return "", "", err
	}
	return p.inAndOut(args[0], args[1], decl)
}

func (p *Package) inAndOut(input, output *javaType, decl *classResult) (in, out string, err error) {
	// One pass each, in this order: Record<CompletableFuture<X>> is X, CompletableFuture<Record<X>> is Record.
	for _, wrapper := range []string{recordType, completableFuture} {
		yes, err := p.isA(output, decl, wrapper)
		if err != nil {
			return "", "", err
		}
		if yes {
			if output, err = p.firstArgument(output, decl, wrapper); err != nil {
				return "", "", err
			}
		}
	}
	if in, err = p.storedName(input, decl); err != nil {
		return "", "", err
	}
	if out, err = p.storedName(output, decl); err != nil {
		return "", "", err
	}
	return in, out, nil
}

// TypeArguments gives the erased types that className binds to the type parameters of iface. A class that does
// not implement iface, or implements it raw, is an error.
func (p *Package) TypeArguments(className, iface string) ([]string, error) {
	return p.typeArguments(className, iface, p.storedName)
}

// TypeArgumentSpellings is TypeArguments in the spelling of Java source, not erased, which the Java worker's
// messages use (contract component-configs 3.4): byte[], java.util.List<java.lang.String>.
func (p *Package) TypeArgumentSpellings(className, iface string) ([]string, error) {
	return p.typeArguments(className, iface, func(t *javaType, _ *classResult) (string, error) { return t.spelling(), nil })
}

func (p *Package) typeArguments(className, iface string, name func(*javaType, *classResult) (string, error)) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	args, decl, err := p.bind(className, iface, 0)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(args))
	for i, arg := range args {
		if out[i], err = name(arg, decl); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bind resolves the type arguments that a class gives to iface, at least want of them. Variables that are left
// belong to the class itself, which is returned to look up their bounds.
func (p *Package) bind(className, iface string, want int) ([]*javaType, *classResult, error) {
	decl := p.lookup(className)
	if decl.err != nil {
		return nil, nil, decl.err
	}
	if className == iface {
		return nil, nil, fmt.Errorf("%s is the interface itself and implements nothing", className)
	}
	self := &javaType{kind: kindClass, name: className}
	for _, param := range decl.super.params {
		self.args = append(self.args, &javaType{kind: kindVariable, name: param.name})
	}
	t, err := p.asSuper(self, iface, 0)
	if err != nil {
		return nil, nil, err
	}
	if t == nil {
		return nil, nil, fmt.Errorf("%s does not implement %s", className, iface)
	}
	if len(t.args) == 0 || len(t.args) < want {
		return nil, nil, rawError(p, iface)
	}
	return t.args, decl, nil
}

func rawError(p *Package, name string) error {
	word := "class"
	if r := p.lookup(name); r.err == nil && r.class.IsInterface() {
		word = "interface"
	}
	return javaErrorf("A non-generic type does not imply type arguments: %s %s", word, name)
}

// asSuper views a class type as its super type target with the arguments substituted on the way up: interfaces in
// the order of their declaration, then the super class, as Java does. Nil when target is not above it.
func (p *Package) asSuper(t *javaType, target string, depth int) (*javaType, error) {
	if t.name == target {
		return t, nil
	}
	if depth > maxHierarchyDepth {
		return nil, limitErrorf("%s: more than %d super types above a class", p.name, maxHierarchyDepth)
	}
	r := p.lookup(t.name)
	if r.err != nil {
		return nil, r.err
	}
	parents := r.super.interfaces
	if r.super.super != nil {
		parents = append(parents[:len(parents):len(parents)], r.super.super)
	}
	for _, parent := range parents {
		yes, err := p.subclass(parent.name, target, depth+1)
		if err != nil {
			return nil, err
		}
		if !yes {
			continue
		}
		if parent, err = p.substitute(parent, t, r); err != nil {
			return nil, err
		}
		return p.asSuper(parent, target, depth+1)
	}
	return nil, nil
}

// substitute puts the arguments of t into a super type of its class r. A raw type has raw super types.
func (p *Package) substitute(parent, t *javaType, r *classResult) (*javaType, error) {
	if len(t.args) != len(r.super.params) {
		return rawClass(parent.name), nil
	}
	bound := make(map[string]*javaType)
	for owner := t.owner; owner != nil; owner = owner.owner {
		if o := p.lookup(owner.name); o.err == nil && len(o.super.params) == len(owner.args) {
			for i, param := range o.super.params {
				if bound[param.name] == nil {
					bound[param.name] = owner.args[i]
				}
			}
		}
	}
	for i, param := range r.super.params {
		bound[param.name] = t.args[i]
	}
	if len(bound) == 0 {
		return parent, nil
	}
	left := maxTypeNodes
	out := replaceVariables(parent, bound, &left)
	if left < 0 {
		return nil, limitErrorf("%s: the type arguments of %s grow beyond %d parts", p.name, parent.name, maxTypeNodes)
	}
	return out, nil
}

// replaceVariables copies t with variables replaced; left counts the parts of the result, shared ones each time.
func replaceVariables(t *javaType, bound map[string]*javaType, left *int) *javaType {
	if *left--; t == nil || *left < 0 {
		return t
	}
	if t.kind == kindVariable {
		if b := bound[t.name]; b != nil {
			*left -= countParts(b, *left)
			return b
		}
		return t
	}
	if len(t.args) == 0 && t.owner == nil && t.elem == nil {
		return t
	}
	out := *t
	if t.owner != nil {
		out.owner = replaceVariables(t.owner, bound, left)
	}
	if t.elem != nil {
		out.elem = replaceVariables(t.elem, bound, left)
	}
	out.args = make([]*javaType, len(t.args))
	for i, arg := range t.args {
		out.args[i] = replaceVariables(arg, bound, left)
	}
	return &out
}

// countParts counts the parts of t, stopping soon after limit.
func countParts(t *javaType, limit int) int {
	if t == nil || limit <= 0 {
		return 0
	}
	n := 1 + countParts(t.owner, limit-1)
	n += countParts(t.elem, limit-n)
	for _, arg := range t.args {
		if n > limit {
			break
		}
		n += countParts(arg, limit-n)
	}
	return n
}

// isA says whether the erasure of t is assignable to the class or interface named.
func (p *Package) isA(t *javaType, decl *classResult, name string) (bool, error) {
	erased, err := p.erase(t, decl, 0)
	if err != nil {
		return false, err
	}
	if err := p.exists(erased); err != nil {
		return false, err
	}
	if r := p.lookup(erased.name); erased.kind == kindClass && r.err != nil {
		return false, nil // a class of a newer JDK
	}
	return p.assignable(erased, rawClass(name))
}

// firstArgument gives the first type argument of t seen as super. When the way up is raw, Java's rule counts: the
// first argument of t itself, so that KVRecord<K,V>, which extends the raw Record, gives K.
func (p *Package) firstArgument(t *javaType, decl *classResult, super string) (*javaType, error) {
	if t.kind == kindVariable {
		if bound, err := p.boundOf(t, decl); err == nil && bound != nil && bound.kind == kindClass {
			t = bound
		}
	}
	view, err := p.asSuper(t, super, 0)
	if err != nil {
		return nil, err
	}
	if view != nil && len(view.args) > 0 {
		return view.args[0], nil
	}
	if len(t.args) > 0 {
		return t.args[0], nil
	}
	return nil, rawError(p, t.name)
}

// storedName is the name under which a type is stored in FunctionDetails: its erasure, arrays in JVM form.
func (p *Package) storedName(t *javaType, decl *classResult) (string, error) {
	erased, err := p.erase(t, decl, 0)
	if err != nil {
		return "", err
	}
	if err := p.exists(erased); err != nil {
		return "", err
	}
	return binaryName(erased), nil
}

// erase drops type arguments and replaces variables by their first bound.
func (p *Package) erase(t *javaType, decl *classResult, depth int) (*javaType, error) {
	if depth > maxSignatureDepth {
		return nil, limitErrorf("%s: the bounds of type variables lead nowhere", p.name)
	}
	switch t.kind {
	case kindArray:
		elem, err := p.erase(t.elem, decl, depth+1)
		if err != nil {
			return nil, err
		}
		return &javaType{kind: kindArray, elem: elem}, nil
	case kindVariable:
		bound, err := p.boundOf(t, decl)
		if err != nil {
			return nil, err
		}
		if bound == nil {
			return rawClass(objectName), nil
		}
		return p.erase(bound, decl, depth+1)
	case kindWildcard:
		return nil, javaErrorf("A wildcard does not represent an erasable type: %s", t.spelling())
	case kindClass:
		return &javaType{kind: kindClass, name: t.name, fromCode: true}, nil
	}
	return t, nil
}

// boundOf finds the first bound of a variable in the class or in those that enclose it; nil is java.lang.Object.
func (p *Package) boundOf(t *javaType, decl *classResult) (*javaType, error) {
	for decl != nil && decl.err == nil {
		for _, param := range decl.super.params {
			if param.name == t.name {
				return param.bound, nil
			}
		}
		i := strings.LastIndexByte(decl.class.Name, '$')
		if i <= 0 {
			break
		}
		decl = p.lookup(decl.class.Name[:i])
	}
	return nil, nil
}

// binaryName writes an erased type as Class.getName does.
func binaryName(t *javaType) string {
	if t.kind != kindArray {
		return t.name
	}
	dims := 0
	for ; t.kind == kindArray; t = t.elem {
		dims++
	}
	if t.kind == kindPrimitive {
		return strings.Repeat("[", dims) + primitiveLetter(t.name)
	}
	return strings.Repeat("[", dims) + "L" + t.name + ";"
}
