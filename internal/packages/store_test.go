package packages

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/functions-worker/functions-worker/internal/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// live gives a broker's configuration, an admin client, and a namespace of this test's own.
func live(t *testing.T) (broker.Config, *broker.Admin, string) {
	t.Helper()
	cfg := broker.Config{ServiceURL: os.Getenv("PULSAR_TEST_SERVICE_URL"), WebServiceURL: os.Getenv("PULSAR_TEST_WEB_URL")}
	if cfg.ServiceURL == "" || cfg.WebServiceURL == "" {
		t.Skip("needs a broker: set PULSAR_TEST_SERVICE_URL and PULSAR_TEST_WEB_URL, or run make test")
	}
	admin, err := broker.NewAdmin(cfg, nil)
	require.NoError(t, err)
	var id [6]byte
	_, err = rand.Read(id[:])
	require.NoError(t, err)
	namespace := "public/packages-" + hex.EncodeToString(id[:])
	require.NoError(t, admin.CreateNamespace(t.Context(), namespace, broker.NamespacePolicies{}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		topics, _ := admin.Topics(ctx, namespace)
		for _, topic := range topics {
			assert.NoError(t, admin.DeleteTopic(ctx, topic, true))
		}
		assert.NoError(t, admin.DeleteNamespace(ctx, namespace, false))
		admin.Close()
	})
	return cfg, admin, namespace
}

func liveTopicStore(t *testing.T) *TopicStore {
	cfg, admin, namespace := live(t)
	client, err := broker.NewClient(cfg, nil)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return NewTopicStore(client, admin, namespace, zaptest.NewLogger(t))
}

func TestStores(t *testing.T) {
	t.Run("files", func(t *testing.T) {
		store, err := NewFileStore(t.TempDir())
		require.NoError(t, err)
		storeContract(t, store, "public/default")
	})
	t.Run("topics", func(t *testing.T) {
		store := liveTopicStore(t)
		store.chunk = 64 << 10 // several parts without megabytes
		storeContract(t, store, store.namespace)
	})
	t.Run("packages service", func(t *testing.T) {
		_, admin, namespace := live(t)
		storeContract(t, NewBrokerStore(admin), namespace)
	})
}

