package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScale(t *testing.T) {
	const path = "/functions-worker/v1/functions/public/default/f/scale"
	f, before := registered(t)
	put := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("PUT", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		f.server.Handler().ServeHTTP(rec, r)
		return rec
	}
	f.want(f.do("GET", path), 200, `{"parallelism":2}`)
	f.want(put(path, `{"parallelism":5}`), 204, "")
	f.want(f.do("GET", path), 200, `{"parallelism":5}`)
	after, ok := f.cluster.Function("public", "default", "f")
	require.True(t, ok)
	require.EqualValues(t, 5, after.FunctionDetails.Parallelism)
	require.Equal(t, before.Version+1, after.Version)
	require.EqualValues(t, 2, before.FunctionDetails.Parallelism, "what others hold is not changed")
	f.want(put(path, `{"parallelism":5}`), 204, "")
	same, _ := f.cluster.Function("public", "default", "f")
	require.Equal(t, after.Version, same.Version, "nothing is written for nothing")

	for body, reason := range map[string]string{"": "unexpected end", "{}": "from 1 to", `{"parallelism":0}`: "from 1 to", `{"parallelism":-3}`: "from 1 to", `{"parallelism":1.5}`: "1.5",
		`{"parallelism":"many"}`: "string", `{"parallelism":99999999999}`: "99999999999", "[" + strings.Repeat("[", 5000): "too long"} {
		rec := put(path, body)
		require.Equal(t, 400, rec.Code, body)
		require.Contains(t, rec.Body.String(), reason)
	}
	f.wantReason(put("/functions-worker/v1/functions/public/default/g/scale", `{"parallelism":1}`), 404, "Function g doesn't exist")
	f.wantReason(put("/functions-worker/v1/sinks/public/default/f/scale", `{"parallelism":1}`), 404, "Sink f doesn't exist")
	f.wantReason(f.do("GET", "/functions-worker/v1/sources/public/default/f/scale"), 404, "Source f doesn't exist")
}
