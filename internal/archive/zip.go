package archive

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// ErrNotZip is returned for a package that is no zip file, with the text of the Java worker (contract 4.3).
var ErrNotZip = errors.New("java.util.zip.ZipException: zip END header not found")

const (
	sigLocal     = 0x04034b50
	sigDirectory = 0x02014b50
	sigEnd       = 0x06054b50
	sigEnd64     = 0x06064b50
	sigLocator64 = 0x07064b50

	methodStored  = 0
	methodDeflate = 8
)

// entry is one file of a zip as the central directory describes it.
type entry struct {
	name       string
	compressed int64
	size       int64
	header     int64 // offset of the local header in the source
	crc        uint32
	method     uint16
	encrypted  bool
}

// zipFile is the index of one zip. It is made once and never changes.
type zipFile struct {
	label   string // how messages call it
	src     source
	budget  *budget
	entries map[string]*entry
	dirs    map[string]bool // explicit directory entries below META-INF, without the trailing slash
	dataEnd int64           // where the central directory starts: no data lies behind it
}

// endRecord is what the end-of-central-directory record says, with offsets corrected for data in front of the zip.
type endRecord struct {
	size, start, shift int64
}

// openZip reads the central directory of src.
func openZip(label string, src source, b *budget) (*zipFile, error) {
	end, err := findEnd(src)
	if err != nil {
		return nil, err
	}
	if b.directory -= end.size; b.directory < 0 {
		return nil, limitErrorf("%s: the directories of the package have more than %d bytes", label, maxDirectoryBytes)
	}
	z := &zipFile{label: label, src: src, budget: b, dataEnd: end.start, entries: make(map[string]*entry), dirs: make(map[string]bool)}
	r, err := src.Range(end.start, end.size)
	if err != nil {
		return nil, fmt.Errorf("%s: read the directory: %w", label, err)
	}
	if err := z.readDirectory(bufio.NewReaderSize(r, 32<<10), end); err != nil {
		return nil, fmt.Errorf("%s: read the directory: %w", label, err)
	}
	return z, nil
}

func findEnd(src source) (endRecord, error) {
	size := src.Size()
	if size < 22 {
		return endRecord{}, ErrNotZip
	}
	off := max(0, size-endRecordSearch)
	r, err := src.Range(off, size-off)
	if err != nil {
		return endRecord{}, fmt.Errorf("read the end of the zip: %w", err)
	}
	buf := make([]byte, size-off)
	if _, err := io.ReadFull(r, buf); err != nil {
		return endRecord{}, fmt.Errorf("read the end of the zip: %w", err)
	}
	for i := len(buf) - 22; i >= 0; i-- {
		if binary.LittleEndian.Uint32(buf[i:]) != sigEnd {
			continue
		}
		// The comment must reach exactly to the end, else the signature is part of a comment or of data.
		if i+22+int(binary.LittleEndian.Uint16(buf[i+20:])) != len(buf) {
			continue
		}
		return parseEnd(src, buf[i:], off+int64(i))
	}
	return endRecord{}, ErrNotZip
}

func parseEnd(src source, rec []byte, pos int64) (endRecord, error) {
	le := binary.LittleEndian
	e := endRecord{size: int64(le.Uint32(rec[12:]))}
	declared, directoryEnd := int64(le.Uint32(rec[16:])), pos
	if le.Uint16(rec[10:]) == 0xffff || e.size == 0xffffffff || declared == 0xffffffff {
		if rec64, at, ok := readEnd64(src, pos); ok {
			size, start := le.Uint64(rec64[40:]), le.Uint64(rec64[48:])
			if size > 1<<40 || start > 1<<56 {
				return endRecord{}, limitErrorf("the zip64 end record declares a directory of %d bytes at %d", size, start)
			}
			e.size, declared, directoryEnd = int64(size), int64(start), at
		}
	}
	e.start = directoryEnd - e.size
	if e.start < 0 {
		return endRecord{}, errors.New("java.util.zip.ZipException: invalid END header (bad central directory size)")
	}
	// A launcher script in front of the zip moves every offset; Java accepts that.
	e.shift = e.start - declared
	if e.shift < 0 {
		return endRecord{}, errors.New("java.util.zip.ZipException: invalid END header (bad central directory offset)")
	}
	return e, nil
}

