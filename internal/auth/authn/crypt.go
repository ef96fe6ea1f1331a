package authn

import "crypto/subtle"

// cryptHash is the traditional crypt(3): DES with its expansion disturbed by a salt of two characters, 25 times over a block
// of zeros. Passwords count to their eighth character. It is here because the Java worker accepts it; it is weak.
type cryptHash string

func (h cryptHash) matches(password string) bool {
	return subtle.ConstantTimeCompare([]byte(traditionalCrypt(password, string(h[:2]))), []byte(h)) == 1
}

// Tables of FIPS 46-3; positions count from 1. IP, its inverse and E are regular enough to be computed.
var (
	desPC1 = [56]byte{57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
		63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4}
	desPC2 = [48]byte{14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
		41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32}
	desP = [32]byte{16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25}
	// The S-boxes row by row, a hexadecimal digit per entry.
	desS = [8]string{
		"e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
		"f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
		"a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
		"7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
		"2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
		"c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
		"4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
		"d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
	}
	desShifts = [16]int{1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1}
)

// Blocks and keys are rows of single bits, the most significant first: slow, and easy to compare with the standard.
func traditionalCrypt(password, salt string) string {
	var key, block [64]byte
	for i := 0; i < len(password) && i < 8; i++ {
		for bit := range 7 { // the eighth bit, the parity, is zero
			key[8*i+bit] = password[i] >> (6 - bit) & 1
		}
	}
	rounds, expand := desKeys(key), saltedExpansion(salt)
	for range 25 {
		block = desEncrypt(block, &rounds, &expand)
	}
	out := []byte(salt)
	for i := 0; i < 66; i += 6 { // two zeros at the end fill the eleventh character
		var v byte
		for at := i; at < i+6; at++ {
			v <<= 1
			if at < 64 {
				v |= block[at]
			}
		}
		out = append(out, cryptAlphabet[v])
	}
	return string(out)
}

// saltedExpansion is the table E, with entries of its halves swapped where the salt has a one.
func saltedExpansion(salt string) [48]byte {
	var e [48]byte
	for i := range e {
		e[i] = byte((i/6*4 + i%6 + 31) % 32)
	}
	for i := range 2 {
		v := cryptIndex(salt[i])
		for bit := range 6 {
			if at := 6*i + bit; v>>bit&1 == 1 {
				e[at], e[at+24] = e[at+24], e[at]
			}
		}
	}
	return e
}

func cryptIndex(c byte) int {
	for i := range len(cryptAlphabet) {
		if cryptAlphabet[i] == c {
			return i
		}
	}
	return 0
}

// desKeys makes the sixteen round keys.
func desKeys(key [64]byte) (rounds [16][48]byte) {
	var cd [56]byte
	for i, at := range desPC1 {
		cd[i] = key[at-1]
	}
	for round, shift := range desShifts {
		var next [56]byte
		for i := range 28 {
			next[i], next[28+i] = cd[(i+shift)%28], cd[28+(i+shift)%28]
		}
		cd = next
		for i, at := range desPC2 {
			rounds[round][i] = cd[at-1]
		}
	}
	return rounds
}

// desInitial is the position, from 0, that the table IP takes bit i from.
func desInitial(i int) int {
	column, row := i%8, i/8
	return 8*(7-column) + (2*row+1)%8 - row/4
}

func desEncrypt(block [64]byte, rounds *[16][48]byte, expand *[48]byte) (out [64]byte) {
	var state [64]byte
	for i := range state {
		state[i] = block[desInitial(i)]
	}
	left, right := [32]byte(state[:32]), [32]byte(state[32:])
	for i := range rounds {
		left, right = right, desRound(&left, &right, &rounds[i], expand)
	}
	copy(state[:32], right[:]) // the halves are swapped at the end
	copy(state[32:], left[:])
	for i, bit := range state {
		out[desInitial(i)] = bit
	}
	return out
}

func desRound(left, right *[32]byte, key, expand *[48]byte) (out [32]byte) {
	var substituted [32]byte
	for box := range 8 {
		var b [6]byte
		for i := range b {
			b[i] = right[expand[6*box+i]] ^ key[6*box+i]
		}
		row, column := b[0]<<1|b[5], b[1]<<3|b[2]<<2|b[3]<<1|b[4]
		v := hexDigit(desS[box][16*row+column])
		for i := range 4 {
			substituted[4*box+i] = v >> (3 - i) & 1
		}
	}
	for i, at := range desP {
		out[i] = left[i] ^ substituted[at-1]
	}
	return out
}

func hexDigit(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}
