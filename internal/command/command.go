// Package command is the command line of a worker: serve, check, instance, download, version. It is shared by the program of this
// project and by programs that have functions or runtimes of their own compiled in (pkg/worker).
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/functions-worker/functions-worker/internal/app"
	"github.com/functions-worker/functions-worker/internal/config"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/runtime/process"
)

// Options are what a program adds to the worker.
type Options struct {
	Version string
	// Functions are compiled into the program.
	Functions []instance.Builtin
	// Runtimes are further runtimes, by the class name that selects them in functionRuntimeFactoryClassName.
	Runtimes map[string]app.NewRuntime
}

// Main runs the command line of the process and returns its exit status.
func Main(o Options) int {
	process.ExecWithLimits() // not a worker at all, but an instance on its way
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := o.Run(ctx, os.Args[1:])
	stop()
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
}

// Run runs a command line until it is done or ctx ends.
func (o Options) Run(ctx context.Context, args []string) error {
	root := o.root()
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// exitStatus ends the program with a status after everything has been said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func (o Options) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "functions-worker",
		Short: "A functions worker for Apache Pulsar",
		Long: "Registers functions, spreads their instances over the workers of a cluster and runs them.\n" +
			"Without a command it serves: the same as `functions-worker serve`.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return o.serve(cmd) },
	}
	config.AddFlags(root.PersistentFlags())
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Run the worker until SIGTERM or SIGINT", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return o.serve(cmd) },
		},
		&cobra.Command{
			Use: "check", Short: "Say whether a worker could start here, and what to mend", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return o.checkSetup(cmd) },
		},
		configCommand(),
		nslookupCommand(),
		o.instanceCommand(),
		downloadCommand(),
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), o.Version) },
		},
	)
	return root
}
