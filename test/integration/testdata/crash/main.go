// Command crash is a Go function that dies at once and says why.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "this is the reason of the crash")
	os.Exit(3)
}
