package archive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goldenRow is what the Java worker's own classes answered for one class (testdata/shapes/README.md).
type goldenRow struct {
	jar, class                                    string
	plain, window, source, sink, serde, keyReader string
}

func readGolden(t *testing.T, name string) []goldenRow {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	var rows []goldenRow
	for line := range strings.Lines(string(data)) {
		c := strings.Split(strings.TrimRight(line, "\n"), "\t")
		require.Len(t, c, 8, "line %q", line)
		rows = append(rows, goldenRow{c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]})
	}
	require.NotEmpty(t, rows)
	return rows
}

// infer asks the package what the oracle asked Java.
func infer(t *testing.T, p *Package, class string) goldenRow {
	t.Helper()
	is := func(iface string) bool {
		yes, err := p.Implements(class, iface)
		require.NoError(t, err, "%s as %s", class, iface)
		return yes
	}
	first := func(ifaces ...string) string {
		for _, iface := range ifaces {
			if !is(iface) {
				continue
			}
			args, err := p.TypeArguments(class, iface)
			if err != nil {
				return "error"
			}
			return args[0]
		}
		return "-"
	}
	types := func(in, out string, err error) string {
		switch {
		case !is(pulsarFunction) && !is(javaFunction) && !is(windowFunction):
			return "-"
		case err != nil:
			return "error"
		}
		return in + " -> " + out
	}
	row := goldenRow{class: class}
	in, out, _, err := p.FunctionTypes(class)
	row.plain = types(in, out, err)
	in, out, err = p.WindowFunctionTypes(class)
	row.window = types(in, out, err)
	row.source = first("org.apache.pulsar.io.core.Source", "org.apache.pulsar.io.core.BatchSource")
	row.sink = first("org.apache.pulsar.io.core.Sink")
	row.serde = first("org.apache.pulsar.functions.api.SerDe")
	row.keyReader = "-"
	if is("org.apache.pulsar.client.api.CryptoKeyReader") {
		row.keyReader = "crypto"
		if ok, err := p.HasMapConstructor(class); err != nil || !ok {
			row.keyReader = "crypto without constructor"
		}
	}
	return row
}

func compareGolden(t *testing.T, dir string, rows []goldenRow, rename func(string) string, better map[string]goldenRow) {
	t.Helper()
	packages := make(map[string]*Package)
	for _, want := range rows {
		p := packages[want.jar]
		if p == nil {
			var err error
			p, err = Open(filepath.Join(dir, rename(want.jar)))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, p.Close()) })
			packages[want.jar] = p
		}
		got := infer(t, p, want.class)
		got.jar = want.jar
		// A WindowFunction that runs without a window makes Java fail; here the kind tells the caller to refuse it.
		if want.plain == "error" && want.window != "error" {
			want.plain = got.plain
		}
		if b, ok := better[want.class]; ok {
			b.jar, b.class = want.jar, want.class
			assert.NotEqual(t, want, b, "%s: the deviation is none any more", want.class)
			want = b
		}
		assert.Equal(t, want, got)
	}
}

func same(name string) string { return name }

func TestTypesOfShapesAreThoseOfJava(t *testing.T) {
	// Where Java looks at type arguments by position only, it refuses these or gets them wrong; resolving them
	// properly is what the running instance does (contract component-configs 8.3).
	fn := func(types string) goldenRow {
		return goldenRow{plain: types, window: "error", source: "-", sink: "-", serde: "-", keyReader: "-"}
	}
	serde := func(types string) goldenRow {
		return goldenRow{plain: "-", window: "-", source: "-", sink: "-", serde: types, keyReader: "-"}
	}
	integer := "java.lang.String -> java.lang.Integer"
	better := map[string]goldenRow{
		"shapes.Shapes$OfInterface":    fn(integer),
		"shapes.Shapes$OfOneParameter": fn(integer),
		"shapes.Shapes$OfSwapped":      fn(integer),
		"shapes.Shapes$Unary":          fn("java.lang.String -> java.lang.String"),
		"shapes.Shapes$OutMyRecord":    fn("java.lang.String -> java.lang.Short"),
		"shapes.Shapes$InheritedSerDe": serde("java.util.List"),
		"shapes.Shapes$OfStrings":      {plain: "shapes.Shapes$Strings -> java.lang.Integer", window: integer, source: "-", sink: "-", serde: "-", keyReader: "-"},
	}
	compareGolden(t, "testdata", readGolden(t, "shapes.tsv"), same, better)
}

func TestTypesOfTheExamplesAreThoseOfJava(t *testing.T) {
	home := os.Getenv("PULSAR_HOME")
	if home == "" {
		t.Skip("PULSAR_HOME is not set: no Pulsar distribution to take api-examples.jar from")
	}
	compareGolden(t, filepath.Join(home, "examples"), readGolden(t, "api-examples.tsv"), same, nil)
}
