package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/functions-worker/functions-worker/internal/broker"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// fakeService is the broker's packages service in memory.
type fakeService struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (s *fakeService) UploadPackage(_ context.Context, n broker.PackageName, _ broker.PackageMetadata, _ string, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[n.String()] = data
	return nil
}

func (s *fakeService) get(n broker.PackageName) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.data[n.String()]
	if !ok {
		return nil, &broker.Error{Op: "test", Code: 404, Reason: "no"}
	}
	return data, nil
}

func (s *fakeService) DownloadPackage(_ context.Context, n broker.PackageName) (io.ReadCloser, error) {
	data, err := s.get(n)
	return io.NopCloser(bytes.NewReader(data)), err
}

func (s *fakeService) DeletePackage(_ context.Context, n broker.PackageName) error {
	_, err := s.get(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.data, n.String())
	return err
}

func (s *fakeService) PackageMetadata(_ context.Context, n broker.PackageName) (broker.PackageMetadata, error) {
	_, err := s.get(n)
	return broker.PackageMetadata{}, err
}

type fakeBuiltins struct{ connectors, functions map[string]string }

func (b fakeBuiltins) ConnectorFile(name string) (string, bool) {
	f, ok := b.connectors[name]
	return f, ok
}
func (b fakeBuiltins) FunctionFile(name string) (string, bool) {
	f, ok := b.functions[name]
	return f, ok
}

// bench is a fetcher with everything around it.
type bench struct {
	*Fetcher
	store      *FileStore
	service    *fakeService
	connectors string // directory
	functions  string
	web        *httptest.Server
	foreign    *httptest.Server
}

func newBench(t *testing.T, change ...func(*FetcherConfig)) *bench {
	t.Helper()
	b := &bench{service: &fakeService{data: map[string][]byte{}}, connectors: t.TempDir(), functions: t.TempDir()}
	b.foreign = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "foreign") }))
	t.Cleanup(b.foreign.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok/code.py", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "web code") })
	mux.HandleFunc("/ok/auth.py", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p w" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "secret code")
	})
	mux.HandleFunc("/ok/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok/code.py", http.StatusFound) })
	mux.HandleFunc("/ok/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, b.foreign.URL+"/x", http.StatusFound)
	})
	mux.HandleFunc("/ok/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok/loop", http.StatusFound) })
	mux.HandleFunc("/ok/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/ok/large", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "99999999") })
	mux.HandleFunc("/ok/short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	})
	b.web = httptest.NewServer(mux)
	t.Cleanup(b.web.Close)
	policy, err := NewURLPolicy(URLPolicyConfig{ConnectorsDirectory: b.connectors, FunctionsDirectory: b.functions,
		ReferenceConnectors: true, ReferenceFunctions: true,
		FunctionPatterns: []string{`http://(u:p%20w@|u:wrong@)?127\.0\.0\.1:\d+/ok/.*`}})
	require.NoError(t, err)
	b.store, err = NewFileStore(t.TempDir())
	require.NoError(t, err)
	cfg := FetcherConfig{Store: b.store, Service: b.service, URLs: policy, DownloadDirectory: t.TempDir(), MaxSize: 10_000, Networks: prefixes("127.0.0.0/8"),
		Builtins: fakeBuiltins{connectors: map[string]string{"both": b.write(t, b.connectors, "c.nar", "connector")},
			functions: map[string]string{"both": b.write(t, b.functions, "f.nar", "function")}}}
	for _, f := range change {
		f(&cfg)
	}
	b.Fetcher, err = NewFetcher(cfg)
	require.NoError(t, err)
	return b
}

func (b *bench) write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func location(path, fileName string) *pb.PackageLocationMetaData {
	return &pb.PackageLocationMetaData{PackagePath: path, OriginalFileName: fileName}
}

func function(runtime pb.FunctionDetails_Runtime) *pb.FunctionDetails {
	return &pb.FunctionDetails{Tenant: "t", Namespace: "n", Name: "f", ClassName: "org.example.Fn", Runtime: runtime,
		ComponentType: pb.FunctionDetails_FUNCTION}
}

