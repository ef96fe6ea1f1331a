package broker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	maxTokenAnswer = 1 << 20
	// A token is renewed this long before it ends, so that none ends on its way.
	tokenMargin = 30 * time.Second
)

// clientFlow gets tokens by the OAuth 2.0 client credentials flow and keeps each until shortly before its end.
type clientFlow struct {
	issuer, audience, scope string
	key                     func() ([]byte, error) // JSON with client_id and client_secret
	http                    *http.Client
	now                     func() time.Time

	mu    sync.Mutex // also makes concurrent callers wait for one exchange
	token string
	until time.Time
}

// oauth2Credentials reads type, issuerUrl, privateKey, audience and scope.
func oauth2Credentials(cfg Config, params string) (credentials, error) {
	fields, err := authFields(params)
	if err != nil {
		return credentials{}, err
	}
	if kind := fields["type"]; kind != "" && kind != "client_credentials" {
		return credentials{}, errors.New("the parameter type must be client_credentials")
	}
	issuer, err := url.Parse(fields["issuerUrl"])
	if err != nil || issuer.Host == "" || (issuer.Scheme != "https" && issuer.Scheme != "http") {
		return credentials{}, errors.New("the parameter issuerUrl must be an http(s) URL")
	}
	key, err := keySource(fields["privateKey"])
	if err != nil {
		return credentials{}, err
	}
	tlsConf, err := tlsConfig(Config{HostnameVerification: true}, credentials{}) // the issuer is no broker: full check, system authorities
	if err != nil {
		return credentials{}, err
	}
	flow := &clientFlow{
		issuer: strings.TrimRight(issuer.String(), "/"), audience: fields["audience"], scope: fields["scope"], key: key,
		http: &http.Client{Transport: newTransport(tlsConf)}, now: time.Now,
	}
	return bearerCredentials(flow.Token), nil
}

// keySource understands file:///path, data:application/json;base64,… and a plain path.
func keySource(ref string) (func() ([]byte, error), error) {
	if ref == "" {
		return nil, errors.New("the parameter privateKey is missing")
	}
	if rest, ok := strings.CutPrefix(ref, "data:"); ok {
		kind, text, ok := strings.Cut(rest, ",")
		if !ok || !strings.HasSuffix(kind, ";base64") {
			return nil, errors.New("the parameter privateKey must look like data:application/json;base64,…")
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errors.New("the parameter privateKey is not valid base64")
		}
		return func() ([]byte, error) { return data, nil }, nil
	}
	path, ok := filePath(ref)
	if !ok {
		path = ref
	}
	return func() ([]byte, error) { return readSecret(path) }, nil
}

// Token gives a token that is good for a while yet.
func (f *clientFlow) Token(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token != "" && f.now().Before(f.until) {
		return f.token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	token, life, err := f.exchange(ctx)
	if err != nil {
		return "", fmt.Errorf("getting an access token from %s: %w", f.issuer, err)
	}
	f.token, f.until = token, f.now().Add(life-min(tokenMargin, life/2))
	return token, nil
}

func (f *clientFlow) exchange(ctx context.Context) (string, time.Duration, error) {
	data, err := f.key()
	if err != nil {
		return "", 0, fmt.Errorf("reading the private key: %w", err)
	}
	var key struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	if json.Unmarshal(data, &key) != nil || key.ClientID == "" || key.ClientSecret == "" {
		return "", 0, errors.New("the private key is no JSON with client_id and client_secret")
	}
	var known struct {
		TokenEndpoint string `json:"token_endpoint"`
	}
	if err := f.ask(ctx, http.MethodGet, f.issuer+"/.well-known/openid-configuration", nil, &known); err != nil {
		return "", 0, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {key.ClientID}, "client_secret": {key.ClientSecret}}
	if f.audience != "" {
		form.Set("audience", f.audience)
	}
	if f.scope != "" {
		form.Set("scope", f.scope)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := f.ask(ctx, http.MethodPost, known.TokenEndpoint, form, &answer); err != nil {
		return "", 0, err
	}
	token, err := checkToken(answer.AccessToken, "the answer of the token endpoint")
	if err != nil {
		return "", 0, err
	}
	const aDay = 24 * 60 * 60
	seconds := min(answer.ExpiresIn, aDay)
	if seconds <= 0 {
		seconds = 60
	}
	return token, time.Duration(seconds) * time.Second, nil
}

func (f *clientFlow) ask(ctx context.Context, method, target string, form url.Values, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return errors.New("the URL of the token endpoint is not valid")
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request.Header.Set("Accept", "application/json")
	response, err := f.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxTokenAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", request.URL.Redacted(), response.Status)
	}
	if json.Unmarshal(body, answer) != nil {
		return fmt.Errorf("%s answered no JSON", request.URL.Redacted())
	}
	return nil
}
