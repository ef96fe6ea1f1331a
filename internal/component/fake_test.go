package component

import (
	"errors"
	"slices"
)

// fakeClass is what the tests know of a Java class.
type fakeClass struct {
	implements     []string
	in, out        string
	kind           FunctionKind
	windowIn       string
	arguments      map[string][]string
	mapConstructor bool
}

// fakeClasses is a package for tests, by class name.
type fakeClasses struct {
	classes  map[string]fakeClass
	declared map[Kind]string // nil: the package has no pulsar-io.yaml
}

func (p fakeClasses) Has(name string) bool { _, ok := p.classes[name]; return ok }

func (p fakeClasses) Implements(name, iface string) (bool, error) {
	return name == iface || slices.Contains(p.classes[name].implements, iface), nil
}

func (p fakeClasses) FunctionTypes(name string) (in, out string, kind FunctionKind, err error) {
	c := p.classes[name]
	return c.in, c.out, c.kind, nil
}

func (p fakeClasses) TypeArguments(name, iface string) ([]string, error) {
	return p.classes[name].arguments[iface], nil
}

func (p fakeClasses) WindowFunctionTypes(name string) (in, out string, err error) {
	c := p.classes[name]
	if c.windowIn == "" {
		return "", "", errors.New("Window function must take a collection as input")
	}
	return c.windowIn, c.out, nil
}

func (p fakeClasses) HasMapConstructor(name string) (bool, error) {
	return p.classes[name].mapConstructor, nil
}

func (p fakeClasses) DeclaredClass(kind Kind) (string, bool, error) {
	if p.declared == nil {
		return "", false, nil
	}
	return p.declared[kind], true, nil
}

const (
	examples   = "org.apache.pulsar.functions.api.examples."
	javaString = "java.lang.String"
	javaVoid   = "java.lang.Void"
)

func stringFunction(out string) fakeClass {
	return fakeClass{implements: []string{apiFunction}, in: javaString, out: out, kind: PulsarFunction}
}

// exampleClasses stands for api-examples.jar of the distribution (contract component-configs.md, 8.4).
func exampleClasses() fakeClasses {
	return fakeClasses{classes: map[string]fakeClass{
		examples + "ExclamationFunction": stringFunction(javaString),
		examples + "UserConfigFunction":  stringFunction(javaString),
		examples + "LoggingFunction":     stringFunction(javaString),
		examples + "VoidFunction":        stringFunction(javaVoid),
		examples + "AddWindowFunction": {implements: []string{javaFunction}, in: "java.util.Collection", out: "java.lang.Integer",
			kind: JavaFunction, windowIn: "java.lang.Integer"},
		examples + "JavaNativeExclamationFunction": {implements: []string{javaFunction}, in: javaString, out: javaString, kind: JavaFunction},
		examples + "window.ContextWindowFunction": {implements: []string{apiWindowFunction}, in: "java.lang.Integer", out: "java.lang.Integer",
			kind: WindowFunction},
		examples + "CustomBaseToBaseFunction":       {implements: []string{apiFunction}, in: examples + "CustomBaseObject", out: examples + "CustomBaseObject", kind: PulsarFunction},
		examples + "CustomDerivedToDerivedFunction": {implements: []string{apiFunction}, in: examples + "CustomDerivedObject", out: examples + "CustomDerivedObject", kind: PulsarFunction},
		examples + "BytesFunction":                  {implements: []string{apiFunction}, in: "[B", out: "[B", kind: PulsarFunction},
		examples + "CustomBaseObject":               {},
		examples + "CustomDerivedObject":            {implements: []string{examples + "CustomBaseObject"}},
		examples + "CustomBaseSerde":                {implements: []string{apiSerDe}, arguments: map[string][]string{apiSerDe: {examples + "CustomBaseObject"}}},
		examples + "CustomDerivedSerde":             {implements: []string{apiSerDe}, arguments: map[string][]string{apiSerDe: {examples + "CustomDerivedObject"}}},
		examples + "StringSchema":                   {implements: []string{apiSchema}, arguments: map[string][]string{apiSchema: {javaString}}},
		examples + "RawFileKeyReader":               {implements: []string{apiKeyReader}, mapConstructor: true},
		examples + "NoMapKeyReader":                 {implements: []string{apiKeyReader}},
		"org.apache.pulsar.io.datagenerator.DataGeneratorSource": {implements: []string{ioSource},
			arguments: map[string][]string{ioSource: {"org.apache.pulsar.io.datagenerator.Person"}}},
		"org.apache.pulsar.io.datagenerator.DataGeneratorPrintSink": {implements: []string{ioSink},
			arguments: map[string][]string{ioSink: {"org.apache.pulsar.io.datagenerator.Person"}}},
	}}
}
