//go:build unix && !linux

package wasm

// noHugePages has nothing to do here.
func noHugePages([]byte) {}
