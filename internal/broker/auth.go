package broker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
)

// maxSecretFile bounds a token, key or certificate file.
const maxSecretFile = 1 << 20

// credentials is one authentication method in the two forms it is needed in: for the binary client and for HTTP.
type credentials struct {
	method      string                                         // of the header X-Pulsar-Auth-Method-Name; empty: none
	provider    pulsar.Authentication                          // nil: none
	authorize   func(ctx context.Context, h http.Header) error // nil: nothing to add
	certificate func() (*tls.Certificate, error)               // nil: no client certificate
}

// newCredentials translates plug-in name and parameters of the Java client (security-and-metrics contract, section 4.1).
// An error names the plug-in and what is wrong with the parameters, never their values.
func newCredentials(cfg Config) (credentials, error) {
	plugin, params := strings.TrimSpace(cfg.AuthPlugin), strings.TrimSpace(cfg.AuthParams)
	method := authMethod(plugin)
	if plugin == "" || params == "" || method == "none" {
		return credentials{}, nil
	}
	var creds credentials
	var err error
	switch method {
	case "token":
		creds, err = tokenCredentials(params)
	case "basic":
		creds, err = basicCredentials(params)
	case "tls":
		creds, err = tlsCredentials(params)
	case "oauth2":
		creds, err = oauth2Credentials(cfg, params)
	default:
		err = errors.New("is not supported; supported are AuthenticationToken, AuthenticationBasic, AuthenticationTls, " +
			"oauth2.AuthenticationOAuth2 of the package org.apache.pulsar.client.impl.auth")
	}
	if err != nil {
		return credentials{}, fmt.Errorf("client authentication plug-in %q: %w", plugin, err)
	}
	return creds, nil
}

// authMethod is the short name of a plug-in, "" if it is unknown.
func authMethod(plugin string) string {
	switch strings.TrimPrefix(plugin, "org.apache.pulsar.client.impl.auth.") {
	case "AuthenticationToken", "token":
		return "token"
	case "AuthenticationBasic", "basic":
		return "basic"
	case "AuthenticationTls", "tls":
		return "tls"
	case "oauth2.AuthenticationOAuth2", "AuthenticationOAuth2", "oauth2":
		return "oauth2"
	case "AuthenticationDisabled", "none":
		return "none"
	}
	return ""
}

func tokenCredentials(params string) (credentials, error) {
	supply, err := tokenSupplier(params)
	if err != nil {
		return credentials{}, err
	}
	return bearerCredentials(func(context.Context) (string, error) { return supply() }), nil
}

// bearerCredentials sends what supply returns; supply is asked at each connection and at each request.
func bearerCredentials(supply func(context.Context) (string, error)) credentials {
	return credentials{
		method: "token",
		provider: pulsar.NewAuthenticationTokenFromSupplier(func() (string, error) {
			ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
			defer cancel()
			return supply(ctx)
		}),
		authorize: func(ctx context.Context, h http.Header) error {
			token, err := supply(ctx)
			if err != nil {
				return err
			}
			h.Set("Authorization", "Bearer "+token)
			return nil
		},
	}
}

// tokenSupplier understands token:<jwt>, file:<path>, env:<variable>, {"token": …} and the bare token. Java does not know env:
// and would send the text itself, which no broker accepts.
func tokenSupplier(params string) (func() (string, error), error) {
	if strings.HasPrefix(params, "{") {
		fields, err := authFields(params)
		if err != nil {
			return nil, err
		}
		switch {
		case fields["token"] != "":
			params = fields["token"]
		case fields["file"] != "":
			params = "file:" + fields["file"]
		default:
			return nil, errors.New("the parameters have no member token")
		}
	}
	if path, ok := filePath(params); ok {
		if path == "" {
			return nil, errors.New("the parameters name no token file")
		}
		return func() (string, error) { return readToken(path) }, nil
	}
	if name, ok := strings.CutPrefix(params, "env:"); ok {
		return func() (string, error) {
			return checkToken(os.Getenv(name), "the environment variable "+name)
		}, nil
	}
	token, err := checkToken(strings.TrimPrefix(params, "token:"), "the parameter")
	if err != nil {
		return nil, err
	}
	return func() (string, error) { return token, nil }, nil
}

// filePath takes file:/path, file:///path and file:path apart.
func filePath(s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, "file:")
	if !ok {
		return "", false
	}
	if strings.HasPrefix(rest, "//") {
		rest = "/" + strings.TrimLeft(rest, "/")
	}
	if path, err := url.PathUnescape(rest); err == nil {
		rest = path
	}
	return rest, true
}

func readToken(path string) (string, error) {
	data, err := readSecret(path)
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	return checkToken(string(data), "the token file "+path)
}

// checkToken trims a token and refuses what cannot be sent in a header.
func checkToken(token, where string) (string, error) {
	token = strings.TrimSpace(token)
	if token == "" {
		return "", fmt.Errorf("%s holds no token", where)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("%s holds a token with blanks, control characters or text that is not ASCII", where)
		}
	}
	return token, nil
}

// readSecret reads a small file; the error names the path, which is no secret.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSecretFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSecretFile)
	}
	return data, nil
}

func basicCredentials(params string) (credentials, error) {
	fields, err := authFields(params)
	if err != nil {
		return credentials{}, err
	}
	user, password := fields["userId"], fields["password"]
	if user == "" {
		user = fields["username"]
	}
	if user == "" || password == "" || strings.Contains(user, ":") {
		return credentials{}, errors.New("the parameters need userId (without a colon) and password, both not empty")
	}
	provider, err := pulsar.NewAuthenticationBasic(user, password)
	if err != nil {
		return credentials{}, err
	}
	var r http.Request
	r.Header = make(http.Header)
	r.SetBasicAuth(user, password)
	value := r.Header.Get("Authorization")
	return credentials{method: "basic", provider: provider, authorize: func(_ context.Context, h http.Header) error {
		h.Set("Authorization", value)
		return nil
	}}, nil
}

func tlsCredentials(params string) (credentials, error) {
	fields, err := authFields(params)
	if err != nil {
		return credentials{}, err
	}
	certFile, keyFile := fields["tlsCertFile"], fields["tlsKeyFile"]
	if certFile == "" || keyFile == "" {
		return credentials{}, errors.New("the parameters need tlsCertFile and tlsKeyFile")
	}
	load := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("loading the client certificate %s: %w", certFile, err)
		}
		return &cert, nil
	}
	if _, err := load(); err != nil {
		return credentials{}, err // better now than at the first connection
	}
	return credentials{method: "tls", provider: pulsar.NewAuthenticationFromTLSCertSupplier(load), certificate: load}, nil
}

// authFields reads parameters that are a JSON object or key:value,key:value. Values that are no strings become their JSON text.
func authFields(params string) (map[string]string, error) {
	fields := map[string]string{}
	if strings.HasPrefix(params, "{") {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(params), &object); err != nil {
			return nil, errors.New("the parameters are not a JSON object") // the JSON error would quote them
		}
		for name, raw := range object {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				text = string(raw)
			}
			fields[name] = text
		}
		return fields, nil
	}
	for pair := range strings.SplitSeq(params, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, errors.New("the parameters are neither a JSON object nor key:value,key:value")
		}
		fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return fields, nil
}
