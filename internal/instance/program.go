package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Program is what a package turns into: the code of one instance. The Context of a call (FromContext) leads to
// configuration, state, log and other topics. Handle is called by one goroutine at a time unless the program says
// otherwise (see Concurrent).
type Program interface {
	// Handle takes one message; a nil result means that there is none.
	Handle(ctx context.Context, input []byte) (*Result, error)
	// Close frees what the program holds, after its last call.
	Close(ctx context.Context) error
}

// Concurrent is implemented by programs that handle several messages at a time. Results are sent in the order of
// their inputs nevertheless.
type Concurrent interface {
	// Concurrency is how many calls may run at the same time; the worker's maxPendingAsyncRequests bounds it.
	Concurrency() int
}

// Windowed is implemented by programs that can take windows.
type Windowed interface {
	// TakesWindows says whether this one does; if so, it takes nothing else.
	TakesWindows() bool
	// Read makes a value of a message when it arrives. An error is one of that message alone.
	Read(input []byte) (any, error)
	// HandleWindow takes the messages of a window; a nil result means that there is none.
	HandleWindow(ctx context.Context, messages []WindowMessage) (*Result, error)
}

// WindowMessage is a message of a window and what Read made of it.
type WindowMessage struct {
	pulsar.Message
	Read any
}

// windowed finds the form for windows, or none, and refuses a program that does not fit the plan.
func windowed(p Program, plan *Plan) (Windowed, error) {
	w, ok := p.(Windowed)
	return w, windowsFit(ok && w.TakesWindows(), plan.Window != nil)
}

func windowsFit(takes, configured bool) error {
	switch {
	case takes && !configured:
		return errors.New("the function takes windows of messages and needs a windowConfig")
	case !takes && configured:
		return errors.New("windowConfig: the function takes single messages; leave it out, or use a function made for windows")
	}
	return nil
}

// Typed is implemented by programs that know the schemas of their types.
type Typed interface {
	Schemas() Schemas
}

// SchemasOf are those of a typed program, none of another.
func SchemasOf(p Program) Schemas {
	if t, ok := p.(Typed); ok {
		return t.Schemas()
	}
	return Schemas{}
}

// Handle makes a Handler a Program.
func (h Handler) Handle(ctx context.Context, input []byte) (*Result, error) { return h(ctx, input) }

// Close does nothing.
func (h Handler) Close(context.Context) error { return nil }

// Package is what an instance is made from.
type Package struct {
	// File is the local file of a package; "" for a compiled-in function.
	File string
	// Builtin is the name of a compiled-in function, source or sink; "" for a file.
	Builtin string
	// Details describe the function: userConfig, customRuntimeOptions and the rest. Not to be changed.
	Details *pb.FunctionDetails
	// Log takes the instance's lines.
	Log *zap.Logger
}

// Loader makes the program of one instance. It is called once per start of an instance.
type Loader func(ctx context.Context, p Package) (Program, error)

// Builtin is a function, a source or a sink compiled into the worker.
type Builtin struct {
	// Name is what follows builtin://.
	Name string
	// Kind is that of a source or a sink, whose programs are a Source or a Connector; left out: a function.
	Kind pb.FunctionDetails_ComponentType
	// Description is one line for the list of built-ins.
	Description string
	// Fields are what the configs of a source or a sink may hold.
	Fields []ConfigField
	// Load makes the program of one instance.
	Load Loader
	// Windows is set for a function that takes windows of messages (see Windowed).
	Windows bool
	// Validate, which may be nil, refuses a function, source or sink at its submission.
	Validate func(d *pb.FunctionDetails) error
}

// ConfigField describes one field of the configs of a source or a sink.
type ConfigField struct {
	Name string
	// Type is spelt as in Java, as clients know it from archives.
	Type string
	// Help, Default, Required and Sensitive are for people.
	Help, Default       string
	Required, Sensitive bool
}

// Admit checks the details of a function made of b as far as that goes without a broker. keysDirectory is what it would run with; "":
// without keys.
func (b Builtin) Admit(d *pb.FunctionDetails, keysDirectory string) error {
	plan, err := NewPlan(&Config{Details: d}, "")
	if err != nil {
		return err
	}
	if err := windowsFit(b.Windows, plan.Window != nil); err != nil {
		return err
	}
	if b.Validate != nil {
		if err := b.Validate(d); err != nil {
			return err
		}
	}
	return CheckKeys(d, keysDirectory)
}

// Programs knows what this process can run by itself, without a program of another language.
type Programs struct {
	builtins map[builtinKey]Builtin
	wasm     Loader
}

