package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/state"
)

// memoryState is a State of one function; it has no table before the first put.
type memoryState map[string][]byte

func (m memoryState) Get(_ context.Context, _, _, _, key string) ([]byte, *int64, int64, error) {
	if len(m) == 0 {
		return nil, nil, 0, ErrNoStateTable
	}
	value, ok := m[key]
	if !ok {
		return nil, nil, 0, ErrNoStateKey
	}
	if n := int64(42); key == "counter" {
		return []byte{0, 0, 0, 0, 0, 0, 0, 42}, &n, 3, nil
	}
	return value, nil, 3, nil
}

func (m memoryState) Put(_ context.Context, _, _, _, key string, value []byte) error {
	switch key {
	case "large":
		return fmt.Errorf("%w: the value has 2 bytes", state.ErrLimit)
	case "broken":
		return fmt.Errorf("writing: %w", state.ErrCounter)
	}
	m[key] = value
	return nil
}

func (m memoryState) Cleanup(context.Context, string, string, string) error { clear(m); return nil }

func stateFixture(t *testing.T) (*fixture, memoryState) {
	store := memoryState{}
	f := newFixture(t, func(o *Options) { o.State = store })
	f.cluster.functions["public/default/f"] = &pb.FunctionMetaData{FunctionDetails: &pb.FunctionDetails{Tenant: "public", Namespace: "default", Name: "f", ComponentType: pb.FunctionDetails_FUNCTION}}
	return f, store
}

func (f *fixture) putState(key, json string) (int, string) {
	rec := f.send("POST", one+"/state/"+strings.ReplaceAll(key, "/", "%2F"), part{name: "state", value: json, contentType: "application/json"})
	return rec.Code, rec.Body.String()
}

func TestState(t *testing.T) {
	off := newFixture(t)
	off.wantReason(off.do("GET", one+"/state/k"), 503, textNoStateStore)
	off.wantReason(off.send("POST", one+"/state/k", part{name: "state", value: "{}"}), 503, textNoStateStore)

	f, _ := stateFixture(t)
	f.wantReason(f.do("GET", one+"/state/k"), 404, "key 'k' doesn't exist.")
	for key, json := range map[string]string{
		"text":    `{"key":"text","stringValue":"hi","version":9,"unknown":1}`,
		"eight":   `{"key":"eight","stringValue":"12345678"}`,
		"num":     `{"key":"num","numberValue":258}`,
		"bytes":   `{"key":"bytes","byteValue":"/w==","stringValue":"x"}`,
		"a/b":     `{"key":"a/b","stringValue":"x"}`,
		"empty":   `{"key":"empty","byteValue":"","stringValue":""}`,
		"counter": `{"key":"counter","stringValue":"made by the function"}`,
	} {
		code, body := f.putState(key, json)
		require.Equal(t, 204, code, body)
	}
	for key, want := range map[string]string{
		"text":    `{"key":"text","stringValue":"hi","byteValue":null,"numberValue":null,"version":3}`,
		"eight":   `{"key":"eight","stringValue":"12345678","byteValue":null,"numberValue":3544952156018063160,"version":3}`,
		"bytes":   `{"key":"bytes","stringValue":null,"byteValue":"/w==","numberValue":null,"version":3}`,
		"a%2Fb":   `{"key":"a/b","stringValue":"x","byteValue":null,"numberValue":null,"version":3}`,
		"empty":   `{"key":"empty","stringValue":"","byteValue":null,"numberValue":null,"version":3}`,
		"counter": `{"key":"counter","stringValue":null,"byteValue":null,"numberValue":42,"version":3}`,
	} {
		f.want(f.do("GET", one+"/state/"+key), 200, want)
	}
	require.Contains(t, f.do("GET", one+"/state/num").Body.String(), `"numberValue":258`)
	f.want(f.do("GET", "/admin/v2/functions/public/default/f/state/num"), 200, "value : 258, version : 3")
	f.wantReason(f.do("GET", one+"/state/nosuch"), 404, "key 'nosuch' doesn't exist.")
}

func TestStateRefusals(t *testing.T) {
	f, store := stateFixture(t)
	f.wantReason(f.do("GET", one+"x/state/k"), 404, "'fx' is not found")
	f.wantReason(f.send("POST", one+"x/state/k", part{name: "state", value: `{"key":"k","stringValue":"x"}`}), 404, "'fx' is not found")
	for _, tc := range []struct {
		key, json string
		want      int
		wantText  string
	}{
		{"k", `{"key":"other","stringValue":"x"}`, 400, "Path key doesn't match key in json"},
		{"k", `null`, 400, "The state part is not provided"},
		{"k", `{"key":"k"}`, 500, "Invalid state value"},
		{"k", `{`, 400, "The state part is not valid JSON"},
		{"k", `{"key":"k","byteValue":"??"}`, 400, "byteValue should be base64"},
		{"k", `{"key":"k","numberValue":"x"}`, 400, "numberValue should be an integer of 64 bits, not the text"},
		{"large", `{"key":"large","stringValue":"xx"}`, 413, "over the limit of the state store: the value has 2 bytes"},
		{"broken", `{"key":"broken","stringValue":"xx"}`, 500, "the key holds a counter"},
	} {
		code, body := f.putState(tc.key, tc.json)
		require.Equal(t, tc.want, code, "%s: %s", tc.json, body)
		require.Contains(t, body, tc.wantText)
	}
	require.Empty(t, store)
}

func TestDeletingRemovesState(t *testing.T) {
	f, store := stateFixture(t)
	store["k"] = []byte("v")
	f.want(f.do("DELETE", one), 204, "")
	require.Empty(t, store)
}
