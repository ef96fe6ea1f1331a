package archive

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Bounds on what a package may ask of this worker. They are far above every real connector (the largest of Pulsar
// 4.0.8 has 106 nested JARs and 84 MB) and far below what would hurt.
const (
	maxDirectoryBytes = 32 << 20       // central directory of one zip
	maxEntries        = 1 << 18        // entries of one zip
	maxTotalEntries   = 1 << 19        // entries of a package with its nested JARs
	maxNestedJars     = 4096           // JARs below META-INF/bundled-dependencies
	maxNestedJarSize  = 512 << 20      // inflated size of one nested JAR
	maxClassSize      = 8 << 20        // one class file
	maxDefinitionSize = 1 << 20        // pulsar-io.yaml
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

// budget counts inflated bytes over the life of one package, so that many cheap-looking reads cannot add up.
type budget struct{ left atomic.Int64 }

func newBudget(n int64) *budget {
	b := &budget{}
	b.left.Store(n)
	return b
}

func (b *budget) spend(n int) error {
	if b.left.Add(-int64(n)) < 0 {
		return limitErrorf("reading it takes more than %d bytes of decompressed data", maxInflatedBytes)
	}
	return nil
}
