package archive

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/component"
)

const stringFunction = "Ljava/lang/Object;Lorg/apache/pulsar/functions/api/Function<Ljava/lang/String;Ljava/lang/String;>;"

func TestFunctionTypesSayHowAClassIsAFunction(t *testing.T) {
	p, err := Open("testdata/shapes.jar")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	for class, want := range map[string]component.FunctionKind{
		"shapes.Shapes$Bytes":         component.PulsarFunction,
		"shapes.Shapes$Both":          component.PulsarFunction,
		"shapes.Shapes$JavaFn":        component.JavaFunction,
		"shapes.Shapes$OfCollection":  component.JavaFunction,
		"shapes.Shapes$WindowAndJava": component.JavaFunction,
		"shapes.Shapes$Window":        component.WindowFunction,
	} {
		_, _, kind, err := p.FunctionTypes(class)
		require.NoError(t, err, class)
		assert.Equal(t, want, kind, class)
	}
	// The kind is known also where the types are not.
	_, _, kind, err := p.FunctionTypes("shapes.Shapes$Raw")
	require.EqualError(t, err, "A non-generic type does not imply type arguments: interface org.apache.pulsar.functions.api.Function")
	assert.Equal(t, component.PulsarFunction, kind)
}

func TestMessagesOfInferenceAreThoseOfJava(t *testing.T) {
	p, err := Open("testdata/shapes.jar")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	plain := func(class string) error { _, _, _, err := p.FunctionTypes(class); return err }
	window := func(class string) error { _, _, err := p.WindowFunctionTypes(class); return err }
	argument := func(iface string) func(string) error {
		return func(class string) error { _, err := p.TypeArguments(class, iface); return err }
	}
	for _, tc := range []struct {
		ask         func(string) error
		class, want string
	}{
		{plain, "a.Missing", "Function class a.Missing must be in class path"},
		{plain, "a/B", "a/B contains the illegal character '/'"},
		{plain, "", "the class name is empty"},
		{plain, "shapes.Shapes$Unrelated", "Function class shapes.Shapes$Unrelated does not implement the correct interface"},
		{plain, "java.lang.String", "Function class java.lang.String does not implement the correct interface"},
		{plain, "[B", "Function class [B does not implement the correct interface"},
		{plain, "shapes.Shapes$OutRawRecord", "A non-generic type does not imply type arguments: interface org.apache.pulsar.functions.api.Record"},
		{plain, "shapes.Shapes$OutWildcardRecord", "A wildcard does not represent an erasable type: ?"},
		{window, "shapes.Shapes$JavaFn", "Window function must take a collection as input"},
		{window, "shapes.Shapes$OfRawCollection", "A non-generic type does not imply type arguments: interface java.util.Collection"},
		{argument("org.apache.pulsar.io.core.Sink"), "shapes.Shapes$RawSink", "A non-generic type does not imply type arguments: interface org.apache.pulsar.io.core.Sink"},
		{argument("org.apache.pulsar.io.core.Sink"), "shapes.Shapes$Bytes", "shapes.Shapes$Bytes does not implement org.apache.pulsar.io.core.Sink"},
		{plain, pulsarFunction, pulsarFunction + " is the interface itself and implements nothing"},
		{argument("org.apache.pulsar.io.core.Sink"), "a.Missing", "Cannot resolve type description for a.Missing"},
	} {
		assert.EqualError(t, tc.ask(tc.class), tc.want, tc.class)
	}
	assert.ErrorContains(t, window("shapes.Shapes$Bytes"), "cannot run in windows")
}

