package authn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// basicProvider is AuthenticationProviderBasic: an htpasswd file.
type basicProvider struct {
	users *reloaded[map[string]passwordHash]
	known *remembered
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
	p := &basicProvider{known: newRemembered()}
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
	users := p.users.get()
	hash, exists := users[user]
	if !exists {
		hash = slowest(users) // so that an unknown user takes as long as a known one
	}
	if len(password) > maxPassword || !p.known.check(r.Context(), hash, user, password) || !exists {
		return Identity{}, refuse("INVALID_TOKEN", "unknown user or invalid password")
	}
	return Identity{Role: user, Method: "basic"}, nil
}

// slowest is the hash of the file that takes longest to check.
func slowest(users map[string]passwordHash) passwordHash {
	var found passwordHash = apr1Hash{salt: "decoydec", sum: strings.Repeat(".", 22)}
	most := -1
	for _, h := range users {
		if b, ok := h.(bcryptHash); ok {
			if cost, err := bcrypt.Cost([]byte(b)); err == nil && cost > most {
				found, most = h, cost
			}
		}
	}
	return found
}

// maxPassword bounds the work of one attempt.
const maxPassword = 1024

// remembered keeps which passwords were right, as a keyed digest: hashes are slow on purpose, and clients send the
// password with each request. A changed hash is another entry.
type remembered struct {
	key     [32]byte
	hashing chan struct{} // one element per hash that is computed: guesses must not take every processor from the requests of others
	mu      sync.Mutex
	ok      map[[32]byte]struct{}
}

const maxRemembered = 1024

func newRemembered() *remembered {
	r := &remembered{ok: map[[32]byte]struct{}{}, hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	_, _ = rand.Read(r.key[:]) // never fails
	return r
}

func (r *remembered) check(ctx context.Context, hash passwordHash, user, password string) bool {
	mac := hmac.New(sha256.New, r.key[:])
	fmt.Fprintf(mac, "%d:%s%d:%s%v", len(user), user, len(password), password, hash)
	id := [32]byte(mac.Sum(nil))
	r.mu.Lock()
	_, known := r.ok[id]
	r.mu.Unlock()
	if known {
		return true
	}
	select {
	case r.hashing <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	matches := hash.matches(password)
	<-r.hashing
	if !matches {
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
