package authn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHashes: the hashes were made by openssl passwd, perl's crypt and htpasswd.
func TestHashes(t *testing.T) {
	tests := map[string]struct{ hash, password string }{
		"apr1":                 {"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "secret"},
		"apr1, long password":  {"$apr1$xy$IAoav9jLpxZmHK9X26CJR1", "a much longer password than sixteen"},
		"crypt":                {"abNANd1rDfiNc", "secret"},
		"crypt, long password": {"./x0kTlw5iEAs", "longpassword"},
		"crypt, no ASCII":      {"Q9mi2JAHr8nmk", "p\xc3\xa4ss"},
		"bcrypt":               {"$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "password"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			hash, err := parseHash(tc.hash)
			require.NoError(t, err)
			require.True(t, hash.matches(tc.password))
			require.False(t, hash.matches("x"+tc.password))
			require.False(t, hash.matches(""))
		})
	}
	for _, bad := range []string{"", "x", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$apr1$abcdefgh", "$apr1$toolongsalt$h9FWgUz3n9YxylKLlR5SQ/", "$2y$99$x", "ab€€€€€€", "plaintextpass"} {
		_, err := parseHash(bad)
		if bad == "plaintextpass" { // 13 letters look like crypt; nobody's password makes them
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, bad)
	}
}
