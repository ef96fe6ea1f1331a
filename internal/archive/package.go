package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	definitionEntry = "META-INF/services/pulsar-io.yaml"
	bundledDir      = "META-INF/bundled-dependencies"
)

// Package is an opened JAR or NAR. Its methods may be called from several goroutines.
type Package struct {
	name   string
	file   *os.File
	isNAR  bool
	outer  *zipFile // nil for an empty file, which counts as a package without classes
	budget *budget

	mu      sync.Mutex
	nested  []*nestedJar
	classes map[string]*classResult
	assign  map[assignKey]bool
}

// nestedJar is a JAR inside a NAR. It is indexed when the first class is looked for in it.
type nestedJar struct {
	entry *entry
	zip   *zipFile
	err   error
}

// ClassNotFoundError says that a class is neither in the package nor known.
type ClassNotFoundError struct{ Name string }

// Error has the text of the Java worker's type pool (contract component-configs 8.3).
func (e *ClassNotFoundError) Error() string { return "Cannot resolve type description for " + e.Name }

// Open indexes the JAR or NAR at path. The file must not change before Close. A file that is no zip gives ErrNotZip.
func Open(path string) (*Package, error) { return OpenAs(path, filepath.Base(path)) }

// OpenAs is Open with the name that errors give the package, for files whose own says nothing.
func OpenAs(path, name string) (*Package, error) {
	// Opening a pipe would block, and a device has no end.
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open package %s: it is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	p, err := openPackage(name, fileSource{r: f, size: info.Size()})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p.file = f
	return p, nil
}

func openPackage(name string, src source) (*Package, error) {
	p := &Package{
		name:    name,
		budget:  newBudget(),
		classes: make(map[string]*classResult),
		assign:  make(map[assignKey]bool),
	}
	if src.Size() == 0 {
		return p, nil
	}
	outer, err := openZip(name, src, p.budget)
	if errors.Is(err, ErrNotZip) {
		return nil, ErrNotZip // the bare text: clients of the Java worker see it
	}
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	p.outer = outer
	p.isNAR = outer.entries[definitionEntry] != nil || outer.entries[bundledDir] != nil || outer.dirs[bundledDir]
	if !p.isNAR {
		return p, nil
	}
	for name, e := range outer.entries {
		jar, ok := strings.CutPrefix(name, bundledDir+"/")
		if ok && strings.HasSuffix(jar, ".jar") && !strings.Contains(jar, "/") {
			p.nested = append(p.nested, &nestedJar{entry: e})
		}
	}
	if len(p.nested) > maxNestedJars {
		return nil, limitErrorf("%s: %d nested JARs, at most %d are read", name, len(p.nested), maxNestedJars)
	}
	slices.SortFunc(p.nested, func(a, b *nestedJar) int { return strings.Compare(a.entry.name, b.entry.name) })
	return p, nil
}

// Close releases the file. Questions asked afterwards fail.
func (p *Package) Close() error {
	if p.file == nil {
		return nil
	}
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("close package %s: %w", p.name, err)
	}
	return nil
}

// IsNAR says whether the package has the layout of a NAR (contract component-configs 9.1).
func (p *Package) IsNAR() bool { return p.isNAR }

// findClass reads the class file of a class in the order of contract 8.1: root, bundled folder, bundled JARs.
// It returns nil data when there is none.
func (p *Package) findClass(name string) ([]byte, error) {
	if p.outer == nil {
		return nil, nil
	}
	file := strings.ReplaceAll(name, ".", "/") + ".class"
	if e := p.outer.entries[file]; e != nil {
		return p.outer.readAll(e, maxClassSize)
	}
	if !p.isNAR {
		return nil, nil
	}
	if e := p.outer.entries[bundledDir+"/"+file]; e != nil {
		return p.outer.readAll(e, maxClassSize)
	}
	for _, jar := range p.nested {
		z, err := p.openNested(jar)
		if err != nil {
			return nil, err
		}
		if e := z.entries[file]; e != nil {
			return z.readAll(e, maxClassSize)
		}
	}
	return nil, nil
}

func (p *Package) openNested(jar *nestedJar) (*zipFile, error) {
	if jar.zip == nil && jar.err == nil {
		jar.zip, jar.err = p.indexNested(jar.entry)
	}
	return jar.zip, jar.err
}

func (p *Package) indexNested(e *entry) (*zipFile, error) {
	label := p.name + "!/" + e.name
	src, err := p.outer.nested(e)
	if err != nil {
		return nil, err
	}
	if inflated, ok := src.(*inflatedSource); ok {
		if err := inflated.keepTail(); err != nil {
			return nil, fmt.Errorf("%s: %w", label, err)
		}
		defer inflated.dropTail()
	}
	z, err := openZip(label, src, p.budget)
	if err != nil {
		return nil, fmt.Errorf("open nested JAR %s: %w", label, err)
	}
	return z, nil
}
