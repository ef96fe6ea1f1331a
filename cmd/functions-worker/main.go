// Command functions-worker is a functions worker for Apache Pulsar: it registers functions, spreads them over the workers
// of a cluster, and runs them.
package main

import (
	"os"

	"github.com/functions-worker/functions-worker/internal/command"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(command.Main(command.Options{Version: version})) }
