package archive

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzParseClass checks that no bytes make the class reader panic, and that what it reads can be used.
func FuzzParseClass(f *testing.F) {
	p, err := Open("testdata/shapes.jar")
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for _, name := range []string{"Bytes", "Config", "OuterOf$OfInner", "MapReader", "BoundedByVariable"} {
		data, err := p.findClass("shapes.Shapes$" + name)
		if err != nil || data == nil {
			f.Fatal(name, err)
		}
		f.Add(data)
	}
	f.Add(classFile{name: "a.B", fields: []string{"x"}}.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseClass(data)
		if err != nil {
			return
		}
		if c.Name == "" {
			t.Error("a class without a name")
		}
		if superTypes(c) == nil {
			t.Error("a class without super types")
		}
		for _, m := range c.Fields {
			_, _ = typeOfField(m)
			fieldAttributes(m)
		}
	})
}

// FuzzSignature checks that the grammar of generic types is total and that spelling what it gives ends.
func FuzzSignature(f *testing.F) {
	f.Add("<T:Ljava/lang/Object;U::Ljava/util/List<-TT;>;>Ljava/lang/Object;La/B<*[I>.C<+[TT;>;")
	f.Add("Ljava/util/Map<Ljava/lang/String;Ljava/lang/Object;>;")
	f.Fuzz(func(t *testing.T, s string) {
		if sig, err := parseClassSignature(s); err == nil && sig.super.name == "" {
			t.Error("a super class without a name")
		}
		typ, err := parseFieldSignature(s)
		if err != nil {
			return
		}
		if typ.spelling() == "" {
			t.Error("a type without a spelling")
		}
	})
}

// FuzzPackage checks that no archive makes the reader panic or grow, whatever is asked of it.
func FuzzPackage(f *testing.F) {
	function := classFile{name: "a.F", interfaces: []string{pulsarFunction}, signature: stringFunction, fields: []string{"x"}}
	inner := makeZip(f, classEntry(function))
	f.Add(inner)
	f.Add(withZip64(inner))
	f.Add(makeZip(f, zipEntry{name: "a/F.class", data: function.bytes(), stored: true}))
	f.Add(makeZip(f, zipEntry{name: bundledDir + "/"}, zipEntry{name: definitionEntry, data: []byte(definitionYAML)},
		zipEntry{name: bundledDir + "/x.jar", data: inner, stored: true}, zipEntry{name: bundledDir + "/y.jar", data: inner}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := openPackage("fuzz", fileSource{r: bytes.NewReader(data), size: int64(len(data))})
		if err != nil {
			return
		}
		for _, name := range []string{"a.F", "a.G", "[La.F;"} {
			p.Has(name)
			_, _, _, _ = p.FunctionTypes(name)
			_, _, _ = p.WindowFunctionTypes(name)
			_, _ = p.TypeArguments(name, pulsarFunction)
			_, _ = p.HasMapConstructor(name)
			_, _ = p.ConfigFields(name)
		}
		_, _ = p.Definition()
		if used := maxInflatedBytes - p.budget.inflated.Load(); used > int64(len(data))*2000+1<<20 {
			t.Errorf("%d bytes made it inflate %d", len(data), used)
		}
	})
}

func TestLongClassNamesAreRefused(t *testing.T) {
	if _, err := ParseClass(classFile{name: strings.Repeat("a", maxClassName+1)}.bytes()); !errors.Is(err, ErrLimit) {
		t.Fatalf("got %v", err)
	}
}

// FuzzDefinition checks that no pulsar-io.yaml makes its reader panic or grow.
func FuzzDefinition(f *testing.F) {
	f.Add([]byte(definitionYAML))
	f.Add([]byte("name: a\nsourceClass: &x a.B\nsinkClass: *x\n"))
	f.Add([]byte(strings.Repeat("a:\n", 500)))
	f.Add([]byte("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nname: [*b,*b,*b,*b,*b,*b,*b]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDefinition(data)
		if err == nil && len(d.Name)+len(d.Description)+len(d.SinkClass)+len(d.SourceClass) > 100*len(data)+1000 {
			t.Errorf("%d bytes became a definition of %d", len(data), len(d.Name)+len(d.Description)+len(d.SinkClass)+len(d.SourceClass))
		}
	})
}

// TestKeysTwiceCostNothing: a file full of one key must not cost the square of its size.
func TestKeysTwiceCostNothing(t *testing.T) {
	d, err := parseDefinition([]byte("name: a\n" + strings.Repeat("b:\n", 20000) + "name: c\n"))
	if err != nil || d.Name != "c" {
		t.Fatalf("got %+v, %v", d, err)
	}
	allocated := testing.AllocsPerRun(1, func() { _, _ = parseDefinition([]byte(strings.Repeat("? a\n", 16000))) })
	if allocated > 20*16000 {
		t.Errorf("%.0f allocations for 16,000 keys", allocated)
	}
}