// builtinKey is unique: a source and a sink may have one name, as those of an archive have.
type builtinKey struct {
	kind pb.FunctionDetails_ComponentType
	name string
}

// NewPrograms refuses a name that is taken, empty, or not fit for a URL. wasm may be nil: no WebAssembly then.
func NewPrograms(wasm Loader, builtins ...Builtin) (*Programs, error) {
	p := &Programs{builtins: map[builtinKey]Builtin{}, wasm: wasm}
	for _, b := range builtins {
		if b.Kind == pb.FunctionDetails_UNKNOWN {
			b.Kind = pb.FunctionDetails_FUNCTION
		}
		key, what := builtinKey{b.Kind, b.Name}, strings.ToLower(b.Kind.String())
		switch _, taken := p.builtins[key]; {
		case b.Name == "" || strings.ContainsAny(b.Name, "/ \t\n?#"):
			return nil, fmt.Errorf("compiled-in %s %q: the name must not be empty and must not hold blanks, '/', '?' or '#'", what, b.Name)
		case taken:
			return nil, fmt.Errorf("compiled-in %s %q is there twice", what, b.Name)
		case b.Load == nil:
			return nil, fmt.Errorf("compiled-in %s %q has no code", what, b.Name)
		}
		p.builtins[key] = b
	}
	return p, nil
}

// Builtin finds what a function, source or sink is made of, if that is compiled in.
func (p *Programs) Builtin(d *pb.FunctionDetails) (Builtin, bool) {
	return p.Named(kindOf(d), pb.BuiltinName(d))
}

// Named is Builtin by kind and name.
func (p *Programs) Named(kind pb.FunctionDetails_ComponentType, name string) (Builtin, bool) {
	if p == nil {
		return Builtin{}, false
	}
	b, ok := p.builtins[builtinKey{kind, name}]
	return b, ok
}

// Builtins are all that are compiled in, sorted by kind and name.
func (p *Programs) Builtins() []Builtin {
	if p == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(p.builtins), func(a, b Builtin) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// Package says what a function's package is for this process: hosted is false when it needs a program of its own
// language. file is the local file, or builtin://name for a function that has none.
func (p *Programs) Package(d *pb.FunctionDetails, file string) (pkg Package, hosted bool, err error) {
	pkg = Package{Details: d}
	if name, ok := strings.CutPrefix(file, BuiltinScheme); ok {
		pkg.Builtin = name
		return pkg, true, nil // one that is not known fails when it is loaded, with its name
	}
	if file == "" || kindOf(d) != pb.FunctionDetails_FUNCTION {
		return pkg, false, nil
	}
	pkg.File = file
	hosted, err = IsWASM(file)
	return pkg, hosted, err
}

// BuiltinScheme begins the "file" of a compiled-in function.
const BuiltinScheme = "builtin://"

// ErrNotHosted: the package needs a program of its own language, such as a JVM.
var ErrNotHosted = errors.New("this package cannot run inside a worker")

// Load makes the program of a package: a compiled-in function by its name, a WebAssembly module by its first bytes.
// Any other file is ErrNotHosted.
func (p *Programs) Load(ctx context.Context, pkg Package) (Program, error) {
	if pkg.Builtin != "" {
		kind := kindOf(pkg.Details)
		b, ok := p.Named(kind, pkg.Builtin)
		if !ok {
			return nil, fmt.Errorf("built-in %s %q is not compiled into this program", strings.ToLower(kind.String()), pkg.Builtin)
		}
		return b.Load(ctx, pkg)
	}
	isWASM, err := IsWASM(pkg.File)
	switch {
	case err != nil:
		return nil, err
	case !isWASM:
		return nil, fmt.Errorf("%s: %w", pkg.File, ErrNotHosted)
	case p == nil || p.wasm == nil:
		return nil, fmt.Errorf("%s is a WebAssembly module, which this program has no host for", pkg.File)
	}
	return p.wasm(ctx, pkg)
}

// wasmMagic begins every WebAssembly module.
const wasmMagic = "\x00asm"

// WASMSuffix ends the names of WebAssembly modules where only the name of a package is known.
const WASMSuffix = ".wasm"

// NamedAsWASM says whether a file is called like a WebAssembly module.
func NamedAsWASM(name string) bool { return strings.HasSuffix(strings.ToLower(name), WASMSuffix) }

// IsWASM says whether a file begins as a WebAssembly module does.
func IsWASM(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, fmt.Errorf("reading the package: %w", err)
	}
	defer f.Close()
	head := make([]byte, len(wasmMagic))
	if _, err := io.ReadFull(f, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, fmt.Errorf("reading the package: %w", err)
	}
	return string(head) == wasmMagic, nil
}
