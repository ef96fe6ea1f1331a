//go:build !wasip1

package function

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// Source brings records from outside into a topic. T is written as the results of functions are (see Start); C is what the
// configs of the source are read as: a struct, or map[string]any. The Context is found in every ctx by FromContext.
type Source[T, C any] interface {
	// Open is called once, before the first Read. Its error ends the instance, which then starts again after a while.
	Open(ctx context.Context, config C) error
	// Read waits for the next record, until ctx ends. Its error ends the instance, which then starts again after a while.
	Read(ctx context.Context) (*SourceRecord[T], error)
	// Close is called once after Open, when the source has been told what became of its records.
	Close(ctx context.Context) error
}

// SourceRecord is a record on its way into a topic.
type SourceRecord[T any] struct {
	Value T
	// Key and Properties travel with the message; EventTime is when it happened, zero: not said.
	Key        string
	Properties map[string]string
	EventTime  time.Time
	// Topic is where it goes; empty: the topic of the source.
	Topic string
	// Partition and Sequence say where in its origin the record stands; the sequence grows within a partition. They are
	// needed for EFFECTIVELY_ONCE alone, where the broker drops what it has.
	Partition string
	Sequence  int64
	// Ack, unless nil, is called when the record is stored (with ATMOST_ONCE, before it is sent; with MANUAL, not at all),
	// Fail, unless nil, when it is not and will not be. They come from other goroutines, and must not wait for the source.
	Ack  func()
	Fail func(error)
}

// Sink takes messages to somewhere outside. T and C are as in Source.
type Sink[T, C any] interface {
	// Open is called once, before the first Write. Its error ends the instance, which then starts again after a while.
	Open(ctx context.Context, config C) error
	// Write takes one message at a time. An error has it delivered again, by the retry rules of the sink, and does not keep
	// the next ones from coming; nil acknowledges it, unless its outcome comes later.
	Write(ctx context.Context, record SinkRecord[T]) error
	// Close is called once after Open and the last Write; outcomes that come later can still be given in it.
	Close(ctx context.Context) error
}

// SinkRecord is a message for a sink.
type SinkRecord[T any] struct {
	// Value is what the payload was read as.
	Value T
	// Record has the rest: topic, key, properties, times, id.
	Record
	later func() func(error)
}

// Later keeps the outcome of the message for later, for sinks that write many at once: it is given by the function that Later
// returns, once and from any goroutine, nil when the message is written. At most as many messages as the worker's
// maxPendingAsyncRequests wait for their outcomes; then Write is not called until some have it.
func (r SinkRecord[T]) Later() (outcome func(error)) { return r.later() }

// BuiltinSource makes a source that a worker can be given (worker.Options), which then runs it under this name:
//
//	pulsar-admin sources create --archive builtin://name --name … --destination-topic-name …
//
// create makes the source of one instance. A config is refused at its submission when it cannot be read as C: unknown
// members, other types. If C, or a pointer to it, has the method Validate() error, that is asked too. Tags of the fields of C describe
// them to clients: help, default, required:"true", sensitive:"true".
func BuiltinSource[T, C any](name string, create func() Source[T, C]) Compiled {
	c, codec := connector[T, C]("source", name, create == nil)
	c.builtin.Kind = pb.FunctionDetails_SOURCE
	c.builtin.Validate = func(d *pb.FunctionDetails) error {
		return cmp.Or(checkSchemas(d, nil, codec), checkConfig[C](d.GetSource().GetConfigs()))
	}
	c.builtin.Load = func(context.Context, instance.Package) (instance.Program, error) {
		return &sourceProgram[T, C]{ends: ends{output: codec}, source: create()}, nil
	}
	if c.err == nil && codec.explicit {
		c.err = fmt.Errorf("compiled-in source %q: its records have key, properties and topic themselves; use []byte instead of *Message", name)
	}
	return c
}

