package authn

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// key verifies tokens. The algorithms follow from the key itself, never from the token: a token cannot choose to have its
// signature checked in another way than the key is meant for.
type key struct {
	verify     any // []byte, *rsa.PublicKey or *ecdsa.PublicKey
	algorithms []string
}

const minSecretBits, minRSABits = 256, 2048

// secretKey is a symmetric key; longer hashes need longer keys (contract, section 2.2).
func secretKey(data []byte) (key, error) {
	bits := len(data) * 8
	if bits < minSecretBits {
		return key{}, fmt.Errorf("the key has %d bits; at least %d are needed", bits, minSecretBits)
	}
	k := key{verify: data, algorithms: []string{"HS256"}}
	if bits >= 384 {
		k.algorithms = append(k.algorithms, "HS384")
	}
	if bits >= 512 {
		k.algorithms = append(k.algorithms, "HS512")
	}
	return k, nil
}

// publicKey is a DER SubjectPublicKeyInfo of the family that tokenPublicAlg names.
func publicKey(data []byte, elliptic bool) (key, error) {
	parsed, err := x509.ParsePKIXPublicKey(data)
	if err != nil {
		hint := ""
		if strings.HasPrefix(strings.TrimSpace(string(data)), "-----BEGIN") {
			hint = "; it is PEM: convert it with openssl pkey -pubin -in key.pem -outform DER -out key.der"
		}
		return key{}, errors.New("Failed to decode public key: a DER SubjectPublicKeyInfo is needed" + hint)
	}
	switch k := parsed.(type) {
	case *rsa.PublicKey:
		if elliptic {
			return key{}, errors.New("Failed to decode public key: it is an RSA key, but tokenPublicAlg names an elliptic curve")
		}
		if k.N.BitLen() < minRSABits {
			return key{}, fmt.Errorf("the RSA key has %d bits; at least %d are needed", k.N.BitLen(), minRSABits)
		}
		return key{verify: k, algorithms: []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}}, nil
	case *ecdsa.PublicKey:
		algorithm := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
		if algorithm == "" {
			return key{}, fmt.Errorf("keys on the curve %s are not used with tokens", k.Curve.Params().Name)
		}
		if !elliptic {
			return key{}, errors.New("Failed to decode public key: it is an elliptic-curve key; set tokenPublicAlg to " + algorithm)
		}
		return key{verify: k, algorithms: []string{algorithm}}, nil
	}
	return key{}, fmt.Errorf("Failed to decode public key: keys of type %T are not used with tokens", parsed)
}

// tokenProvider is AuthenticationProviderToken.
type tokenProvider struct {
	key                     *reloaded[key]
	claim                   string
	audienceClaim, audience string
	leeway                  time.Duration
	now                     func() time.Time
}

