package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// keySet are the public keys of an issuer at one moment. It never asks for more by itself.
type keySet struct{ keys []jose.JSONWebKey }

const maxKeySet = 1 << 20

func fetchKeys(ctx context.Context, client *http.Client, address string) (*keySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for the keys: status %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet))
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return &keySet{keys: set.Keys}, nil
}

// VerifySignature gives the payload of a token that one of the keys signed, with the algorithm that the key is for.
func (s *keySet) VerifySignature(_ context.Context, token string) ([]byte, error) {
	algorithms := make([]jose.SignatureAlgorithm, 0, len(openIDAlgorithms))
	for _, a := range openIDAlgorithms {
		algorithms = append(algorithms, jose.SignatureAlgorithm(a))
	}
	parsed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	header := parsed.Signatures[0].Header
	for i := range s.keys {
		k := &s.keys[i]
		fits := k.KeyID == header.KeyID && k.IsPublic() && k.Valid() && (k.Use == "" || k.Use == "sig") &&
			(k.Algorithm == header.Algorithm || k.Algorithm == "" && slices.Contains(openIDAlgorithms, header.Algorithm))
		if !fits {
			continue
		}
		if payload, err := parsed.Verify(k); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer verifies the token")
}
