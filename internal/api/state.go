package api

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/functions-worker/functions-worker/internal/component"
	"github.com/functions-worker/functions-worker/internal/state"
)

// Errors of a State.
var (
	// ErrNoStateTable: nothing was ever stored for the function.
	ErrNoStateTable = state.ErrNoTable
	// ErrNoStateKey: the key has no value.
	ErrNoStateKey = state.ErrNoKey
)

// functionState is FunctionState of rest-api contract, section 9.7.
type functionState struct {
	Key         string  `json:"key"`
	StringValue *string `json:"stringValue"`
	ByteValue   []byte  `json:"byteValue"`
	NumberValue *int64  `json:"numberValue"`
	Version     *int64  `json:"version"`
}

func (s *Server) stateTarget(r *http.Request) (target, string, error) {
	t, err := s.targetOf(r, Function)
	if err != nil {
		return t, "", err
	}
	if s.opts.State == nil {
		return t, "", fail(http.StatusServiceUnavailable, textNoStateStore)
	}
	key, err := param(r, "key")
	return t, key, err
}

// getState answers one value; version 2 answers it as text.
func (s *Server) getState(legacy bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, key, err := s.stateTarget(r)
		if err != nil {
			return err
		}
		if err := s.knownToState(t); err != nil {
			return err
		}
		value, number, version, err := s.opts.State.Get(r.Context(), t.tenant, t.namespace, t.name, key)
		switch {
		case errors.Is(err, ErrNoStateTable), errors.Is(err, ErrNoStateKey):
			return failf(http.StatusNotFound, "key '%s' doesn't exist.", key)
		case err != nil:
			return stateError(err)
		}
		view := stateView(key, value, number, version)
		if !legacy {
			writeJSON(w, http.StatusOK, view)
			return nil
		}
		writeText(w, r, legacyState(view))
		return nil
	}
}

// knownToState asks the metadata and not the store, whose table is only made by the first value. Any kind of component
// will do.
func (s *Server) knownToState(t target) error {
	if _, ok := s.opts.Cluster.Function(t.tenant, t.namespace, t.name); !ok {
		return failf(http.StatusNotFound, "'%s' is not found", t.name)
	}
	return nil
}

func stateError(err error) error {
	if errors.Is(err, state.ErrLimit) {
		return fail(http.StatusRequestEntityTooLarge, err.Error())
	}
	return err
}

// stateView maps a stored value: a counter is a number, valid UTF-8 a text, anything else bytes; eight bytes are shown
// as a number too.
func stateView(key string, value []byte, number *int64, version int64) functionState {
	view := functionState{Key: key, Version: &version}
	switch {
	case number != nil:
		view.NumberValue = number
		return view
	case utf8.Valid(value):
		text := string(value)
		view.StringValue = &text
	default:
		view.ByteValue = value
	}
	if len(value) == 8 {
		n := int64(binary.BigEndian.Uint64(value))
		view.NumberValue = &n
	}
	return view
}

func legacyState(view functionState) string {
	text := "null"
	switch {
	case view.NumberValue != nil:
		text = strconv.FormatInt(*view.NumberValue, 10)
	case view.StringValue != nil:
		text = *view.StringValue
	}
	return fmt.Sprintf("value : %s, version : %d", text, *view.Version)
}

// putState stores one value (rest-api contract, section 6.6); the version is ignored.
func (s *Server) putState(w http.ResponseWriter, r *http.Request) error {
	t, key, err := s.stateTarget(r)
	if err != nil {
		return drainBody(r, err)
	}
	f, err := s.readForm(r, formSpec{texts: []string{"state"}})
	if err != nil {
		return drainBody(r, err)
	}
	var given struct {
		Key         string  `json:"key"`
		StringValue *string `json:"stringValue"`
		ByteValue   string  `json:"byteValue"` // base64
		NumberValue *int64  `json:"numberValue"`
	}
	if !f.has("state") {
		return fail(http.StatusBadRequest, "The state part is not provided")
	}
	if err := component.DecodeJSON("The state part", []byte(f.text("state")), &given); err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	bytes, err := base64.StdEncoding.DecodeString(given.ByteValue)
	if err != nil {
		return failf(http.StatusBadRequest, "The state part cannot be read: byteValue should be base64: %v", err)
	}
	if given.Key != key {
		return fail(http.StatusBadRequest, "Path key doesn't match key in json")
	}
	if err := s.knownToState(t); err != nil {
		return err
	}
	var value []byte
	switch {
	case len(bytes) > 0:
		value = bytes
	case given.StringValue != nil:
		value = []byte(*given.StringValue)
	case given.NumberValue != nil:
		value = binary.BigEndian.AppendUint64(nil, uint64(*given.NumberValue))
	default:
		return fail(http.StatusInternalServerError, "Invalid state value")
	}
	if err := s.opts.State.Put(r.Context(), t.tenant, t.namespace, t.name, key, value); err != nil {
		return stateError(err)
	}
	void(w, http.StatusNoContent)
	return nil
}
