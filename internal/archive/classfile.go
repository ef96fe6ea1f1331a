package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Access flags of classes, fields and methods (JVM specification 4.1, 4.5, 4.6).
const (
	AccPublic    = 0x0001
	AccProtected = 0x0004
	AccStatic    = 0x0008
	AccInterface = 0x0200
	AccAbstract  = 0x0400
	AccSynthetic = 0x1000
	AccEnum      = 0x4000
)

// Class is what this package reads of one class file (contract component-configs 8.5).
type Class struct {
	Name       string   // binary name: dots, nested types with $
	Major      uint16   // class file version
	Access     uint16   // Acc… flags of the class header
	Super      string   // empty for java.lang.Object only
	Interfaces []string // direct ones, in the order of the declaration
	Signature  string   // generic signature, empty when nothing is generic
	Fields     []Member
	Methods    []Member
}

// Member is a field or a method of a class.
type Member struct {
	Access      uint16
	Name        string
	Descriptor  string
	Signature   string       // generic signature, empty when nothing is generic
	Annotations []Annotation // visible at run time; only read for fields
}

// Annotation is an annotation with the values of its plain members.
type Annotation struct {
	Type   string            // binary name
	Values map[string]string // strings and booleans ("true", "false"); members of other kinds are left out
}

// IsInterface says whether the class is an interface.
func (c *Class) IsInterface() bool { return c.Access&AccInterface != 0 }

var errTruncated = errors.New("class file ends early")

// ParseClass reads a class file of any version. Unknown attributes are skipped; whatever data it is given, it
// returns a class or an error, and allocates no more than a small multiple of len(data).
func ParseClass(data []byte) (*Class, error) {
	p := &classParser{r: reader{data: data}}
	c, err := p.parse()
	if err != nil {
		return nil, fmt.Errorf("read class file: %w", err)
	}
	return c, nil
}

// reader is a cursor whose first failure sticks: after it all reads give zero.
type reader struct {
	data []byte
	pos  int
	err  error
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.data)-r.pos {
		r.err = errors.Join(r.err, errTruncated)
		r.pos = len(r.data)
		return nil
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b
}

func (r *reader) u1() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u2() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u4() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

type classParser struct {
	r    reader
	pool []poolEntry
}

// poolEntry is one constant: the offset of its content behind the tag.
// Decoded text is kept: hostile files refer to one long constant thousands of times.
type poolEntry struct {
	tag     uint8
	decoded bool
	pos     int
	text    string
}

const (
	tagUtf8    = 1
	tagInteger = 3
	tagLong    = 5
	tagDouble  = 6
	tagClass   = 7
)

func (p *classParser) parse() (*Class, error) {
	if p.r.u4() != 0xCAFEBABE {
		return nil, errors.New("it does not start with the magic number of class files")
	}
	p.r.u2()
	c := &Class{Major: p.r.u2()}
	if err := p.readPool(); err != nil {
		return nil, err
	}
	c.Access = p.r.u2()
	c.Name = p.class(p.r.u2())
	if super := p.r.u2(); super != 0 {
		c.Super = p.class(super)
	}
	interfaces := p.r.u2()
	if interfaces > maxInterfaces {
		return nil, limitErrorf("the class lists %d interfaces, at most %d are read", interfaces, maxInterfaces)
	}
	for n := interfaces; n > 0 && p.r.err == nil; n-- {
		c.Interfaces = append(c.Interfaces, p.class(p.r.u2()))
	}
	c.Fields = p.members(true)
	c.Methods = p.members(false)
	p.attributes(func(name string, body *reader) {
		if name == "Signature" {
			c.Signature = p.utf8(body.u2())
		}
	})
	if p.r.err != nil {
		return nil, p.r.err
	}
	if c.Name == "" {
		return nil, errors.New("it has no name")
	}
	return c, nil
}

func (p *classParser) readPool() error {
	count := int(p.r.u2())
	p.pool = make([]poolEntry, count)
	for i := 1; i < count; i++ {
		tag := p.r.u1()
		p.pool[i] = poolEntry{tag: tag, pos: p.r.pos}
		switch tag {
		case tagUtf8:
			p.r.bytes(int(p.r.u2()))
		case tagInteger, 4, 9, 10, 11, 12, 17, 18:
			p.r.bytes(4)
		case tagLong, tagDouble:
			p.r.bytes(8)
			i++ // these take two places
		case tagClass, 8, 16, 19, 20:
			p.r.bytes(2)
		case 15:
			p.r.bytes(3)
		default:
			if p.r.err == nil {
				return fmt.Errorf("constant %d has the unknown tag %d", i, tag)
			}
		}
		if p.r.err != nil {
			return p.r.err
		}
	}
	return nil
}

// at gives a cursor on a constant of the wanted kind.
func (p *classParser) at(index uint16, tag uint8) *reader {
	if int(index) >= len(p.pool) || p.pool[index].tag != tag {
		if p.r.err == nil {
			p.r.err = fmt.Errorf("constant %d is not what its use needs", index)
		}
		return &reader{}
	}
	return &reader{data: p.r.data, pos: p.pool[index].pos}
}

func (p *classParser) utf8(index uint16) string {
	r := p.at(index, tagUtf8)
	if r.data == nil {
		return ""
	}
	c := &p.pool[index]
	if !c.decoded {
		c.text, c.decoded = decodeModifiedUTF8(r.bytes(int(r.u2()))), true
	}
	return c.text
}

func (p *classParser) class(index uint16) string {
	r := p.at(index, tagClass)
	if r.data == nil {
		return ""
	}
	name := p.utf8(r.u2())
	if len(name) > maxClassName && p.r.err == nil {
		p.r.err = limitErrorf("a class name has %d bytes, at most %d are read", len(name), maxClassName)
		return ""
	}
	return strings.ReplaceAll(name, "/", ".")
}

func (p *classParser) members(annotations bool) []Member {
	var out []Member
	for n := p.r.u2(); n > 0 && p.r.err == nil; n-- {
		m := Member{Access: p.r.u2(), Name: p.utf8(p.r.u2()), Descriptor: p.utf8(p.r.u2())}
		p.attributes(func(name string, body *reader) {
			switch {
			case name == "Signature":
				m.Signature = p.utf8(body.u2())
			case name == "RuntimeVisibleAnnotations" && annotations:
				m.Annotations = p.annotations(body)
			}
		})
		out = append(out, m)
	}
	return out
}

// attributes calls f for each attribute with a cursor that cannot leave it. Errors inside an attribute stay there:
// a broken attribute counts as absent.
func (p *classParser) attributes(f func(name string, body *reader)) {
	for n := p.r.u2(); n > 0 && p.r.err == nil; n-- {
		name := p.utf8(p.r.u2())
		body := p.r.bytes(int(p.r.u4()))
		if p.r.err != nil {
			return
		}
		f(name, &reader{data: body})
		if name != "Signature" {
			p.r.err = nil
		}
	}
}

func (p *classParser) annotations(r *reader) []Annotation {
	var out []Annotation
	for n := r.u2(); n > 0 && r.err == nil && p.r.err == nil; n-- {
		out = append(out, p.annotation(r, 0))
	}
	if r.err != nil || p.r.err != nil {
		return nil
	}
	return out
}

func (p *classParser) annotation(r *reader, depth int) Annotation {
	a := Annotation{Type: descriptorName(p.utf8(r.u2())), Values: map[string]string{}}
	for n := r.u2(); n > 0 && r.err == nil && p.r.err == nil; n-- {
		name := p.utf8(r.u2())
		if v, ok := p.elementValue(r, depth+1); ok {
			a.Values[name] = v
		}
	}
	return a
}

func (p *classParser) elementValue(r *reader, depth int) (value string, ok bool) {
	if depth > maxSignatureDepth {
		r.err = errors.Join(r.err, errors.New("annotation nested too deeply"))
		return "", false
	}
	switch tag := r.u1(); tag {
	case 's':
		return p.utf8(r.u2()), true
	case 'Z':
		v := p.at(r.u2(), tagInteger)
		return fmt.Sprint(v.u4() != 0), true
	case 'e':
		r.bytes(4)
	case '@':
		p.annotation(r, depth)
	case '[':
		for n := r.u2(); n > 0 && r.err == nil && p.r.err == nil; n-- {
			p.elementValue(r, depth+1)
		}
	default:
		r.bytes(2)
	}
	return "", false
}

// descriptorName turns a field descriptor of a class into its binary name.
func descriptorName(d string) string {
	if strings.HasPrefix(d, "L") && strings.HasSuffix(d, ";") {
		return strings.ReplaceAll(d[1:len(d)-1], "/", ".")
	}
	return d
}

// decodeModifiedUTF8 reads the JVM's string encoding: zero in two bytes, surrogate pairs in three bytes each.
func decodeModifiedUTF8(b []byte) string {
	plain := true
	for _, c := range b {
		if c >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return string(b)
	}
	var out strings.Builder
	for i := 0; i < len(b); {
		r, n := modifiedRune(b[i:])
		i += n
		if r >= 0xd800 && r < 0xdc00 {
			if low, m := modifiedRune(b[i:]); low >= 0xdc00 && low < 0xe000 {
				r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
				i += m
			}
		}
		out.WriteRune(r)
	}
	return out.String()
}

// modifiedRune decodes one unit; a malformed one becomes the replacement character of one byte.
func modifiedRune(b []byte) (r rune, size int) {
	switch {
	case len(b) == 0:
		return 0xfffd, 0
	case b[0] < 0x80:
		return rune(b[0]), 1
	case b[0]&0xe0 == 0xc0 && len(b) >= 2 && b[1]&0xc0 == 0x80:
		return rune(b[0]&0x1f)<<6 | rune(b[1]&0x3f), 2
	case b[0]&0xf0 == 0xe0 && len(b) >= 3 && b[1]&0xc0 == 0x80 && b[2]&0xc0 == 0x80:
		return rune(b[0]&0x0f)<<12 | rune(b[1]&0x3f)<<6 | rune(b[2]&0x3f), 3
	}
	return 0xfffd, 1
}
