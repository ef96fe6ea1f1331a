package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// classFile builds the bytes of a class file.
type classFile struct {
	name, super string
	interfaces  []string
	signature   string
	access      uint16
	fields      []string // names, all of type int
}

func (c classFile) bytes() []byte {
	var pool, body bytes.Buffer
	count := uint16(1)
	be := binary.BigEndian
	utf8 := func(s string) uint16 {
		pool.WriteByte(tagUtf8)
		pool.Write(be.AppendUint16(nil, uint16(len(s))))
		pool.WriteString(s)
		count++
		return count - 1
	}
	class := func(name string) uint16 {
		i := utf8(strings.ReplaceAll(name, ".", "/"))
		pool.WriteByte(tagClass)
		pool.Write(be.AppendUint16(nil, i))
		count++
		return count - 1
	}
	put := func(v ...uint16) {
		for _, x := range v {
			body.Write(be.AppendUint16(nil, x))
		}
	}
	super := c.super
	if super == "" {
		super = objectName
	}
	put(c.access, class(c.name), class(super), uint16(len(c.interfaces)))
	for _, i := range c.interfaces {
		put(class(i))
	}
	put(uint16(len(c.fields)))
	for _, f := range c.fields {
		put(0, utf8(f), utf8("I"), 0)
	}
	put(0)
	if c.signature == "" {
		put(0)
	} else {
		put(1, utf8("Signature"), 0, 2, utf8(c.signature))
	}
	out := be.AppendUint32(nil, 0xCAFEBABE)
	out = be.AppendUint32(out, 61)
	out = be.AppendUint16(out, count)
	return slices.Concat(out, pool.Bytes(), body.Bytes())
}

// zipEntry is a file for makeZip; a name that ends with a slash is a directory.
type zipEntry struct {
	name   string
	data   []byte
	stored bool
	mode   os.FileMode
}

func makeZip(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.stored {
			h.Method = zip.Store
		}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		_, err = f.Write(e.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func classEntry(c classFile) zipEntry {
	return zipEntry{name: strings.ReplaceAll(c.name, ".", "/") + ".class", data: c.bytes()}
}

// openBytes opens a package that lies in memory.
func openBytes(data []byte) (*Package, error) {
	return openPackage("test.jar", fileSource{r: bytes.NewReader(data), size: int64(len(data))})
}

func packageOf(t testing.TB, classes ...classFile) *Package {
	t.Helper()
	var entries []zipEntry
	for _, c := range classes {
		entries = append(entries, classEntry(c))
	}
	p, err := openBytes(makeZip(t, entries...))
	require.NoError(t, err)
	return p
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}
