// Package wasm runs functions that are WebAssembly modules, inside this process, on wazero.
//
// Place in the picture: the engine (internal/instance) calls a Program for each message; a Host makes Programs from
// files and is what all of them share. What a guest and the host owe each other is the ABI in docs/wasm-abi.md, whose
// one declaration in code is the table of abi.go; Inspect checks a module against it without running anything.
//
// Life cycle: NewHost opens the cache of compiled code. Load compiles a module once, however many instances use it,
// and makes the first guest; Handle takes a guest from the program's pool, or makes another, and puts it back. A guest
// that trapped, exited or was stopped is thrown away: its memory may be half-written. Close ends the guests, and the
// last program of a module takes the compiled code with it. Host.Close ends everything.
//
// What a guest cannot do: reach files, environment, network or other memory than its own; take more memory, time or
// output than its Settings say. The time limit works inside endless loops, as wazero looks at the context at the head of
// each loop.
package wasm
