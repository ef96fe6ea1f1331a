package node

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/cluster"
	rlog "github.com/functions-worker/functions-worker/internal/cluster/log"
	"github.com/functions-worker/functions-worker/internal/pb"
)

func forwarder(t *testing.T) *Node {
	n, err := New(Options{Self: cluster.WorkerInfo{WorkerID: "w", Hostname: "h", Port: 1}, Namespace: "a/b", MetadataTopic: "m",
		CoordinationTopic: "c", AssignmentTopic: "s", openLog: func(string, bool) rlog.Log { return rlog.NewMemory() }})
	require.NoError(t, err)
	return n
}

func infoOf(t *testing.T, server *httptest.Server) cluster.WorkerInfo {
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	return cluster.WorkerInfo{WorkerID: "leader", Hostname: u.Hostname(), Port: port}
}

func TestForwardFollowsRedirectsWithItsBody(t *testing.T) {
	meta := function("f", 1, 3)
	var got pb.FunctionMetaData
	leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, http.MethodPut, r.Method)
		require.Equal(t, "/admin/v3/functions/leader/t/n/f", r.URL.Path)
		reader, err := r.MultipartReader()
		require.NoError(t, err)
		part, err := reader.NextPart()
		require.NoError(t, err)
		require.Equal(t, "functionMetaData", part.FormName())
		require.Empty(t, part.FileName(), "a Java leader takes no file name")
		data, err := io.ReadAll(part)
		require.NoError(t, err)
		require.NoError(t, proto.Unmarshal(data, &got))
		part, err = reader.NextPart()
		require.NoError(t, err)
		require.Equal(t, "delete", part.FormName())
		data, _ = io.ReadAll(part)
		require.Equal(t, "true", string(data))
		w.WriteHeader(http.StatusNoContent)
	}))
	defer leader.Close()
	hops := 0
	var other *httptest.Server
	other = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hops++; hops < 5 {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, leader.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer other.Close()
	require.NoError(t, forwarder(t).forwardHTTP(t.Context(), infoOf(t, other), meta, true))
	require.True(t, proto.Equal(meta, &got))
	require.Equal(t, 5, hops)
}

func TestForwardRelaysWhatTheLeaderSays(t *testing.T) {
	tests := map[string]struct {
		status     int
		body       string
		wantReason string
	}{
		"reason":  {400, `{"reason":"Update request ignored because it is out of date. Please try again."}`, "Update request ignored because it is out of date. Please try again."},
		"text":    {401, "no", "no"},
		"html":    {503, "<html>", "Service Unavailable"},
		"nothing": {500, "", "Internal Server Error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer leader.Close()
			err := forwarder(t).forwardHTTP(t.Context(), infoOf(t, leader), function("f", 1, 0), false)
			require.Equal(t, cluster.RemoteError{Status: test.status, Reason: test.wantReason}, err)
		})
	}
}

func TestForwardFailures(t *testing.T) {
	n := forwarder(t)
	var loop *httptest.Server
	loop = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, loop.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer loop.Close()
	require.ErrorAs(t, n.forwardHTTP(t.Context(), infoOf(t, loop), function("f", 1, 0), false), &cluster.WriteError{})
	closed := infoOf(t, loop)
	loop.Close()
	require.ErrorIs(t, n.forwardHTTP(t.Context(), closed, function("f", 1, 0), false), cluster.ErrLeaderNotReady, "it never left")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, n.forwardHTTP(ctx, closed, function("f", 1, 0), false))
}
