package authn

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// basicProvider is AuthenticationProviderBasic: an htpasswd file.
type basicProvider struct {
	users *reloaded[map[string]passwordHash]
	known *remembered
	decoy passwordHash // checked for unknown users, so that they take as long as known ones
}

func newBasicProvider(o Options) (*basicProvider, error) {
	text := strings.TrimSpace(o.Properties["basicAuthConf"])
	if text == "" {
		return nil, errors.New("No basic authentication config was provided: set basicAuthConf in properties")
	}
	s, err := parseSource(text, "basicAuthConf", o.Path)
	if err != nil {
		return nil, fmt.Errorf("basicAuthConf: %w", err)
	}
	p := &basicProvider{known: newRemembered(), decoy: apr1Hash{salt: "decoydec", sum: strings.Repeat(".", 22)}}
	if p.users, err = newReloaded(s, "basicAuthConf", o, parsePasswords); err != nil {
		return nil, fmt.Errorf("basicAuthConf: %w", err)
	}
	return p, nil
}

// parsePasswords reads htpasswd lines. Errors name the line, and never show a hash.
func parsePasswords(data []byte) (map[string]passwordHash, error) {
	users := map[string]passwordHash{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" || hash == "" || strings.Contains(hash, ":") {
			return nil, fmt.Errorf("The format of the password auth conf file is invalid: line %d is not user:hash", n) //nolint:staticcheck // the words of the Java worker
		}
		parsed, err := parseHash(hash)
		if err != nil {
			return nil, fmt.Errorf("line %d, user %q: %w", n, user, err)
		}
		users[user] = parsed
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("The format of the password auth conf file is invalid: %w", err) //nolint:staticcheck // see above
	}
	return users, nil
}

func (p *basicProvider) method() string { return "basic" }
func (p *basicProvider) class() string  { return "AuthenticationProviderBasic" }

func (p *basicProvider) authenticate(r *http.Request) (Identity, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Identity{}, refuse("EMPTY_AUTH_DATA", "authentication token has to start with Basic")
	}
	scheme, encoded, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "basic") {
		return Identity{}, refuse("INVALID_HEADER", "the Authorization header is not of the form Basic <base64>")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return Identity{}, refuse("INVALID_AUTH_DATA", "the credentials are not base64")
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok || strings.Contains(password, ":") { // as the Java worker: exactly two parts
		return Identity{}, refuse("INVALID_AUTH_DATA", "the credentials are not user:password")
	}
	hash, exists := p.users.get()[user]
	if !exists {
		hash = p.decoy
	}
	if len(password) > maxPassword || !p.known.check(hash, user, password) || !exists {
		return Identity{}, refuse("INVALID_TOKEN", "unknown user or invalid password")
	}
	return Identity{Role: user, Method: "basic"}, nil
}

// maxPassword bounds the work of one attempt.
const maxPassword = 1024

// remembered keeps which passwords were right, as a keyed digest: hashes are slow on purpose, and clients send the
// password with each request. A changed hash is another entry.
type remembered struct {
	key [32]byte
	mu  sync.Mutex
	ok  map[[32]byte]struct{}
}

const maxRemembered = 1024

func newRemembered() *remembered {
	r := &remembered{ok: map[[32]byte]struct{}{}}
	_, _ = rand.Read(r.key[:]) // never fails
	return r
}

func (r *remembered) check(hash passwordHash, user, password string) bool {
	mac := hmac.New(sha256.New, r.key[:])
	fmt.Fprintf(mac, "%d:%s%d:%s%v", len(user), user, len(password), password, hash)
	id := [32]byte(mac.Sum(nil))
	r.mu.Lock()
	_, known := r.ok[id]
	r.mu.Unlock()
	if known {
		return true
	}
	if !hash.matches(password) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ok) >= maxRemembered {
		clear(r.ok)
	}
	r.ok[id] = struct{}{}
	return true
}