func readEnd64(src source, end int64) (rec []byte, at int64, ok bool) {
	locator := readAt(src, end-20, 20)
	if locator == nil || binary.LittleEndian.Uint32(locator) != sigLocator64 {
		return nil, 0, false
	}
	pos := binary.LittleEndian.Uint64(locator[8:])
	if pos > uint64(end) {
		return nil, 0, false
	}
	rec = readAt(src, int64(pos), 56)
	if rec == nil || binary.LittleEndian.Uint32(rec) != sigEnd64 {
		return nil, 0, false
	}
	return rec, int64(pos), true
}

func readAt(src source, off, n int64) []byte {
	if off < 0 || off+n > src.Size() {
		return nil
	}
	r, err := src.Range(off, n)
	if err != nil {
		return nil
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil
	}
	return buf
}

// readDirectory reads headers until the declared bytes are used up; the declared count is not trusted.
func (z *zipFile) readDirectory(r io.Reader, end endRecord) error {
	var head [46]byte
	for used, n := int64(0), 0; used+46 <= end.size; n++ {
		if z.budget.entries--; z.budget.entries < 0 {
			return limitErrorf("the package has more than %d entries", maxEntries)
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint32(head[:]) != sigDirectory {
			return fmt.Errorf("entry %d: bad signature", n)
		}
		rest := make([]byte, int(binary.LittleEndian.Uint16(head[28:]))+int(binary.LittleEndian.Uint16(head[30:]))+int(binary.LittleEndian.Uint16(head[32:])))
		if _, err := io.ReadFull(r, rest); err != nil {
			return err
		}
		used += 46 + int64(len(rest))
		if err := z.addEntry(head[:], rest, end.shift); err != nil {
			return err
		}
	}
	return nil
}

func (z *zipFile) addEntry(head, rest []byte, shift int64) error {
	le := binary.LittleEndian
	nameLen, extraLen := int(le.Uint16(head[28:])), int(le.Uint16(head[30:]))
	name := string(rest[:nameLen])
	if err := checkEntryName(name); err != nil {
		return err
	}
	if dir, ok := strings.CutSuffix(name, "/"); ok {
		if strings.HasPrefix(dir, "META-INF/") {
			z.dirs[dir] = true
		}
		return nil
	}
	// A symbolic link is no file of the package: what it points at would lie outside.
	if head[5] == 3 && le.Uint32(head[38:])>>16&0xf000 == 0xa000 {
		return nil
	}
	e := &entry{
		name:       name,
		method:     le.Uint16(head[10:]),
		crc:        le.Uint32(head[16:]),
		compressed: int64(le.Uint32(head[20:])),
		size:       int64(le.Uint32(head[24:])),
		header:     int64(le.Uint32(head[42:])),
		encrypted:  le.Uint16(head[8:])&1 != 0,
	}
	e.readExtra64(rest[nameLen : nameLen+extraLen])
	if e.compressed < 0 || e.size < 0 || e.header < 0 || e.header > z.dataEnd-shift || e.compressed > z.dataEnd {
		return fmt.Errorf("entry %q: its data lies outside of the file", name)
	}
	e.header += shift
	z.entries[name] = e // of two entries with one name the later wins, as in Java
	return nil
}

// readExtra64 takes sizes and offset from the zip64 extra field, in the order of the fields that overflow.
func (e *entry) readExtra64(extra []byte) {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			return
		}
		if id == 1 {
			field := extra[:n]
			for _, p := range []*int64{&e.size, &e.compressed, &e.header} {
				if *p == 0xffffffff && len(field) >= 8 {
					*p, field = int64(le.Uint64(field)), field[8:]
				}
			}
			return
		}
		extra = extra[n:]
	}
}

// checkEntryName refuses names that would leave the directory a Java instance unpacks a NAR into.
func checkEntryName(name string) error {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("entry name %q is not valid", name)
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return javaErrorf("entry %q would be unpacked outside of the package: Invalid zip file. Aborting unpacking.", name)
		}
	}
	return nil
}