func TestMissingSuperTypes(t *testing.T) {
	function := []string{pulsarFunction}
	for _, tc := range []struct {
		name    string
		classes []classFile
		wantErr string
	}{
		{"super class", []classFile{{name: "a.F", super: "lib.Gone", interfaces: function}},
			"Function class a.F must be in class path (Cannot resolve type description for lib.Gone)"},
		{"interface in front", []classFile{{name: "a.F", interfaces: []string{"lib.Gone", pulsarFunction}}},
			"Function class a.F must be in class path (Cannot resolve type description for lib.Gone)"},
		{"interface behind, never asked for", []classFile{{name: "a.F", interfaces: []string{pulsarFunction, "lib.Gone"}, signature: stringFunction + "Llib/Gone;"}}, ""},
		{"type argument", []classFile{{name: "a.F", interfaces: function, signature: strings.Replace(stringFunction, "java/lang/String", "lib/Gone", 1)}},
			"Cannot resolve type description for lib.Gone"},
		{"type argument of a newer JDK", []classFile{{name: "a.F", interfaces: function, signature: strings.ReplaceAll(stringFunction, "java/lang/String", "java/util/FromTheFuture")}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, _, err := packageOf(t, tc.classes...).FunctionTypes("a.F")
			if tc.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tc.wantErr)
		})
	}
}

func TestHostileHierarchies(t *testing.T) {
	chain := func(n int) []classFile {
		var out []classFile
		for i := range n {
			out = append(out, classFile{name: fmt.Sprintf("a.C%d", i), super: fmt.Sprintf("a.C%d", i+1)})
		}
		return append(out, classFile{name: fmt.Sprintf("a.C%d", n), interfaces: []string{pulsarFunction}, signature: stringFunction})
	}
	// Each level has two interfaces of the level above: 2^60 ways up.
	var diamonds []classFile
	for i := range 60 {
		above := []string{fmt.Sprintf("a.L%d", i+1), fmt.Sprintf("a.R%d", i+1)}
		diamonds = append(diamonds, classFile{name: fmt.Sprintf("a.L%d", i), interfaces: above}, classFile{name: fmt.Sprintf("a.R%d", i), interfaces: above})
	}
	diamonds = append(diamonds, classFile{name: "a.L60"}, classFile{name: "a.R60"})
	// Each level doubles the type argument.
	var doubling []classFile
	for i := range 60 {
		doubling = append(doubling, classFile{
			name: fmt.Sprintf("a.D%d", i), super: fmt.Sprintf("a.D%d", i+1),
			signature: fmt.Sprintf("<T:Ljava/lang/Object;>La/D%d<Ljava/util/Map<TT;TT;>;>;", i+1),
		})
	}
	doubling = append(doubling,
		classFile{name: "a.D60", interfaces: []string{pulsarFunction}, signature: "<T:Ljava/lang/Object;>Ljava/lang/Object;Lorg/apache/pulsar/functions/api/Function<TT;TT;>;"})
	for _, tc := range []struct {
		name, class string
		classes     []classFile
		wantErr     string
	}{
		{"its own super class", "a.F", []classFile{{name: "a.F", super: "a.F"}}, "does not implement the correct interface"},
		{"super classes in a ring", "a.F", []classFile{{name: "a.F", super: "a.G"}, {name: "a.G", super: "a.F"}}, "does not implement the correct interface"},
		{"long chain", "a.C0", chain(200), ""},
		{"too long a chain", "a.C0", chain(300), ErrLimit.Error()},
		{"many ways up", "a.L0", diamonds, "does not implement the correct interface"},
		{"growing type arguments", "a.D0", doubling, ErrLimit.Error()},
		{"bounds in a ring", "a.F", []classFile{{name: "a.F", interfaces: []string{pulsarFunction},
			signature: "<A:TB;B:TA;>Ljava/lang/Object;Lorg/apache/pulsar/functions/api/Function<TA;TB;>;"}}, ErrLimit.Error()},
		{"signature of another class", "a.F", []classFile{{name: "a.F", interfaces: []string{pulsarFunction},
			signature: "Ljava/lang/Object;Ljava/util/List<TX;>;"}}, "A non-generic type does not imply type arguments"},
		{"broken signature", "a.F", []classFile{{name: "a.F", interfaces: []string{pulsarFunction}, signature: "L;;<<"}}, "A non-generic type does not imply type arguments"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, _, err := packageOf(t, tc.classes...).FunctionTypes(tc.class)
			if tc.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
}

func TestAssignability(t *testing.T) {
	p, err := Open("testdata/shapes.jar")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"java.lang.Integer", "java.lang.Number", true},
		{"java.lang.Number", "java.lang.Integer", false},
		{"java.lang.Integer", "java.lang.Object", true},
		{"java.util.List", "java.lang.Object", true},
		{"[B", "java.lang.Object", true},
		{"[B", "[B", true},
		{"[B", "[I", false},
		{"[B", "[Ljava.lang.Object;", false},
		{"[[B", "[Ljava.lang.Object;", true},
		{"[Ljava.lang.Integer;", "[Ljava.lang.Number;", true},
		{"[Ljava.lang.Integer;", "java.io.Serializable", true},
		{"java.lang.Object", "[B", false},
		{"int", "int", true},
		{"int", "java.lang.Object", false},
		{"org.apache.pulsar.io.core.PushSource", "org.apache.pulsar.io.core.Source", true},
		{"org.apache.pulsar.functions.api.KVRecord", recordType, true},
		{"org.apache.pulsar.client.impl.schema.StringSchema", "org.apache.pulsar.client.api.Schema", true},
		{"shapes.Shapes$OfStrings", javaFunction, true},
	} {
		got, err := p.Implements(tc.from, tc.to)
		require.NoError(t, err)
		assert.Equal(t, tc.want, got, "%s to %s", tc.from, tc.to)
	}
	for _, name := range []string{"[B", "[[Ljava.lang.String;", "int", "java.util.Map$Entry", "org.apache.pulsar.functions.api.utils.IdentityFunction", "com.google.protobuf.Message"} {
		assert.True(t, p.Has(name), name)
	}
	for _, name := range []string{"", "[", "[X", "[Lno.Such;", "java/lang/String", "java.lang.Strin", "shapes.Shapes$", "a..b"} {
		assert.False(t, p.Has(name), name)
	}
}

