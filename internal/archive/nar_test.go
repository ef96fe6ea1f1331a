package archive

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/component"
)

const definitionYAML = "name: x\ndescription: an x\nsourceClass: a.Source\nsinkClass: a.Sink\nsinkConfigClass: a.Config\nother: 1\n"

func TestNARIsToldByDefinitionOrDirectoryEntry(t *testing.T) {
	class := classEntry(classFile{name: "a.B"})
	for _, tc := range []struct {
		name    string
		entries []zipEntry
		want    bool
	}{
		{"plain JAR", []zipEntry{class}, false},
		{"definition", []zipEntry{class, {name: definitionEntry, data: []byte(definitionYAML)}}, true},
		{"directory entry", []zipEntry{class, {name: bundledDir + "/"}}, true},
		{"bundled JAR without directory entry", []zipEntry{class, {name: bundledDir + "/x.jar", data: makeZip(t, class)}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := openBytes(makeZip(t, tc.entries...))
			require.NoError(t, err)
			assert.Equal(t, tc.want, p.IsNAR())
			assert.True(t, p.Has("a.B"))
		})
	}
}

// superOf tells which of several classes of one name was found.
func superOf(t *testing.T, p *Package, name string) string {
	t.Helper()
	c, err := p.Class(name)
	require.NoError(t, err)
	return c.Super
}

func TestClassesAreFoundInTheOrderOfJava(t *testing.T) {
	in := func(super string, names ...string) []zipEntry {
		var out []zipEntry
		for _, n := range names {
			out = append(out, classEntry(classFile{name: n, super: super}))
		}
		return out
	}
	folder := classEntry(classFile{name: "a.InFolder", super: "folder"})
	folder.name = bundledDir + "/" + folder.name
	// Only JARs directly below the folder count, sorted by name, whatever their order in the archive is.
	entries := append(in("root", "a.InRoot"), folder, zipEntry{name: bundledDir + "/"},
		zipEntry{name: bundledDir + "/2.jar", data: makeZip(t, in("second", "a.InRoot", "a.InFolder", "a.InFirst", "a.InSecond", "java.lang.String")...)},
		zipEntry{name: bundledDir + "/1.jar", data: makeZip(t, in("first", "a.InRoot", "a.InFolder", "a.InFirst")...), stored: true},
		zipEntry{name: bundledDir + "/deeper/0.jar", data: makeZip(t, in("deeper", "a.InDeeper")...)},
		zipEntry{name: bundledDir + "/0.war", data: makeZip(t, in("war", "a.InWar")...)},
		zipEntry{name: "lib/0.jar", data: makeZip(t, in("lib", "a.InLib")...)})
	p, err := openBytes(makeZip(t, entries...))
	require.NoError(t, err)
	for name, want := range map[string]string{
		"a.InRoot": "root", "a.InFolder": "folder", "a.InFirst": "first", "a.InSecond": "second",
		"java.lang.String": objectName, // what the platform has comes first
	} {
		assert.Equal(t, want, superOf(t, p, name), name)
	}
	for _, name := range []string{"a.InDeeper", "a.InWar", "a.InLib", "a.Missing"} {
		assert.False(t, p.Has(name), name)
	}
}

func TestNestedJarsInAPlainJarAreNotSearched(t *testing.T) {
	p, err := openBytes(makeZip(t, zipEntry{name: "lib/x.jar", data: makeZip(t, classEntry(classFile{name: "a.B"}))}))
	require.NoError(t, err)
	assert.False(t, p.Has("a.B"))
}

// noise gives n bytes that do not compress.
func noise(n int) []byte {
	out := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x)
	}
	return out
}

