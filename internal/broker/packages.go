package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// PackageName names a package of the broker's packages service (coordination contract, section 9.4).
type PackageName struct {
	Type      string // function, sink or source
	Tenant    string
	Namespace string
	Name      string
	Version   string
}

// PackageMetadata is what the packages service keeps beside the bytes; times are Unix milliseconds.
type PackageMetadata struct {
	Description      string            `json:"description,omitempty"`
	Contact          string            `json:"contact,omitempty"`
	CreateTime       int64             `json:"createTime"`
	ModificationTime int64             `json:"modificationTime"`
	Properties       map[string]string `json:"properties,omitempty"`
}

// ParsePackageName reads type://tenant/namespace/name[@version]; the type's case does not matter, a missing version is
// latest. Names that could leave their directory in a file-based package storage are refused (CVE-2026-105945).
func ParsePackageName(s string) (PackageName, error) {
	kind, rest, ok := strings.Cut(s, "://")
	if !ok {
		return PackageName{}, fmt.Errorf("package name %q is not type://tenant/namespace/name@version", s)
	}
	name := PackageName{Type: strings.ToLower(kind), Version: "latest"}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest, name.Version = rest[:at], rest[at+1:]
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return PackageName{}, fmt.Errorf("package name %q is not type://tenant/namespace/name@version", s)
	}
	name.Tenant, name.Namespace, name.Name = parts[0], parts[1], parts[2]
	if err := name.check(); err != nil {
		return PackageName{}, fmt.Errorf("package name %q: %w", s, err)
	}
	return name, nil
}

func (n PackageName) check() error {
	if n.Type != "function" && n.Type != "sink" && n.Type != "source" {
		return fmt.Errorf("the type must be function, sink or source, not %q", n.Type)
	}
	for _, part := range []string{n.Tenant, n.Namespace, n.Name, n.Version} {
		if err := checkNames(part); err != nil {
			return err
		}
		if strings.Contains(part, "@") || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("name %q is not valid", part)
		}
	}
	return nil
}

// String is the full form, type://tenant/namespace/name@version.
func (n PackageName) String() string {
	return n.Type + "://" + n.Tenant + "/" + n.Namespace + "/" + n.Name + "@" + n.Version
}

func (n PackageName) path() string {
	path := "/admin/v3/packages"
	for _, part := range []string{n.Type, n.Tenant, n.Namespace, n.Name, n.Version} {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// UploadPackage streams body into the packages service; IsConflict if that version exists. The request is not repeated.
func (a *Admin) UploadPackage(ctx context.Context, name PackageName, meta PackageMetadata, fileName string, body io.Reader) error {
	op := "uploading package " + name.String()
	if err := name.check(); err != nil {
		return wrap(op, err)
	}
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	written := make(chan error, 1)
	go func() {
		err := writePackage(form, meta, fileName, body)
		writer.CloseWithError(err) // an incomplete body must not look complete
		written <- err
	}()
	base := a.bases[int(a.first.Load())%len(a.bases)]
	response, err := a.send(ctx, op, http.MethodPost, base, name.path(), form.FormDataContentType(), reader)
	reader.CloseWithError(io.ErrClosedPipe) // an early answer ends the writer
	bodyErr := <-written
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if bodyErr != nil && bodyErr != io.ErrClosedPipe {
		return fmt.Errorf("%s: reading the package: %w", op, bodyErr)
	}
	return nil
}

func writePackage(form *multipart.Writer, meta PackageMetadata, fileName string, body io.Reader) error {
	metaHeader := textproto.MIMEHeader{}
	metaHeader.Set("Content-Disposition", `form-data; name="metadata"`)
	metaHeader.Set("Content-Type", "application/json")
	part, err := form.CreatePart(metaHeader)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(part).Encode(meta); err != nil {
		return err
	}
	if fileName == "" {
		fileName = "package"
	}
	if part, err = form.CreateFormFile("file", fileName); err != nil {
		return err
	}
	if _, err := io.Copy(part, body); err != nil {
		return err
	}
	return form.Close()
}

// DownloadPackage streams a package; the caller closes it. IsNotFound if there is none.
func (a *Admin) DownloadPackage(ctx context.Context, name PackageName) (io.ReadCloser, error) {
	op := "downloading package " + name.String()
	if err := name.check(); err != nil {
		return nil, wrap(op, err)
	}
	response, err := a.sendAny(ctx, op, http.MethodGet, name.path(), nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// DeletePackage deletes one version.
func (a *Admin) DeletePackage(ctx context.Context, name PackageName) error {
	op := "deleting package " + name.String()
	if err := name.check(); err != nil {
		return wrap(op, err)
	}
	return a.call(ctx, op, http.MethodDelete, name.path(), nil, nil)
}

// PackageMetadata reads what is kept beside the bytes; IsNotFound if there is no such package.
func (a *Admin) PackageMetadata(ctx context.Context, name PackageName) (PackageMetadata, error) {
	op := "reading the metadata of package " + name.String()
	if err := name.check(); err != nil {
		return PackageMetadata{}, wrap(op, err)
	}
	var meta PackageMetadata
	err := a.call(ctx, op, http.MethodGet, name.path()+"/metadata", nil, &meta)
	return meta, err
}
