package archive

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/functions-worker/functions-worker/internal/component"
)

// Definition is META-INF/services/pulsar-io.yaml: what a NAR says it contains. Unknown members are ignored
// (contract component-configs 2.6, 9.2).
type Definition struct {
	Name              string
	Description       string
	SourceClass       string
	SinkClass         string
	SourceConfigClass string
	SinkConfigClass   string
	FunctionClass     string
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
	if len(data) > maxDefinitionSize {
		return Definition{}, fmt.Errorf("%w: it has %d bytes, more than %d", ErrLimit, len(data), maxDefinitionSize)
	}
	// Not into the structure at once: the library compares each key with every other and keeps a complaint for each pair.
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return Definition{}, err
	}
	if len(document.Content) == 0 || document.Content[0].ShortTag() == "!!null" {
		return Definition{}, errors.New("the file is empty")
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return Definition{}, errors.New("it is no map of keys and values")
	}
	var d Definition
	for i := 0; i+1 < len(root.Content); i += 2 {
		field := d.field(root.Content[i].Value)
		if field == nil {
			continue
		}
		if err := root.Content[i+1].Decode(field); err != nil {
			return Definition{}, fmt.Errorf("%s: %w", root.Content[i].Value, err)
		}
	}
	return d, nil
}

// field is where a key's value goes, nil for keys that are not looked at; of a key that is written twice the last counts.
func (d *Definition) field(key string) *string {
	switch key {
	case "name":
		return &d.Name
	case "description":
		return &d.Description
	case "sourceClass":
		return &d.SourceClass
	case "sinkClass":
		return &d.SinkClass
	case "sourceConfigClass":
		return &d.SourceConfigClass
	case "sinkConfigClass":
		return &d.SinkConfigClass
	case "functionClass":
		return &d.FunctionClass
	}
	return nil
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
