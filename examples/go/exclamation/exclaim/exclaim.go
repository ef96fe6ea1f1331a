// Package exclaim is a Pulsar function that appends an exclamation mark to each message. It has a package of its own so that it can be
// built in three ways: as a native program and as a WebAssembly module (the command beside it), and compiled into a worker.
//
// The user config "suffix" replaces the mark; the user metric "length" holds the lengths of the inputs.
package exclaim

import (
	"context"
	"errors"

	"github.com/functions-worker/functions-worker/pkg/function"
)

// Exclaim is the function.
func Exclaim(ctx context.Context, input string) (string, error) {
	fc, ok := function.FromContext(ctx)
	if !ok {
		return "", errors.New("not called as a Pulsar function")
	}
	fc.RecordMetric("length", float64(len(input)))
	fc.Logger().Info("exclaiming", "input", input, "instance", fc.InstanceID())
	return input + fc.UserConfigString("suffix", "!"), nil
}