func TestLargeCompressedNestedJarIsReadThroughItsCompression(t *testing.T) {
	// Larger than the tail that indexing keeps, with classes at both ends and a directory that starts before the tail.
	inner := []zipEntry{classEntry(classFile{name: "a.First"}), {name: "blob", data: noise(128 << 10)}}
	for i := range 400 {
		inner = append(inner, zipEntry{name: strings.Repeat("d/", 900) + strings.Repeat("f", i+1)})
	}
	inner = append(inner, classEntry(classFile{name: "a.Last"}))
	p, err := openBytes(makeZip(t, zipEntry{name: bundledDir + "/"}, zipEntry{name: bundledDir + "/big.jar", data: makeZip(t, inner...)}))
	require.NoError(t, err)
	assert.True(t, p.Has("a.First"))
	assert.True(t, p.Has("a.Last"))
	assert.False(t, p.Has("a.Middle"))
}

func TestDamagedNestedJarIsNamed(t *testing.T) {
	for name, data := range map[string][]byte{
		"no zip":    []byte("no zip, but long enough to have an end"),
		"truncated": makeZip(t, classEntry(classFile{name: "a.B"}))[:60],
	} {
		t.Run(name, func(t *testing.T) {
			p, err := openBytes(makeZip(t, zipEntry{name: bundledDir + "/"}, zipEntry{name: bundledDir + "/bad.jar", data: data}))
			require.NoError(t, err)
			_, err = p.Class("a.B")
			require.ErrorContains(t, err, bundledDir+"/bad.jar")
			require.ErrorIs(t, err, ErrNotZip)
			assert.True(t, p.Has("java.lang.String"))
		})
	}
	t.Run("a bomb", func(t *testing.T) {
		p, err := openBytes(makeZip(t, zipEntry{name: bundledDir + "/"}, zipEntry{name: bundledDir + "/bad.jar", data: make([]byte, 16<<20)}))
		require.NoError(t, err)
		_, err = p.Class("a.B")
		require.ErrorIs(t, err, ErrLimit)
	})
}

func TestDefinition(t *testing.T) {
	open := func(yaml string) *Package {
		p, err := openBytes(makeZip(t, zipEntry{name: definitionEntry, data: []byte(yaml)}))
		require.NoError(t, err)
		return p
	}
	p := open(definitionYAML)
	d, err := p.Definition()
	require.NoError(t, err)
	assert.Equal(t, Definition{Name: "x", Description: "an x", SourceClass: "a.Source", SinkClass: "a.Sink", SinkConfigClass: "a.Config"}, d)
	for kind, want := range map[component.Kind]string{component.Source: "a.Source", component.Sink: "a.Sink", component.Function: ""} {
		got, ok, err := p.DeclaredClass(kind)
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}

	_, ok, err := packageOf(t).DeclaredClass(component.Sink)
	require.NoError(t, err)
	assert.False(t, ok, "a package without a definition")

	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for _, c := range "bcdefghi" {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+",", 9), ",") + "]\n"
	}
	for name, yaml := range map[string]string{
		"empty":          "",
		"only a comment": "# nothing\n",
		"no mapping":     "- a\n- b\n",
		"malformed":      "name: [\n",
		"aliases":        bomb + "name: *i\n",
		"too large":      "name: " + strings.Repeat("x", maxDefinitionSize),
	} {
		t.Run(name, func(t *testing.T) {
			_, ok, err := open(yaml).DeclaredClass(component.Sink)
			require.Error(t, err)
			assert.True(t, ok)
		})
	}
}

func TestPackagesAreReadFromDiskAndClosed(t *testing.T) {
	path := writeFile(t, "a.nar", makeZip(t, classEntry(classFile{name: "a.B"}), zipEntry{name: bundledDir + "/"},
		zipEntry{name: bundledDir + "/x.jar", data: makeZip(t, classEntry(classFile{name: "a.C"}))}))
	p, err := Open(path)
	require.NoError(t, err)
	assert.True(t, p.IsNAR())
	assert.True(t, p.Has("a.C"))
	require.NoError(t, p.Close())
	_, err = p.Class("a.B")
	require.Error(t, err, "a closed package answers with an error, not with a panic")
}
