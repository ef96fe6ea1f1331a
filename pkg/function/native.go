//go:build !wasip1

package function

import (
	"context"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/functions-worker/functions-worker/internal/instance"
)

func start(a adapted, adaptErr error) int {
	if adaptErr != nil {
		fmt.Fprintln(os.Stderr, "function:", adaptErr)
		return ExitUsage
	}
	return instance.Process{
		Args: os.Args[1:],
		NoConfig: "this program is a Pulsar function: a functions worker starts it with -instance-conf; " +
			"submit it with: pulsar-admin functions create --go <this file> --name … --inputs … --output …",
		Load: func(context.Context, *instance.Config, *zap.Logger) (instance.Program, func(context.Context), error) {
			return a.program(), nil, nil
		},
	}.Run()
}
