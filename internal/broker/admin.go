package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// callTimeout is the deadline of a call whose context brings none.
	callTimeout = 60 * time.Second
	// maxAnswer bounds what one JSON answer may take (a list of topics is the largest); maxErrorBody what is read of an error.
	maxAnswer    = 64 << 20
	maxErrorBody = 64 << 10
)

// Admin is a client of the broker's admin REST API. Its methods return *Error when the broker answered with an error, and
// any other error when there was no answer; then the outcome is unknown. It is safe for concurrent use.
type Admin struct {
	client *http.Client
	bases  []*url.URL
	first  atomic.Uint32 // index of the address that answered last
	log    *zap.Logger
}

// Error is an answer of the broker other than 2xx.
type Error struct {
	Op     string // what was being done
	Code   int    // HTTP status
	Reason string // the broker's words
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: the broker answered %d: %s", e.Op, e.Code, e.Reason)
}

// IsNotFound says whether the broker answered 404.
func IsNotFound(err error) bool { return hasCode(err, http.StatusNotFound) }

// IsConflict says whether the broker answered 409: it exists already.
func IsConflict(err error) bool { return hasCode(err, http.StatusConflict) }

// IsPreconditionFailed says whether the broker answered 412: not as things are, such as with a subscription that is being created.
func IsPreconditionFailed(err error) bool { return hasCode(err, http.StatusPreconditionFailed) }

// IsUnauthorized says whether the broker refused this worker's credentials or rights (401, 403).
func IsUnauthorized(err error) bool {
	return hasCode(err, http.StatusUnauthorized) || hasCode(err, http.StatusForbidden)
}

func hasCode(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// NewAdmin makes an admin client. It connects at the first call.
func NewAdmin(cfg Config, log *zap.Logger) (*Admin, error) {
	bases, err := cfg.webServices()
	if err != nil {
		return nil, err
	}
	client, err := NewHTTPClient(cfg)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	return &Admin{client: client, bases: bases, log: log}, nil
}

// Close lets go of idle connections.
func (a *Admin) Close() { a.client.CloseIdleConnections() }

// call sends one request with a JSON body (nil: none) and decodes the answer into answer (nil: ignored).
// path is the escaped path and query below the base URL.
func (a *Admin) call(ctx context.Context, op, method, path string, body, answer any) error {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s: encoding the request: %w", op, err)
		}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	response, err := a.sendAny(ctx, op, method, path, payload)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxErrorBody)) // so that the connection can be used again
		return wrap(op, err)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return wrap(op, err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("%s: the answer is larger than %d bytes", op, maxAnswer)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s: decoding the answer: %w", op, err)
	}
	return nil
}

// sendAny tries the configured addresses in turn until one takes the connection.
func (a *Admin) sendAny(ctx context.Context, op, method, path string, payload []byte) (*http.Response, error) {
	start := int(a.first.Load())
	var failure error
	for i := range a.bases {
		n := (start + i) % len(a.bases)
		var body io.Reader
		if payload != nil {
			body = bytes.NewReader(payload)
		}
		response, err := a.send(ctx, op, method, a.bases[n], path, "application/json", body)
		var e *Error
		if err == nil || errors.As(err, &e) {
			a.first.Store(uint32(n))
			return response, err
		}
		failure = err
		if !notConnected(err) || ctx.Err() != nil {
			break // the broker may have carried it out
		}
		a.log.Debug("broker address does not answer", zap.String("address", a.bases[n].Host), zap.Error(err))
	}
	return nil, failure
}

// notConnected says whether the request surely never left.
func notConnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// send makes one exchange; an answer other than 2xx becomes an *Error. The caller closes the body of the answer.
func (a *Admin) send(ctx context.Context, op, method string, base *url.URL, path, contentType string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, base.String()+path, body)
	if err != nil {
		return nil, wrap(op, err)
	}
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("User-Agent", "functions-worker")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, wrap(op, err)
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		return nil, &Error{Op: op, Code: response.StatusCode, Reason: reason(response)}
	}
	return response, nil
}

// reason finds the broker's words: {"reason": …} of the API, the status line for anything else.
func reason(response *http.Response) string {
	data, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody)) // half a reason is better than none
	var body struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &body) == nil && body.Reason != "" {
		return body.Reason
	}
	_, words, _ := strings.Cut(response.Status, " ")
	if words == "" {
		words = http.StatusText(response.StatusCode)
	}
	return words
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