func TestFetcherOpen(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	require.NoError(t, b.store.Put(ctx, "http/default/f/1-x.jar", strings.NewReader("stored"), Info{FileName: "x.jar"}))
	require.NoError(t, b.store.Put(ctx, "too/large", bytes.NewReader(make([]byte, 10_001)), Info{}))
	require.NoError(t, b.store.Put(ctx, "just/right", bytes.NewReader(make([]byte, 10_000)), Info{}))
	b.service.data["function://t/n/f@1"] = []byte("from the service")
	inFunctions := "file://" + b.write(t, b.functions, "a b.jar", "file code")
	inFunctions = strings.ReplaceAll(inFunctions, " ", "%20")
	b.write(t, b.connectors, "c.nar", "connector")
	outside := b.write(t, t.TempDir(), "outside", "x")
	require.NoError(t, os.Symlink(outside, filepath.Join(b.functions, "link")))

	for _, tc := range []struct {
		name     string
		loc      *pb.PackageLocationMetaData
		kind     Kind
		want     string
		wantName string
		wantErr  error
		wantText string // of the error
	}{
		{name: "stored, of a tenant called http", loc: location("http/default/f/1-x.jar", ""), kind: Function, want: "stored", wantName: "x.jar"},
		{name: "the recorded file name wins", loc: location("http/default/f/1-x.jar", "../../orig.jar"), kind: Function, want: "stored", wantName: "orig.jar"},
		{name: "nothing stored", loc: location("t/n/f/none", ""), kind: Function, wantErr: ErrNotFound},
		{name: "no path", loc: nil, kind: Function, wantErr: ErrNotFound},
		{name: "stored, too large", loc: location("too/large", ""), wantErr: ErrTooLarge},
		{name: "stored, at the limit", loc: location("just/right", ""), want: string(make([]byte, 10_000))},
		{name: "packages service", loc: location("function://t/n/f@1", ""), kind: Function, want: "from the service"},
		{name: "packages service, none", loc: location("sink://t/n/f@1", ""), kind: Sink, wantErr: ErrNotFound},
		{name: "packages service, hostile", loc: location("sink://t/../f@1", ""), kind: Sink, wantText: "not valid"},
		{name: "file", loc: location(inFunctions, ""), kind: Function, want: "file code", wantName: "a b.jar"},
		{name: "file of the other kind", loc: location(inFunctions, ""), kind: Source, wantErr: ErrNotAllowed},
		{name: "file of unknown kind", loc: location(inFunctions, ""), kind: AnyKind, want: "file code", wantName: "a b.jar"},
		{name: "file outside", loc: location("file://"+outside, ""), kind: Function, wantErr: ErrNotAllowed},
		{name: "link that leads outside", loc: location("file://"+b.functions+"/link", ""), kind: Function, wantErr: ErrNotAllowed},
		{name: "a directory", loc: location("file://"+b.functions, ""), kind: Function, wantText: "not a regular file"},
		{name: "missing file", loc: location("file://"+b.functions+"/none", ""), kind: Function, wantErr: os.ErrNotExist},
		{name: "built-in function", loc: location("builtin://both", ""), kind: Function, want: "function", wantName: "f.nar"},
		{name: "built-in connector", loc: location("builtin://both", ""), kind: Sink, want: "connector", wantName: "c.nar"},
		{name: "built-in, not installed", loc: location("builtin://../x", ""), kind: Sink, wantErr: ErrNotFound},
		{name: "http", loc: location(b.web.URL+"/ok/code.py", ""), kind: Function, want: "web code", wantName: "code.py"},
		{name: "http, refused by policy", loc: location(b.web.URL+"/private", ""), kind: Function, wantErr: ErrNotAllowed},
		{name: "http, refused for connectors", loc: location(b.web.URL+"/ok/code.py", ""), kind: Sink, wantErr: ErrNotAllowed},
		{name: "http with user info", loc: location(strings.Replace(b.web.URL, "://", "://u:p%20w@", 1)+"/ok/auth.py", ""), kind: Function, want: "secret code", wantName: "auth.py"},
		{name: "http with wrong user info", loc: location(strings.Replace(b.web.URL, "://", "://u:wrong@", 1)+"/ok/auth.py", ""), kind: Function, wantText: "401"},
		{name: "redirect", loc: location(b.web.URL+"/ok/moved", ""), kind: Function, want: "web code", wantName: "moved"},
		{name: "redirect to what is not allowed", loc: location(b.web.URL+"/ok/away", ""), kind: Function, wantErr: ErrNotAllowed},
		{name: "redirects without end", loc: location(b.web.URL+"/ok/loop", ""), kind: Function, wantText: "redirects"},
		{name: "http without end", loc: location(b.web.URL+"/ok/endless", ""), kind: Function, wantErr: ErrTooLarge},
		{name: "http, announced too large", loc: location(b.web.URL+"/ok/large", ""), kind: Function, wantErr: ErrTooLarge},
		{name: "http, cut off", loc: location(b.web.URL+"/ok/short", ""), kind: Function, wantErr: io.ErrUnexpectedEOF},
		{name: "http, missing", loc: location(b.web.URL+"/ok/none", ""), kind: Function, wantErr: ErrNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body, name, err := b.Open(ctx, tc.loc, tc.kind)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(body)
				require.NoError(t, body.Close())
			}
			switch {
			case tc.wantErr != nil:
				require.ErrorIs(t, err, tc.wantErr)
			case tc.wantText != "":
				require.ErrorContains(t, err, tc.wantText)
				assert.NotContains(t, err.Error(), "wrong", "no passwords in errors")
			default:
				require.NoError(t, err)
				assert.Equal(t, tc.want, string(got))
				assert.Equal(t, tc.wantName, name)
			}
		})
	}
}

