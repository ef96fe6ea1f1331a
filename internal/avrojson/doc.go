// Package avrojson turns values of Avro schemas into JSON and back, within bounds: nothing is made room for before the bytes that
// fill it are there, whatever counts and lengths a value claims. It takes definitions apart with a library and leaves that
// library's decoder alone.
//
// The JSON is that of Go types, not Avro's own: a union is its value without the name of the branch, bytes and fixed are base64,
// an enum is its symbol.
package avrojson
