package api

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors of a State.
var (
	// ErrNoStateTable: nothing was ever stored for the function.
	ErrNoStateTable = errors.New("no state of this function")
	// ErrNoStateKey: the key has no value.
	ErrNoStateKey = errors.New("no value of this key")
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
		value, number, version, err := s.opts.State.Get(r.Context(), t.tenant, t.namespace, t.name, key)
		switch {
		case errors.Is(err, ErrNoStateTable):
			return failf(http.StatusNotFound, "'%s' is not found", t.name)
		case errors.Is(err, ErrNoStateKey):
			return failf(http.StatusNotFound, "key '%s' doesn't exist.", key)
		case err != nil:
			return err
		}
		state := stateView(key, value, number, version)
		if !legacy {
			writeJSON(w, http.StatusOK, state)
			return nil
		}
		writeText(w, r, legacyState(state))
		return nil
	}
}

// stateView maps a stored value: a counter is a number, valid UTF-8 a text, anything else bytes; eight bytes are shown
// as a number too.
func stateView(key string, value []byte, number *int64, version int64) functionState {
	state := functionState{Key: key, Version: &version}
	switch {
	case number != nil:
		state.NumberValue = number
		return state
	case utf8.Valid(value):
		text := string(value)
		state.StringValue = &text
	default:
		state.ByteValue = value
	}
	if len(value) == 8 {
		n := int64(binary.BigEndian.Uint64(value))
		state.NumberValue = &n
	}
	return state
}

func legacyState(state functionState) string {
	text := "null"
	switch {
	case state.NumberValue != nil:
		text = strconv.FormatInt(*state.NumberValue, 10)
	case state.StringValue != nil:
		text = *state.StringValue
	}
	return fmt.Sprintf("value : %s, version : %d", text, *state.Version)
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
	var state functionState
	if !f.has("state") {
		return fail(http.StatusBadRequest, "The state part is not provided")
	}
	if err := json.Unmarshal([]byte(strings.TrimSpace(f.text("state"))), &state); err != nil {
		return failf(http.StatusBadRequest, "The state part is not valid: %v", err)
	}
	if state.Key != key {
		return fail(http.StatusBadRequest, "Path key doesn't match key in json")
	}
	var value []byte
	switch {
	case len(state.ByteValue) > 0:
		value = state.ByteValue
	case state.StringValue != nil:
		value = []byte(*state.StringValue)
	case state.NumberValue != nil:
		value = binary.BigEndian.AppendUint64(nil, uint64(*state.NumberValue))
	default:
		return fail(http.StatusInternalServerError, "Invalid state value")
	}
	if err := s.opts.State.Put(r.Context(), t.tenant, t.namespace, t.name, key, value); err != nil {
		if errors.Is(err, ErrNoStateTable) {
			return failf(http.StatusNotFound, "'%s' is not found", t.name)
		}
		return err
	}
	void(w, http.StatusNoContent)
	return nil
}
