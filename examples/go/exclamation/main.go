// Command exclamation is the function exclaim as a native program or, built for wasip1, as a WebAssembly module.
package main

import (
	"github.com/functions-worker/functions-worker/examples/go/exclamation/exclaim"
	"github.com/functions-worker/functions-worker/pkg/function"
)

func main() {
	function.Run(exclaim.Exclaim)
}
