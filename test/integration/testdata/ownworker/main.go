// Command ownworker is a worker with functions of its own compiled in.
package main

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/functions-worker/functions-worker/examples/go/exclamation/exclaim"
	"github.com/functions-worker/functions-worker/pkg/function"
	"github.com/functions-worker/functions-worker/pkg/worker"
)

func main() {
	worker.Main(worker.Options{Functions: []function.Compiled{
		function.Builtin("exclamation", func(in string) (string, error) { return in + "!", nil }).Described("Adds an exclamation mark."),
		function.Builtin("exclaim", exclaim.Exclaim),
		function.Builtin("identity", func(in []byte) ([]byte, error) { return in, nil }),
		function.Concurrent("upper", 16, func(in string) (string, error) { return strings.ToUpper(in), nil }),
		function.Builtin("hang", func(string) error { select {} }),
		function.Builtin("moods", moods),
		function.Builtin("scenario", scenario),
		function.Builtin("move", move),
		function.Builtin("comma", function.Window(comma)),
		function.BuiltinSource("lines", newLines).Described("Reads the lines of a file."),
		function.BuiltinSink("appender", newAppender).Described("Appends lines to a file."),
		function.Builtin("seconds", func(d *durationpb.Duration) (int64, error) { return d.Seconds, nil }),
		function.Builtin("count", func(in string) (*wrapperspb.Int64Value, error) { return wrapperspb.Int64(int64(len(in))), nil }),
	}})
}

// moods does what its input says.
func moods(ctx context.Context, in string) (string, error) {
	c, _ := function.FromContext(ctx)
	switch {
	case in == "fail":
		return "", errors.New("no good")
	case in == "panic":
		panic("ouch")
	case in == "config":
		return c.UserConfigString("word", "none"), nil
	case strings.HasPrefix(in, "log "):
		c.Logger().Info(in)
		return "", function.ErrNoResult
	}
	return in, nil
}
