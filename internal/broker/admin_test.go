package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func x509PKCS8(cert tls.Certificate) ([]byte, error) {
	return x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
}

func fakeBroker(t *testing.T, handler http.HandlerFunc) *Admin {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	admin, err := NewAdmin(Config{WebServiceURL: server.URL}, nil)
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	return admin
}

func TestAdminErrors(t *testing.T) {
	for _, tc := range []struct {
		name       string
		status     int
		body       string
		wantReason string
		want       func(error) bool
	}{
		{"with a reason", 404, `{"reason":"Namespace does not exist"}`, "Namespace does not exist", IsNotFound},
		{"conflict", 409, `{"reason":"exists"}`, "exists", IsConflict},
		{"401", 401, "<html>", "Unauthorized", IsUnauthorized},
		{"403", 403, "", "Forbidden", IsUnauthorized},
		{"no JSON", 500, strings.Repeat("x", 1<<20), "Internal Server Error", func(err error) bool { return !IsNotFound(err) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			admin := fakeBroker(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := admin.NamespacePolicies(t.Context(), "t/n")
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.status, e.Code)
			assert.Equal(t, tc.wantReason, e.Reason)
			assert.Contains(t, e.Error(), "reading namespace t/n")
			assert.True(t, tc.want(err))
		})
	}
}

func TestAdminPaths(t *testing.T) {
	var got string
	admin := fakeBroker(t, func(w http.ResponseWriter, r *http.Request) { got = r.Method + " " + r.RequestURI })
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"DELETE /admin/v2/persistent/t/n/x/subscription/t%252Fn%252Ff?force=false": func() error {
			return admin.DeleteSubscription(ctx, "persistent://t/n/x", "t/n/f", false)
		},
		"POST /admin/v2/namespaces/t/n/unsubscribe/t%2Fn%2Ff": func() error { return admin.UnsubscribeNamespace(ctx, "t/n", "t/n/f") },
		"DELETE /admin/v2/persistent/t/n/a%2Fb+c?force=true&deleteSchema=true": func() error {
			return admin.DeleteTopic(ctx, "t/n/a/b c", true)
		},
		"PUT /admin/v2/persistent/public/default/x": func() error { return admin.CreateTopic(ctx, "x") },
		"PUT /admin/v2/non-persistent/t/n/x/subscription/s?replicated=false": func() error {
			return admin.CreateSubscription(ctx, "non-persistent://t/n/x", "s", Latest)
		},
	} {
		require.NoError(t, call())
		assert.Equal(t, want, got)
	}
	for _, topic := range []string{"", "persistent://t/n", "persistent://t//x", "kafka://t/n/x", "persistent://../n/x", "t/n/..", "persistent://t/n/"} {
		require.Error(t, admin.CreateTopic(ctx, topic), "%q", topic)
	}
	for _, namespace := range []string{"", "t", "t/", "/n", "t/n/x", "../n"} {
		require.Error(t, admin.CreateNamespace(ctx, namespace, NamespacePolicies{}), "%q", namespace)
	}
}

func TestDeletionOfATopicBetweenTwoStates(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []int // in turn, the last one again and again
		calls   int
		code    int // of the error; 0 for none
	}{
		"passes":                      {answers: []int{422, 422, 204}, calls: 3},
		"the first one got through":   {answers: []int{422, 404}, calls: 2},
		"never there":                 {answers: []int{404}, calls: 1, code: 404},
		"does not pass":               {answers: []int{422}, calls: deletionTries, code: 422},
		"in use is said at once":      {answers: []int{412}, calls: 1, code: 412},
		"another fault in the middle": {answers: []int{422, 500}, calls: 2, code: 500},
	} {
		t.Run(name, func(t *testing.T) {
			calls, unloads := 0, 0
			admin := fakeBroker(t, func(w http.ResponseWriter, r *http.Request) {
				if r.RequestURI == "/admin/v2/persistent/t/n/x/unload" {
					unloads++
					return
				}
				w.WriteHeader(tc.answers[min(calls, len(tc.answers)-1)])
				calls++
			})
			gentle := admin.DeleteTopic(t.Context(), "t/n/x", false)
			assert.Equal(t, tc.calls, calls)
			assert.Zero(t, unloads, "without force, whoever has begun to use the topic keeps it")
			calls = 0
			err := admin.DeleteTopic(t.Context(), "t/n/x", true)
			assert.Equal(t, tc.calls, calls)
			assert.Equal(t, tc.calls-1, unloads, "the topic is unloaded before each repetition")
			assert.Equal(t, gentle, err)
			if tc.code == 0 {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.code, e.Code)
		})
	}
}

