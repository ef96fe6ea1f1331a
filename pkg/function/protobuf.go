//go:build !wasip1

package function

import (
	"fmt"
	"reflect"

	"github.com/apache/pulsar-client-go/pulsar"
	"google.golang.org/protobuf/proto"
)

var protoType = reflect.TypeFor[proto.Message]()

// wireOf finds types that are Protobuf messages, which are pointers.
func wireOf(t reflect.Type) (wire, error) {
	switch {
	case t.Kind() == reflect.Pointer && t.Implements(protoType):
		return protobuf{t.Elem()}, nil
	case t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(protoType):
		return nil, fmt.Errorf("%s is a Protobuf message and must be used as a pointer", t)
	}
	return nil, nil
}

// protobuf reads and writes messages whose pointers are Protobuf messages.
type protobuf struct{ message reflect.Type }

func (p protobuf) make() (reflect.Value, proto.Message) {
	v := reflect.New(p.message)
	return v, v.Interface().(proto.Message) // wireOf has looked
}

func (p protobuf) decode(payload []byte) (reflect.Value, error) {
	v, m := p.make()
	if err := proto.Unmarshal(payload, m); err != nil {
		return v, fmt.Errorf("as the Protobuf message %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return v, nil
}

func (p protobuf) encode(v reflect.Value) ([]byte, error) {
	m, _ := v.Interface().(proto.Message)
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("the Protobuf message %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return data, nil
}

func (p protobuf) schema() pulsar.Schema {
	_, m := p.make()
	return pulsar.NewProtoNativeSchemaWithMessage(m, nil)
}
