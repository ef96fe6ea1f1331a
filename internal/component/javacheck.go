package component

import (
	"slices"
	"strings"
)

// The interfaces that classes of a package are checked for.
const (
	apiFunction       = "org.apache.pulsar.functions.api.Function"
	apiWindowFunction = "org.apache.pulsar.functions.api.WindowFunction"
	javaFunction      = "java.util.function.Function"
	apiSerDe          = "org.apache.pulsar.functions.api.SerDe"
	apiSchema         = "org.apache.pulsar.client.api.Schema"
	apiKeyReader      = "org.apache.pulsar.client.api.CryptoKeyReader"
	defaultSerDe      = "org.apache.pulsar.functions.api.utils.DefaultSerDe"
	javaObject        = "java.lang.Object"
)

// functionTypes is what validation found out about a function's class; for Python and Go the class name only.
type functionTypes struct {
	className *string
	in, out   string // erased type names, "" when not known
}

// direction says which way a type is converted: an input's type must fit the function's, the function's the
// output's.
type direction bool

const (
	input  direction = true
	output direction = false
)

// checkJava are the checks of a Java function's classes, in the Java worker's order (3.3).
func (c *FunctionConfig) checkJava(classes Classes) (functionTypes, error) {
	name, err := functionClassName(c.ClassName, classes)
	if err != nil {
		return functionTypes{}, err
	}
	types := functionTypes{className: &name}
	if err := checkFunctionClass(name, classes); err != nil {
		return types, err
	}
	if types.in, types.out, err = resolveFunctionTypes(name, classes, c.WindowConfig != nil); err != nil {
		return types, err
	}
	if err := c.checkInputClasses(classes, types.in); err != nil {
		return types, err
	}
	return types, c.checkOutputClasses(classes, types.out)
}

// functionClassName is the trimmed class name, or the one that the package declares.
func functionClassName(given *string, classes Classes) (string, error) {
	if name := strings.TrimSpace(text(given)); name != "" {
		return name, nil
	}
	name, _, err := declaredClass(classes, Function)
	if err != nil {
		return "", err
	}
	if name == "" {
		return "", javaError("Function class name is not provided.")
	}
	return name, nil
}

// declaredClass asks a package for the class its pulsar-io.yaml names; ok is false when it has no such file.
func declaredClass(classes Classes, kind Kind) (name string, ok bool, err error) {
	if described, can := classes.(DescribedClasses); can {
		return described.DeclaredClass(kind)
	}
	return "", false, nil
}

// missingClass is the Java worker's text for a class that is not there, or what is wrong with the one that is.
func missingClass(kind Kind, name string, classes Classes, format string) error {
	if could, ok := classes.(UnreadableClasses); ok {
		if err := could.Unreadable(name); err != nil {
			return javaError("%s class %s of the package cannot be read: %v", kind, name, err)
		}
	}
	return javaError(format, name)
}

func checkFunctionClass(name string, classes Classes) error {
	if !classes.Has(name) {
		return missingClass(Function, name, classes, "Function class %s must be in class path")
	}
	for _, iface := range []string{apiFunction, javaFunction, apiWindowFunction} {
		ok, err := classes.Implements(name, iface)
		if err != nil {
			return javaError("Function class %s must be in class path", name)
		}
		if ok {
			return nil
		}
	}
	return javaError("Function class %s does not implement the correct interface", name)
}

// resolveFunctionTypes finds the input and output types of a function class, run over windows or not (8.2).
func resolveFunctionTypes(name string, classes Classes, window bool) (in, out string, err error) {
	in, out, kind, err := classes.FunctionTypes(name)
	if !window {
		switch {
		case err != nil:
			return "", "", err
		case kind == WindowFunction:
			return "", "", javaError("Function class %s is a WindowFunction, which needs a windowConfig", name)
		default:
			return in, out, nil
		}
	}
	switch kind {
	case PulsarFunction:
		return "", "", javaError("Function class %s takes single messages and cannot be used with a windowConfig", name)
	case JavaFunction, JavaWindowFunction:
		if w, ok := classes.(WindowClasses); ok {
			return w.WindowFunctionTypes(name)
		}
		if kind == JavaFunction && err == nil {
			return "", "", javaError("Window function must take a collection as input")
		}
	}
	return in, out, err
}

func (c *FunctionConfig) checkInputClasses(classes Classes, in string) error {
	for _, topic := range keys(c.CustomSerdeInputs) {
		if err := checkSerDe(c.CustomSerdeInputs[topic], in, classes, input); err != nil {
			return err
		}
	}
	for _, topic := range keys(c.CustomSchemaInputs) {
		schema, err := parseSchemaInput(c.CustomSchemaInputs[topic])
		if err != nil {
			return javaError("Topic %s has an incorrect schema Info", topic)
		}
		if err := checkSchema(text(schema.SchemaType), in, classes, input); err != nil {
			return err
		}
	}
	for _, topic := range keys(c.InputSpecs) {
		spec := c.InputSpecs[topic]
		if text(spec.SchemaType) != "" && text(spec.SerdeClassName) != "" {
			return javaError("Only one of schemaType or serdeClassName should be set in inputSpec")
		}
		if err := checkInputSpec(spec, in, classes); err != nil {
			return err
		}
	}
	return nil
}