func TestTypeArgumentsOfKnownClasses(t *testing.T) {
	p := packageOf(t)
	for class, want := range map[string]string{
		"org.apache.pulsar.client.impl.schema.StringSchema": "java.lang.String",
		"org.apache.pulsar.client.impl.schema.BytesSchema":  "[B",
	} {
		got, err := p.TypeArguments(class, "org.apache.pulsar.client.api.Schema")
		require.NoError(t, err)
		assert.Equal(t, []string{want}, got)
	}
	shapes, err := Open("testdata/shapes.jar")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, shapes.Close()) })
	got, err := shapes.TypeArgumentSpellings("shapes.Shapes$GenericArray", pulsarFunction)
	require.NoError(t, err)
	assert.Equal(t, []string{"java.util.List<java.lang.String>[]", "java.util.List<java.lang.String>[][]"}, got)
	assert.Equal(t, "byte[][]", Spelling("[[B"))
	assert.Equal(t, "java.util.Map$Entry", Spelling("java.util.Map$Entry"))
}

// signatureOf writes a type as compilers do; together with the parser it must give the type back.
func signatureOf(t *javaType) string {
	var args strings.Builder
	for i, a := range t.args {
		if i == 0 {
			args.WriteByte('<')
		}
		args.WriteString(signatureOf(a))
		if i == len(t.args)-1 {
			args.WriteByte('>')
		}
	}
	switch t.kind {
	case kindPrimitive:
		return primitiveLetter(t.name)
	case kindArray:
		return "[" + signatureOf(t.elem)
	case kindVariable:
		return "T" + t.name + ";"
	case kindWildcard:
		return map[string]string{"?": "*", "? extends": "+", "? super": "-"}[t.name] + bound(t)
	}
	name := strings.ReplaceAll(t.name, ".", "/")
	if t.owner != nil {
		owner := signatureOf(t.owner)
		return strings.TrimSuffix(owner, ";") + "." + strings.TrimPrefix(t.name, t.owner.name+"$") + args.String() + ";"
	}
	return "L" + name + args.String() + ";"
}

