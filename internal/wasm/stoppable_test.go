package wasm

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"go.uber.org/zap"
)

// body is one function without locals.
func body(code ...byte) []byte { return append([]byte{byte(len(code) + 2), 0}, append(code, opEnd)...) }

func codeOf(bodies ...[]byte) []byte {
	return section(sectionCode, append([]byte{byte(len(bodies))}, join(bodies...)...)...)
}

var (
	threeFuncs = section(3, 3, 0, 1, 0) // handle, version, one more like handle
	abi        = exports(export("memory", 2, 0), export("pulsar_handle", 0, 0), export("pulsar_abi_version_1", 0, 1))
	global     = section(sectionGlobal, 1, typeI32, 1, opI32Const, 0, opEnd)

	// fibonacci has no loop, and would take longer than anybody lives.
	fibonacci = join(head, types, threeFuncs, mem, abi, codeOf(
		body(opI32Const, 0xe4, 0, opCall, 2), body(),
		body(0x20, 0, opI32Const, 2, opI32LessSigned, opIf, typeI32, 0x20, 0, 0x05,
			0x20, 0, opI32Const, 1, opI32Sub, opCall, 2, 0x20, 0, opI32Const, 2, opI32Sub, opCall, 2, 0x6a, opEnd)))
	// started answers what its start section has put into a global.
	started = join(head, types, funcs, mem, global, abi, section(sectionStart, 1), codeOf(
		body(opGlobalGet, 0), body(opI32Const, 7, opGlobalSet, 0)))
	// endless never gets through its start section.
	endless = join(head, types, funcs, mem, abi, section(sectionStart, 1), codeOf(
		body(opI32Const, 0), body(opLoop, emptyBlock, 0x0c, 0, opEnd)))
	// meddling clears a global that it does not have: the one that would stop it.
	meddling = join(head, types, funcs, mem, abi, codeOf(
		body(opLoop, emptyBlock, opI32Const, 0, opGlobalSet, 1, 0x0c, 0, opEnd, opI32Const, 0), body()))
)

func fileOf(t *testing.T, module []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "f.wasm")
	require.NoError(t, os.WriteFile(file, module, 0o600))
	return file
}

// TestGuestsHoldUpNothing: the collection of garbage waits for code that the Go runtime cannot interrupt, and the whole worker with it.
func TestGuestsHoldUpNothing(t *testing.T) {
	for name, guest := range map[string]struct{ file, input string }{
		"recursion": {fileOf(t, fibonacci), ""},
		"a loop":    {hostileGuest, "l"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t, guest.file, `{"wasm":{"timeout":"1m"}}`)
			ctx, cancel := context.WithCancel(t.Context())
			started := time.Now()
			go func() {
				for taken := false; !taken; time.Sleep(time.Millisecond) {
					p.mu.Lock()
					taken = len(p.free) == 0
					p.mu.Unlock()
				}
				time.Sleep(10 * time.Millisecond) // from the taking to the guest's code
				runtime.GC()
				cancel()
			}()
			_, err := p.handle(ctx, &fakeEnvironment{}, []byte(guest.input))
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, time.Since(started), 50*time.Second)
		})
	}
}

func TestRecursionIsStopped(t *testing.T) {
	p := newProgram(t, fileOf(t, fibonacci), `{"wasm":{"timeout":"50ms"}}`)
	_, err := p.handle(t.Context(), &fakeEnvironment{}, nil)
	require.ErrorContains(t, err, "pulsar_handle ran longer than 50ms and was stopped")
}

func TestStartSections(t *testing.T) {
	p := newProgram(t, fileOf(t, started), "")
	_, err := p.handle(t.Context(), &fakeEnvironment{}, nil)
	require.ErrorContains(t, err, "the function failed with status 7")

	h := newHost(t, DefaultLimits())
	settings, err := ParseSettings("", DefaultLimits())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // to read and compile it too
	defer cancel()
	_, err = h.Program(ctx, fileOf(t, endless), settings, zap.NewNop())
	require.ErrorContains(t, err, "starting the WebAssembly module: its start ran longer than")
}

func TestTheStopIsNothingToTheGuest(t *testing.T) {
	_, err := stoppable(meddling)
	require.ErrorContains(t, err, "section 10: function 0: it uses global 1, and there are 0")
	exporting := join(head, types, funcs, mem, global, exports(export("memory", 2, 0), export("g", 3, 1)))
	_, err = stoppable(exporting)
	require.ErrorContains(t, err, "section 7: it exports global 1, and there are 1")
}

