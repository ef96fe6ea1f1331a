package wasm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Module is what Inspect found out.
type Module struct {
	// MemoryMin is what the module's memory begins with, in bytes.
	MemoryMin uint64
	// Exports are the names of the exported functions, as far as the ABI knows them.
	Exports []string
	// Imports are "module.name" of the imported functions, in order.
	Imports []string
}

// Bounds of a module that Inspect reads; real ones are far below.
const (
	maxTypes   = 100_000
	maxImports = 1_000
	maxExports = 100_000
	maxName    = 1_000
	maxParams  = 1_000

	maxFunctions = 1_000_000
	maxIssues    = 8
)

var (
	// ErrNotWASM: the bytes do not begin as a WebAssembly module.
	ErrNotWASM = errors.New("it is not a WebAssembly module: it does not begin with \\0asm and version 1")
	// ErrComponent: it is a component, which wraps modules.
	ErrComponent = errors.New("it is a WebAssembly component; build a core module instead (for Rust the target wasm32-unknown-unknown or wasm32-wasip1)")
)

// Sections of a module that matter here.
const (
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionMemory   = 5
	sectionExport   = 7
)

// signature is a function's type in the short form of the table of the ABI; "?" stands for a type that it never has.
type signature struct{ params, results string }

// inspector reads a module section by section; most of them it passes over.
type inspector struct {
	in        *bufio.Reader
	at        int64 // bytes read
	types     []signature
	functions []uint32 // type of each function, imported ones first
	memories  []uint64 // smallest size in pages
	imports   []imported
	exports   map[string]exported
}

type imported struct {
	module, name string
	kind         byte
	signature    signature
}

type exported struct {
	kind  byte
	index uint32
}

// Inspect checks that a module can be a guest: that it is one, that it has what the ABI wants of it, and asks of the
// host nothing that there is not. It runs nothing, and needs memory for names and types only. The error says all that is
// missing, and how it is usually mended.
func Inspect(r io.Reader, limits Limits) (*Module, error) {
	i := &inspector{in: bufio.NewReader(io.LimitReader(r, limits.Module+1)), exports: map[string]exported{}}
	err := i.read()
	if i.at > limits.Module {
		return nil, tooLarge(limits.Module)
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("it ends in the middle, after %d bytes", i.at)
		}
		return nil, fmt.Errorf("WebAssembly module: %w", err)
	}
	if issues := i.issues(); len(issues) > 0 {
		if over := len(issues) - maxIssues; over > 0 {
			issues = append(issues[:maxIssues], fmt.Sprintf("and %d more", over))
		}
		return nil, fmt.Errorf("WebAssembly module: it cannot be a function: %s (docs/wasm-abi.md says what a function must have)", strings.Join(issues, "; "))
	}
	return i.module(), nil
}

func (i *inspector) module() *Module {
	m := &Module{}
	if e, ok := i.exports[exportMemory]; ok && int(e.index) < len(i.memories) {
		m.MemoryMin = i.memories[e.index] * pageSize
	}
	for _, name := range []string{exportVersion, exportHandle, exportStart, exportInitialize} {
		if e, ok := i.exports[name]; ok && e.kind == 0 {
			m.Exports = append(m.Exports, name)
		}
	}
	for _, im := range i.imports {
		m.Imports = append(m.Imports, im.module+"."+im.name)
	}
	return m
}

// issues are the reasons why the module cannot be a guest.
func (i *inspector) issues() []string {
	var issues []string
	add := func(format string, values ...any) { issues = append(issues, fmt.Sprintf(format, values...)) }
	if _, ok := i.exports[exportVersion]; !ok {
		if other := i.otherVersion(); other != "" {
			add("it is made for another version of the ABI (%s), and this worker has version 1", other)
		} else {
			add("the export %s is missing", exportVersion)
		}
	}
	i.wantFunction(exportHandle, signature{"i", "i"}, true, add)
	i.wantFunction(exportStart, signature{"", "i"}, false, add)
	i.wantFunction(exportInitialize, signature{"", ""}, false, add)
	switch e, ok := i.exports[exportMemory]; {
	case !ok:
		add("the export memory is missing")
	case e.kind != 2:
		add("the export memory is not a memory")
	}
	if _, command := i.exports[exportMain]; command {
		add("it is a program with _start; build a library instead (Go: -buildmode=c-shared, TinyGo: -buildmode=c-shared, Rust: crate-type cdylib, C: -nostartfiles -Wl,--no-entry or -mexec-model=reactor)")
	}
	for _, im := range i.imports {
		if reason := im.unknown(); reason != "" {
			add("%s", reason)
		}
	}
	return issues
}