// checkInputSpec checks the classes that the config of one input names.
func checkInputSpec(spec *ConsumerConfig, in string, classes Classes) error {
	if err := checkSerDe(text(spec.SerdeClassName), in, classes, input); err != nil {
		return err
	}
	if err := checkSchema(text(spec.SchemaType), in, classes, input); err != nil {
		return err
	}
	return checkKeyReader(spec.CryptoConfig, classes, false)
}

func (c *FunctionConfig) checkOutputClasses(classes Classes, out string) error {
	if text(c.OutputSerdeClassName) != "" && text(c.OutputSchemaType) != "" {
		return javaError("Only one of outputSchemaType or outputSerdeClassName should be set")
	}
	if err := checkSchema(text(c.OutputSchemaType), out, classes, output); err != nil {
		return err
	}
	if err := checkSerDe(text(c.OutputSerdeClassName), out, classes, output); err != nil {
		return err
	}
	if c.ProducerConfig == nil {
		return nil
	}
	return checkKeyReader(c.ProducerConfig.CryptoConfig, classes, true)
}

// schemaTypes are the schemas that need no class, in upper case.
var schemaTypes = []string{"NONE", "STRING", "JSON", "PROTOBUF", "AVRO", "BOOLEAN", "INT8", "INT16", "INT32", "INT64",
	"FLOAT", "DOUBLE", "DATE", "TIME", "TIMESTAMP", "KEY_VALUE", "INSTANT", "LOCAL_DATE", "LOCAL_TIME",
	"LOCAL_DATE_TIME", "PROTOBUF_NATIVE", "BYTES", "AUTO", "AUTO_CONSUME", "AUTO_PUBLISH"}

// checkSchema checks a schema type or class against the type of a function or connector (3.4).
func checkSchema(schema, fnType string, classes Classes, d direction) error {
	if schema == "" || slices.Contains(schemaTypes, strings.ToUpper(schema)) {
		return nil
	}
	if !classes.Has(schema) {
		return javaError("The schema class %s does not exist", schema)
	}
	if ok, err := classes.Implements(schema, apiSchema); err != nil || !ok {
		return javaError("%s does not implement %s", schema, apiSchema)
	}
	return checkConverter("Schema type", schema, apiSchema, fnType, classes, d)
}

// checkSerDe checks a serializer class against the type of a function or connector (3.4).
func checkSerDe(serde, fnType string, classes Classes, d direction) error {
	if serde == "" || serde == defaultSerDe {
		return nil
	}
	if !classes.Has(serde) {
		return javaError("The input serialization/deserialization class %s does not exist", serde)
	}
	if ok, err := classes.Implements(serde, apiSerDe); err != nil || !ok {
		return javaError("%s does not implement %s", serde, apiSerDe)
	}
	return checkConverter("Serializer type", serde, apiSerDe, fnType, classes, d)
}

// checkConverter checks that a schema's or serializer's type and the function's fit.
func checkConverter(what, class, iface, fnType string, classes Classes, d direction) error {
	args, err := classes.TypeArguments(class, iface)
	if err != nil {
		return javaError("the type of %s cannot be found: %w", class, err)
	}
	if len(args) == 0 {
		return javaError("the type of %s cannot be found: it does not say the type of %s", class, iface)
	}
	from, to := args[0], fnType
	if d == output {
		from, to = to, from
	}
	if !assignable(from, to, classes) {
		return javaError("%s mismatch %s vs %s", what, sourceSpelling(fnType), sourceSpelling(args[0]))
	}
	return nil
}

func assignable(from, to string, classes Classes) bool {
	if from == to || to == javaObject {
		return true
	}
	ok, err := classes.Implements(from, to)
	return err == nil && ok
}

// checkKeyReader checks the class of an encryption key reader (3.4).
func checkKeyReader(c *CryptoConfig, classes Classes, producer bool) error {
	if c == nil || text(c.CryptoKeyReaderClassName) == "" {
		return nil
	}
	name := *c.CryptoKeyReaderClassName
	if !classes.Has(name) {
		return javaError("The crypto key reader class %s does not exist", name)
	}
	if ok, err := classes.Implements(name, apiKeyReader); err != nil || !ok {
		return javaError("%s does not implement %s", name, apiKeyReader)
	}
	if constructors, can := classes.(ConstructorClasses); can {
		if ok, err := constructors.HasMapConstructor(name); err != nil || !ok {
			return javaError("The crypto key reader class %s does not implement the desired constructor.", name)
		}
	}
	if producer && len(c.EncryptionKeys) == 0 {
		return javaError("Missing encryption key name for producer crypto key reader")
	}
	return nil
}

// sourceSpelling writes a type as Java sources do: byte[] for [B.
func sourceSpelling(name string) string {
	element := strings.TrimLeft(name, "[")
	dimensions := len(name) - len(element)
	if dimensions == 0 {
		return name
	}
	primitives := map[string]string{"B": "byte", "C": "char", "D": "double", "F": "float", "I": "int", "J": "long",
		"S": "short", "Z": "boolean"}
	if p, ok := primitives[element]; ok {
		element = p
	} else {
		element = strings.TrimSuffix(strings.TrimPrefix(element, "L"), ";")
	}
	return element + strings.Repeat("[]", dimensions)
}
