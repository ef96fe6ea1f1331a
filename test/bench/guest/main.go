// Command guest is what the benchmarks run as a WebAssembly module: it adds an exclamation mark.
package main

import "github.com/functions-worker/functions-worker/pkg/function"

func main() { function.Start(func(in string) (string, error) { return in + "!", nil }) }
