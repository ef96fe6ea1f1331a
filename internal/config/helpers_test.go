package config

import "reflect"

func newValue(k Key) reflect.Value { return reflect.New(k.typ).Elem() }
