// Package funcauth decides with which credentials a function reaches the broker (security-and-metrics contract, section 4.4):
// with the token of whoever submitted it, kept in the function's metadata, or with the worker's own.
//
// internal/api hands it the request of a submitter; the process runtime asks it at each start of an instance. The worker's own
// credentials, usually a superuser's, go to functions only if the operator says so.
package funcauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/functions-worker/functions-worker/internal/auth/authn"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// tokenPlugin is the class that clients of every language know.
const tokenPlugin = "org.apache.pulsar.client.impl.auth.AuthenticationToken"

// Tokens is ClearTextFunctionTokenAuthProvider: the metadata holds the submitter's token in clear, and instances get it in a
// file that only this user can read, so that no command line shows it.
type Tokens struct {
	directory string
	share     bool

	mu      sync.Mutex
	holders map[string]int // function → instances that its file is for
}

// NewTokens empties and makes the directory of the token files. share lets functions without a token of their own run with the
// worker's credentials.
func NewTokens(directory string, share bool) (*Tokens, error) {
	if err := os.RemoveAll(directory); err != nil {
		return nil, fmt.Errorf("emptying the directory for tokens of functions: %w", err)
	}
	if err := os.MkdirAll(directory, 0o711); err != nil { // to go through, not to list: a function may have a user of its own
		return nil, fmt.Errorf("making the directory for tokens of functions: %w", err)
	}
	return &Tokens{directory: directory, share: share, holders: map[string]int{}}, nil
}

// Cache takes the token of a submitter's request for the metadata of the function.
func (t *Tokens) Cache(_ context.Context, r *http.Request, _ *pb.FunctionDetails, _ *pb.FunctionAuthenticationSpec) (*pb.FunctionAuthenticationSpec, error) {
	id, ok := authn.FromContext(r.Context())
	if !ok {
		return nil, nil
	}
	if id.Token == "" {
		return nil, errors.New("the request was authenticated without a token, but functions run with the token of their submitter (functionAuthProviderClassName)")
	}
	if principal := r.Header.Get(authn.PrincipalHeader); principal != "" && principal != id.Role {
		return nil, fmt.Errorf("the token of the request is that of the proxy (role %s) and not that of %s, with which the function would run: let the proxy pass on the tokens of its clients, or submit to a worker directly", id.Role, principal)
	}
	return &pb.FunctionAuthenticationSpec{Data: []byte(id.Token)}, nil
}

// ErrNoCredentials is why a function without credentials of its own does not start.
var ErrNoCredentials = errors.New("the function was registered without a token, and does not get the worker's own credentials; " +
	"update it with --update-auth-data by a client that authenticates with a token, or set goWorker.functionsUseWorkerCredentials: true")

// InProcess gives plugin and parameters for a function that runs inside the worker: no file, and nothing to release.
func (t *Tokens) InProcess(meta *pb.FunctionMetaData) (plugin, params string, own bool, err error) {
	token, own, err := t.token(meta)
	if err != nil || own {
		return "", "", own, err
	}
	return tokenPlugin, "token:" + token, false, nil
}

// token of a function's own; own says that it gets the worker's credentials instead.
func (t *Tokens) token(meta *pb.FunctionMetaData) (token string, own bool, err error) {
	token = strings.TrimSpace(string(meta.GetFunctionAuthSpec().GetData()))
	if token == "" && !t.share {
		return "", false, ErrNoCredentials
	}
	return token, token == "", nil
}

// Credentials gives plugin and parameters for an instance of a function, until Release; own says that they are the worker's.
func (t *Tokens) Credentials(meta *pb.FunctionMetaData) (plugin, params string, own bool, err error) {
	token, own, err := t.token(meta)
	if err != nil || own {
		return "", "", own, err
	}
	name := pb.FullyQualifiedName(meta.GetFunctionDetails())
	t.mu.Lock()
	defer t.mu.Unlock()
	path, err := t.write(name, token)
	if err != nil {
		return "", "", false, err
	}
	t.holders[name]++
	return tokenPlugin, "file://" + path, false, nil
}

// Release is for an instance that has ended, with the metadata that Credentials had: the token file goes with the last one.
func (t *Tokens) Release(meta *pb.FunctionMetaData) error {
	if strings.TrimSpace(string(meta.GetFunctionAuthSpec().GetData())) == "" {
		return nil
	}
	name := pb.FullyQualifiedName(meta.GetFunctionDetails())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holders[name]--; t.holders[name] > 0 {
		return nil
	}
	delete(t.holders, name)
	if err := os.Remove(t.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the token of %s: %w", name, err)
	}
	return nil
}

func (t *Tokens) path(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(t.directory, hex.EncodeToString(sum[:16]))
}

// write puts the token into the function's file at once: an instance that runs may be reading it.
func (t *Tokens) write(name, token string) (string, error) {
	path := t.path(name)
	f, err := os.CreateTemp(t.directory, "new-") // mode 0600
	if err != nil {
		return "", fmt.Errorf("writing the token of %s: %w", name, err)
	}
	_, err = f.WriteString(token)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("writing the token of %s: %w", name, err)
	}
	return path, nil
}