func TestFetcherLocal(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	require.NoError(t, b.store.Put(ctx, "key", strings.NewReader("stored"), Info{}))
	file, err := b.Local(ctx, function(pb.FunctionDetails_JAVA), location("key", "my code.jar"), 3, false)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(b.cfg.DownloadDirectory, "t/n/f/3/my code.jar"), file)
	assertFile(t, file, "stored", 0o644)

	t.Run("again, over the old file", func(t *testing.T) {
		require.NoError(t, os.WriteFile(file, []byte("half of an old one"), 0o600))
		_, err := b.Local(ctx, function(pb.FunctionDetails_JAVA), location("key", "my code.jar"), 3, false)
		require.NoError(t, err)
		assertFile(t, file, "stored", 0o644)
	})
	t.Run("go is executable", func(t *testing.T) {
		file, err := b.Local(ctx, function(pb.FunctionDetails_GO), location("key", ""), 0, false)
		require.NoError(t, err)
		assert.Equal(t, "example.go", filepath.Base(file))
		assertFile(t, file, "stored", 0o755)
	})
	t.Run("a transform function of the same file name stays apart", func(t *testing.T) {
		require.NoError(t, b.store.Put(ctx, "transform", strings.NewReader("transform"), Info{}))
		other, err := b.Local(ctx, function(pb.FunctionDetails_JAVA), location("transform", "my code.jar"), 3, true)
		require.NoError(t, err)
		assertFile(t, other, "transform", 0o644)
		assertFile(t, file, "stored", 0o644)
	})
	t.Run("built-ins are used where they are; the field decides, not the path", func(t *testing.T) {
		sink := function(pb.FunctionDetails_JAVA)
		sink.ComponentType, sink.Sink = pb.FunctionDetails_SINK, &pb.SinkSpec{Builtin: "both"}
		file, err := b.Local(ctx, sink, location("whatever", ""), 0, false)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(b.connectors, "c.nar"), file)
	})
	t.Run("a file URL is used where it is, and comes before the built-in", func(t *testing.T) {
		fn := function(pb.FunctionDetails_JAVA)
		fn.Builtin = "both"
		want := b.write(t, b.functions, "x.jar", "x")
		file, err := b.Local(ctx, fn, location("file://"+want, ""), 0, false)
		require.NoError(t, err)
		assert.Equal(t, want, file)
	})
	t.Run("a broken download leaves no file", func(t *testing.T) {
		_, err := b.Local(ctx, function(pb.FunctionDetails_PYTHON), location(b.web.URL+"/ok/short", ""), 9, false)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		entries, err := os.ReadDir(filepath.Join(b.cfg.DownloadDirectory, "t/n/f/9"))
		require.NoError(t, err)
		assert.Empty(t, entries)
	})
	t.Run("hostile names", func(t *testing.T) {
		for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a\x00"} {
			fn := function(pb.FunctionDetails_JAVA)
			fn.Name = name
			_, err := b.Local(ctx, fn, location("key", ""), 0, false)
			require.Error(t, err, "%q", name)
			require.Error(t, b.Remove(fn, 0), "%q", name)
		}
	})
	t.Run("many instances at once", func(t *testing.T) {
		var group sync.WaitGroup
		for i := range int32(16) {
			group.Go(func() {
				file, err := b.Local(ctx, function(pb.FunctionDetails_PYTHON), location("key", "a.py"), i%8+20, false)
				assert.NoError(t, err)
				assertFile(t, file, "stored", 0o644)
			})
		}
		group.Wait()
	})
	t.Run("set aside", func(t *testing.T) {
		fn := function(pb.FunctionDetails_PYTHON)
		old, err := b.Local(ctx, fn, location("key", "a.py"), 40, false)
		require.NoError(t, err)
		kept, err := b.SetAside(fn, 40, old)
		require.NoError(t, err)
		assert.Equal(t, "a.py", filepath.Base(kept), "a Python module's name")
		assertFile(t, kept, "stored", 0o644)
		again, err := b.SetAside(fn, 40, kept)
		require.NoError(t, err)
		assert.Equal(t, kept, again)
		next, err := b.Local(ctx, fn, location("key", "a.py"), 40, false)
		require.NoError(t, err)
		assert.NotEqual(t, kept, next)
		assertFile(t, kept, "stored", 0o644)
		elsewhere, err := b.SetAside(fn, 40, "/srv/in-place.py")
		require.NoError(t, err)
		assert.Equal(t, "/srv/in-place.py", elsewhere, "what is used in place stays")
		_, err = b.SetAside(fn, 40, old+".gone")
		require.ErrorContains(t, err, "keeping the package of the version before of t/n/f")
		require.NoError(t, b.Remove(fn, 40))
		assert.NoFileExists(t, kept)
	})
	require.NoError(t, b.Remove(function(pb.FunctionDetails_JAVA), 3))
	assert.NoFileExists(t, file)
	require.NoError(t, b.Remove(function(pb.FunctionDetails_JAVA), 3), "twice")
	assert.DirExists(t, filepath.Join(b.cfg.DownloadDirectory, "t/n/f/0"), "other instances keep theirs")
}

