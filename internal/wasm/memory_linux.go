package wasm

import "golang.org/x/sys/unix"

// noHugePages keeps the system from giving 2 MiB where a guest touched 4 KiB.
func noHugePages(b []byte) { _ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) } // best effort: it only saves memory
