package integration

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// part is one part of a multipart request.
type part struct {
	name, file, contentType, body string
}

// multipartBody encodes the parts.
func multipartBody(t *testing.T, parts ...part) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name=%q`, p.name)
		if p.file != "" {
			disposition += fmt.Sprintf(`; filename="%s"`, p.file)
		}
		h.Set("Content-Disposition", disposition)
		if p.contentType != "" {
			h.Set("Content-Type", p.contentType)
		}
		w, err := m.CreatePart(h)
		require.NoError(t, err)
		_, err = io.WriteString(w, p.body)
		require.NoError(t, err)
	}
	require.NoError(t, m.Close())
	return m.FormDataContentType(), b.Bytes()
}

func functionConfig(name, class string) string {
	return fmt.Sprintf(`{"tenant":"public","namespace":"default","name":%q,"className":%q,"runtime":"JAVA","inputs":["persistent://public/default/in"]}`, name, class)
}

// TestBadInput sends what no client should and expects a clear refusal with nothing left behind.
func TestBadInput(t *testing.T) {
	e := requireEnv(t)
	w := startWorker(t, e, workerOptions{})
	w.awaitLeader(30 * time.Second)
	const json, binary = "application/json", "application/octet-stream"
	goConfig := `{"tenant":"public","namespace":"default","name":"bad","runtime":"GO","inputs":["persistent://public/default/in"]}`

	tests := map[string]struct {
		method, path string
		parts        []part
		raw          string // instead of parts
		contentType  string // instead of the parts' own
		wantStatus   int
		wantReason   string
	}{
		"a JAR that is no zip": {
			parts:      []part{{"functionConfig", "", json, functionConfig("bad", "a.B")}, {"data", "x.jar", binary, "this is no zip"}},
			wantStatus: 400, wantReason: "",
		},
		"no config":                   {parts: []part{{"data", "x.jar", binary, "x"}}, wantStatus: 400, wantReason: "Function config is not provided"},
		"config that is no JSON":      {parts: []part{{"functionConfig", "", json, "{nope"}}, wantStatus: 400},
		"config that is a list":       {parts: []part{{"functionConfig", "", json, "[1,2]"}}, wantStatus: 400},
		"config with a wrong type":    {parts: []part{{"functionConfig", "", json, `{"parallelism":{"a":1},"runtime":"GO"}`}}, wantStatus: 400},
		"unknown enum value":          {parts: []part{{"functionConfig", "", json, `{"runtime":"COBOL"}`}}, wantStatus: 400},
		"deeply nested config":        {parts: []part{{"functionConfig", "", json, strings.Repeat(`{"userConfig":`, 20000)}}, wantStatus: 400},
		"no package":                  {parts: []part{{"functionConfig", "", json, functionConfig("bad", "a.B")}}, wantStatus: 400, wantReason: "package is not provided"},
		"no parts":                    {raw: "--b--\r\n", contentType: "multipart/form-data; boundary=b", wantStatus: 400},
		"truncated upload":            {raw: "--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"x\"\r\n\r\nabc", contentType: "multipart/form-data; boundary=b", wantStatus: 400},
		"not multipart":               {raw: "{}", contentType: json, wantStatus: 415},
		"no boundary":                 {raw: "x", contentType: "multipart/form-data", wantStatus: 400},
		"a builtin in the url part":   {parts: []part{{"functionConfig", "", json, goConfig}, {"url", "", "text/plain", "builtin://x"}}, wantStatus: 400},
		"an http url":                 {parts: []part{{"functionConfig", "", json, goConfig}, {"url", "", "text/plain", "http://127.0.0.1:1/x"}}, wantStatus: 400},
		"a file url":                  {parts: []part{{"functionConfig", "", json, goConfig}, {"url", "", "text/plain", "file:///etc/passwd"}}, wantStatus: 400},
		"a file url that climbs":      {parts: []part{{"functionConfig", "", json, goConfig}, {"url", "", "text/plain", "file://" + w.dir + "/functions/../../etc/passwd"}}, wantStatus: 400},
		"upload without data":         {path: "/admin/v3/functions/upload", parts: []part{{"path", "", "text/plain", "a/b/c"}}, wantStatus: 400, wantReason: "Function Package is not provided"},
		"upload to a climbing path":   {path: "/admin/v3/functions/upload", parts: []part{{"data", "x", binary, "x"}, {"path", "", "text/plain", "../../../etc/x"}}, wantStatus: 400},
		"download of a climbing path": {method: "GET", path: "/admin/v3/functions/download?path=../../../etc/passwd", wantStatus: 400},
		"download of a local file":    {method: "GET", path: "/admin/v3/functions/download?path=file:///etc/passwd", wantStatus: 400},
		"an instance id out of range": {method: "GET", path: "/admin/v3/functions/public/default/nosuch/99/status", wantStatus: 404, wantReason: "Function nosuch doesn't exist"},
		"an instance id of letters":   {method: "GET", path: "/admin/v3/functions/public/default/nosuch/x/status", wantStatus: 404},
		"empty segments":              {method: "GET", path: "/admin/v3/functions//default/x", wantStatus: 404},
		"a class that is not there":   {parts: []part{{"functionConfig", "", json, functionConfig("bad", "no.such.Class")}, {"data", "x.jar", binary, zipWith("a.txt", "a")}}, wantStatus: 400, wantReason: "no.such.Class"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			method, path := tc.method, tc.path
			if method == "" {
				method = http.MethodPost
			}
			if path == "" {
				path = "/admin/v3/functions/public/default/bad"
			}
			contentType, body := tc.contentType, []byte(tc.raw)
			if tc.parts != nil {
				contentType, body = multipartBody(t, tc.parts...)
			}
			var reader io.Reader
			if method == http.MethodPost {
				reader = bytes.NewReader(body)
			}
			status, answer := request(method, w.url+path, contentType, reader)
			require.Equal(t, tc.wantStatus, status, "%s", answer)
			require.Contains(t, string(answer), tc.wantReason)
			if method != http.MethodGet {
				require.Contains(t, string(answer), `"reason"`)
			}
		})
	}

	t.Run("an upload that breaks off", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST /admin/v3/functions/public/default/bad HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000000\r\n\r\n"+
			"--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"x.jar\"\r\n\r\n%s", strings.Repeat("x", 1<<20))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
	t.Run("a file name that climbs", func(t *testing.T) {
		contentType, body := multipartBody(t, part{"functionConfig", "", json, goConfig}, part{"data", "../../../escaped", binary, "#!/bin/sh\nsleep 60\n"})
		status, answer := request(http.MethodPost, w.url+"/admin/v3/functions/public/default/bad", contentType, bytes.NewReader(body))
		require.Equal(t, 204, status, "%s", answer)
		require.Eventually(t, func() bool { return len(filesUnder(t, filepath.Join(w.dir, "download"))) > 0 }, 20*time.Second, 50*time.Millisecond)
		for _, f := range filesUnder(t, w.dir) {
			require.False(t, strings.HasSuffix(f, "escaped") && !strings.Contains(f, filepath.Join("download", "public", "default", "bad")), f)
		}
		status, answer = request(http.MethodGet, w.url+"/admin/v3/functions/public/default/bad/7/status", "", nil)
		require.Equal(t, 400, status, "%s", answer)
		require.Contains(t, string(answer), "Function bad doesn't have instance with id 7")
		status, answer = request(http.MethodGet, w.url+"/admin/v3/functions/public/default/bad/x/status", "", nil)
		require.Equal(t, 400, status, "%s", answer)
		status, _ = request(http.MethodDelete, w.url+"/admin/v3/functions/public/default/bad", "", nil)
		require.Equal(t, 204, status)
	})

	_, list := w.get("/admin/v3/functions/public/default")
	require.Equal(t, "[]", strings.TrimSpace(string(list)), "nothing was registered")
	require.Eventually(t, func() bool { return len(filesUnder(t, filepath.Join(w.dir, "download"))) == 0 }, 20*time.Second, 100*time.Millisecond,
		"files are left: %v", filesUnder(t, filepath.Join(w.dir, "download")))
}

// zipWith is an archive with one stored entry.
func zipWith(name, content string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, _ := z.Create(name)
	_, _ = io.WriteString(w, content)
	_ = z.Close()
	return b.String()
}

func filesUnder(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}
