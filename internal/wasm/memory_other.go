//go:build !unix

package wasm

import "github.com/tetratelabs/wazero/experimental"

// memory is the linear memory of one guest, on the heap.
type memory struct {
	bytes []byte
	limit uint64
}

// allocator gives memories that stop growing at limit bytes.
func allocator(limit uint64) experimental.MemoryAllocator {
	return experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		return &memory{limit: min(limit, most)}
	})
}

// Reallocate gives nil when the guest wants more than its limit: memory.grow answers -1.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if size > uint64(len(m.bytes)) {
		m.bytes = append(m.bytes, make([]byte, size-uint64(len(m.bytes)))...)
	}
	return m.bytes[:size]
}

// Free lets the garbage collector have it.
func (m *memory) Free() { m.bytes = nil }
