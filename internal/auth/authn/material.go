package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// maxMaterial bounds a key or password file.
const maxMaterial = 4 << 20

// source is where a key or a password file comes from, in one of the forms of the contract, section 2.2.
type source struct {
	path string // "" when the bytes stand in the setting itself
	data []byte
}

// parseSource reads a setting: data:…, file:…, an existing path, or base64. what names the setting's content in errors.
func parseSource(text, what string, path func(string) string) (source, error) {
	if rest, ok := strings.CutPrefix(text, "data:"); ok {
		data, err := dataURL(rest)
		return source{data: data}, err
	}
	if rest, ok := strings.CutPrefix(text, "file:"); ok {
		if strings.HasPrefix(rest, "//") {
			rest = "/" + strings.TrimLeft(rest, "/")
		}
		if plain, err := url.PathUnescape(rest); err == nil {
			rest = plain
		}
		return fileSource(path(rest))
	}
	if file := path(text); isFile(file) {
		return fileSource(file)
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return source{}, fmt.Errorf("%s is neither data:, nor the path of an existing file, nor base64 text", what)
	}
	return source{data: data}, nil
}

func isFile(path string) bool {
	if strings.ContainsRune(path, 0) {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func fileSource(path string) (source, error) {
	s := source{path: path}
	_, err := s.read()
	return s, err
}

// dataURL decodes what follows data: — the media type, then base64 or plain text.
func dataURL(rest string) ([]byte, error) {
	meta, payload, ok := strings.Cut(rest, ",")
	if !ok {
		return nil, errors.New("a data: URL has a comma between the media type and the data, as in data:;base64,…")
	}
	if !strings.HasSuffix(meta, ";base64") {
		text, err := url.PathUnescape(payload)
		if err != nil {
			text = payload
		}
		return []byte(text), nil
	}
	data, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		return nil, errors.New("the data of the data: URL is not base64") // the error of the decoder would quote it
	}
	return data, nil
}

// read gives the bytes as they are now.
func (s source) read() ([]byte, error) {
	if s.path == "" {
		return s.data, nil
	}
	f, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the file %s doesn't exist", s.path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMaterial+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.path, err)
	}
	if len(data) > maxMaterial {
		return nil, fmt.Errorf("%s is larger than %d bytes", s.path, maxMaterial)
	}
	return data, nil
}
