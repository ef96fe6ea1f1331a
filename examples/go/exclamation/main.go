// Command exclamation is a Pulsar function that appends an exclamation mark to each message.
//
// The user config "suffix" replaces the mark; the user metric "length" holds the lengths of the inputs.
package main

import (
	"context"
	"errors"

	"github.com/functions-worker/functions-worker/pkg/function"
)

func exclaim(ctx context.Context, input string) (string, error) {
	fc, ok := function.FromContext(ctx)
	if !ok {
		return "", errors.New("not called as a Pulsar function")
	}
	fc.RecordMetric("length", float64(len(input)))
	fc.Logger().Info("exclaiming", "input", input, "instance", fc.InstanceID())
	return input + fc.UserConfigString("suffix", "!"), nil
}

func main() {
	function.Run(exclaim)
}
