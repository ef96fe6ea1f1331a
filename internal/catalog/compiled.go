package catalog

import (
	"github.com/functions-worker/functions-worker/internal/archive"
)

// CompiledConnector is a source, a sink, or both of one name, compiled into the worker. It offers what its definition has a
// class for; the class is its name.
type CompiledConnector struct {
	ConnectorDefinition
	// SourceFields and SinkFields describe the configs; nil: nothing is known of them.
	SourceFields, SinkFields []archive.ConfigField
}

// CompiledConnectors makes connectors that are compiled into the worker part of the list. They go before archives of the same
// name, as a source and as a sink, and have no file. To be called before the catalog is used.
func (c *Catalog) CompiledConnectors(connectors ...CompiledConnector) {
	c.compiledConnectors = byName(c, "connector", *c.connectors.Load(), connectors, func(d CompiledConnector) string { return d.Name })
}

// CompiledConnector says whether a built-in connector is compiled into the worker, and as what.
func (c *Catalog) CompiledConnector(name string) (source, sink, ok bool) {
	d, ok := c.compiledConnectors[name]
	return d.SourceClass != nil, d.SinkClass != nil, ok
}
