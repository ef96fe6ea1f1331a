//go:build unix

package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// memory is the linear memory of one guest: address space for the most it may have, of which only what the guest has
// asked for can be touched, and only what it touched costs memory. Growing copies nothing.
type memory struct {
	reserved []byte
	usable   uint64
	limit    uint64
}

// allocator gives memories that stop growing at limit bytes, a multiple of the page size.
func allocator(limit uint64) experimental.MemoryAllocator {
	return experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		return &memory{limit: min(limit, most)}
	})
}

// Reallocate gives nil when the guest wants more than its limit, or the system has no more: memory.grow answers -1.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if m.reserved == nil {
		b, err := unix.Mmap(-1, 0, int(max(m.limit, pageSize)), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return nil
		}
		m.reserved = b
		noHugePages(b)
	}
	if size > m.usable {
		if err := unix.Mprotect(m.reserved[m.usable:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		m.usable = size
	}
	return m.reserved[:size:m.limit]
}

// Free gives everything back.
func (m *memory) Free() {
	if m.reserved != nil {
		_ = unix.Munmap(m.reserved) // cannot fail for a mapping of ours
		m.reserved = nil
	}
}
