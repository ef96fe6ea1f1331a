package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Payload is the form of a submitted package, whatever its runtime.
type Payload int

// The forms that this worker tells apart. The file name counts only where the content says nothing.
const (
	PayloadUnknown      Payload = iota
	PayloadEmpty                // no bytes at all
	PayloadZip                  // a JAR, a NAR, or a zip of Python code
	PayloadWheel                // a zip named .whl
	PayloadPythonSource         // text named .py
	PayloadELF                  // a Linux binary
	PayloadWASM                 // a WebAssembly module
	PayloadOtherBinary          // a binary of macOS or Windows, which no Linux instance can run
)

// String gives the form in words for messages.
func (p Payload) String() string {
	switch p {
	case PayloadEmpty:
		return "empty file"
	case PayloadZip:
		return "zip archive"
	case PayloadWheel:
		return "Python wheel"
	case PayloadPythonSource:
		return "Python source file"
	case PayloadELF:
		return "ELF binary"
	case PayloadWASM:
		return "WebAssembly module"
	case PayloadOtherBinary:
		return "binary of another operating system"
	}
	return "file of unknown form"
}

// DetectPayload looks at the first bytes of the file at file; name is the original file name, which may be empty.
func DetectPayload(file, name string) (Payload, error) {
	info, err := os.Stat(file)
	if err != nil {
		return PayloadUnknown, fmt.Errorf("look at package: %w", err)
	}
	if !info.Mode().IsRegular() {
		return PayloadUnknown, fmt.Errorf("look at package %s: it is no regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return PayloadUnknown, fmt.Errorf("look at package: %w", err)
	}
	head := make([]byte, 8)
	n, err := io.ReadFull(f, head)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return PayloadUnknown, fmt.Errorf("look at package: %w", err)
	}
	return payloadOf(head[:n], name), nil
}

func payloadOf(head []byte, name string) Payload {
	ext := strings.ToLower(path.Ext(name))
	starts := func(magics ...string) bool {
		for _, m := range magics {
			if bytes.HasPrefix(head, []byte(m)) {
				return true
			}
		}
		return false
	}
	switch {
	case len(head) == 0:
		return PayloadEmpty
	case starts("\x7fELF"):
		return PayloadELF
	case starts("\x00asm"):
		return PayloadWASM
	case starts("PK\x03\x04", "PK\x05\x06"):
		if ext == ".whl" {
			return PayloadWheel
		}
		return PayloadZip
	case starts("MZ", "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe"):
		return PayloadOtherBinary
	case ext == ".py":
		return PayloadPythonSource
	}
	return PayloadUnknown
}
