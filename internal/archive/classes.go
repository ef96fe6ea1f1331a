package archive

import (
	"errors"
	"fmt"
	"strings"
)

// classResult is a looked-up class with its super types, or why there is none.
type classResult struct {
	class *Class
	super *classSignature // generic super types, never nil when class is not nil
	err   error
}

// Class gives a class of the JDK, of the Pulsar API, or of the package. A missing one is a *ClassNotFoundError.
// Known classes have neither fields nor methods, except for a constructor that takes one java.util.Map.
func (p *Package) Class(name string) (*Class, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.lookup(name)
	return r.class, r.err
}

// lookup finds a class and keeps the result, also a negative one. The caller holds mu.
func (p *Package) lookup(name string) *classResult {
	if r := p.classes[name]; r != nil {
		return r
	}
	if len(p.classes) >= maxClassesParsed {
		return &classResult{err: limitErrorf("%s: its class hierarchy has more than %d classes", p.name, maxClassesParsed)}
	}
	r := &classResult{}
	r.class, r.err = p.load(name)
	if r.err == nil {
		r.super = superTypes(r.class)
	}
	p.classes[name] = r
	return r
}

func (p *Package) load(name string) (*Class, error) {
	if strings.Contains(name, "/") {
		return nil, fmt.Errorf("%s contains the illegal character '/'", name)
	}
	if len(name) == 0 || len(name) > maxClassName {
		return nil, &ClassNotFoundError{Name: name}
	}
	if c := platformClass(name); c != nil {
		return c, nil
	}
	data, err := p.findClass(name)
	if err != nil {
		return nil, fmt.Errorf("class %s: %w", name, err)
	}
	if data == nil {
		return nil, &ClassNotFoundError{Name: name}
	}
	if err := p.budget.keepClass(len(data)); err != nil {
		return nil, fmt.Errorf("class %s: %w", name, err)
	}
	c, err := ParseClass(data)
	if err != nil {
		return nil, fmt.Errorf("class %s: %w", name, err)
	}
	if c.Name != name {
		return nil, fmt.Errorf("class %s: its class file holds %s", name, c.Name)
	}
	return c, nil
}

// superTypes gives the generic super types, or the plain ones when there is no signature that fits them.
func superTypes(c *Class) *classSignature {
	if c.Signature != "" {
		if sig, err := parseClassSignature(c.Signature); err == nil && fits(sig, c) {
			return sig
		}
	}
	raw := &classSignature{}
	if c.Super != "" {
		raw.super = rawClass(c.Super)
	}
	for _, name := range c.Interfaces {
		raw.interfaces = append(raw.interfaces, rawClass(name))
	}
	return raw
}

// fits says whether the signature names the super types that the class really has: obfuscators leave stale ones.
func fits(sig *classSignature, c *Class) bool {
	if len(sig.interfaces) != len(c.Interfaces) || sig.super.name != c.Super {
		return false
	}
	for i, t := range sig.interfaces {
		if t.name != c.Interfaces[i] {
			return false
		}
	}
	return true
}

// Has says whether the class is in the package or known. Arrays exist when their element does.
func (p *Package) Has(className string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, err := parseTypeName(className)
	return err == nil && p.exists(t) == nil
}

// Unreadable is why a class that Has denies cannot be read, nil when it is not in the package. The error does not name the class.
func (p *Package) Unreadable(className string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, err := parseTypeName(className)
	if err != nil {
		return nil
	}
	err = p.exists(t)
	if _, missing := errors.AsType[*ClassNotFoundError](err); missing || err == nil {
		return nil
	}
	if plain := errors.Unwrap(err); plain != nil {
		return plain
	}
	return err
}

// exists is nil when the erased type can be found.
func (p *Package) exists(t *javaType) error {
	for t.kind == kindArray {
		t = t.elem
	}
	if t.kind == kindPrimitive {
		return nil
	}
	r := p.lookup(t.name)
	// No package can define classes of java.*, so a name used there is one of a newer JDK than the table's.
	if _, missing := errors.AsType[*ClassNotFoundError](r.err); missing && strings.HasPrefix(t.name, "java.") && t.kind == kindClass && t.fromCode {
		return nil
	}
	return r.err
}

type assignKey struct{ from, to string }

// Implements says whether className is assignable to iface, a class or an interface. The error tells that
// className, or a super type on the way, cannot be found.
func (p *Package) Implements(className, iface string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from, err := parseTypeName(className)
	if err != nil {
		return false, err
	}
	if err := p.exists(from); err != nil {
		return false, err
	}
	to, err := parseTypeName(iface)
	if err != nil {
		return false, err
	}
	return p.assignable(from, to)
}

// assignable compares erased types by name (contract 8.5).
func (p *Package) assignable(from, to *javaType) (bool, error) {
	for from.kind == kindArray && to.kind == kindArray {
		from, to = from.elem, to.elem
	}
	switch {
	case from.kind == kindPrimitive || to.kind == kindPrimitive:
		return from.kind == to.kind && from.name == to.name, nil
	case to.kind == kindArray:
		return false, nil
	case to.name == objectName:
		return true, nil
	case from.kind == kindArray:
		return to.name == "java.lang.Cloneable" || to.name == "java.io.Serializable", nil
	}
	return p.subclass(from.name, to.name, 0)
}

// subclass walks super class first, then interfaces, which is the order in which Java stumbles over missing ones.
func (p *Package) subclass(from, to string, depth int) (bool, error) {
	if from == to {
		return true, nil
	}
	key := assignKey{from, to}
	if known, ok := p.assign[key]; ok {
		return known, nil
	}
	if depth > maxHierarchyDepth {
		return false, limitErrorf("%s: more than %d super types above a class", p.name, maxHierarchyDepth)
	}
	r := p.lookup(from)
	if r.err != nil {
		return false, r.err
	}
	p.assign[key] = false // ends the walk of a class that is its own super type
	parents := append([]string{r.class.Super}, r.class.Interfaces...)
	for _, parent := range parents {
		if parent == "" {
			continue
		}
		yes, err := p.subclass(parent, to, depth+1)
		if err != nil {
			delete(p.assign, key)
			return false, err
		}
		if yes {
			p.assign[key] = true
			return true, nil
		}
	}
	return false, nil
}

// HasMapConstructor says whether the class declares a constructor with exactly one parameter, a java.util.Map,
// as a crypto key reader must (contract 3.4).
func (p *Package) HasMapConstructor(className string) (bool, error) {
	c, err := p.Class(className)
	if err != nil {
		return false, err
	}
	for _, m := range c.Methods {
		if m.Name == "<init>" && m.Descriptor == mapConstructor {
			return true, nil
		}
	}
	return false, nil
}

const mapConstructor = "(Ljava/util/Map;)V"
