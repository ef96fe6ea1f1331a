// Command functions-worker is a functions worker for Apache Pulsar: it registers functions, spreads them over the workers
// of a cluster, and runs them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/functions-worker/functions-worker/internal/config"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := rootCommand().ExecuteContext(ctx)
	stop()
	var status exitStatus
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// exitStatus ends the program with a status after everything has been said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "functions-worker",
		Short: "A functions worker for Apache Pulsar",
		Long: "Registers functions, spreads their instances over the workers of a cluster and runs them.\n" +
			"Without a command it serves: the same as `functions-worker serve`.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd) },
	}
	config.AddFlags(root.PersistentFlags())
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Run the worker until SIGTERM or SIGINT", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd) },
		},
		&cobra.Command{
			Use: "check", Short: "Say whether a worker could start here, and what to mend", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return checkSetup(cmd) },
		},
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version) },
		},
	)
	return root
}
