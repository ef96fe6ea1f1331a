//lint:file-ignore ST1005 some errors begin as those of the Java worker do

package component

import (
	"fmt"
	"slices"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// IsCompiledConnector says whether an archive names a connector that is compiled into the worker: it has no Java classes.
func (o Options) IsCompiledConnector(archive *string) bool {
	name, ok := BuiltinName(archive)
	if !ok || o.CompiledConnector == nil {
		return false
	}
	_, _, ok = o.CompiledConnector(name)
	return ok
}

// compiledName is the name of a compiled-in connector that is one of this kind.
func (o Options) compiledName(kind Kind, archive *string) (string, error) {
	name, _ := BuiltinName(archive)
	source, sink, _ := o.CompiledConnector(name)
	if kind == Source && !source || kind == Sink && !sink {
		return "", fmt.Errorf("Built-in connector %s is compiled into the worker and is not a %s", name, strings.ToLower(kind.String()))
	}
	return name, nil
}

// compiledSink are the checks of a sink that is compiled in: those of an archive, except that there are no classes, so
// that nothing may name one.
func (o Options) compiledSink(cfg *SinkConfig) (*pb.FunctionDetails, error) {
	if err := cfg.checkCommon(); err != nil {
		return nil, err
	}
	name, err := o.compiledName(Sink, cfg.Archive)
	if err != nil {
		return nil, err
	}
	if !blank(text(cfg.TransformFunction)) || !blank(text(cfg.TransformFunctionClassName)) {
		return nil, fmt.Errorf("sink %s is compiled into the worker and takes no transform function: deploy that as a function, whose output is the sink's input", name)
	}
	for _, topic := range keys(cfg.TopicToSerdeClassName) {
		if err := noClass("serializer", cfg.TopicToSerdeClassName[topic], defaultSerDe); err != nil {
			return nil, err
		}
	}
	for _, topic := range keys(cfg.TopicToSchemaType) {
		if err := noSchemaClass(cfg.TopicToSchemaType[topic]); err != nil {
			return nil, err
		}
	}
	for _, topic := range keys(cfg.InputSpecs) {
		if err := checkCompiledInput(cfg.InputSpecs[topic]); err != nil {
			return nil, err
		}
	}
	if err := checkOrdering(cfg.RetainOrdering, cfg.RetainKeyOrdering, cfg.ProcessingGuarantees); err != nil {
		return nil, err
	}
	return cfg.details(sinkTypes{className: name})
}

func checkCompiledInput(spec *ConsumerConfig) error {
	if text(spec.SchemaType) != "" && text(spec.SerdeClassName) != "" {
		return javaError("Only one of serdeClassName or schemaType should be set")
	}
	if err := noClass("serializer", text(spec.SerdeClassName), defaultSerDe); err != nil {
		return err
	}
	if err := noSchemaClass(text(spec.SchemaType)); err != nil {
		return err
	}
	return noKeyReader(spec.CryptoConfig)
}

// compiledSource are the checks of a source that is compiled in, as compiledSink.
func (o Options) compiledSource(cfg *SourceConfig) (*pb.FunctionDetails, error) {
	if err := cfg.checkCommon(); err != nil {
		return nil, err
	}
	name, err := o.compiledName(Source, cfg.Archive)
	switch {
	case err != nil:
		return nil, err
	case cfg.BatchSourceConfig != nil:
		return nil, fmt.Errorf("source %s is compiled into the worker and is no batch source: leave batchSourceConfig out", name)
	case text(cfg.SerdeClassName) != "" && text(cfg.SchemaType) != "":
		return nil, javaError("Only one of serdeClassName or schemaType should be set")
	}
	if err := noClass("serializer", text(cfg.SerdeClassName), defaultSerDe); err != nil {
		return nil, err
	}
	if err := noSchemaClass(text(cfg.SchemaType)); err != nil {
		return nil, err
	}
	if cfg.ProducerConfig != nil {
		if err := noKeyReader(cfg.ProducerConfig.CryptoConfig); err != nil {
			return nil, err
		}
	}
	return cfg.details(name, "")
}

// fileKeyReader is what a crypto key reader that needs no class is called (instance.FileKeyReader).
const fileKeyReader = "FileKeyReader"

// noClass refuses a Java class where there is none.
func noClass(what, class string, allowed ...string) error {
	if class == "" || slices.Contains(allowed, class) {
		return nil
	}
	return fmt.Errorf("The %s class %s does not exist: the connector is compiled into the worker and has no Java classes", what, class)
}

func noSchemaClass(schema string) error {
	if slices.Contains(schemaTypes, strings.ToUpper(schema)) {
		return nil
	}
	return noClass("schema", schema)
}

func noKeyReader(c *CryptoConfig) error {
	if c == nil {
		return nil
	}
	return noClass("crypto key reader", text(c.CryptoKeyReaderClassName), fileKeyReader)
}
