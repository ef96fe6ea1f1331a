package api

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/functions-worker/functions-worker/internal/archive"
	"github.com/functions-worker/functions-worker/internal/component"
	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"google.golang.org/protobuf/encoding/protojson"
)

// Codecs are those of all kinds, over the rules of internal/component and the packages of internal/archive.
func Codecs(options component.Options) map[Kind]Codec {
	return map[Kind]Codec{Function: functionCodec(options), Sink: sinkCodec(options), Source: sourceCodec(options)}
}

// codec makes a Codec of the functions that internal/component has for one type of config.
type codec[C any] struct {
	parse     func(data []byte) (*C, error)
	of        func(d *pb.FunctionDetails) (*C, error)
	merge     func(existing, update *C) (*C, error)
	same      func(existing, merged *C) bool
	details   func(c *C, main, transform component.Classes) (*pb.FunctionDetails, error)
	setName   func(c *C, tenant, namespace, name string)
	archive   func(c *C) *string
	transform func(c *C) *string
	needs     func(c *C) bool // validation reads the package
	uses      func(c *C)      // an update brings a package; nil: nothing to do
	asNew     func(c *C)      // a config made of details that a client sent; nil: nothing to do
}

// config is a parsed config with its codec.
type config[C any] struct {
	value *C
	codec *codec[C]
}

func (c config[C]) MarshalJSON() ([]byte, error) { return marshal(c.value) }

func (c config[C]) SetName(tenant, namespace, name string) {
	c.codec.setName(c.value, tenant, namespace, name)
}

func (c config[C]) Package() string { return orEmpty(c.codec.archive(c.value)) }

func (c config[C]) Transform() string { return orEmpty(c.codec.transform(c.value)) }

func (c config[C]) NeedsPackage() bool { return c.codec.needs(c.value) }

func (c config[C]) UsePackage() {
	if c.codec.uses != nil {
		c.codec.uses(c.value)
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (k *codec[C]) wrap(c *C, err error) (Config, error) {
	if err != nil {
		return nil, err
	}
	return config[C]{c, k}, nil
}

func (k *codec[C]) Decode(data []byte) (Config, error) { return k.wrap(k.parse(data)) }

func (k *codec[C]) Of(meta *pb.FunctionMetaData) (Config, error) {
	return k.wrap(k.of(meta.GetFunctionDetails()))
}

func (k *codec[C]) Merge(existing, update Config) (Config, error) {
	return k.wrap(k.merge(existing.(config[C]).value, update.(config[C]).value))
}

func (k *codec[C]) Equal(a, b Config) bool { return k.same(a.(config[C]).value, b.(config[C]).value) }

// Details opens the packages that validation reads. An archive that cannot be read is refused with its own text.
func (k *codec[C]) Details(c Config, files PackageFiles) (*pb.FunctionDetails, error) {
	value := c.(config[C]).value
	var main, transform component.Classes // nil interfaces when there is no package
	switch needs := k.needs(value); {
	case needs && files.Main != "":
		opened, err := archive.OpenAs(files.Main, "the package")
		if err != nil {
			return nil, packageError(orModule(files.Main, err))
		}
		defer opened.Close()
		main = opened
	case !needs && files.isModule():
		main = component.Module{}
	}
	if files.Transform != "" {
		opened, err := archive.OpenAs(files.Transform, "the transform function's package")
		if err != nil {
			return nil, packageError(err)
		}
		defer opened.Close()
		transform = opened
	}
	return k.details(value, main, transform)
}

// isModule says whether the package is a WebAssembly module; of one that is stored already the name tells it.
func (f PackageFiles) isModule() bool {
	if f.Main == "" {
		return instance.NamedAsWASM(f.Name)
	}
	isModule, err := instance.IsWASM(f.Main)
	return err == nil && isModule
}

// orModule names the mistake of whoever sends a WebAssembly module where an archive belongs.
func orModule(file string, err error) error {
	if isModule, _ := instance.IsWASM(file); isModule {
		return errors.New("the package is a WebAssembly module, which can only be a function: submit it as one, with --go; sources and sinks are NAR archives, or compiled into a worker")
	}
	return err
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

// DecodeDetails reads the protobuf JSON of version 2.
func (k *codec[C]) DecodeDetails(data []byte) (Config, error) {
	details := &pb.FunctionDetails{}
	if err := protojson.Unmarshal(data, details); err != nil {
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			return nil, fmt.Errorf("Cannot find field: %s in message proto.FunctionDetails", m[1])
		}
		return nil, fmt.Errorf("the functionDetails part cannot be read: %w", err)
	}
	c, err := k.of(details)
	if err == nil && k.asNew != nil {
		k.asNew(c)
	}
	return k.wrap(c, err)
}

func functionCodec(o component.Options) Codec {
	type C = component.FunctionConfig
	return &codec[C]{
		parse: component.ParseFunctionConfig, of: component.FunctionConfigOf, merge: component.MergeFunction, same: component.SameFunction,
		details: func(c *C, main, _ component.Classes) (*pb.FunctionDetails, error) {
			return o.FunctionDetails(c, main)
		},
		setName: (*C).SetName,
		archive: func(c *C) *string {
			inferred := *c
			o.Infer(&inferred)
			return inferred.Jar
		},
		transform: func(*C) *string { return nil },
		needs: func(c *C) bool {
			inferred := *c
			o.Infer(&inferred)
			return inferred.Runtime == component.Java
		},
		uses:  (*C).UsePackage,
		asNew: (*C).AsNew,
	}
}

func sinkCodec(o component.Options) Codec {
	type C = component.SinkConfig
	return &codec[C]{
		parse: component.ParseSinkConfig, of: component.SinkConfigOf, merge: component.MergeSink, same: component.SameSink,
		details:   o.SinkDetails,
		setName:   (*C).SetName,
		archive:   func(c *C) *string { return c.Archive },
		transform: func(c *C) *string { return c.TransformFunction },
		needs:     func(c *C) bool { return !o.IsCompiledConnector(c.Archive) },
	}
}

func sourceCodec(o component.Options) Codec {
	type C = component.SourceConfig
	return &codec[C]{
		parse: component.ParseSourceConfig, of: component.SourceConfigOf, merge: component.MergeSource, same: component.SameSource,
		details: func(c *C, main, _ component.Classes) (*pb.FunctionDetails, error) {
			return o.SourceDetails(c, main)
		},
		setName:   (*C).SetName,
		archive:   func(c *C) *string { return c.Archive },
		transform: func(*C) *string { return nil },
		needs:     func(c *C) bool { return !o.IsCompiledConnector(c.Archive) },
	}
}
