package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/functions-worker/functions-worker/internal/cluster"
	"github.com/functions-worker/functions-worker/internal/packages"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/stretchr/testify/require"
)

func TestUploadAndDownload(t *testing.T) {
	f, meta := registered(t)
	const up, down = "/admin/v3/functions/upload", "/admin/v3/functions/download"
	big := strings.Repeat("x", 200_000)
	f.want(f.send(http.MethodPost, up, part{name: "data", file: "a.jar", value: big}, part{name: "path", value: "public/default/a/a.jar"}), 204, "")
	f.want(f.send(http.MethodPost, "/admin/v2/functions/upload", part{name: "data", file: "a.jar", value: "v2"}, part{name: "path", value: "b"}), 200, "")
	rec := f.do("GET", down+"?path=public/default/a/a.jar")
	f.want(rec, 200, big)
	require.Equal(t, "application/octet-stream", rec.Header().Get("Content-Type"))
	f.want(f.do("GET", "/admin/functions/download?path=b"), 200, "v2")
	f.want(f.do("GET", one+"/download"), 200, "class F: pass")
	f.want(f.do("GET", one+"/download?transform-function=yes"), 200, "class F: pass")
	f.wantReason(f.do("GET", one+"/download?transform-function=true"), 404, "Function f has no such package")
	f.wantReason(f.do("GET", one+"x/download"), 404, "Function fx doesn't exist")
	f.wantReason(f.do("GET", down), 400, "The query parameter path is not given")
	f.wantReason(f.do("GET", down+"?path=nosuch"), 500, "The package nosuch cannot be read: package not found")
	f.wantReason(f.do("GET", down+"?path=http://evil/x"), 400, "Invalid package url: http://evil/x")
	f.wantReason(f.do("GET", down+"?path=file:///etc/passwd"), 400, "Invalid package url: file:///etc/passwd")
	meta.PackageLocation.PackagePath = "file:///etc/passwd"
	f.wantReason(f.do("GET", one+"/download"), 400, "Invalid package url: file:///etc/passwd")

	for name, tc := range map[string]struct {
		parts  []part
		reason string
	}{
		"no path":    {[]part{{name: "data", file: "a", value: "x"}}, "Function Package is not provided null"},
		"empty path": {[]part{{name: "data", file: "a", value: "x"}, {name: "path", value: ""}}, "Function Package is not provided "},
		"no data":    {[]part{{name: "path", value: "p"}}, "Function Package is not provided p"},
		"traversal":  {[]part{{name: "data", file: "a", value: "x"}, {name: "path", value: "a/../../b"}}, `The path "a/../../b" is not the path of a package`},
		"absolute":   {[]part{{name: "data", file: "a", value: "x"}, {name: "path", value: "/etc/passwd"}}, `The path "/etc/passwd" is not the path of a package`},
		"URL":        {[]part{{name: "data", file: "a", value: "x"}, {name: "path", value: "http://x/y"}}, `The path "http://x/y" is not the path of a package`},
	} {
		t.Run(name, func(t *testing.T) { f.wantReason(f.send(http.MethodPost, up, tc.parts...), 400, tc.reason) })
	}
}

// failing gives some bytes and then fails.
type failing struct{ data io.Reader }

func (f failing) Read(p []byte) (int, error) {
	if n, err := f.data.Read(p); err == nil {
		return n, nil
	}
	return 0, errors.New("the store went away")
}

type failingSource int

func (n failingSource) Open(context.Context, Kind, *pb.PackageLocationMetaData) (io.ReadCloser, error) {
	return io.NopCloser(failing{bytes.NewReader(make([]byte, int(n)))}), nil
}

// brokenOff is a small package of which the end is missing.
type brokenOff struct{}

func (brokenOff) Open(context.Context, Kind, *pb.PackageLocationMetaData) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
}

