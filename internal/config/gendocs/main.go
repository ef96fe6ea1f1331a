// Command gendocs writes docs/configuration.md from the declaration of the configuration keys.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/functions-worker/functions-worker/internal/config"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: gendocs <file>")
	}
	var out bytes.Buffer
	if err := config.WriteMarkdown(&out); err != nil {
		return err
	}
	return os.WriteFile(args[0], out.Bytes(), 0o644)
}
