package app

import (
	"github.com/functions-worker/functions-worker/internal/api"
	"github.com/functions-worker/functions-worker/internal/catalog"
)

// builtins is the catalog of this worker's disk as the REST API asks for it.
type builtins struct{ *catalog.Catalog }

func (b builtins) Connectors() []api.ConnectorDefinition {
	var list []api.ConnectorDefinition
	for _, d := range b.Catalog.Connectors() {
		list = append(list, api.ConnectorDefinition{Name: d.Name, Description: d.Description, SourceClass: d.SourceClass, SinkClass: d.SinkClass,
			SourceConfigClass: d.SourceConfigClass, SinkConfigClass: d.SinkConfigClass})
	}
	return list
}

func (b builtins) Functions() []api.FunctionDefinition {
	var list []api.FunctionDefinition
	for _, d := range b.Catalog.Functions() {
		list = append(list, api.FunctionDefinition{Name: d.Name, Description: d.Description, FunctionClass: d.FunctionClass})
	}
	return list
}

func (b builtins) ConfigFields(k api.Kind, name string) ([]api.ConfigField, bool, error) {
	fields, declared, err := b.Catalog.ConfigFields(k == api.Source, name)
	var list []api.ConfigField
	for _, f := range fields {
		list = append(list, api.ConfigField{FieldName: f.FieldName, TypeName: f.TypeName, Attributes: f.Attributes})
	}
	return list, declared, err
}
