package authn

import (
	"crypto/md5" //nolint:gosec // what $apr1$ is made of
	"crypto/subtle"
	"errors"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// passwordHash checks a password. Its printed form identifies it.
type passwordHash interface{ matches(password string) bool }

// parseHash knows $apr1$ and the 13 characters of the traditional crypt, as the Java worker does, and bcrypt besides.
func parseHash(text string) (passwordHash, error) {
	switch {
	case strings.HasPrefix(text, "$apr1$"):
		salt, sum, ok := strings.Cut(strings.TrimPrefix(text, "$apr1$"), "$")
		if !ok || salt == "" || len(salt) > 8 || len(sum) != 22 {
			return nil, errors.New("the hash is not of the form $apr1$salt$hash")
		}
		return apr1Hash{salt: salt, sum: sum}, nil
	case strings.HasPrefix(text, "$2"):
		if _, err := bcrypt.Cost([]byte(text)); err != nil {
			return nil, errors.New("the bcrypt hash is damaged")
		}
		return bcryptHash(text), nil
	case len(text) == 13 && validCrypt(text):
		return cryptHash(text), nil
	}
	return nil, errors.New("the form of the hash is not known; known are $apr1$ (htpasswd -m), bcrypt (htpasswd -B) and traditional crypt (htpasswd -d)")
}

type bcryptHash string

func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), []byte(password)) == nil
}

// equalSecrets takes as long wherever the two differ.
func equalSecrets(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// apr1Hash is the MD5 scheme of Apache's htpasswd.
type apr1Hash struct{ salt, sum string }

func (h apr1Hash) matches(password string) bool {
	return equalSecrets(apr1(password, h.salt), h.sum)
}

func apr1(password, salt string) string {
	pw := []byte(password)
	inner := md5.Sum([]byte(password + salt + password)) //nolint:gosec // see above
	text := []byte(password + "$apr1$" + salt)
	for left := len(pw); left > 0; left -= 16 {
		text = append(text, inner[:min(left, 16)]...)
	}
	for n := len(pw); n > 0; n >>= 1 {
		if n&1 != 0 {
			text = append(text, 0)
		} else {
			text = append(text, pw[0])
		}
	}
	sum := md5.Sum(text) //nolint:gosec // see above
	for round := range 1000 {
		text = text[:0]
		odd := round&1 != 0
		if odd {
			text = append(text, pw...)
		} else {
			text = append(text, sum[:]...)
		}
		if round%3 != 0 {
			text = append(text, salt...)
		}
		if round%7 != 0 {
			text = append(text, pw...)
		}
		if odd {
			text = append(text, sum[:]...)
		} else {
			text = append(text, pw...)
		}
		sum = md5.Sum(text) //nolint:gosec // see above
	}
	out := make([]byte, 0, 22)
	for _, i := range [][3]int{{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}} {
		out = base64Of(out, uint32(sum[i[0]])<<16|uint32(sum[i[1]])<<8|uint32(sum[i[2]]), 4)
	}
	return string(base64Of(out, uint32(sum[11]), 2))
}

// cryptAlphabet is the base-64 alphabet of crypt, least significant digit first.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func base64Of(out []byte, v uint32, digits int) []byte {
	for range digits {
		out = append(out, cryptAlphabet[v&63])
		v >>= 6
	}
	return out
}

func validCrypt(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return !strings.ContainsRune(cryptAlphabet, c) })
}
