package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"
)

// Bounds of a multipart request apart from the package file itself, which Options bounds.
const (
	maxParts     = 32
	maxTextPart  = 1 << 20  // config, url, path, updateOptions
	maxDataPart  = 64 << 20 // data of a trigger, in memory
	maxPartTotal = 128 << 20
)

// upload is a package file that was spooled to disk; remove it when done.
type upload struct {
	path     string
	fileName string // the client's file name, its last path element; "" when the part had none
	size     int64
}

func (u *upload) remove() {
	if u != nil && u.path != "" {
		_ = os.Remove(u.path)
	}
}

// form is a parsed multipart request. Parts that the endpoint does not know are skipped.
type form struct {
	values map[string][]byte
	file   *upload
}

// text is the value of a part, "" when absent.
func (f *form) text(name string) string { return string(f.values[name]) }

// has reports whether the part was there, even when it was empty.
func (f *form) has(name string) bool { _, ok := f.values[name]; return ok }

// formSpec says which parts an endpoint reads, and how.
type formSpec struct {
	texts []string // bounded to maxTextPart, must be UTF-8
	blobs []string // bounded to maxDataPart, any bytes
	file  string   // spooled to disk
}

// textTruncated answers a body that ends early.
const textTruncated = "The multipart body is incomplete or malformed"

// readForm reads a whole multipart body in one pass: the file part goes to disk as it arrives, the others to bounded
// memory. The caller removes form.file. Every failure is an *Error and leaves no file behind.
func (s *Server) readForm(r *http.Request, spec formSpec) (*form, error) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil, failf(http.StatusBadRequest, "The Content-Type header cannot be read: %v", err)
	}
	if len(params["boundary"]) > 70 {
		return nil, fail(http.StatusBadRequest, "The boundary of the multipart request is longer than 70 characters")
	}
	f := &form{values: map[string][]byte{}}
	if err := s.readParts(multipart.NewReader(r.Body, params["boundary"]), spec, f); err != nil {
		f.file.remove()
		return nil, err
	}
	return f, nil
}

func (s *Server) readParts(reader *multipart.Reader, spec formSpec, f *form) error {
	var total int64
	for count := 0; ; count++ {
		part, err := reader.NextRawPart()
		if err == io.EOF && count > 0 {
			return nil
		}
		if err == io.EOF {
			return fail(http.StatusBadRequest, "The multipart request has no parts")
		}
		if err != nil {
			return partError(err)
		}
		if count >= maxParts {
			return failf(http.StatusBadRequest, "The multipart request has more than %d parts", maxParts)
		}
		n, err := s.readPart(part, spec, f)
		if err != nil {
			return err
		}
		if total += n; total > maxPartTotal {
			return failf(http.StatusRequestEntityTooLarge, "The parts other than the file are together larger than %d bytes", maxPartTotal)
		}
	}
}

// readPart reads one part and returns how many bytes of it are held in memory.
func (s *Server) readPart(part *multipart.Part, spec formSpec, f *form) (int64, error) {
	name := part.FormName()
	if name == "" {
		return 0, fail(http.StatusBadRequest, "A part of the multipart request has no name in its Content-Disposition header")
	}
	limit := int64(0)
	for _, t := range spec.texts {
		if t == name {
			limit = maxTextPart
		}
	}
	for _, b := range spec.blobs {
		if b == name {
			limit = maxDataPart
		}
	}
	isFile := name == spec.file && (limit == 0 || part.FileName() != "")
	switch {
	case isFile && f.file != nil, !isFile && limit > 0 && f.has(name):
		return 0, failf(http.StatusBadRequest, "The part %q is given more than once", name)
	case isFile:
		u, err := s.spool(part)
		f.file = u
		return 0, err
	case limit == 0:
		return 0, nil // an unknown part: the reader drops it on the way to the next
	}
	data, err := io.ReadAll(io.LimitReader(part, limit+1))
	switch {
	case err != nil:
		return 0, partError(err)
	case int64(len(data)) > limit:
		return 0, failf(http.StatusRequestEntityTooLarge, "The part %q is larger than %d bytes", name, limit)
	case limit == maxTextPart && !utf8.Valid(data):
		return 0, failf(http.StatusBadRequest, "The part %q is not valid UTF-8", name)
	}
	f.values[name] = data
	return int64(len(data)), nil
}

// spool writes a file part to a temporary file.
func (s *Server) spool(part *multipart.Part) (*upload, error) {
	u, err := s.spoolReader(part, s.opts.MaxPackageSize)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return nil, e
		}
		return nil, partError(err)
	}
	u.fileName = clientFileName(part)
	return u, nil
}

// spoolReader copies at most limit bytes to a temporary file, which is gone again when it fails.
func (s *Server) spoolReader(r io.Reader, limit int64) (_ *upload, err error) {
	file, err := os.CreateTemp(s.opts.TempDir, "functions*.tmp")
	if err != nil {
		return nil, failf(http.StatusInternalServerError, "The package cannot be stored in the temporary directory: %v", err)
	}
	u := &upload{path: file.Name()}
	defer func() {
		if cerr := file.Close(); err == nil && cerr != nil {
			err = failf(http.StatusInternalServerError, "The package cannot be stored in the temporary directory: %v", cerr)
		}
		if err != nil {
			u.remove()
		}
	}()
	dst := &diskWriter{w: file}
	u.size, err = io.Copy(dst, io.LimitReader(r, limit+1))
	switch {
	case dst.err != nil:
		return nil, failf(http.StatusInternalServerError, "The package cannot be stored in the temporary directory: %v", dst.err)
	case err != nil:
		return nil, err
	case u.size > limit:
		return nil, failf(http.StatusRequestEntityTooLarge, "The package is larger than the limit of %d bytes", limit)
	}
	return u, nil
}

// diskWriter remembers its own error, to tell a full disk from a broken connection.
type diskWriter struct {
	w   io.Writer
	err error
}

func (d *diskWriter) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		d.err = err
	}
	return n, err
}

// clientFileName is the last path element of the client's file name, whichever separator it used.
func clientFileName(part *multipart.Part) string {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	name := params["filename"]
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, name)
	if name == "." || name == ".." {
		return ""
	}
	for len(name) > 255 {
		_, size := utf8.DecodeRuneInString(name)
		name = name[size:] // the end holds the extension, which instances look at
	}
	return name
}

// partError is the answer to a body that cannot be read to its end.
func partError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return failf(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail(http.StatusRequestTimeout, "The request body did not arrive in time")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fail(http.StatusBadRequest, textTruncated)
	default:
		return fail(http.StatusBadRequest, fmt.Sprintf("%s: %v", textTruncated, err))
	}
}
