// Package worker makes a functions worker of one's own: the worker of this project with functions and runtimes compiled
// in. The program has the whole command line of functions-worker:
//
//	func main() {
//		worker.Main(worker.Options{Functions: []function.Compiled{
//			function.Builtin("exclamation", func(in string) (string, error) { return in + "!", nil }),
//		}})
//	}
//
//	pulsar-admin functions create --jar builtin://exclamation --name e --inputs in --output out
//
// With ThreadRuntimeFactory such a function runs as goroutines of the worker, with ProcessRuntimeFactory as a child
// process of the same program. Every worker of a cluster should have the same functions compiled in: an instance that is
// assigned to one that lacks its function does not start there, and its status says so.
package worker

import (
	"context"
	"errors"
	"os"

	"github.com/functions-worker/functions-worker/internal/app"
	"github.com/functions-worker/functions-worker/internal/command"
	"github.com/functions-worker/functions-worker/pkg/function"
	"github.com/functions-worker/functions-worker/pkg/runtime"
)

// Options are what is compiled in.
type Options struct {
	// Functions, sources and sinks are submitted as builtin://name. Two of one kind and name, and handlers of a form that is
	// not known, are refused when the worker starts.
	Functions []function.Compiled
	// Runtimes are selected by their names in functionRuntimeFactoryClassName, and made from functionRuntimeFactoryConfigs.
	Runtimes map[string]func(settings map[string]any) (runtime.Factory, error)
	// Version is what the command version prints. Default: "dev".
	Version string
}

// Main is the main function of a worker: it runs the command line of the process, with SIGTERM and SIGINT to end it, and
// does not return.
func Main(o Options) {
	c, err := o.command()
	if err != nil {
		_, _ = os.Stderr.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(command.Main(c))
}

// Run runs a command line, such as "serve", "--conf", "functions_worker.yml", until it is done or ctx ends. A worker that
// runs this way starts compiled-in functions under the process runtime as children of the current executable with the
// command instance: its main has to hand that to Main or Run.
func Run(ctx context.Context, o Options, args ...string) error {
	c, err := o.command()
	if err != nil {
		return err
	}
	return c.Run(ctx, args)
}

func (o Options) command() (command.Options, error) {
	c := command.Options{Version: o.Version, Runtimes: map[string]app.NewRuntime{}}
	if c.Version == "" {
		c.Version = "dev"
	}
	var errs []error
	for _, f := range o.Functions {
		b, err := f.Internal()
		errs = append(errs, err)
		c.Functions = append(c.Functions, b)
	}
	for class, make := range o.Runtimes {
		c.Runtimes[class] = make
	}
	return c, errors.Join(errs...)
}
