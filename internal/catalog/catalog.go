// Package catalog knows the built-in connectors and functions: the NAR archives in two directories of this worker's
// disk, each described by its META-INF/services/pulsar-io.yaml (coordination contract, section 10).
//
// New scans both directories; Reload… scans again, for this worker only. What is listed between two scans does not
// change, and reading it takes no lock. Archives are never unpacked, and no class of theirs is ever loaded.
package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/archive"
)

// ConnectorDefinition is one built-in connector (rest-api contract, section 9.7); nil is what its archive does not say.
type ConnectorDefinition struct {
	Name              string  `json:"name"`
	Description       *string `json:"description"`
	SourceClass       *string `json:"sourceClass"`
	SinkClass         *string `json:"sinkClass"`
	SourceConfigClass *string `json:"sourceConfigClass"`
	SinkConfigClass   *string `json:"sinkConfigClass"`
}

// FunctionDefinition is one built-in function.
type FunctionDefinition struct {
	Name          string  `json:"name"`
	Description   *string `json:"description"`
	FunctionClass *string `json:"functionClass"`
}

// Catalog lists built-ins. It is safe for concurrent use.
type Catalog struct {
	connectorsDirectory, functionsDirectory string
	log                                     *zap.Logger
	connectors, functions                   atomic.Pointer[shelf]
	compiledIn                              map[string]FunctionDefinition
	compiledConnectors                      map[string]CompiledConnector
}

// shelf is the result of one scan.
type shelf map[string]item

type item struct {
	file       string
	definition archive.Definition
}

// Compiled makes functions that are compiled into the worker part of the list. They go before archives of the same name,
// and have no file. To be called before the catalog is used.
func (c *Catalog) Compiled(functions ...FunctionDefinition) {
	c.compiledIn = byName(c, "function", *c.functions.Load(), functions, func(f FunctionDefinition) string { return f.Name })
}

// byName is what is compiled in, by name. It says which archives are hidden by it.
func byName[D any](c *Catalog, kind string, archives shelf, compiled []D, name func(D) string) map[string]D {
	all := make(map[string]D, len(compiled))
	for _, d := range compiled {
		all[name(d)] = d
		if found, ok := archives[name(d)]; ok {
			c.log.Warn("a compiled-in "+kind+" has the name of an archive; the compiled-in one counts", zap.String("name", name(d)), zap.String("archive", found.file))
		}
	}
	return all
}

// IsCompiled says whether a built-in function is compiled into the worker.
func (c *Catalog) IsCompiled(name string) bool {
	_, ok := c.compiledIn[name]
	return ok
}

// New scans both directories. One that cannot be read is logged and counts as empty until a reload succeeds.
func New(connectorsDirectory, functionsDirectory string, log *zap.Logger) *Catalog {
	if log == nil {
		log = zap.NewNop()
	}
	c := &Catalog{connectorsDirectory: connectorsDirectory, functionsDirectory: functionsDirectory, log: log}
	c.connectors.Store(&shelf{})
	c.functions.Store(&shelf{})
	if err := errors.Join(c.ReloadConnectors(), c.ReloadFunctions()); err != nil {
		log.Warn("built-ins are not available", zap.Error(err))
	}
	return c
}

// ReloadConnectors scans the connectors directory again; after an error the old list stays.
func (c *Catalog) ReloadConnectors() error {
	return c.reload(&c.connectors, "connector", c.connectorsDirectory, func(archive.Definition) bool { return true })
}

// ReloadFunctions scans the functions directory again; after an error the old list stays.
func (c *Catalog) ReloadFunctions() error {
	return c.reload(&c.functions, "function", c.functionsDirectory, func(d archive.Definition) bool { return d.FunctionClass != "" })
}

func (c *Catalog) reload(to *atomic.Pointer[shelf], what, directory string, wanted func(archive.Definition) bool) error {
	found, err := c.scan(what, directory, wanted)
	if err != nil {
		return err
	}
	to.Store(&found)
	return nil
}

