package archive

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patch changes a little-endian number in the first record with the signature.
func patch(data []byte, signature uint32, offset int, value uint32, width int) []byte {
	out := bytes.Clone(data)
	i := bytes.Index(out, binary.LittleEndian.AppendUint32(nil, signature))
	copy(out[i+offset:], binary.LittleEndian.AppendUint32(nil, value)[:width])
	return out
}

// withZip64 replaces the numbers of the end record by a zip64 end record.
func withZip64(data []byte) []byte {
	le := binary.LittleEndian
	end := len(data) - 22
	count, size, start := le.Uint16(data[end+10:]), le.Uint32(data[end+12:]), le.Uint32(data[end+16:])
	rec := le.AppendUint32(nil, sigEnd64)
	rec = le.AppendUint64(rec, 44)
	rec = append(rec, make([]byte, 12)...)
	for _, v := range []uint64{uint64(count), uint64(count), uint64(size), uint64(start)} {
		rec = le.AppendUint64(rec, v)
	}
	locator := le.AppendUint32(nil, sigLocator64)
	locator = le.AppendUint32(locator, 0)
	locator = le.AppendUint64(locator, uint64(end))
	locator = le.AppendUint32(locator, 1)
	last := bytes.Clone(data[end:])
	for i := 8; i < 20; i++ {
		last[i] = 0xff
	}
	return slices.Concat(data[:end], rec, locator, last)
}

func TestOpenAcceptsEveryWellFormedZip(t *testing.T) {
	plain := makeZip(t, classEntry(classFile{name: "a.B"}))
	stored := makeZip(t, zipEntry{name: "a/B.class", data: classFile{name: "a.B"}.bytes(), stored: true})
	commented := append(patch(plain, sigEnd, 20, 4, 2), "PK\x05\x06"...)
	for name, data := range map[string][]byte{
		"deflated":                       plain,
		"stored":                         stored,
		"zip64":                          withZip64(plain),
		"launcher script in front":       append([]byte("#!/bin/sh\nexec java -jar $0\n"), plain...),
		"comment with another signature": commented,
		"declared count too small":       patch(plain, sigEnd, 10, 0, 2),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := openBytes(data)
			require.NoError(t, err)
			assert.True(t, p.Has("a.B"))
			assert.False(t, p.Has("a.C"))
			assert.False(t, p.IsNAR())
		})
	}
}

func TestOpenRefusesHostileFiles(t *testing.T) {
	plain := makeZip(t, classEntry(classFile{name: "a.B"}))
	many := make([]zipEntry, 0, 70)
	for i := range 70 {
		many = append(many, zipEntry{name: strings.Repeat("x", 60000) + string(rune('a'+i%26)) + string(rune('a'+i/26))})
	}
	for _, tc := range []struct {
		name    string
		data    []byte
		wantErr string
	}{
		{"text", []byte("this is no zip at all, but long enough"), "java.util.zip.ZipException: zip END header not found"},
		{"shorter than an end record", []byte("PK\x05\x06"), "java.util.zip.ZipException: zip END header not found"},
		{"truncated", plain[:len(plain)-5], "java.util.zip.ZipException: zip END header not found"},
		{"directory larger than the file", patch(plain, sigEnd, 12, 1<<20, 4), "bad central directory size"},
		{"directory behind the end", patch(plain, sigEnd, 16, 1<<20, 4), "bad central directory offset"},
		{"no directory where it should be", patch(plain, sigDirectory, 0, 0, 4), "bad signature"},
		{"local header behind the data", patch(plain, sigDirectory, 42, 1<<20, 4), "outside of the file"},
		{"compressed size beyond the file", patch(plain, sigDirectory, 20, 1<<20, 4), "outside of the file"},
		{"climbing entry", makeZip(t, zipEntry{name: "../../etc/cron.d/x", data: []byte("x")}), "Invalid zip file. Aborting unpacking."},
		{"climbing entry with backslashes", makeZip(t, zipEntry{name: `a\..\..\x`, data: []byte("x")}), "Invalid zip file. Aborting unpacking."},
		{"zero byte in a name", makeZip(t, zipEntry{name: "a\x00b", data: []byte("x")}), "is not valid"},
		{"names cut off", patch(plain, sigDirectory, 28, 0xffff, 2), "read the directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openBytes(tc.data)
			require.ErrorContains(t, err, tc.wantErr)
		})
	}
	t.Run("more entries than the bound", func(t *testing.T) {
		data := makeZip(t, many...)
		open := func(b *budget) error {
			_, err := openZip("test", fileSource{bytes.NewReader(data), int64(len(data))}, b)
			return err
		}
		b := newBudget()
		b.entries = 69
		require.ErrorIs(t, open(b), ErrLimit)
		b = newBudget()
		b.directory = 1 << 20
		require.ErrorIs(t, open(b), ErrLimit)
		require.NoError(t, open(newBudget()))
	})
}

