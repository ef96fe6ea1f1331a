package archive

import (
	"bytes"
	"testing"
)

// Every single-byte change and every truncation must end in an answer, not in a panic. The fuzz targets look
// further; this runs each time.
func TestClassReaderSurvivesEverySingleFault(t *testing.T) {
	p, err := Open("testdata/shapes.jar")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for _, name := range []string{"shapes.Shapes$Config", "shapes.Shapes$OuterOf$OfInner"} {
		data, err := p.findClass(name)
		if err != nil || data == nil {
			t.Fatal(name, err)
		}
		for i := range data {
			if _, err := ParseClass(data[:i]); err == nil {
				t.Errorf("%s cut off at byte %d was accepted", name, i)
			}
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				changed := bytes.Clone(data)
				changed[i] ^= flip
				if c, err := ParseClass(changed); err == nil {
					superTypes(c)
					for _, f := range c.Fields {
						_, _ = typeOfField(f)
						fieldAttributes(f)
					}
				}
			}
		}
	}
}

func TestPackageReaderSurvivesEverySingleFault(t *testing.T) {
	function := classFile{name: "a.F", interfaces: []string{pulsarFunction}, signature: stringFunction}
	inner := makeZip(t, classEntry(function))
	data := makeZip(t, zipEntry{name: bundledDir + "/"}, zipEntry{name: definitionEntry, data: []byte(definitionYAML)},
		zipEntry{name: bundledDir + "/x.jar", data: inner})
	ask := func(data []byte) {
		p, err := openBytes(data)
		if err != nil {
			return
		}
		_, _, _, _ = p.FunctionTypes("a.F")
		_, _ = p.Definition()
	}
	for i := range data {
		ask(data[:i])
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			changed := bytes.Clone(data)
			changed[i] ^= flip
			ask(changed)
		}
	}
}
