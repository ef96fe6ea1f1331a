package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/cluster"
)

// Texts of the contract that several handlers use.
const (
	textNotInitialized = "Function worker service is not done initializing. Please try again in a little while."
	textNotAuthorized  = "Client is not authorized to perform operation"
	textNoStateStore   = "State storage client is not done initializing. Please try again in a little while."
)

// writeTimeout bounds each write to a client that does not read.
const writeTimeout = 60 * time.Second

// Error is an answer other than success, with the text that the client shows.
type Error struct {
	Status int
	Reason string
	// Framework is set for errors that no handler made (no route, wrong method, limits): they carry more fields.
	Framework bool
}

func (e *Error) Error() string { return e.Reason }

func fail(status int, reason string) *Error { return &Error{Status: status, Reason: reason} }

func failf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Reason: fmt.Sprintf(format, args...)}
}

func framework(status int, reason string) *Error {
	return &Error{Status: status, Reason: reason, Framework: true}
}

// toError gives the status and text of any error of the packages behind the API (rest-api contract, sections 5 and 8.3).
func toError(err error) *Error {
	var (
		own       *Error
		outdated  cluster.ErrOutdated
		remote    cluster.RemoteError
		drainable cluster.ErrWorkerNotDrainable
		write     cluster.WriteError
		tooLarge  *http.MaxBytesError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &outdated):
		return fail(http.StatusBadRequest, outdated.Error())
	case errors.As(err, &remote):
		return fail(remote.Status, remote.Reason)
	case errors.As(err, &drainable):
		if drainable.AlreadyDrained {
			return fail(http.StatusPreconditionFailed, drainable.Error())
		}
		return fail(http.StatusBadRequest, drainable.Error())
	case errors.As(err, &write):
		return fail(http.StatusInternalServerError, write.Error())
	case errors.As(err, &tooLarge):
		return failf(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes", tooLarge.Limit)
	}
	return sentinelError(err)
}

// sentinelError translates the errors that carry no data.
func sentinelError(err error) *Error {
	for _, known := range []struct {
		err    error
		status int
	}{
		{cluster.ErrLeaderNotReady, http.StatusServiceUnavailable},
		{cluster.ErrNotLeader, http.StatusInternalServerError},
		{cluster.ErrLeaderUnknown, http.StatusInternalServerError},
		{cluster.ErrRebalanceInProgress, http.StatusBadRequest},
		{cluster.ErrTooFewWorkers, http.StatusBadRequest},
		{cluster.ErrDrainInProgress, http.StatusConflict},
	} {
		if errors.Is(err, known.err) {
			return fail(known.status, known.err.Error())
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return failf(http.StatusInternalServerError, "The request took too long: %v", err)
	}
	return fail(http.StatusInternalServerError, err.Error())
}

// brokerError is the answer to a broker that refuses or fails a question of the worker.
func brokerError(err error) *Error {
	if broker.IsUnauthorized(err) {
		return fail(http.StatusUnauthorized, textNotAuthorized)
	}
	return fail(http.StatusInternalServerError, err.Error())
}

// errorBody is the JSON of an error; clients read reason first.
type errorBody struct {
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	Status  string `json:"status,omitempty"`
	URL     string `json:"url,omitempty"`
}

// writeError answers with {"reason": …}, for every method.
func writeError(w http.ResponseWriter, r *http.Request, e *Error) {
	body := errorBody{Reason: e.Reason}
	if e.Framework {
		w.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
		body.Message, body.Status, body.URL = e.Reason, strconv.Itoa(e.Status), r.URL.EscapedPath()
	}
	if e.Status >= http.StatusInternalServerError || e.Status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close") // Java clients close after every 5xx anyway
	}
	w.Header().Del("Content-Length")
	writeJSON(w, e.Status, body)
}

// writeJSON answers with a JSON value; HTML characters are not escaped, as Jackson does it.
func writeJSON(w http.ResponseWriter, status int, value any) {
	data, err := marshal(value)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"reason":`+strconv.Quote("The answer cannot be written as JSON: "+err.Error())+`}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// marshal is json.Marshal without HTML escaping and without the final line break.
func marshal(value any) ([]byte, error) {
	if raw, ok := value.(json.RawMessage); ok {
		return raw, nil
	}
	var buf jsonBuffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return buf[:len(buf)-1], nil
}

type jsonBuffer []byte

func (b *jsonBuffer) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }
