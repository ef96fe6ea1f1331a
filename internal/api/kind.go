package api

import (
	"strings"

	"github.com/functions-worker/functions-worker/internal/component"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Kind is the family of endpoints that was called; it decides texts, config shape and permission.
type Kind = component.Kind

// The three kinds of components.
const (
	Function = component.Function
	Sink     = component.Sink
	Source   = component.Source
)

// kindName is the lower-case name of a kind: "function", "sink", "source".
func kindName(k Kind) string { return strings.ToLower(k.String()) }

// configPart is the name of the multipart part that holds the config of a kind.
func configPart(k Kind) string { return kindName(k) + "Config" }

// KindOf is the kind of stored metadata.
func KindOf(meta *pb.FunctionMetaData) Kind { return component.KindOf(meta.GetFunctionDetails()) }

// Codec is how one kind of component is read, validated, merged and written. Its errors reach the client as 400 texts.
type Codec interface {
	// Decode parses the JSON of a config part; unknown properties are ignored.
	Decode(data []byte) (Config, error)
	// Of rebuilds the config of a stored component.
	Of(meta *pb.FunctionMetaData) (Config, error)
	// Merge applies an update to an existing config; both stay unchanged.
	Merge(existing, update Config) (Config, error)
	// Equal reports whether an update changed nothing.
	Equal(a, b Config) bool
	// Details validates a config against its packages and converts it to what the cluster stores.
	Details(config Config, files PackageFiles) (*pb.FunctionDetails, error)
	// DecodeDetails parses the protobuf JSON of the legacy v2 endpoints into a config.
	DecodeDetails(data []byte) (Config, error)
}

// Config is the parsed config of one component; json.Marshal gives the wire form.
type Config interface {
	// SetName overwrites tenant, namespace and name with those of the path.
	SetName(tenant, namespace, name string)
	// Package is the jar (functions) or archive (connectors) of the config: only "builtin…" has a meaning here.
	Package() string
	// Transform is the transform function of a sink: builtin://name or a URL, "" for none.
	Transform() string
	// NeedsPackage reports whether validation must read the package (Java functions and connectors).
	NeedsPackage() bool
}

// PackageFiles are the local files that validation reads; an empty path means that there is none.
type PackageFiles struct {
	Main      string
	Transform string
	Name      string // the name that is recorded for Main
}

// isConnector: the rules for connectors apply, not those for functions.
func isConnector(k Kind) bool { return k != Function }