func newTokenProvider(o Options) (*tokenProvider, error) {
	prefix := o.Properties["tokenSettingPrefix"]
	get := func(name string) string { return strings.TrimSpace(o.Properties[prefix+name]) }
	p := &tokenProvider{claim: get("tokenAuthClaim"), audienceClaim: get("tokenAudienceClaim"), audience: get("tokenAudience"), now: o.Now}
	if p.claim == "" {
		p.claim = "sub"
	}
	if p.audienceClaim != "" && p.audience == "" {
		return nil, fmt.Errorf("Token Audience Claim [%s] configured, but Audience stands for this broker not.", p.audienceClaim) //nolint:staticcheck // the words of the Java worker
	}
	var err error
	if p.leeway, err = seconds(get("tokenAllowedClockSkewSeconds"), prefix+"tokenAllowedClockSkewSeconds"); err != nil {
		return nil, err
	}
	name, parse := prefix+"tokenSecretKey", secretKey
	text := get("tokenSecretKey")
	if text == "" {
		elliptic, err := isElliptic(get("tokenPublicAlg"))
		if err != nil {
			return nil, err
		}
		name, text = prefix+"tokenPublicKey", get("tokenPublicKey")
		parse = func(data []byte) (key, error) { return publicKey(data, elliptic) }
	}
	if text == "" {
		return nil, fmt.Errorf("No secret key was provided for token authentication: set %stokenSecretKey or %stokenPublicKey in properties", prefix, prefix)
	}
	s, err := parseSource(text, "Secret/Public Key", o.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if p.key, err = newReloaded(s, name, o, parse); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// isElliptic reads tokenPublicAlg, which decides the family of the public key.
func isElliptic(name string) (bool, error) {
	switch name {
	case "", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return false, nil
	case "ES256", "ES384", "ES512":
		return true, nil
	}
	return false, fmt.Errorf("tokenPublicAlg: invalid algorithm provided %s; accepted: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512", name)
}

func seconds(text, name string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1<<30 {
		return 0, fmt.Errorf("%s: %q is no number of seconds", name, text)
	}
	return time.Duration(n) * time.Second, nil
}

func (p *tokenProvider) method() string { return "token" }
func (p *tokenProvider) class() string  { return "AuthenticationProviderToken" }

// bearer takes the token out of a request. The query counts only where there is no Authorization header.
func bearer(r *http.Request) (string, error) {
	const prefix = "Bearer "
	if header := r.Header.Get("Authorization"); header != "" {
		token, ok := strings.CutPrefix(header, prefix)
		if !ok {
			return "", refuse("INVALID_AUTH_DATA", "the Authorization header is not of the form Bearer <token>")
		}
		return checkToken(token)
	}
	if query := r.URL.Query().Get("token"); query != "" {
		return checkToken(strings.TrimPrefix(query, prefix))
	}
	return "", refuse("INVALID_AUTH_DATA", "no token credentials passed")
}

func checkToken(token string) (string, error) {
	token = strings.TrimSpace(token)
	if token == "" {
		return "", refuse("INVALID_AUTH_DATA", "blank token found")
	}
	return token, nil
}

func (p *tokenProvider) authenticate(r *http.Request) (Identity, error) {
	token, err := bearer(r)
	if err != nil {
		return Identity{}, err
	}
	claims, err := p.verify(token)
	if err != nil {
		return Identity{}, err
	}
	if p.audienceClaim != "" && !holds(claims[p.audienceClaim], p.audience) {
		return Identity{}, refuse("INVALID_AUDIENCES", "the claim %s does not hold the audience of this worker", p.audienceClaim)
	}
	roles, err := rolesOf(claims, p.claim)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Method: "token", Token: token, Roles: roles}
	if len(roles) > 0 {
		id.Role = roles[0]
	}
	return id, nil
}

func (p *tokenProvider) verify(token string) (jwt.MapClaims, error) {
	k := p.key.get()
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods(k.algorithms), jwt.WithLeeway(p.leeway), jwt.WithTimeFunc(p.now), jwt.WithStrictDecoding())
	_, err := parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515, 4.1.11: what is not understood is refused
			return nil, errors.New("the token has critical headers that are not understood")
		}
		return k.verify, nil
	})
	if err != nil {
		return nil, refuse("INVALID_TOKEN", "the token is not valid: %v", err)
	}
	if at, given := claims["exp"].(float64); given && at == 0 { // the library takes 0 for a date that is absent
		return nil, refuse("INVALID_TOKEN", "the token is not valid: it expired in 1970")
	}
	return claims, nil
}

// rolesOf reads the role claim: a string or a list of strings. It may be absent: then there are no roles.
func rolesOf(claims jwt.MapClaims, claim string) ([]string, error) {
	switch value := claims[claim].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{value}, nil
	case []any:
		roles := make([]string, 0, len(value))
		for _, v := range value {
			role, ok := v.(string)
			if !ok {
				return nil, refuse("INVALID_TOKEN", "the claim %s holds something that is no string", claim)
			}
			roles = append(roles, role)
		}
		if len(roles) == 0 {
			return nil, refuse("INVALID_TOKEN", "the claim %s is an empty list", claim)
		}
		return roles, nil
	default:
		return nil, refuse("INVALID_TOKEN", "the claim %s is neither a string nor a list", claim)
	}
}

// holds tells whether a claim is the text, or a list with it.
func holds(claim any, text string) bool {
	switch value := claim.(type) {
	case string:
		return value == text
	case []any:
		for _, v := range value {
			if v == text {
				return true
			}
		}
	}
	return false
}