// BuiltinSink makes a sink that a worker can be given (worker.Options), which then runs it under this name:
//
//	pulsar-admin sinks create --archive builtin://name --name … --inputs …
//
// create and C are as in BuiltinSource.
func BuiltinSink[T, C any](name string, create func() Sink[T, C]) Compiled {
	c, codec := connector[T, C]("sink", name, create == nil)
	c.builtin.Kind = pb.FunctionDetails_SINK
	c.builtin.Validate = func(d *pb.FunctionDetails) error {
		return cmp.Or(checkSchemas(d, codec, nil), checkConfig[C](d.GetSink().GetConfigs()))
	}
	c.builtin.Load = func(context.Context, instance.Package) (instance.Program, error) {
		return &sinkProgram[T, C]{ends: ends{input: codec}, sink: create()}, nil
	}
	if c.err == nil && codec.explicit {
		c.err = fmt.Errorf("compiled-in sink %q: it takes a *Message; take []byte, the rest is in the SinkRecord", name)
	}
	return c
}

// connector checks the types of a source or sink.
func connector[T, C any](what, name string, missing bool) (Compiled, *codec) {
	codec, err := codecOf(reflect.TypeFor[T]())
	fields, configErr := configFields(reflect.TypeFor[C]())
	switch {
	case missing:
		err = fmt.Errorf("compiled-in %s %q: there is no function that makes it", what, name)
	case err != nil:
		err = fmt.Errorf("compiled-in %s %q: its values: %w", what, name, err)
	case configErr != nil:
		err = fmt.Errorf("compiled-in %s %q: its configs: %w", what, name, configErr)
	}
	return Compiled{err: err, builtin: instance.Builtin{Name: name, Fields: fields}}, codec
}

// ends are the types of a source or a sink on the wire.
type ends struct{ input, output *codec }

// Schemas tells the engine what the types are on the wire.
func (e ends) Schemas() instance.Schemas {
	return schemasOf(e.input, e.output)
}

// Close does nothing: the engine leaves a connector.
func (ends) Close(context.Context) error { return nil }

// sourceProgram is a source in the form of the engine.
type sourceProgram[T, C any] struct {
	ends
	source Source[T, C]
}

var _ instance.Source = (*sourceProgram[string, string])(nil)

// Handle is not called: a source has no inputs.
func (p *sourceProgram[T, C]) Handle(context.Context, []byte) (*instance.Result, error) {
	return nil, errors.New("a source takes no messages")
}

// Open implements instance.Connector.
func (p *sourceProgram[T, C]) Open(ctx context.Context, configs []byte) error {
	config, err := readConfig[C](configs)
	if err != nil {
		return err
	}
	return p.source.Open(ctx, config)
}

// Leave implements instance.Connector.
func (p *sourceProgram[T, C]) Leave(ctx context.Context) error { return p.source.Close(ctx) }

// Read implements instance.Source.
func (p *sourceProgram[T, C]) Read(ctx context.Context) (*instance.SourceRecord, error) {
	r, err := p.source.Read(ctx)
	if r == nil || err != nil {
		return nil, err
	}
	value, err := p.output.write(reflect.ValueOf(&r.Value).Elem())
	if err == nil && value == nil {
		err = errors.New("the value of a record is nil")
	}
	if err != nil {
		return nil, err
	}
	return &instance.SourceRecord{
		Message:   instance.Message{Topic: r.Topic, Payload: value.Payload, Key: r.Key, Properties: r.Properties, EventTime: r.EventTime},
		Partition: r.Partition, Sequence: r.Sequence, Ack: r.Ack, Fail: r.Fail,
	}, nil
}

// sinkProgram is a sink in the form of the engine.
type sinkProgram[T, C any] struct {
	ends
	sink Sink[T, C]
}

var _ instance.Connector = (*sinkProgram[string, string])(nil)

// Open implements instance.Connector.
func (p *sinkProgram[T, C]) Open(ctx context.Context, configs []byte) error {
	config, err := readConfig[C](configs)
	if err != nil {
		return err
	}
	return p.sink.Open(ctx, config)
}

// Leave implements instance.Connector.
func (p *sinkProgram[T, C]) Leave(ctx context.Context) error { return p.sink.Close(ctx) }

// Handle writes one message.
func (p *sinkProgram[T, C]) Handle(ctx context.Context, input []byte) (*instance.Result, error) {
	read, err := p.input.read(input)
	if err != nil {
		return nil, err
	}
	value, _ := read.(T) // of the codec of T; an interface may be nil
	c, ok := instance.FromContext(ctx)
	if !ok {
		return nil, errors.New("a sink needs the context of the engine")
	}
	return nil, p.sink.Write(ctx, SinkRecord[T]{Value: value, Record: pulsarRecord{c.Message()}, later: c.Later})
}