func TestAdminTriesAllAddresses(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		_, _ = io.WriteString(w, `["c"]`)
	}))
	t.Cleanup(server.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	admin, err := NewAdmin(Config{WebServiceURL: "http://" + closed.Addr().String() + "," + server.Listener.Addr().String()}, nil)
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	for range 2 {
		clusters, err := admin.Clusters(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"c"}, clusters)
	}
	assert.Equal(t, 2, calls)
}

func TestAdminEndsWithItsContext(t *testing.T) {
	admin := fakeBroker(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := admin.Clusters(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestUploadThatBreaksOff(t *testing.T) {
	bodyErr := make(chan error, 1)
	admin := fakeBroker(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		bodyErr <- err
	})
	name, err := ParsePackageName("sink://t/n/f")
	require.NoError(t, err)
	broken := errors.New("the disk is gone")
	err = admin.UploadPackage(t.Context(), name, PackageMetadata{}, "f", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
	require.Error(t, <-bodyErr, "the broker must not take it as complete")
}

func TestServiceURLs(t *testing.T) {
	for _, tc := range []struct {
		raw, kind string
		tls       bool
		want      string
	}{
		{"pulsar://h:6650", "pulsar", false, "pulsar://h:6650"},
		{"pulsar://h:6650", "pulsar", true, "pulsar+ssl://h:6650"},
		{"pulsar+ssl://a:1,b:2/", "pulsar", false, "pulsar+ssl://a:1,b:2"},
		{" http://h:8080/ ", "http", true, "https://h:8080"},
		{"http://h", "pulsar", false, ""},
		{"", "http", false, ""},
		{"http://", "http", false, ""},
		{"http://user:secret@h", "http", false, ""},
		{"h:8080", "http", false, ""},
	} {
		got, err := serviceURL(tc.raw, tc.kind, tc.tls)
		assert.Equal(t, tc.want, got, tc.raw)
		assert.Equal(t, tc.want == "", err != nil, tc.raw)
		if err != nil {
			assert.NotContains(t, err.Error(), "secret")
		}
	}
}

func TestPackageNames(t *testing.T) {
	for raw, want := range map[string]string{
		"function://t/n/f":      "function://t/n/f@latest",
		"SINK://t/n/f@3":        "sink://t/n/f@3",
		"source://t/n/f@v1.2-x": "source://t/n/f@v1.2-x",
		"other://t/n/f@1":       "",
		"function://t/n":        "",
		"function://t/n/f/x@1":  "",
		"function://t/n/f@":     "",
		"function://t/../f@1":   "",
		"function://t/n/f@../x": "",
		"function://t/n/f@..":   "",
		"function://t/n/f@1@2":  "",
		"t/n/f":                 "",
		"":                      "",
	} {
		name, err := ParsePackageName(raw)
		if want == "" {
			assert.Error(t, err, raw)
			continue
		}
		assert.NoError(t, err, raw)
		assert.Equal(t, want, name.String())
	}
}

func TestPackageNamesSurvive(t *testing.T) {
	part := rapid.StringMatching(`[-=:.\w]{1,12}`).Filter(func(s string) bool { return s != "." && s != ".." })
	rapid.Check(t, func(t *rapid.T) {
		name := PackageName{Type: rapid.SampledFrom([]string{"function", "sink", "source"}).Draw(t, "type"), Tenant: part.Draw(t, "tenant"),
			Namespace: part.Draw(t, "namespace"), Name: part.Draw(t, "name"), Version: part.Draw(t, "version")}
		got, err := ParsePackageName(name.String())
		if err != nil || got != name {
			t.Fatalf("%v became %v, %v", name, got, err)
		}
	})
}

func FuzzPackageName(f *testing.F) {
	for _, seed := range []string{"function://t/n/f@1", "sink://t/n/f", "source://a/b/c@..", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := ParsePackageName(raw)
		if err != nil {
			return
		}
		if again, err := ParsePackageName(name.String()); err != nil || again != name {
			t.Fatalf("%q became %v, then %v, %v", raw, name, again, err)
		}
		if path := name.path(); strings.Count(path, "/") != 8 || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
			t.Fatalf("%q leaves its path: %s", raw, path)
		}
	})
}