// storeContract is what every store must do.
func storeContract(t *testing.T, store Store, namespace string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tenant, ns, _ := strings.Cut(namespace, "/")
	newKey := func() string { return store.NewKey(Function, tenant, ns, "fn", "code &+%é.jar") }

	t.Run("keys are unique and keep tenant and namespace", func(t *testing.T) {
		a, b := newKey(), newKey()
		assert.NotEqual(t, a, b)
		assert.Contains(t, a, namespace+"/fn")
	})
	t.Run("what was put is got, whatever its size", func(t *testing.T) {
		for _, size := range []int{1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 700_001} {
			key, data := newKey(), randomBytes(size)
			info := Info{FileName: "code &+%é.jar", Description: "a package", Properties: map[string]string{"k": "v"}}
			require.NoError(t, store.Put(ctx, key, iotest.OneByteReader(bytes.NewReader(data[:1])), Info{}))
			require.NoError(t, store.Put(ctx, key, bytes.NewReader(data), info), "replacing")
			got, gotInfo := read(t, ctx, store, key)
			assert.True(t, bytes.Equal(data, got), "%d bytes: got %d others", size, len(got))
			assert.Equal(t, info.FileName, gotInfo.FileName)
			assert.Equal(t, info.Description, gotInfo.Description)
			assert.Equal(t, "v", gotInfo.Properties["k"])
			assert.WithinDuration(t, time.Now(), gotInfo.Created, time.Minute)
			if gotInfo.Size != -1 {
				assert.EqualValues(t, size, gotInfo.Size)
			}
			stat, err := store.Stat(ctx, key)
			require.NoError(t, err)
			assert.Equal(t, gotInfo, stat)
			require.NoError(t, store.Delete(ctx, key))
		}
	})
	t.Run("what is not there is not found, and deleting it is no error", func(t *testing.T) {
		key := newKey()
		_, _, err := store.Get(ctx, key)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = store.Stat(ctx, key)
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, store.Delete(ctx, key))
	})
	t.Run("a deleted package is gone", func(t *testing.T) {
		key := newKey()
		require.NoError(t, store.Put(ctx, key, strings.NewReader("x"), Info{}))
		require.NoError(t, store.Delete(ctx, key))
		_, _, err := store.Get(ctx, key)
		require.ErrorIs(t, err, ErrNotFound)
	})
	t.Run("an upload that breaks off leaves nothing behind", func(t *testing.T) {
		key, broken := newKey(), errors.New("the client went away")
		err := store.Put(ctx, key, io.MultiReader(bytes.NewReader(randomBytes(200_000)), iotest.ErrReader(broken)), Info{})
		require.ErrorIs(t, err, broken)
		_, err = store.Stat(ctx, key)
		require.ErrorIs(t, err, ErrNotFound)
		err = store.Put(ctx, key, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), Info{})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a cut-off body is no end")
		_, err = store.Stat(ctx, key)
		require.ErrorIs(t, err, ErrNotFound)
	})
	t.Run("a cancelled upload ends and leaves nothing behind", func(t *testing.T) {
		key := newKey()
		ctx, cancel := context.WithCancel(ctx)
		body := iotest.DataErrReader(endlessReader{after: 300_000, do: cancel})
		require.Error(t, store.Put(ctx, key, body, Info{}))
		_, err := store.Stat(context.WithoutCancel(ctx), key)
		require.ErrorIs(t, err, ErrNotFound)
	})
	t.Run("several at once", func(t *testing.T) {
		var group sync.WaitGroup
		for i := range 6 {
			group.Go(func() {
				key, data := newKey(), randomBytes(100_000+i)
				assert.NoError(t, store.Put(ctx, key, bytes.NewReader(data), Info{}))
				got, _ := read(t, ctx, store, key)
				assert.True(t, bytes.Equal(data, got))
				assert.NoError(t, store.Delete(ctx, key))
			})
		}
		group.Wait()
	})
	t.Run("hostile keys", func(t *testing.T) {
		for _, key := range []string{"", "a\nb", strings.Repeat("x", maxKey+1), "function://../../x/y@1"} {
			if strings.HasPrefix(key, "function://") {
				if _, ok := store.(*BrokerStore); !ok {
					continue // an ordinary key elsewhere
				}
			}
			require.Error(t, store.Put(ctx, key, strings.NewReader("x"), Info{}), "%q", key)
			_, _, err := store.Get(ctx, key)
			require.Error(t, err, "%q", key)
			require.Error(t, store.Delete(ctx, key), "%q", key)
		}
	})
}

// endlessReader gives zeros, and does something after so many bytes.
type endlessReader struct {
	after int
	do    func()
}

func (r endlessReader) Read(p []byte) (int, error) {
	clear(p)
	if len(p) > 0 {
		r.do()
	}
	time.Sleep(time.Millisecond)
	return len(p), nil
}

func read(t *testing.T, ctx context.Context, store Store, key string) ([]byte, Info) {
	t.Helper()
	body, info, err := store.Get(ctx, key)
	if !assert.NoError(t, err) {
		return nil, Info{}
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	assert.NoError(t, err)
	return data, info
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	source := mathrand.NewChaCha8([32]byte{byte(n)})
	_, _ = source.Read(data)
	return data
}

func TestTopicStoreBrokenOverwrite(t *testing.T) {
	store := liveTopicStore(t)
	store.chunk = 1000
	ctx := t.Context()
	key, good := "a/b/c/"+t.Name(), randomBytes(3500)
	require.NoError(t, store.Put(ctx, key, bytes.NewReader(good), Info{}))
	for range 2 {
		err := store.Put(ctx, key, io.MultiReader(bytes.NewReader(randomBytes(2500)), iotest.ErrReader(errors.New("broken"))), Info{})
		require.Error(t, err)
		got, _ := read(t, ctx, store, key)
		assert.True(t, bytes.Equal(good, got), "the old package is still there")
	}
}

// A topic that its broker has to load anew is what a restarted broker meets.
func TestTopicStoreAfterUnload(t *testing.T) {
	store := liveTopicStore(t)
	ctx := t.Context()
	key, data := "a/b/c/"+t.Name(), randomBytes(5<<20+1)
	require.NoError(t, store.Put(ctx, key, bytes.NewReader(data), Info{FileName: "x"}))
	path := strings.Replace(store.topic(key), "://", "/", 1)
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, os.Getenv("PULSAR_TEST_WEB_URL")+"/admin/v2/"+path+"/unload", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, http.StatusNoContent, response.StatusCode)
	got, info := read(t, ctx, store, key)
	assert.True(t, bytes.Equal(data, got))
	assert.EqualValues(t, len(data), info.Size)
}