// scan reads *.nar directly in the directory. Of two archives with one name the last by file name wins.
func (c *Catalog) scan(what, directory string, wanted func(archive.Definition) bool) (shelf, error) {
	log := c.log.With(zap.String("kind", what), zap.String("directory", directory))
	found := shelf{}
	if directory == "" {
		return found, nil
	}
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return nil, fmt.Errorf("looking for built-in %ss in %s: %w", what, directory, err)
	}
	entries, err := os.ReadDir(absolute) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		log.Info("there are no built-ins: the directory does not exist")
		return found, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for built-in %ss in %s: %w", what, directory, err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".nar") {
			continue
		}
		file := filepath.Join(absolute, entry.Name())
		definition, err := readDefinition(file)
		if err != nil {
			log.Warn("an archive is skipped", zap.String("file", file), zap.Error(err))
			continue
		}
		if !wanted(definition) {
			continue
		}
		if other, ok := found[definition.Name]; ok {
			log.Warn("two archives have the same name; the second counts", zap.String("name", definition.Name),
				zap.String("first", other.file), zap.String("second", file))
		}
		found[definition.Name] = item{file: file, definition: definition}
	}
	log.Info("found built-ins", zap.Strings("names", slices.Sorted(maps.Keys(found))))
	return found, nil
}

func readDefinition(file string) (archive.Definition, error) {
	st, err := os.Stat(file)
	if err != nil {
		return archive.Definition{}, err
	}
	if !st.Mode().IsRegular() {
		return archive.Definition{}, errors.New("not a regular file")
	}
	nar, err := archive.Open(file)
	if err != nil {
		return archive.Definition{}, err
	}
	defer nar.Close()
	definition, err := nar.Definition()
	if err == nil && definition.Name == "" {
		err = errors.New("its pulsar-io.yaml has no name")
	}
	return definition, err
}

// Connectors lists the connectors by name.
func (c *Catalog) Connectors() []ConnectorDefinition {
	items := *c.connectors.Load()
	list := make([]ConnectorDefinition, 0, len(items)+len(c.compiledConnectors))
	for _, name := range slices.Sorted(maps.Keys(c.compiledConnectors)) {
		list = append(list, c.compiledConnectors[name].ConnectorDefinition)
	}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		if _, hidden := c.compiledConnectors[name]; hidden {
			continue
		}
		d := items[name].definition
		list = append(list, ConnectorDefinition{Name: name, Description: text(d.Description), SourceClass: text(d.SourceClass),
			SinkClass: text(d.SinkClass), SourceConfigClass: text(d.SourceConfigClass), SinkConfigClass: text(d.SinkConfigClass)})
	}
	return list
}

// Functions lists the functions by name.
func (c *Catalog) Functions() []FunctionDefinition {
	items := *c.functions.Load()
	list := make([]FunctionDefinition, 0, len(items)+len(c.compiledIn))
	for _, name := range slices.Sorted(maps.Keys(c.compiledIn)) {
		list = append(list, c.compiledIn[name])
	}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		if c.IsCompiled(name) {
			continue
		}
		d := items[name].definition
		list = append(list, FunctionDefinition{Name: name, Description: text(d.Description), FunctionClass: text(d.FunctionClass)})
	}
	return list
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ConnectorFile is the archive of a connector, an absolute path; "" for one that is compiled into the worker.
func (c *Catalog) ConnectorFile(name string) (path string, ok bool) {
	if _, ok := c.compiledConnectors[name]; ok {
		return "", true
	}
	found, ok := (*c.connectors.Load())[name]
	return found.file, ok
}

// FunctionFile is the archive of a function, an absolute path; "" for one that is compiled into the worker.
func (c *Catalog) FunctionFile(name string) (path string, ok bool) {
	if c.IsCompiled(name) {
		return "", true
	}
	found, ok := (*c.functions.Load())[name]
	return found.file, ok
}

// ConfigFields describes the class that configures a connector as a source or as a sink; false when there is no such
// connector or it names no such class.
func (c *Catalog) ConfigFields(source bool, name string) ([]archive.ConfigField, bool, error) {
	if compiled, ok := c.compiledConnectors[name]; ok {
		fields := compiled.SinkFields
		if source {
			fields = compiled.SourceFields
		}
		return fields, fields != nil, nil
	}
	found, ok := (*c.connectors.Load())[name]
	class := found.definition.SinkConfigClass
	if source {
		class = found.definition.SourceConfigClass
	}
	if !ok || class == "" {
		return nil, false, nil
	}
	nar, err := archive.Open(found.file)
	if err != nil {
		return nil, true, fmt.Errorf("connector %s: %w", name, err)
	}
	defer nar.Close()
	fields, err := nar.ConfigFields(class)
	if err != nil {
		return nil, true, fmt.Errorf("connector %s: %w", name, err)
	}
	return fields, true, nil
}
