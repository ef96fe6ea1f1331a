// Package component turns function, sink and source configs, as clients send and read them, into the
// FunctionDetails that the cluster stores, and back.
//
// It stands between the API, which hands it the text of a config and a view of the package's classes, and the
// metadata, which keeps its result. It sets defaults, validates in the order and with the texts of the Java
// worker (contract component-configs.md), converts, and merges updates. It is pure: values in, values out; it
// opens no file, asks no broker and reads no clock.
package component

import "github.com/functions-worker/functions-worker/internal/pb"

// Kind says which of the three component types a config describes.
type Kind int

// The component types.
const (
	Function Kind = iota
	Sink
	Source
)

// String gives the word that messages use: "Function", "Sink" or "Source".
func (k Kind) String() string {
	switch k {
	case Sink:
		return "Sink"
	case Source:
		return "Source"
	default:
		return "Function"
	}
}

// KindOf tells what stored details describe, also for details written before the type was stored.
func KindOf(d *pb.FunctionDetails) Kind {
	switch pb.ComponentTypeOf(d) {
	case pb.FunctionDetails_SINK:
		return Sink
	case pb.FunctionDetails_SOURCE:
		return Source
	default:
		return Function
	}
}
