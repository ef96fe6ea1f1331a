package listener

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// What follows a JKS file's magic and version (Java's JavaKeyStore): the number of entries, the entries, a digest.
const (
	jksKeyEntry  = 1
	jksCertEntry = 2
	jksDigest    = 20
)

// checkJKS makes sure that what a JKS file says of lengths and numbers fits into the file. The library makes room for them before
// it reads, up to gigabytes for a damaged file of a few bytes, and a process that gets no memory ends.
func checkJKS(data []byte) error {
	s := cryptobyte.String(data)
	var magic, version, entries uint32
	if !s.ReadUint32(&magic) || !s.ReadUint32(&version) || !s.ReadUint32(&entries) {
		return errors.New("it ends within its head")
	}
	for i := range entries {
		if !skipJKSEntry(&s, version) {
			return fmt.Errorf("entry %d of %d goes past the end, or is of no known kind", i+1, entries)
		}
	}
	if len(s) != jksDigest {
		return fmt.Errorf("%d bytes follow its entries instead of a digest of %d", len(s), jksDigest)
	}
	return nil
}

func skipJKSEntry(s *cryptobyte.String, version uint32) bool {
	var kind, certificates uint32
	var alias, key cryptobyte.String
	if !s.ReadUint32(&kind) || !s.ReadUint16LengthPrefixed(&alias) || !s.Skip(8) { // the date
		return false
	}
	switch kind {
	case jksCertEntry:
		return skipJKSCertificate(s, version)
	case jksKeyEntry:
		if !readLong(s, &key) || !s.ReadUint32(&certificates) {
			return false
		}
		for range certificates {
			if !skipJKSCertificate(s, version) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

func skipJKSCertificate(s *cryptobyte.String, version uint32) bool {
	var name, certificate cryptobyte.String
	return (version < 2 || s.ReadUint16LengthPrefixed(&name)) && readLong(s, &certificate)
}

// readLong takes what has four bytes of length before it.
func readLong(s *cryptobyte.String, out *cryptobyte.String) bool {
	var size uint32
	if !s.ReadUint32(&size) || uint64(size) > uint64(len(*s)) {
		return false
	}
	return s.ReadBytes((*[]byte)(out), int(size))
}