func assertFile(t *testing.T, file, want string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(file)
	assert.NoError(t, err)
	assert.Equal(t, want, string(data))
	if st, err := os.Stat(file); assert.NoError(t, err) {
		assert.Equal(t, mode, st.Mode().Perm())
	}
}

func TestFetcherPeers(t *testing.T) {
	const key = "public/default/f/uuid-x.jar"
	answers := map[string]http.HandlerFunc{
		"has it": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/admin/v3/functions/download" || r.URL.Query().Get("path") != key || r.Header.Get(PeerHeader) == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			fmt.Fprint(w, "from a peer")
		},
		"empty":   func(http.ResponseWriter, *http.Request) {},
		"error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"aborts":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"unknown": http.NotFound,
	}
	for _, tc := range []struct {
		name  string
		peers []string
		want  string
	}{
		{"none", nil, ""},
		{"one that has it", []string{"has it"}, "from a peer"},
		{"an empty answer is no package", []string{"empty", "has it"}, "from a peer"},
		{"failures are passed over", []string{"error", "aborts", "unknown", "has it"}, "from a peer"},
		{"nobody has it", []string{"error", "aborts", "unknown", "empty"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var urls []string
			for _, peer := range tc.peers {
				server := httptest.NewServer(answers[peer])
				t.Cleanup(server.Close)
				urls = append(urls, server.URL)
			}
			b := newBench(t, func(cfg *FetcherConfig) {
				cfg.Peers = func(context.Context) ([]string, error) { return urls, nil }
			})
			file, err := b.Local(t.Context(), function(pb.FunctionDetails_JAVA), location(key, "x.jar"), 0, false)
			if tc.want == "" {
				require.ErrorIs(t, err, ErrNotFound)
				return
			}
			require.NoError(t, err)
			assertFile(t, file, tc.want, 0o644)
			_, _, err = b.Open(WithoutPeers(t.Context()), location(key, ""), AnyKind)
			require.ErrorIs(t, err, ErrNotFound, "a request of a peer is not asked on")
		})
	}
	t.Run("also when the store cannot have such keys", func(t *testing.T) {
		server := httptest.NewServer(answers["has it"])
		t.Cleanup(server.Close)
		b := newBench(t, func(cfg *FetcherConfig) {
			cfg.Store = NewBrokerStore(cfg.Service)
			cfg.Peers = func(context.Context) ([]string, error) { return []string{server.URL}, nil }
		})
		body, _, err := b.Open(t.Context(), location(key, ""), Function)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.NoError(t, b.Delete(t.Context(), location(key, "")), "only Java workers can delete it")
	})
}