func (i *inspector) otherVersion() string {
	for name := range i.exports {
		if strings.HasPrefix(name, exportVersionPrefix) {
			return name
		}
	}
	return ""
}

func (i *inspector) wantFunction(name string, want signature, needed bool, add func(string, ...any)) {
	e, ok := i.exports[name]
	switch {
	case !ok && needed:
		add("the export %s is missing", name)
	case !ok:
	case e.kind != 0:
		add("the export %s is not a function", name)
	case int(e.index) >= len(i.functions) || int(i.functions[e.index]) >= len(i.types):
		add("the export %s points to no function", name)
	case i.types[i.functions[e.index]] != want:
		add("the export %s is %s and must be %s", name, i.types[i.functions[e.index]], want)
	}
}

func (s signature) String() string {
	long := strings.NewReplacer("i", "i32,", "I", "i64,", "f", "f32,", "F", "f64,", "?", "another type,")
	return fmt.Sprintf("(%s) -> (%s)", strings.TrimSuffix(long.Replace(s.params), ","), strings.TrimSuffix(long.Replace(s.results), ","))
}

// unknown says why the host cannot serve an import.
func (im imported) unknown() string {
	switch {
	case im.kind != 0:
		return fmt.Sprintf("it imports %s.%s, which is not a function", im.module, im.name)
	case im.module == wasiModule:
		return "" // which of its functions there are is wazero's business
	case im.module != ModuleName:
		return fmt.Sprintf("it imports %s.%s; only the modules %s and %s are there", im.module, im.name, ModuleName, wasiModule)
	}
	known := slices.IndexFunc(functions, func(f function) bool { return f.name == im.name })
	if known < 0 {
		return fmt.Sprintf("it imports %s.%s, which the host does not have", im.module, im.name)
	}
	if want := (signature{functions[known].params, functions[known].results}); im.signature != want {
		return fmt.Sprintf("it imports %s.%s as %s, and it is %s", im.module, im.name, im.signature, want)
	}
	return ""
}

func (i *inspector) read() error {
	var head [8]byte
	if err := i.full(head[:]); err != nil || string(head[:4]) != "\x00asm" {
		return ErrNotWASM
	}
	switch version := binary.LittleEndian.Uint32(head[4:]); {
	case version>>16 == 1:
		return ErrComponent
	case version != 1:
		return ErrNotWASM
	}
	for {
		id, err := i.byte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		size, err := i.uint32()
		if err != nil {
			return err
		}
		if err := i.section(id, int64(size)); err != nil {
			return fmt.Errorf("section %d: %w", id, err)
		}
	}
}