func TestDownloadOfWhatIsNoPackage(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"a/../b", "../x", "./x", "/etc/passwd", "a/b%00c", "a%0Ab", `a\..\b`} {
		rec := f.do("GET", "/admin/v3/functions/download?path="+path)
		require.Equal(t, 400, rec.Code, path)
		require.Contains(t, rec.Body.String(), "is not the path of a package")
	}
	f.wantReason(f.do("GET", "/admin/v3/functions/download?path=file:///etc/passwd"), 400, "Invalid package url: file:///etc/passwd")
}

func TestDownloadForAPeerAsksNoPeer(t *testing.T) {
	store, err := packages.NewFileStore(t.TempDir())
	require.NoError(t, err)
	urls, err := packages.NewURLPolicy(packages.URLPolicyConfig{})
	require.NoError(t, err)
	asked := 0
	fetcher, err := packages.NewFetcher(packages.FetcherConfig{Store: store, URLs: urls, DownloadDirectory: t.TempDir(), Peers: func(context.Context) ([]string, error) {
		asked++
		return nil, nil
	}})
	require.NoError(t, err)
	f := newFixture(t, func(o *Options) { o.Packages = OpenPackages(fetcher) })
	require.Equal(t, 500, f.do("GET", "/admin/v3/functions/download?path=public/default/f/x").Code)
	require.Equal(t, 1, asked)
	require.Equal(t, 500, f.do("GET", "/admin/v3/functions/download?path=public/default/f/x", packages.PeerHeader, "1").Code)
	require.Equal(t, 1, asked)
}

func TestDownloadThatFails(t *testing.T) {
	early := newFixture(t, func(o *Options) { o.Packages = failingSource(10) })
	early.wantReason(early.do("GET", "/admin/v3/functions/download?path=x"), 500, "The package x cannot be read: the store went away")
	broken := newFixture(t, func(o *Options) { o.Packages = brokenOff{} })
	broken.wantReason(broken.do("GET", "/admin/v3/functions/download?path=x"), 500, "The package x cannot be read: unexpected EOF")
	late := newFixture(t, func(o *Options) { o.Packages = failingSource(1 << 20) })
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { late.do("GET", "/admin/v3/functions/download?path=x") }, "the connection is cut")
}

// fakeTrigger answers the data in upper case.
type fakeTrigger struct {
	got  []TriggerRequest
	err  error
	hang bool
}

func (f *fakeTrigger) Trigger(ctx context.Context, req TriggerRequest) ([]byte, bool, error) {
	f.got = append(f.got, req)
	if f.hang {
		<-ctx.Done()
		return nil, false, ctx.Err()
	}
	return bytes.ToUpper(req.Data), req.OutputTopic != "", f.err
}

func TestTrigger(t *testing.T) {
	tr := &fakeTrigger{}
	f, meta := registered(t, func(o *Options) { o.Trigger = tr; o.TriggerTimeout = 50 * time.Millisecond })
	const path = one + "/trigger"
	in := "persistent://public/default/in"
	f.want(f.send("POST", path, part{name: "data", value: "hé"}), 200, "HÉ")
	require.Equal(t, in, tr.got[0].Topic)
	f.want(f.send("POST", path, part{name: "data", value: "a"}, part{name: "dataStream", file: "x", value: strings.Repeat("b", 1<<20)}, part{name: "topic", value: in}), 200, strings.Repeat("B", 1<<20))
	f.want(f.send("POST", "/admin/v2/functions/public/default/f/trigger", part{name: "data", value: ""}), 200, "")
	f.wantReason(f.send("POST", path, part{name: "topic", value: in}), 400, "Trigger Data is not provided")
	f.wantReason(f.send("POST", one+"x/trigger", part{name: "data", value: "a"}), 404, "Function fx doesn't exist")
	f.wantReason(f.send("POST", path, part{name: "data", value: "a"}, part{name: "topic", value: "in"}), 400, "Function in trigger function has unidentified topic")
	f.wantReason(f.send("POST", path, part{name: "data", value: "a"}, part{name: "topic", value: ""}), 400, "Function in trigger function has unidentified topic")
	tr.hang = true
	f.wantReason(f.send("POST", path, part{name: "data", value: "a"}), 408, "Request Timed Out")
	tr.hang, tr.err = false, fail(400, "Function in trigger function is not ready")
	f.wantReason(f.send("POST", path, part{name: "data", value: "a"}), 400, "Function in trigger function is not ready")
	tr.err = nil
	meta.FunctionDetails.Sink.Topic = ""
	f.want(f.send("POST", path, part{name: "data", value: "a"}), 204, "")
	meta.FunctionDetails.Source.InputSpecs["second"] = &pb.ConsumerSpec{}
	f.wantReason(f.send("POST", path, part{name: "data", value: "a"}), 400, "Function in trigger function has more than 1 input topics")
	f.want(f.send("POST", path, part{name: "data", value: "a"}, part{name: "topic", value: "second"}), 204, "")
}