// open gives the content of an entry; the reader fails at the end when length or checksum are wrong.
func (z *zipFile) open(e *entry) (io.Reader, error) {
	switch {
	case e.encrypted:
		return nil, fmt.Errorf("%s: entry %q is encrypted", z.label, e.name)
	case e.size > ratioFreeSize && e.size/maxInflateRatio > e.compressed:
		return nil, limitErrorf("%s: entry %q inflates from %d to %d bytes", z.label, e.name, e.compressed, e.size)
	}
	raw, err := z.openRaw(e)
	if err != nil {
		return nil, fmt.Errorf("%s: entry %q: %w", z.label, e.name, err)
	}
	content := raw
	switch e.method {
	case methodStored:
		if e.size != e.compressed {
			return nil, fmt.Errorf("%s: entry %q: stored with two sizes", z.label, e.name)
		}
	case methodDeflate:
		content = flate.NewReader(bufio.NewReaderSize(raw, 16<<10))
	default:
		return nil, fmt.Errorf("%s: entry %q: compression method %d is not supported", z.label, e.name, e.method)
	}
	return &entryReader{r: content, e: e, label: z.label, budget: z.budget, left: e.size}, nil
}

func (z *zipFile) openRaw(e *entry) (io.Reader, error) {
	r, err := z.src.Range(e.header, z.dataEnd-e.header)
	if err != nil {
		return nil, err
	}
	if _, err := skipLocalHeader(r); err != nil {
		return nil, err
	}
	return io.LimitReader(r, e.compressed), nil
}

// skipLocalHeader leaves r at the first byte of data and gives the length of what it skipped.
func skipLocalHeader(r io.Reader) (int64, error) {
	var head [30]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, fmt.Errorf("read the local header: %w", err)
	}
	if binary.LittleEndian.Uint32(head[:]) != sigLocal {
		return 0, errors.New("bad local header")
	}
	n := int64(binary.LittleEndian.Uint16(head[26:])) + int64(binary.LittleEndian.Uint16(head[28:]))
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return 0, fmt.Errorf("read the local header: %w", err)
	}
	return 30 + n, nil
}

// nested gives access to a JAR that is an entry of z.
func (z *zipFile) nested(e *entry) (source, error) {
	if e.size > maxNestedJarSize {
		return nil, limitErrorf("%s: nested JAR %q has %d bytes, at most %d are read", z.label, e.name, e.size, maxNestedJarSize)
	}
	if e.method != methodStored || e.encrypted {
		return &inflatedSource{size: e.size, open: func() (io.Reader, error) { return z.open(e) }}, nil
	}
	r, err := z.src.Range(e.header, z.dataEnd-e.header)
	if err != nil {
		return nil, err
	}
	skipped, err := skipLocalHeader(r)
	if err != nil {
		return nil, fmt.Errorf("%s: entry %q: %w", z.label, e.name, err)
	}
	if e.header+skipped+e.size > z.dataEnd {
		return nil, fmt.Errorf("%s: entry %q: its data lies outside of the file", z.label, e.name)
	}
	return storedSource{parent: z.src, off: e.header + skipped, size: e.size}, nil
}

// readAll gives the whole content of a small entry.
func (z *zipFile) readAll(e *entry, limit int64) ([]byte, error) {
	if e.size > limit {
		return nil, limitErrorf("%s: entry %q has %d bytes, at most %d are read", z.label, e.name, e.size, limit)
	}
	r, err := z.open(e)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// entryReader checks length and checksum of what it passes on and charges it to the package's budget.
type entryReader struct {
	r      io.Reader
	e      *entry
	label  string
	budget *budget
	left   int64
	sum    uint32
	done   bool
}

func (r *entryReader) Read(p []byte) (int, error) {
	if r.done {
		return 0, io.EOF
	}
	n, err := r.r.Read(p)
	if int64(n) > r.left {
		return 0, limitErrorf("%s: entry %q is longer than the %d bytes it declares", r.label, r.e.name, r.e.size)
	}
	r.left -= int64(n)
	r.sum = crc32.Update(r.sum, crc32.IEEETable, p[:n])
	if berr := r.budget.inflate(n); berr != nil {
		return 0, fmt.Errorf("%s: entry %q: %w", r.label, r.e.name, berr)
	}
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		return n, fmt.Errorf("%s: entry %q is damaged: %w", r.label, r.e.name, err)
	}
	if r.left > 0 {
		return n, fmt.Errorf("%s: entry %q is damaged: %w", r.label, r.e.name, io.ErrUnexpectedEOF)
	}
	if r.sum != r.e.crc {
		return n, fmt.Errorf("%s: entry %q is damaged: wrong checksum", r.label, r.e.name)
	}
	r.done = true
	return n, io.EOF
}