func (i *inspector) section(id byte, size int64) error {
	end := i.at + size
	parse := map[byte]func() error{
		sectionType: i.typeSection, sectionImport: i.importSection, sectionFunction: i.functionSection,
		sectionMemory: i.memorySection, sectionExport: i.exportSection,
	}[id]
	if parse != nil {
		if err := parse(); err != nil {
			return err
		}
	}
	if i.at > end {
		return errors.New("it is longer than it says")
	}
	n, err := io.CopyN(io.Discard, i.in, end-i.at)
	i.at += n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (i *inspector) count(what string, most uint32) (uint32, error) {
	n, err := i.uint32()
	if err == nil && n > most {
		err = fmt.Errorf("%d %s are more than %d", n, what, most)
	}
	return n, err
}

func (i *inspector) typeSection() error {
	n, err := i.count("types", maxTypes)
	for ; n > 0 && err == nil; n-- {
		var form byte
		if form, err = i.byte(); err != nil {
			return err
		}
		if form != 0x60 {
			return fmt.Errorf("a type has the form %#x; only functions (0x60) are known", form)
		}
		var s signature
		if s.params, err = i.valueTypes(); err != nil {
			return err
		}
		if s.results, err = i.valueTypes(); err != nil {
			return err
		}
		i.types = append(i.types, s)
	}
	return err
}

// valueTypes keeps what could fit the ABI; a longer list never does.
func (i *inspector) valueTypes() (string, error) {
	n, err := i.count("parameters", maxParams)
	var short []byte
	for ; n > 0 && err == nil; n-- {
		var t byte
		if t, err = i.byte(); err != nil {
			break
		}
		letter, known := map[byte]byte{0x7f: 'i', 0x7e: 'I', 0x7d: 'f', 0x7c: 'F'}[t]
		if !known {
			letter = '?'
		}
		if len(short) <= 16 {
			short = append(short, letter)
		}
	}
	return string(short), err
}

func (i *inspector) importSection() error {
	n, err := i.count("imports", maxImports)
	for ; n > 0 && err == nil; n-- {
		err = i.importEntry()
	}
	return err
}

func (i *inspector) importEntry() error {
	var im imported
	var err error
	if im.module, err = i.name(); err != nil {
		return err
	}
	if im.name, err = i.name(); err != nil {
		return err
	}
	if im.kind, err = i.byte(); err != nil {
		return err
	}
	switch im.kind {
	case 0:
		var t uint32
		if t, err = i.uint32(); err != nil {
			return err
		}
		if int(t) >= len(i.types) {
			return fmt.Errorf("the import %s.%s has a type that is not there", im.module, im.name)
		}
		im.signature = i.types[t]
		i.functions = append(i.functions, t)
	case 1:
		if _, err = i.byte(); err == nil {
			_, err = i.sizes()
		}
	case 2:
		var smallest uint64
		smallest, err = i.sizes()
		i.memories = append(i.memories, smallest)
	case 3:
		if _, err = i.byte(); err == nil {
			_, err = i.byte()
		}
	default:
		return fmt.Errorf("the import %s.%s is of the unknown kind %d", im.module, im.name, im.kind)
	}
	i.imports = append(i.imports, im)
	return err
}

func (i *inspector) functionSection() error {
	n, err := i.count("functions", maxFunctions)
	for ; n > 0 && err == nil; n-- {
		var t uint32
		if t, err = i.uint32(); err == nil {
			i.functions = append(i.functions, t)
		}
	}
	return err
}

func (i *inspector) memorySection() error {
	n, err := i.count("memories", 1)
	for ; n > 0 && err == nil; n-- {
		var smallest uint64
		if smallest, err = i.sizes(); err == nil {
			i.memories = append(i.memories, smallest)
		}
	}
	return err
}

// sizes reads limits and gives the smaller one.
func (i *inspector) sizes() (uint64, error) {
	flags, err := i.byte()
	if err != nil {
		return 0, err
	}
	smallest, err := i.uint32()
	if err == nil && flags&1 != 0 {
		_, err = i.uint32()
	}
	return uint64(smallest), err
}

func (i *inspector) exportSection() error {
	n, err := i.count("exports", maxExports)
	for ; n > 0 && err == nil; n-- {
		var name string
		var e exported
		if name, err = i.name(); err != nil {
			return err
		}
		if e.kind, err = i.byte(); err != nil {
			return err
		}
		if e.index, err = i.uint32(); err != nil {
			return err
		}
		if name == exportMemory || name == exportMain || name == exportInitialize || strings.HasPrefix(name, "pulsar_") && len(i.exports) < 64 {
			i.exports[name] = e
		}
	}
	return err
}

func (i *inspector) name() (string, error) {
	n, err := i.count("bytes of a name", maxName)
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	err = i.full(b)
	return strings.ToValidUTF8(string(b), "\uFFFD"), err
}

func (i *inspector) full(b []byte) error {
	n, err := io.ReadFull(i.in, b)
	i.at += int64(n)
	return err
}

func (i *inspector) byte() (byte, error) {
	b, err := i.in.ReadByte()
	if err == nil {
		i.at++
	}
	return b, err
}

func (i *inspector) uint32() (uint32, error) { return readUint32(i.byte) }

// readUint32 reads a number in LEB128, byte by byte.
func readUint32(next func() (byte, error)) (uint32, error) {
	var value uint64
	for shift := 0; shift < 35; shift += 7 {
		b, err := next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		value |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			if value > 1<<32-1 {
				break
			}
			return uint32(value), nil
		}
	}
	return 0, errors.New("a number has more than 32 bits")
}
