package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// raw sends a body as it is.
func (f *fixture) raw(path, contentType string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(rec, r)
	return rec
}

func TestHostileMultipart(t *testing.T) {
	const b = "multipart/form-data; boundary=x"
	data := "--x\r\nContent-Disposition: form-data; name=\"data\"; filename=\"m.py\"\r\n\r\ncode\r\n"
	cfg := "--x\r\nContent-Disposition: form-data; name=\"functionConfig\"\r\n\r\n" + python + "\r\n"
	for name, tc := range map[string]struct {
		contentType, body string
		wantStatus        int
		wantText          string
	}{
		"empty":                 {b, "", 400, textTruncated},
		"no parts":              {b, "--x--\r\n", 400, "no parts"},
		"only a preamble":       {b, "hello", 400, textTruncated},
		"cut in the headers":    {b, cfg + "--x\r\nContent-Dispo", 400, textTruncated},
		"cut in the data":       {b, cfg + "--x\r\nContent-Disposition: form-data; name=\"data\"; filename=\"m.py\"\r\n\r\nco", 400, textTruncated},
		"no end":                {b, cfg + data, 400, textTruncated},
		"part without a name":   {b, "--x\r\n\r\nz\r\n--x--\r\n", 400, "no name"},
		"the same part twice":   {b, cfg + cfg + "--x--\r\n", 400, "more than once"},
		"two files":             {b, cfg + data + data + "--x--\r\n", 400, "more than once"},
		"binary config":         {b, strings.Replace(cfg, "PYTHON", "\xff\xfe", 1) + "--x--\r\n", 400, "not valid UTF-8"},
		"malformed JSON":        {b, strings.Replace(cfg, "{", "{{", 1) + data + "--x--\r\n", 400, "not valid JSON"},
		"unknown enum":          {b, strings.Replace(cfg, "PYTHON", "COBOL", 1) + data + "--x--\r\n", 400, "COBOL"},
		"large config":          {b, strings.Replace(cfg, "m.F", strings.Repeat("m", maxTextPart), 1) + data + "--x--\r\n", 413, "larger than 1048576 bytes"},
		"thousands of parts":    {b, strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n", 5000) + "--x--\r\n", 400, "more than 32 parts"},
		"boundary too long":     {"multipart/form-data; boundary=" + strings.Repeat("x", 100), "", 400, "longer than 70"},
		"broken parameter":      {`multipart/form-data; boundary="x`, "", 400, "boundary"},
		"other multipart":       {"multipart/mixed; boundary=x", cfg, 415, "Unsupported Media Type"},
		"unknown parts ignored": {b, "--x\r\nContent-Disposition: form-data; name=\"nested[functionConfig]\"\r\n\r\n{}\r\n" + cfg + data + "--x--\r\n", 204, ""},
		"preamble and epilogue": {b, "hello\r\n" + cfg + data + "--x--\r\nbye", 204, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			rec := f.raw(one, tc.contentType, strings.NewReader(tc.body))
			require.Equal(t, tc.wantStatus, rec.Code, rec.Body.String())
			require.Contains(t, rec.Body.String(), tc.wantText)
			if tc.wantStatus != 204 {
				require.Empty(t, f.store.keys())
			}
		})
	}
}

func TestPackageSizeIsBounded(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.MaxPackageSize = 1000 })
	f.wantReason(f.send(http.MethodPost, one, config1(python), part{name: "data", file: "m.py", value: strings.Repeat("x", 1001)}), 413,
		"The package is larger than the limit of 1000 bytes")
	f.want(f.send(http.MethodPost, one, config1(python), part{name: "data", file: "m.py", value: strings.Repeat("x", 1000)}), 204, "")
}

func TestFullDiskIsNotTheClientsFault(t *testing.T) {
	f := newFixture(t)
	f.server.opts.TempDir = "/nonexistent"
	rec := f.send(http.MethodPost, one, config1(python), pythonFile)
	require.Equal(t, 500, rec.Code)
	require.Contains(t, rec.Body.String(), "temporary directory")
}

// brokenReader fails in the middle, as a connection does.
type brokenReader struct{ first io.Reader }

func (b *brokenReader) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	return 0, errors.New("connection reset by peer")
}

func TestBrokenConnectionLeavesNoFile(t *testing.T) {
	f := newFixture(t)
	contentType, body := multipartBody(t, config1(python), part{name: "data", file: "m.py", value: strings.Repeat("x", 1<<20)})
	rec := f.raw(one, contentType, &brokenReader{bytes.NewReader(body.Bytes()[:body.Len()-100])})
	require.Equal(t, 400, rec.Code)
	require.Contains(t, rec.Body.String(), "connection reset")
}

func TestClientFileNames(t *testing.T) {
	for in, want := range map[string]string{
		"m.py": "m.py", "../../etc/passwd": "passwd", `C:\temp\m.py`: "m.py", "/abs/x.jar": "x.jar", "a b.zip": "a b.zip", "ü.py": "ü.py",
		"..": "", ".": "", "x/": "", strings.Repeat("a", 300) + ".whl": strings.Repeat("a", 251) + ".whl",
	} {
		f := newFixture(t)
		rec := f.send(http.MethodPost, one, config1(python), part{name: "data", file: in, value: "code"})
		if want == "" {
			require.Equal(t, 400, rec.Code, in)
			continue
		}
		require.Equal(t, 204, rec.Code, rec.Body.String())
		meta, _ := f.cluster.Function("public", "default", "f")
		require.Equal(t, want, meta.GetPackageLocation().GetOriginalFileName(), in)
	}
}

// FuzzMultipart: whatever arrives, the answer is no server error and no file stays.
func FuzzMultipart(f *testing.F) {
	for _, seed := range []string{"--x\r\nContent-Disposition: form-data; name=\"functionConfig\"\r\n\r\n" + python + "\r\n--x--\r\n",
		"--x\r\nContent-Disposition: form-data; name=\"data\"; filename=\"../a\"\r\n\r\ncode\r\n--x--\r\n", "--x--", ""} {
		f.Add("x", []byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, boundary string, body []byte) {
		fx := newFixture(t, func(o *Options) { o.TempDir = dir; o.MaxPackageSize = 1 << 16 })
		for _, path := range []string{one, one + "/trigger", "/admin/v3/functions/upload", "/admin/v3/sink/public/default/s", "/admin/v2/functions/public/default/g"} {
			rec := fx.raw(path, fmt.Sprintf("multipart/form-data; boundary=%q", boundary), bytes.NewReader(body))
			if rec.Code >= 500 && rec.Code != 503 {
				t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
			}
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Fatalf("files are left: %v %v", left, err)
		}
	})
}