func TestFetcherDelete(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	require.NoError(t, b.store.Put(ctx, "key", strings.NewReader("x"), Info{}))
	b.service.data["function://t/n/f@1"] = []byte("x")
	file := b.write(t, b.functions, "keep.jar", "x")
	for _, path := range []string{"", "key", "function://t/n/f@1", "file://" + file, "builtin://both", b.web.URL + "/ok/x"} {
		require.NoError(t, b.Delete(ctx, location(path, "")), path)
	}
	_, err := b.store.Stat(ctx, "key")
	require.ErrorIs(t, err, ErrNotFound)
	assert.Empty(t, b.service.data)
	assert.FileExists(t, file)
}

func TestLocalNames(t *testing.T) {
	for _, tc := range []struct {
		original, class string
		runtime         pb.FunctionDetails_Runtime
		want            string
	}{
		{"a.jar", "x.Y", pb.FunctionDetails_JAVA, "a.jar"},
		{"../../etc/passwd", "x.Y", pb.FunctionDetails_JAVA, "passwd"},
		{`C:\dir\a.jar`, "x.Y", pb.FunctionDetails_JAVA, "a.jar"},
		{"dir/", "org.example.Fn", pb.FunctionDetails_JAVA, "example.jar"},
		{"..", "mod.Cls", pb.FunctionDetails_PYTHON, "mod.py"},
		{"", "only", pb.FunctionDetails_PYTHON, "only.py"},
		{"", "", pb.FunctionDetails_GO, "function.go"},
		{"", "../../x.Y", pb.FunctionDetails_JAVA, "x.jar"},
		{transformDirectory, "", pb.FunctionDetails_JAVA, "_" + transformDirectory},
	} {
		details := &pb.FunctionDetails{ClassName: tc.class, Runtime: tc.runtime}
		assert.Equal(t, tc.want, localName(details, location("x", tc.original)), "%q %q", tc.original, tc.class)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := localName(&pb.FunctionDetails{ClassName: rapid.String().Draw(t, "class")}, location("x", rapid.String().Draw(t, "name")))
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") || len(name) > 200 ||
			filepath.Dir(filepath.Join("/d", name)) != "/d" {
			t.Fatalf("%q leaves its directory", name)
		}
	})
}

func TestFetcherEndsWithItsContext(t *testing.T) {
	b := newBench(t, func(cfg *FetcherConfig) { cfg.MaxSize = 1 << 40 })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Local(ctx, function(pb.FunctionDetails_JAVA), location(b.web.URL+"/ok/endless", ""), 0, false)
		done <- err
	}()
	cancel()
	require.True(t, errors.Is(<-done, context.Canceled))
}

// TestPrivateDirectories: nobody but the worker enters the directory of an instance until the runtime opens it, and a later download leaves it open.
func TestPrivateDirectories(t *testing.T) {
	f := &Fetcher{cfg: FetcherConfig{DownloadDirectory: t.TempDir(), Private: true}}
	instance := filepath.Join(f.cfg.DownloadDirectory, "t", "n", "f", "0")
	mode := func() os.FileMode {
		info, err := os.Stat(instance)
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	require.NoError(t, f.makeDirectory(filepath.Join(instance, transformDirectory)))
	require.Equal(t, os.FileMode(0o700), mode())
	require.NoError(t, os.Chmod(instance, 0o750))
	require.NoError(t, f.makeDirectory(filepath.Join(instance, asideDirectory)))
	require.Equal(t, os.FileMode(0o750), mode())
	require.Error(t, f.makeDirectory(filepath.Dir(instance)))
}