func TestModulesThatCannotBeRead(t *testing.T) {
	for name, tc := range map[string]struct {
		module []byte
		want   string
	}{
		"nothing":                {nil, "not a WebAssembly module"},
		"a section past the end": {join(head, []byte{sectionCode, 100, 1}), "unexpected EOF"},
		"an atomic instruction":  {join(head, types, funcs, mem, abi, codeOf(body(0xfe, 0), body())), "the instruction 0xfe is not known"},
		"a tail call":            {join(head, types, funcs, mem, abi, codeOf(body(0x12, 0), body())), "the instruction 0x12 is not known"},
		"half a constant":        {join(head, types, funcs, mem, abi, section(sectionCode, 1, 3, 0, 0x44, 1)), "unexpected EOF"},
		"locals without end":     {join(head, types, funcs, mem, abi, section(sectionCode, 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)), "locals: unexpected EOF"},
		"four billion locals":    {join(head, types, funcs, mem, abi, section(sectionCode, 1, 8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, typeI32, opEnd)), "it has more than 50000 locals"},
		"a local of a new type":  {join(head, types, funcs, mem, abi, section(sectionCode, 1, 5, 1, 1, 0x63, 0x0e, opEnd)), "the type 0x63 is not known"},
		"a block of a new type":  {join(head, types, funcs, mem, abi, codeOf(body(opBlock, 0x63, 0x0e, opLoop, emptyBlock, 0x0c, 0, opEnd, opEnd), body())), "the type 0x63 of a block"},
		"the same, in two bytes": {join(head, types, funcs, mem, abi, codeOf(body(opBlock, 0xe3, 0x7f, 0x0e, opLoop, emptyBlock, opEnd), body())), "the type 0xe3 of a block"},
		"a select of a new type": {join(head, types, funcs, mem, abi, codeOf(body(0x1c, 1, 0x63, 0x1a), body())), "the type 0x63 is not known"},
		"a select of two types":  {join(head, types, funcs, mem, abi, codeOf(body(0x1c, 2, typeI32, typeI32), body())), "a select has 2 types"},
		"a table that grows":     {join(head, types, funcs, mem, abi, codeOf(body(opExtended, 15, 0), body())), "table.grow is not available"},
		"a table of a gigabyte":  {join(head, types, funcs, section(sectionTable, 1, 0x70, 0, 0x80, 0x80, 0x80, 0x40), mem, abi), "more than 1000000 entries"},
		"two lists of globals":   {join(head, types, funcs, mem, global, global, abi), "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stoppable(tc.module)
			require.ErrorContains(t, err, tc.want)
		})
	}
	loops := bytes.Repeat([]byte{opLoop, emptyBlock}, 100_000)
	_, err := (&rewriter{most: 1 << 20}).function(nil, append([]byte{0}, loops...))
	require.ErrorContains(t, err, "too many loops")
}

// TestHiddenLoops: wazero reads a vector instruction's number as one byte; the loop behind one of two bytes is found.
func TestHiddenLoops(t *testing.T) {
	hidden := body(append([]byte{opBlock, emptyBlock, 0x0c, 0, 0xfd, 0x8c, opUnreachable, opDrop, opEnd, opLoop, emptyBlock, 0x0c, 0, opEnd, opI32Const, 0},
		bytes.Repeat([]byte{0x01}, 9)...)...)
	p := newProgram(t, fileOf(t, join(head, types, funcs, mem, abi, codeOf(hidden, body()))), `{"wasm":{"timeout":"50ms"}}`)
	_, err := p.handle(t.Context(), &fakeEnvironment{}, nil)
	require.ErrorContains(t, err, "ran longer than 50ms")
}

// TestBulkInstructionsCount: a thousand fills of two hundred megabytes would hold up everything for half a minute.
func TestBulkInstructionsCount(t *testing.T) {
	large := section(5, 1, 0, 0x80, 0x10) // 2,048 pages: 128 MiB
	fills := body(opLoop, emptyBlock, opI32Const, 0, opI32Const, 0, opI32Const, 0x80, 0x80, 0x80, 0x20, opExtended, 11, 0, 0x0c, 0, opEnd, opI32Const, 0)
	p := newProgram(t, fileOf(t, join(head, types, funcs, large, abi, codeOf(fills, body()))), `{"wasm":{"timeout":"50ms","maxMemory":"128MiB"}}`)
	started := time.Now()
	_, err := p.handle(t.Context(), &fakeEnvironment{}, nil)
	require.ErrorContains(t, err, "ran longer than 50ms")
	require.Less(t, time.Since(started), 5*time.Second, "one fill of 64 MiB takes a few milliseconds, and a thousand of them 10 s and more")
}

// FuzzStoppable: what can be compiled can be compiled afterwards, and nothing else.
func FuzzStoppable(f *testing.F) {
	for _, module := range [][]byte{fibonacci, started, endless, meddling} {
		f.Add(module)
	}
	for _, file := range []string{cGuest, hostileGuest} {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Inspect(bytes.NewReader(data), DefaultLimits()); err != nil || bytes.Contains(data, []byte("functions-worker:")) {
			return // never gets here; names that are taken are refused afterwards
		}
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
		defer r.Close(ctx)
		_, before := r.CompileModule(ctx, data)
		code, err := stoppable(data)
		if err == nil {
			_, err = r.CompileModule(ctx, code)
		}
		if (before == nil) != (err == nil) {
			t.Fatalf("the module: %v; with its checks: %v", before, err)
		}
	})
}