func bound(t *javaType) string {
	if t.elem == nil {
		return ""
	}
	return signatureOf(t.elem)
}

func anyType(depth int) *rapid.Generator[*javaType] {
	return rapid.Custom(func(t *rapid.T) *javaType {
		kind := rapid.IntRange(0, 4).Draw(t, "kind")
		if depth == 0 {
			kind = min(kind, 1)
		}
		switch kind {
		case 0:
			return &javaType{kind: kindPrimitive, name: primitiveName(rapid.SampledFrom([]byte("BCDFIJSZ")).Draw(t, "primitive"))}
		case 1:
			return rawClass(rapid.StringMatching(`[a-z]{1,3}(\.[A-Zé$_0-9]{1,4}){0,3}`).Draw(t, "class"))
		case 2:
			return &javaType{kind: kindArray, elem: anyType(depth-1).Draw(t, "element")}
		case 3:
			return &javaType{kind: kindVariable, name: rapid.StringMatching(`[A-Z]{1,2}`).Draw(t, "variable")}
		}
		out := rawClass(rapid.StringMatching(`[a-z]\.[A-Z]{1,4}`).Draw(t, "generic class"))
		for range rapid.IntRange(1, 3).Draw(t, "arguments") {
			arg := anyType(depth-1).Draw(t, "argument")
			if w := rapid.SampledFrom([]string{"", "?", "? extends", "? super"}).Draw(t, "wildcard"); w == "?" {
				arg = &javaType{kind: kindWildcard, name: w}
			} else if w != "" {
				arg = &javaType{kind: kindWildcard, name: w, elem: arg}
			}
			out.args = append(out.args, arg)
		}
		if rapid.Bool().Draw(t, "inner") {
			inner := rawClass(out.name + "$" + rapid.StringMatching(`[A-Z]{1,3}`).Draw(t, "inner class"))
			inner.owner = out
			return inner
		}
		return out
	})
}

func TestSignaturesGiveTheTypeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyType(4).Draw(t, "type")
		got, err := parseFieldSignature(signatureOf(want))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
}

func TestPackageAnswersSeveralGoroutines(t *testing.T) {
	p, err := Open("testdata/shapes.jar")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			_, _, _, err := p.FunctionTypes("shapes.Shapes$OfSwapping")
			assert.NoError(t, err)
			assert.True(t, p.Has("shapes.Shapes$SinkOf"))
			_, err = p.ConfigFields("shapes.Shapes$Config")
			assert.NoError(t, err)
		})
	}
	group.Wait()
}

// TestUnreadableClasses: a class that is there and damaged is told from one that is not there.
func TestUnreadableClasses(t *testing.T) {
	intact, err := Open("testdata/shapes.jar")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, intact.Close()) })
	class, err := intact.findClass("shapes.Shapes$JavaFn")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "functions123.tmp")
	var jar bytes.Buffer
	w := zip.NewWriter(&jar)
	entry, err := w.Create("shapes/Shapes$JavaFn.class")
	require.NoError(t, err)
	_, err = entry.Write(class[:len(class)/2])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(path, jar.Bytes(), 0o600))

	p, err := OpenAs(path, "the package")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.False(t, p.Has("shapes.Shapes$JavaFn"))
	require.EqualError(t, p.Unreadable("shapes.Shapes$JavaFn"), "read class file: class file ends early")
	require.NoError(t, p.Unreadable("shapes.Shapes$Other"))
	require.NoError(t, p.Unreadable("java.lang.String"))
	require.NoError(t, intact.Unreadable("shapes.Shapes$JavaFn"))
}
