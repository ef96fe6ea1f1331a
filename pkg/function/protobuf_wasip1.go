package function

import (
	"fmt"
	"reflect"
)

// wireOf refuses Protobuf messages: their library would make every module larger by megabytes.
func wireOf(t reflect.Type) (wire, error) {
	for _, t := range []reflect.Type{t, reflect.PointerTo(t)} {
		if _, is := t.MethodByName("ProtoReflect"); is {
			return nil, fmt.Errorf("%s is a Protobuf message, which WebAssembly modules do not read by themselves; take []byte", t)
		}
	}
	return nil, nil
}
