package archive

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Bounds on what a package may ask of this worker. They are far above every real connector (the largest of Pulsar
// 4.0.8 has 106 nested JARs and 84 MB) and far below what would hurt.
const (
	maxDirectoryBytes = 64 << 20       // central directories of a package, all zips together
	maxEntries        = 1 << 18        // entries of a package with its nested JARs
	maxNestedJars     = 4096           // JARs below META-INF/bundled-dependencies
	maxNestedJarSize  = 512 << 20      // inflated size of one nested JAR
	maxClassSize      = 4 << 20        // one class file
	maxClassBytes     = 8 << 20        // class files kept parsed for one package
	maxDefinitionSize = 64 << 10       // pulsar-io.yaml; a parsed YAML text takes some 300 times its size
	maxInflateRatio   = 200            // inflated to compressed size, checked above ratioFreeSize
	ratioFreeSize     = 1 << 20        // small entries may compress as well as they like
	maxInflatedBytes  = int64(4) << 30 // work done for one package, all reads together
	maxClassesParsed  = 8192           // distinct classes kept parsed for one package
	maxClassName      = 2048           // bytes of one class name
	maxInterfaces     = 2048           // direct interfaces of one class
	maxConfigFields   = 4096           // fields of one configuration class
	maxConfigText     = 4 << 20        // bytes of their types
	maxHierarchyDepth = 256            // super types above one class
	maxSignatureDepth = 64             // nesting of one generic signature
	maxTypeNodes      = 1 << 12        // parts of one resolved generic type
	indexTailSize     = 512 << 10      // end of a compressed nested JAR kept while it is indexed
	endRecordSearch   = 22 + 65535     // farthest a zip's end record can be from the end
)

// ErrLimit is wrapped by every error that says a package exceeds what this worker is ready to read.
var ErrLimit = errors.New("package exceeds a limit")

func limitErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLimit, fmt.Sprintf(format, args...))
}

// budget counts what is read and kept over the life of one package, nested JARs included, so that many
// cheap-looking things cannot add up.
type budget struct {
	inflated  atomic.Int64
	entries   int // guarded, like the next two, by the package's mutex
	directory int64
	classes   int
}

func newBudget() *budget {
	b := &budget{entries: maxEntries, directory: maxDirectoryBytes, classes: maxClassBytes}
	b.inflated.Store(maxInflatedBytes)
	return b
}

// inflate is charged for every byte that an entry gives.
func (b *budget) inflate(n int) error {
	if b.inflated.Add(-int64(n)) < 0 {
		return limitErrorf("reading it takes more than %d bytes of decompressed data", maxInflatedBytes)
	}
	return nil
}

// keepClass is charged for every class file that stays parsed.
func (b *budget) keepClass(size int) error {
	if b.classes -= size; b.classes < 0 {
		return limitErrorf("the classes asked for have more than %d bytes", maxClassBytes)
	}
	return nil
}