// The official tools read what this store writes.
func TestBrokerStoreIsReadByJava(t *testing.T) {
	_, admin, namespace := live(t)
	home := os.Getenv("PULSAR_HOME")
	if home == "" {
		t.Skip("needs the Pulsar distribution: set PULSAR_HOME, or run make test")
	}
	store := NewBrokerStore(admin)
	tenant, ns, _ := strings.Cut(namespace, "/")
	key, data := store.NewKey(Sink, tenant, ns, "fn", "x.jar"), randomBytes(300_000)
	require.NoError(t, store.Put(t.Context(), key, bytes.NewReader(data), Info{FileName: "x.jar"}))
	file := t.TempDir() + "/download"
	command := exec.CommandContext(t.Context(), home+"/bin/pulsar-admin", "--admin-url", os.Getenv("PULSAR_TEST_WEB_URL"),
		"packages", "download", key, "--path", file)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	require.NoError(t, store.Delete(t.Context(), key))
}

func TestTopicStoreSweep(t *testing.T) {
	store := liveTopicStore(t)
	ctx := t.Context()
	require.NoError(t, store.Put(ctx, "complete", strings.NewReader("x"), Info{}))
	// an upload whose worker died: its topic has parts but no end
	topic := store.topic("dead")
	require.NoError(t, store.admin.CreateTopic(ctx, topic))
	err := store.write(ctx, topic, "dead", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("dead"))), Info{})
	require.Error(t, err)
	// one whose worker died before the first message
	require.NoError(t, store.admin.CreateTopic(ctx, store.topic("stillborn")))

	for range 2 {
		n, err := store.Sweep(ctx, time.Hour)
		require.NoError(t, err)
		assert.Zero(t, n, "too young")
	}
	n, err := store.Sweep(ctx, 0)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	topics, err := store.admin.Topics(ctx, store.namespace)
	require.NoError(t, err)
	assert.Equal(t, []string{store.topic("complete")}, topics)
}

func TestFileStoreDamage(t *testing.T) {
	dir := t.TempDir()
	store, err := NewFileStore(dir)
	require.NoError(t, err)
	key := "t/n/f/x"
	path := store.file(key)
	damage := map[string]func(data []byte) []byte{
		"cut off":       func(d []byte) []byte { return d[:len(d)/2] },
		"empty":         func([]byte) []byte { return nil },
		"a bit flipped": func(d []byte) []byte { d[10] ^= 1; return d },
		"tail only":     func(d []byte) []byte { return d[len(d)-tailLength:] },
		"other key":     func(d []byte) []byte { return bytes.Replace(d, []byte(`"t/n/f/x"`), []byte(`"t/n/f/y"`), 1) },
	}
	for name, f := range damage {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, store.Put(t.Context(), key, bytes.NewReader(randomBytes(5000)), Info{}))
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, f(data), 0o600))
			body, _, err := store.Get(t.Context(), key)
			if err == nil {
				_, err = io.ReadAll(body)
				body.Close()
			}
			require.ErrorIs(t, err, ErrCorrupt)
		})
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, fmt.Sprint("no temporary files remain: ", entries))
}
