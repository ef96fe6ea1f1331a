package component

import (
	"fmt"
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// Options are the worker settings that conversion depends on.
type Options struct {
	// ForwardSourceMessageProperty is the worker setting forwardSourceMessageProperty (default true): whether
	// functions copy the properties of a message to its result unless they say otherwise.
	ForwardSourceMessageProperty bool
	// CompiledIn says whether a built-in function is compiled into the worker: such a function has no Java classes, and
	// is submitted as a jar of the form builtin://name. nil: none is.
	CompiledIn func(name string) bool
	// CompiledConnector says whether a built-in connector is compiled into the worker, and whether as a source and as a sink.
	// nil: none is.
	CompiledConnector func(name string) (source, sink, ok bool)
}

// compiledIn is the name of the compiled-in function that a package names.
func (o Options) compiledIn(pkg *string) (name string, ok bool) {
	if name, ok = BuiltinName(pkg); !ok || o.CompiledIn == nil {
		return "", false
	}
	return name, o.CompiledIn(name)
}

// Java classes that the stored details name.
const (
	identityFunction    = "org.apache.pulsar.functions.api.utils.IdentityFunction"
	windowExecutor      = "org.apache.pulsar.functions.windowing.WindowFunctionExecutor"
	batchSourceExecutor = "org.apache.pulsar.functions.source.batch.BatchSourceExecutor"
)

// builtinPrefix is what decides that a package is built in; the full scheme is cut off to get its name.
const (
	builtinPrefix = "builtin"
	builtinScheme = "builtin://"
)

// BuiltinName gives the catalog name of a package that is given as builtin://name, as jar or archive has it;
// ok is false for other packages.
func BuiltinName(pkg *string) (name string, ok bool) {
	if pkg == nil || !strings.HasPrefix(*pkg, builtinPrefix) {
		return "", false
	}
	return strings.TrimPrefix(*pkg, builtinScheme), true
}

// errAutoAck is what neither a function nor a connector may ask for.
var errAutoAck = javaError("When Guarantees == ATMOST_ONCE, autoAck must be equal to true." +
	" This is a contradictory configuration, autoAck will be removed later." +
	" Please refer to PIP: https://github.com/apache/pulsar/issues/15560")

// checkDetails is the last check of every conversion.
func checkDetails(d *pb.FunctionDetails) (*pb.FunctionDetails, error) {
	//lint:ignore SA1019 deprecated, but what instances read
	if !d.GetAutoAck() && d.GetProcessingGuarantees() == pb.ProcessingGuarantees_ATMOST_ONCE {
		return nil, errAutoAck
	}
	return d, nil
}

// text is the value of an optional text, "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// isTrue is the value of an optional flag, false for null.
func isTrue(b *bool) bool { return b != nil && *b }

// ptr makes an optional value.
func ptr[T any](v T) *T { return &v }

// textOrNil is null for an empty text, as the answers of a GET have it.
func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// orDefault is the value of an optional field, or what stands for null.
func orDefault[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

// javaError is a refusal in the Java worker's words, which clients know; they do not follow Go's style.
func javaError(format string, args ...any) error { return fmt.Errorf(format, args...) }

// checkReserved refuses a free-form object that has members which the worker itself puts there.
func checkReserved(what string, o Object, instead string, names ...string) error {
	for _, name := range names {
		if _, there := o.Get(name); there {
			return fmt.Errorf("%s must not contain %s, which the worker sets itself; use %s", what, name, instead)
		}
	}
	return nil
}
