package api

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/component"
	"github.com/functions-worker/functions-worker/internal/pb"
	"google.golang.org/protobuf/encoding/protojson"
)

// FunctionCodec is the Codec of functions.
type FunctionCodec struct{ Options component.Options }

// functionConfig gives a function's config the methods of Config; its JSON is that of the embedded config.
type functionConfig struct {
	*component.FunctionConfig
	options component.Options
}

// Package is the jar; Python and Go files are always uploaded or given by URL.
func (c functionConfig) Package() string {
	if c.Jar == nil {
		return ""
	}
	return *c.Jar
}

// Transform is "": functions have none.
func (c functionConfig) Transform() string { return "" }

// NeedsPackage is true for Java functions.
func (c functionConfig) NeedsPackage() bool {
	inferred := *c.FunctionConfig
	c.options.Infer(&inferred)
	return inferred.Runtime == component.Java
}

func (f FunctionCodec) wrap(c *component.FunctionConfig, err error) (Config, error) {
	if err != nil {
		return nil, err
	}
	return functionConfig{c, f.Options}, nil
}

// Decode implements Codec.
func (f FunctionCodec) Decode(data []byte) (Config, error) {
	return f.wrap(component.ParseFunctionConfig(data))
}

// Of implements Codec.
func (f FunctionCodec) Of(meta *pb.FunctionMetaData) (Config, error) {
	return f.wrap(component.FunctionConfigOf(meta.GetFunctionDetails()))
}

// Merge implements Codec.
func (f FunctionCodec) Merge(existing, update Config) (Config, error) {
	return f.wrap(component.MergeFunction(existing.(functionConfig).FunctionConfig, update.(functionConfig).FunctionConfig))
}

// Equal implements Codec.
func (f FunctionCodec) Equal(a, b Config) bool {
	return component.SameFunction(a.(functionConfig).FunctionConfig, b.(functionConfig).FunctionConfig)
}

// Details implements Codec.
func (f FunctionCodec) Details(config Config, files PackageFiles) (*pb.FunctionDetails, error) {
	c := config.(functionConfig)
	if !c.NeedsPackage() || files.Main == "" {
		return f.Options.FunctionDetails(c.FunctionConfig, nil)
	}
	classes, err := archive.Open(files.Main)
	if err != nil {
		return nil, packageError(err)
	}
	defer classes.Close()
	return f.Options.FunctionDetails(c.FunctionConfig, classes)
}

// packageError keeps paths of this worker's disk out of answers.
func packageError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("the package cannot be read: %w", path.Err)
	}
	return err
}

// unknownField finds the name in the parser's message.
var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// DecodeDetails implements Codec: the protobuf JSON of version 2.
func (f FunctionCodec) DecodeDetails(data []byte) (Config, error) {
	details := &pb.FunctionDetails{}
	if err := protojson.Unmarshal(data, details); err != nil {
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			return nil, fmt.Errorf("Cannot find field: %s in message proto.FunctionDetails", m[1])
		}
		return nil, fmt.Errorf("the functionDetails part cannot be read: %w", err)
	}
	return f.wrap(component.FunctionConfigOf(details))
}
