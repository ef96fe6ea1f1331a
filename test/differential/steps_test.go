package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"
)

const examplesPackage = "org.apache.pulsar.functions.api.examples."

// object is a JSON object.
type object = map[string]any

// drop as a value of with leaves the member out.
var drop = new(int)

// with copies an object and sets members of the copy.
func with(base object, changes ...object) object {
	o := maps.Clone(base)
	for _, c := range changes {
		for k, v := range c {
			if v == any(drop) {
				delete(o, k)
			} else {
				o[k] = v
			}
		}
	}
	return o
}

// scenario is a series of requests about one component. {name} and {ns} in a path or a part stand for its name and namespace.
type scenario struct {
	name  string
	steps []step
}

// step is one request, sent to both workers.
type step struct {
	title        string
	method, path string
	parts        []part
	header       map[string]string
	body         string
	submission   bool   // a register or update
	create       string // the path of the component that it registers
	stopIfBad    bool   // the scenario ends when both refuse
	await        int    // first wait until so many instances of the component are assigned
	unordered    bool   // the answer is a list in any order
	statusOnly   bool   // bodies are not compared: numbers of the process, or bytes
}

// part is one part of a multipart body; file is read from the packages.
type part struct {
	name, contentType, fileName, value, file string
	noFileName                               bool
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

const (
	functions = "functions"
	sinks     = "sinks"
	sources   = "sources"
)

func componentPath(kind string) string { return "/admin/v3/" + kind + "/public/{ns}/{name}" }

func configPart(kind string, config any) part {
	text, ok := config.(string)
	if !ok {
		data, err := json.Marshal(config)
		if err != nil {
			panic(err)
		}
		text = string(data)
	}
	return part{name: strings.TrimSuffix(kind, "s") + "Config", contentType: "application/json", value: text}
}

// packagePart is the upload of a package, or a URL when the name has a scheme, or nothing.
func packagePart(name string) []part {
	switch {
	case name == "":
		return nil
	case strings.Contains(name, ":"):
		return []part{{name: "url", contentType: "text/plain", value: name}}
	}
	return []part{{name: "data", contentType: "application/octet-stream", fileName: name, file: name}}
}

func create(kind string, config any, pkg string) step {
	return step{
		title: "create", method: http.MethodPost, path: componentPath(kind), submission: true, create: componentPath(kind), stopIfBad: true,
		parts: append([]part{configPart(kind, config)}, packagePart(pkg)...),
	}
}

func update(kind string, config any, pkg string) step {
	return step{title: "update", method: http.MethodPut, path: componentPath(kind), submission: true,
		parts: append([]part{configPart(kind, config)}, packagePart(pkg)...)}
}

func (s step) titled(title string) step { s.title = title; return s }

func get(path string) step {
	return step{title: "get " + lastOf(path), method: http.MethodGet, path: path}
}

func lastOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func post(path string) step {
	return step{title: "post " + lastOf(path), method: http.MethodPost, path: path, header: map[string]string{"Content-Type": "application/json"}}
}

func remove(kind string) step {
	return step{title: "delete", method: http.MethodDelete, path: componentPath(kind)}
}

// life registers, reads, does more, deletes and reads again.
func life(name, kind string, config any, pkg string, more ...step) scenario {
	steps := []step{create(kind, config, pkg), get(componentPath(kind))}
	steps = append(steps, more...)
	return scenario{name, append(steps, remove(kind), get(componentPath(kind)).titled("get deleted"))}
}

// send sends the request of a step to one worker.
func (w *worker) send(ctx context.Context, s step) (answer, error) {
	body, contentType, err := s.encode()
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, s.method, w.url+s.path, body)
	if err != nil {
		return answer{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for k, v := range s.header {
		req.Header.Set(k, v)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode < 300 {
		return answer{status: resp.StatusCode, body: []byte("broken off")}, nil // how a late failure of a download shows
	}
	return answer{resp.StatusCode, resp.Header, data}, nil
}

func (s step) encode() (io.Reader, string, error) {
	if s.parts == nil {
		return strings.NewReader(s.body), "", nil
	}
	var buf bytes.Buffer
	out := multipart.NewWriter(&buf)
	for _, p := range s.parts {
		header := textproto.MIMEHeader{}
		disposition := fmt.Sprintf(`form-data; name="%s"`, p.name)
		if p.fileName != "" && !p.noFileName {
			disposition += fmt.Sprintf(`; filename="%s"`, p.fileName)
		}
		header.Set("Content-Disposition", disposition)
		if p.contentType != "" {
			header.Set("Content-Type", p.contentType)
		}
		w, err := out.CreatePart(header)
		if err != nil {
			return nil, "", err
		}
		value := []byte(p.value)
		if p.file != "" {
			if value, err = os.ReadFile(p.file); err != nil {
				return nil, "", err
			}
		}
		if _, err := w.Write(value); err != nil {
			return nil, "", err
		}
	}
	if err := out.Close(); err != nil {
		return nil, "", err
	}
	return &buf, out.FormDataContentType(), nil
}

// bind fills in the placeholders of a step.
func (s step) bind(name, namespace, packages string) step {
	text := strings.NewReplacer("{name}", name, "{ns}", namespace)
	escaped := strings.NewReplacer("{name}", url.PathEscape(name), "{ns}", namespace)
	s.path, s.create, s.body = escaped.Replace(s.path), escaped.Replace(s.create), text.Replace(s.body)
	parts := make([]part, len(s.parts))
	for i, p := range s.parts {
		p.value = text.Replace(p.value)
		if p.file != "" {
			p.file = packages + "/" + p.file
		}
		parts[i] = p
	}
	if s.parts != nil {
		s.parts = parts
	}
	return s
}
