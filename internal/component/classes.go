package component

// FunctionKind is the interface through which a Java class is a function.
type FunctionKind int

// The function interfaces. NotAFunction is the zero value, for classes that implement none of them.
const (
	NotAFunction       FunctionKind = iota
	PulsarFunction                  // org.apache.pulsar.functions.api.Function
	JavaFunction                    // java.util.function.Function
	WindowFunction                  // org.apache.pulsar.functions.api.WindowFunction
	JavaWindowFunction              // java.util.function.Function over a java.util.Collection, run by the window executor
)

// Classes is what validation must know of the classes in a package; archive.Package implements it.
// Class names are Java binary names (nested types with $, arrays in JVM form such as "[B").
// Known JDK and Pulsar API classes count as present in every package.
type Classes interface {
	// Has says whether the class is in the package or known.
	Has(className string) bool
	// Implements says whether className is assignable to iface; the error tells that className, or a super
	// type on the way, cannot be found.
	Implements(className, iface string) (bool, error)
	// FunctionTypes gives the erased input and output type names of a function class and how it is a function.
	// For a java.util.function.Function it reports JavaFunction and the declared types, a Collection as
	// itself: what a window makes of them is decided by the caller through WindowTypes, if implemented.
	FunctionTypes(className string) (in, out string, kind FunctionKind, err error)
	// TypeArguments gives the erased types that className binds to the type parameters of iface.
	TypeArguments(className, iface string) ([]string, error)
}

// Module stands for the classes of a WebAssembly module, which has none.
type Module struct{ Classes }

// WindowClasses is implemented by Classes that can also look into the Collection of a
// java.util.function.Function<Collection<I>, O> that runs in windows.
type WindowClasses interface {
	// WindowFunctionTypes gives I and O. A function over something that is no Collection is an error.
	WindowFunctionTypes(className string) (in, out string, err error)
}

// UnreadableClasses is implemented by Classes that can tell a class that is not there from one that cannot be read.
type UnreadableClasses interface {
	// Unreadable is why a class that Has denies cannot be read, nil when it is not there.
	Unreadable(className string) error
}

// ConstructorClasses is implemented by Classes that can tell whether a class can be built from one java.util.Map.
type ConstructorClasses interface {
	HasMapConstructor(className string) (bool, error)
}

// DescribedClasses is implemented by Classes of a package that can carry META-INF/services/pulsar-io.yaml.
type DescribedClasses interface {
	// DeclaredClass gives the class that the file names for the kind ("" when it names none); ok says whether
	// there is such a file at all. An unreadable file is an error.
	DeclaredClass(kind Kind) (className string, ok bool, err error)
}
