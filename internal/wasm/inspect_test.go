package wasm

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// section makes a section of a module; strings here are shorter than 128 bytes.
func section(id byte, content ...byte) []byte {
	return append([]byte{id, byte(len(content))}, content...)
}

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var (
	head  = []byte("\x00asm\x01\x00\x00\x00")
	types = section(1, 3, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 0, 0, 0x60, 2, 0x7f, 0x7f, 1, 0x7f) // i->i, ->, ii->i
	funcs = section(3, 2, 0, 1)
	mem   = section(5, 1, 0, 2)
)

func exports(entries ...[]byte) []byte {
	return section(7, append([]byte{byte(len(entries))}, join(entries...)...)...)
}

func export(name string, kind, index byte) []byte { return append(text(name), kind, index) }

func importOf(module, name string, kind, typ byte) []byte {
	return join([]byte{1}, text(module), text(name), []byte{kind, typ})
}

func TestInspect(t *testing.T) {
	all := exports(export("memory", 2, 0), export("pulsar_handle", 0, 0), export("pulsar_abi_version_1", 0, 1))
	for name, tc := range map[string]struct {
		module []byte
		want   []string // none: it can be a guest
	}{
		"a guest":                  {join(head, types, funcs, mem, all), nil},
		"nothing":                  {nil, []string{"not a WebAssembly module"}},
		"text":                     {[]byte("#!/bin/sh\n"), []string{"not a WebAssembly module"}},
		"an empty module":          {head, []string{"the export pulsar_abi_version_1 is missing", "pulsar_handle is missing", "memory is missing", "docs/wasm-abi.md"}},
		"a component":              {[]byte("\x00asm\x0d\x00\x01\x00"), []string{"component"}},
		"cut off":                  {join(head, types)[:12], []string{"ends in the middle"}},
		"a section past the end":   {join(head, []byte{0, 100, 1}), []string{"ends in the middle"}},
		"another version":          {join(head, types, funcs, mem, exports(export("memory", 2, 0), export("pulsar_handle", 0, 0), export("pulsar_abi_version_7", 0, 1))), []string{"another version of the ABI (pulsar_abi_version_7)"}},
		"a handle of another type": {join(head, types, funcs, mem, exports(export("memory", 2, 0), export("pulsar_handle", 0, 1), export("pulsar_abi_version_1", 0, 1))), []string{"pulsar_handle is () -> () and must be (i32) -> (i32)"}},
		"a handle that is none":    {join(head, types, funcs, mem, exports(export("memory", 2, 0), export("pulsar_handle", 2, 0), export("pulsar_abi_version_1", 0, 1))), []string{"pulsar_handle is not a function"}},
		"a handle out of range":    {join(head, types, funcs, mem, exports(export("memory", 2, 0), export("pulsar_handle", 0, 100), export("pulsar_abi_version_1", 0, 1))), []string{"points to no function"}},
		"a command":                {join(head, types, funcs, mem, exports(export("memory", 2, 0), export("_start", 0, 1))), []string{"build a library instead"}},
		"an import of another":     {join(head, types, section(2, importOf("env", "abort", 0, 1)...), funcs, mem, all), []string{"it imports env.abort; only the modules pulsar and wasi_snapshot_preview1"}},
		"an unknown import":        {join(head, types, section(2, importOf("pulsar", "fly", 0, 1)...), funcs, mem, all), []string{"pulsar.fly, which the host does not have"}},
		"a wrong import":           {join(head, types, section(2, importOf("pulsar", "input", 0, 1)...), funcs, mem, all), []string{"pulsar.input as () -> (), and it is (i32,i32) -> (i32)"}},
		"an import without type":   {join(head, types, section(2, importOf("pulsar", "input", 0, 9)...)), []string{"a type that is not there"}},
		"a number without end":     {join(head, []byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}), []string{"more than 32 bits"}},
		"too many imports":         {join(head, types, section(2, 0xff, 0xff, 3)), []string{"65535 imports are more than 1000"}},
		"a name without end":       {join(head, types, section(2, 1, 0xff, 0xff, 0xff, 0x7f)), []string{"bytes of a name"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Inspect(bytes.NewReader(tc.module), DefaultLimits())
			if tc.want == nil {
				require.NoError(t, err)
				require.EqualValues(t, 2*pageSize, m.MemoryMin)
				return
			}
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestInspectRealGuests(t *testing.T) {
	for _, file := range []string{cGuest, rustGuest, hostileGuest, goGuest(t, "exclamation")} {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		m, err := Inspect(f, DefaultLimits())
		require.NoError(t, err)
		require.Contains(t, m.Exports, exportHandle)
		require.Contains(t, m.Imports, "pulsar.input")
		require.NotZero(t, m.MemoryMin)
	}
}

// Every function of the host is described, with its parameters, in the document that authors of guests read.
func TestEveryFunctionIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/wasm-abi.md")
	require.NoError(t, err)
	for _, f := range functions {
		var line string
		for l := range strings.Lines(string(data)) {
			if strings.HasPrefix(l, "| `"+f.name+"(") {
				line = l
			}
		}
		require.NotEmpty(t, line, "docs/wasm-abi.md has no line for %s", f.name)
		declared := line[strings.Index(line, "(")+1 : strings.Index(line, ")")]
		params := ""
		for p := range strings.SplitSeq(declared, ",") {
			switch p = strings.TrimSpace(p); {
			case p == "":
			case strings.HasSuffix(p, ": i64"):
				params += "I"
			case strings.HasSuffix(p, ": f64"):
				params += "F"
			default:
				params += "i"
			}
		}
		require.Equal(t, f.params, params, "docs/wasm-abi.md: parameters of %s", f.name)
		result := ""
		if strings.Contains(line, ") → i64`") {
			result = "I"
		} else if strings.Contains(line, ") → i32`") {
			result = "i"
		}
		require.Equal(t, f.results, result, "docs/wasm-abi.md: result of %s", f.name)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(join(head, types, funcs, mem))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x02\xff"))
	for _, file := range []string{cGuest, hostileGuest} {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Inspect(bytes.NewReader(data), DefaultLimits())
		if (m == nil) == (err == nil) {
			t.Fatal("either a module or an error")
		}
	})
}

func FuzzParseSettings(f *testing.F) {
	f.Add(`{"wasm":{"timeout":"5s","maxMemory":"1MiB","grants":{"directories":[{"host":"/a","guest":"/b"}]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		limits := DefaultLimits()
		s, err := ParseSettings(text, limits)
		if err == nil && (s.Memory > limits.Memory || s.Timeout > limits.Timeout || s.Output > limits.Output || len(s.Directories)+len(s.Environment) > 0) {
			t.Fatalf("%+v is over the limits", s)
		}
	})
}