func TestReadingRefusesHostileEntries(t *testing.T) {
	class := classFile{name: "a.B"}.bytes()
	plain := makeZip(t, zipEntry{name: "a/B.class", data: class})
	zeros := makeZip(t, zipEntry{name: "a/B.class", data: make([]byte, 4<<20)})
	for _, tc := range []struct {
		name      string
		data      []byte
		wantErr   string
		wantLimit bool
	}{
		{"encrypted", patch(plain, sigDirectory, 8, 9, 2), "is encrypted", false},
		{"unknown method", patch(plain, sigDirectory, 10, 12, 2), "compression method 12 is not supported", false},
		{"wrong checksum", patch(plain, sigDirectory, 16, 1, 4), "wrong checksum", false},
		{"longer than declared", patch(plain, sigDirectory, 24, 10, 4), "longer than the 10 bytes", true},
		{"shorter than declared", patch(plain, sigDirectory, 24, uint32(len(class)+10), 4), "unexpected EOF", false},
		{"no local header", patch(plain, sigLocal, 0, 0, 4), "bad local header", false},
		{"stored with two sizes", patch(plain, sigDirectory, 10, 0, 2), "stored with two sizes", false},
		{"bomb by ratio", zeros, "inflates from", true},
		{"bomb that hides its size", patch(zeros, sigDirectory, 24, 1000, 4), "longer than the 1000 bytes", true},
		{"huge class", patch(plain, sigDirectory, 24, 64<<20, 4), "at most 4194304 are read", true},
		{"no class file", makeZip(t, zipEntry{name: "a/B.class", data: []byte("hello")}), "magic number", false},
		{"another class", makeZip(t, zipEntry{name: "a/B.class", data: classFile{name: "a.C"}.bytes()}), "its class file holds a.C", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := openBytes(tc.data)
			require.NoError(t, err)
			_, err = p.Class("a.B")
			require.ErrorContains(t, err, tc.wantErr)
			if tc.wantLimit {
				assert.ErrorIs(t, err, ErrLimit)
			}
			assert.False(t, p.Has("a.B"))
		})
	}
}

func TestSymbolicLinksAreNoFiles(t *testing.T) {
	p, err := openBytes(makeZip(t, zipEntry{name: "a/B.class", data: []byte("/etc/passwd"), mode: os.ModeSymlink | 0o777}))
	require.NoError(t, err)
	_, err = p.Class("a.B")
	var missing *ClassNotFoundError
	require.ErrorAs(t, err, &missing)
}

func TestWorkForOnePackageIsBounded(t *testing.T) {
	p := packageOf(t, classFile{name: "a.B"}, classFile{name: "a.C"})
	p.budget.inflated.Store(int64(len(classFile{name: "a.B"}.bytes())))
	_, err := p.Class("a.B")
	require.NoError(t, err)
	_, err = p.Class("a.C")
	require.ErrorIs(t, err, ErrLimit)

	p = packageOf(t, classFile{name: "a.B"})
	p.budget.classes = 10
	_, err = p.Class("a.B")
	require.ErrorIs(t, err, ErrLimit)
}

func TestOpenRefusesWhatIsNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{dir, pipe} {
		_, err := Open(path)
		require.ErrorContains(t, err, "no regular file")
		_, err = DetectPayload(path, "")
		require.ErrorContains(t, err, "no regular file")
	}
	_, err := Open(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestEmptyFileIsAPackageWithoutClasses(t *testing.T) {
	p, err := Open(writeFile(t, "empty.jar", nil))
	require.NoError(t, err)
	assert.False(t, p.IsNAR())
	assert.False(t, p.Has("a.B"))
	assert.True(t, p.Has("java.lang.String"), "the JDK is there without any package")
	_, err = p.Definition()
	require.ErrorIs(t, err, ErrNoDefinition)
	require.NoError(t, p.Close())
}

func TestPayloadIsToldByContentFirst(t *testing.T) {
	for _, tc := range []struct {
		content, name string
		want          Payload
	}{
		{"", "a.jar", PayloadEmpty},
		{"\x7fELF\x02\x01\x01\x00", "a.py", PayloadELF},
		{"\x00asm\x01\x00\x00\x00", "a", PayloadWASM},
		{"PK\x03\x04....", "a.jar", PayloadZip},
		{"PK\x05\x06....", "a.zip", PayloadZip},
		{"PK\x03\x04....", "a-1.0-py3-none-any.WHL", PayloadWheel},
		{"MZ......", "a.exe", PayloadOtherBinary},
		{"\xcf\xfa\xed\xfe....", "a", PayloadOtherBinary},
		{"import pulsar\n", "a.py", PayloadPythonSource},
		{"x", "a.py", PayloadPythonSource},
		{"import pulsar\n", "", PayloadUnknown},
	} {
		got, err := DetectPayload(writeFile(t, "payload", []byte(tc.content)), tc.name)
		require.NoError(t, err)
		assert.Equal(t, tc.want, got, "%q named %q: %s", tc.content, tc.name, got)
	}
}
