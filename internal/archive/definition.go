package archive

import (
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/functions-worker/functions-worker/internal/component"
)

// Definition is META-INF/services/pulsar-io.yaml: what a NAR says it contains. Unknown members are ignored
// (contract component-configs 2.6, 9.2).
type Definition struct {
	Name              string `yaml:"name"`
	Description       string `yaml:"description"`
	SourceClass       string `yaml:"sourceClass"`
	SinkClass         string `yaml:"sinkClass"`
	SourceConfigClass string `yaml:"sourceConfigClass"`
	SinkConfigClass   string `yaml:"sinkConfigClass"`
	FunctionClass     string `yaml:"functionClass"`
}

// ErrNoDefinition says that a package has no META-INF/services/pulsar-io.yaml.
var ErrNoDefinition = errors.New("package doesn't contain the META-INF/services/pulsar-io.yaml file")

// Definition reads the package's definition; ErrNoDefinition when it has none.
func (p *Package) Definition() (Definition, error) {
	if p.outer == nil || p.outer.entries[definitionEntry] == nil {
		return Definition{}, fmt.Errorf("%s: %w", p.name, ErrNoDefinition)
	}
	data, err := p.outer.readAll(p.outer.entries[definitionEntry], maxDefinitionSize)
	if err != nil {
		return Definition{}, err
	}
	d, err := parseDefinition(data)
	if err != nil {
		return Definition{}, fmt.Errorf("%s: read %s: %w", p.name, definitionEntry, err)
	}
	return d, nil
}

func parseDefinition(data []byte) (Definition, error) {
	var d *Definition
	if err := yaml.Unmarshal(data, &d); err != nil && !errors.Is(err, io.EOF) {
		return Definition{}, err
	}
	if d == nil {
		return Definition{}, errors.New("the file is empty")
	}
	return *d, nil
}

// DeclaredClass gives the class that the definition names for a component of this kind, empty when it names none.
// ok says whether there is a definition at all.
func (p *Package) DeclaredClass(kind component.Kind) (className string, ok bool, err error) {
	d, err := p.Definition()
	switch {
	case errors.Is(err, ErrNoDefinition):
		return "", false, nil
	case err != nil:
		return "", true, err
	case kind == component.Source:
		return d.SourceClass, true, nil
	case kind == component.Sink:
		return d.SinkClass, true, nil
	}
	return d.FunctionClass, true, nil
}