func TestResultOfTheRightInput(t *testing.T) {
	sent := pulsar.NewMessageID(7, 9, -1, 0)
	id := func(ledger, entry int64, batch, partition int32) string {
		return base64.StdEncoding.EncodeToString(pulsar.NewMessageID(ledger, entry, batch, partition).Serialize())
	}
	const topic = "persistent://public/default/in"
	for name, tc := range map[string]struct {
		id, topic string
		want      bool
	}{
		"same":          {id(7, 9, -1, 0), topic, true},
		"short topic":   {id(7, 9, -1, 0), "in", true},
		"other batch":   {id(7, 9, 0, -1), topic, true},
		"partition":     {id(7, 9, -1, 3), topic + "-partition-3", true},
		"other entry":   {id(7, 8, -1, 0), topic, false},
		"other topic":   {id(7, 9, -1, 0), topic + "2", false},
		"no id":         {"", topic, false},
		"no base64":     {"???", topic, false},
		"no message id": {"AAAA", topic, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, isResultOf(map[string]string{propInputMessage: tc.id, propInputTopic: tc.topic}, sent, topic))
		})
	}
}

func TestLegacyFunctions(t *testing.T) {
	f := newFixture(t)
	const v2 = "/admin/v2/functions/public/default/f"
	details := part{name: "functionDetails", value: `{"runtime":"PYTHON","className":"m.F","parallelism":1,"autoAck":true,"source":{"inputSpecs":{"persistent://public/default/in":{}}}}`}
	f.wantReason(f.send("POST", v2, part{name: "functionDetails", value: `{"nosuch":1}`}, pythonFile), 400, "Cannot find field: nosuch in message proto.FunctionDetails")
	f.wantReason(f.send("POST", v2, pythonFile), 400, "Function config is not provided")
	f.want(f.send("POST", v2, details, pythonFile), 200, "")
	rec := f.do("GET", "/admin/functions/public/default/f")
	require.Equal(t, 200, rec.Code)
	require.Contains(t, rec.Body.String(), "\n  \"className\": \"m.F\"")
	require.Contains(t, rec.Body.String(), `"runtime": "PYTHON"`)
	f.want(f.do("GET", "/admin/v2/functions/public/default"), 200, `["f"]`)
	f.want(f.do("GET", v2+"/status", "Accept", "application/json"), 200, `{}`)
	f.want(f.do("GET", v2+"/0/status", "Accept", "application/json"), 200, `{"failureException":"Function has not been scheduled","instanceId":"0","workerId":"w1"}`)
	f.want(f.do("POST", v2+"/stop"), 200, "")
	f.want(f.do("DELETE", v2), 200, "")
	f.wantReason(f.do("GET", v2), 404, "Function f doesn't exist")
	f.cluster.writeErr = cluster.ErrNotLeader
	f.wantReason(f.send("POST", v2, details, pythonFile), 500, "Not the leader")
}
