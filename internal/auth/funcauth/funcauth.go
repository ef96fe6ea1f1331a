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
}

// NewTokens empties and makes the directory of the token files. share lets functions without a token of their own run with the
// worker's credentials.
func NewTokens(directory string, share bool) (*Tokens, error) {
	if err := os.RemoveAll(directory); err != nil {
		return nil, fmt.Errorf("emptying the directory for tokens of functions: %w", err)
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory for tokens of functions: %w", err)
	}
	return &Tokens{directory: directory, share: share}, nil
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
	return &pb.FunctionAuthenticationSpec{Data: []byte(id.Token)}, nil
}

// ErrNoCredentials is why a function without credentials of its own does not start.
var ErrNoCredentials = errors.New("the function was registered without a token, and does not get the worker's own credentials; " +
	"update it with --update-auth-data by a client that authenticates with a token, or set goWorker.functionsUseWorkerCredentials: true")

// Credentials gives plugin and parameters for the instances of a function; own says that they are the worker's.
func (t *Tokens) Credentials(meta *pb.FunctionMetaData) (plugin, params string, own bool, err error) {
	token := strings.TrimSpace(string(meta.GetFunctionAuthSpec().GetData()))
	if token == "" {
		if t.share {
			return "", "", true, nil
		}
		return "", "", false, ErrNoCredentials
	}
	path, err := t.write(pb.FullyQualifiedName(meta.GetFunctionDetails()), token)
	if err != nil {
		return "", "", false, err
	}
	return tokenPlugin, "file://" + path, false, nil
}

// write puts the token into the function's file at once: an instance that runs may be reading it.
func (t *Tokens) write(name, token string) (string, error) {
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(t.directory, hex.EncodeToString(sum[:16]))
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
