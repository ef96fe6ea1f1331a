package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pageSize is the unit of linear memory, in bytes.
// A guest of 32 bits has at most maxPages pages of pageSize bytes.
const (
	pageSize = 64 << 10
	maxPages = 1 << 16
)

const (
	// optionsKey is where the settings of a guest are in customRuntimeOptions.
	optionsKey = "wasm"
	// maxOptions bounds the text of customRuntimeOptions, in bytes.
	maxOptions = 64 << 10
	// maxConcurrency bounds the guests of one instance.
	maxConcurrency = 64
	maxDirectories = 16
)

// Settings are the limits and rights of the guests of one function.
type Settings struct {
	// Memory is the most that one guest may have, in bytes.
	Memory uint64
	// Timeout is the longest that one message may take.
	Timeout time.Duration
	// Output bounds a result, and what is published at once, in bytes: payload, key and properties together.
	Output uint64
	// Concurrency is how many messages are handled at a time, each by a guest of its own.
	Concurrency int
	// Directories of the worker's host that the guest sees.
	Directories []Directory
	// Environment are the names of the worker's environment variables that the guest sees.
	Environment []string
}

// Directory is one directory of the host that a guest may use.
type Directory struct {
	Host  string // absolute, on the worker's host
	Guest string // absolute, as the guest sees it
	Write bool
}

// Limits are what the operator of a worker allows.
type Limits struct {
	Memory, DefaultMemory   uint64 // bytes
	Timeout, DefaultTimeout time.Duration
	Output                  uint64   // bytes
	Module                  int64    // bytes
	Directories             []string // a guest may be granted these and what is below them
	Environment             []string // a guest may be granted these variables
}

// DefaultLimits grant nothing of the host.
func DefaultLimits() Limits {
	return Limits{
		Memory: 256 << 20, DefaultMemory: 64 << 20, Timeout: time.Minute, DefaultTimeout: 5 * time.Second,
		Output: 5 << 20, Module: 64 << 20,
	}
}

// options is the object under "wasm".
type options struct {
	MaxMemory   byteCount `json:"maxMemory"`
	MemoryPages uint32    `json:"memoryPages"`
	Timeout     span      `json:"timeout"`
	MaxOutput   byteCount `json:"maxOutput"`
	Concurrency int       `json:"concurrency"`
	Grants      struct {
		Directories []struct {
			Host  string `json:"host"`
			Guest string `json:"guest"`
			Write bool   `json:"write"`
		} `json:"directories"`
		Environment []string `json:"environment"`
	} `json:"grants"`
}

// ParseSettings reads the key "wasm" of a function's customRuntimeOptions and holds it against what the worker allows.
// Other keys belong to others. The error names the key and says what is possible.
func ParseSettings(customRuntimeOptions string, limits Limits) (Settings, error) {
	s := Settings{
		Memory: min(limits.DefaultMemory, limits.Memory) / pageSize * pageSize, Timeout: min(limits.DefaultTimeout, limits.Timeout),
		Output: limits.Output, Concurrency: 1,
	}
	o, err := parseOptions(customRuntimeOptions)
	if err != nil {
		return s, fmt.Errorf("customRuntimeOptions: %w", err)
	}
	if err := s.limit(o, limits); err != nil {
		return s, fmt.Errorf("customRuntimeOptions: %w", err)
	}
	if err := s.grant(o, limits); err != nil {
		return s, fmt.Errorf("customRuntimeOptions: %w", err)
	}
	return s, nil
}

func parseOptions(text string) (options, error) {
	var o options
	if strings.TrimSpace(text) == "" {
		return o, nil
	}
	if len(text) > maxOptions {
		return o, fmt.Errorf("the text has %d bytes; at most %d are read", len(text), maxOptions)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return o, fmt.Errorf("it is not a JSON object: %w", err)
	}
	own := all[optionsKey]
	if len(own) == 0 || string(own) == "null" {
		return o, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(own))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return o, fmt.Errorf("%s.%s: a JSON %s does not fit", optionsKey, wrong.Field, wrong.Value)
		}
		return o, fmt.Errorf("%s: %w", optionsKey, err)
	}
	return o, nil
}

func (s *Settings) limit(o options, limits Limits) error {
	memory := uint64(o.MaxMemory)
	if o.MemoryPages > 0 {
		if memory > 0 {
			return errors.New("wasm.maxMemory and wasm.memoryPages say the same; give one of them")
		}
		memory = uint64(o.MemoryPages) * pageSize
	}
	switch {
	case memory > limits.Memory:
		return fmt.Errorf("wasm.maxMemory: %d bytes are more than this worker allows (%d, goWorker.wasm.maxMemory)", memory, limits.Memory)
	case memory > 0 && memory < pageSize:
		return fmt.Errorf("wasm.maxMemory: %d bytes are less than one page of %d", memory, pageSize)
	case memory > 0:
		s.Memory = memory / pageSize * pageSize
	}
	switch t := time.Duration(o.Timeout); {
	case t > limits.Timeout:
		return fmt.Errorf("wasm.timeout: %s is more than this worker allows (%s, goWorker.wasm.maxTimeout)", t, limits.Timeout)
	case t > 0 && t < time.Millisecond:
		return fmt.Errorf("wasm.timeout: %s is less than a millisecond", t)
	case t > 0:
		s.Timeout = t
	}
	switch n := uint64(o.MaxOutput); {
	case n > limits.Output:
		return fmt.Errorf("wasm.maxOutput: %d bytes are more than this worker allows (%d)", n, limits.Output)
	case n > 0:
		s.Output = n
	}
	switch {
	case o.Concurrency < 0 || o.Concurrency > maxConcurrency:
		return fmt.Errorf("wasm.concurrency: %d is not between 1 and %d", o.Concurrency, maxConcurrency)
	case o.Concurrency > 0:
		s.Concurrency = o.Concurrency
	}
	return nil
}

func (s *Settings) grant(o options, limits Limits) error {
	if n := len(o.Grants.Directories); n > maxDirectories {
		return fmt.Errorf("wasm.grants.directories: %d entries are more than %d", n, maxDirectories)
	}
	for _, d := range o.Grants.Directories {
		if !filepath.IsAbs(d.Host) || !path.IsAbs(d.Guest) {
			return fmt.Errorf("wasm.grants.directories: host %q and guest %q must be absolute paths", d.Host, d.Guest)
		}
		host := filepath.Clean(d.Host)
		if !slices.ContainsFunc(limits.Directories, func(allowed string) bool { return within(host, allowed) }) {
			return fmt.Errorf("wasm.grants.directories: %s is not below a directory that this worker grants (goWorker.wasm.directories)", d.Host)
		}
		s.Directories = append(s.Directories, Directory{Host: host, Guest: path.Clean(d.Guest), Write: d.Write})
	}
	for _, name := range o.Grants.Environment {
		if !slices.Contains(limits.Environment, name) {
			return fmt.Errorf("wasm.grants.environment: %q is not a variable that this worker grants (goWorker.wasm.environment)", name)
		}
		s.Environment = append(s.Environment, name)
	}
	return nil
}

func within(name, dir string) bool {
	rest, err := filepath.Rel(filepath.Clean(dir), name)
	return err == nil && filepath.IsLocal(rest)
}

// byteCount is a number of bytes, or text with a unit.
type byteCount uint64

func (b *byteCount) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	number := strings.TrimRight(text, "KMGTiBkmgtb ")
	n, err := strconv.ParseUint(number, 10, 40)
	if err != nil {
		return fmt.Errorf("%s is no number of bytes; write 1048576, \"64MiB\" or \"1GiB\"", data)
	}
	switch unit := strings.ToLower(strings.TrimSpace(text[len(number):])); unit {
	case "", "b":
	case "k", "kb", "ki", "kib":
		n <<= 10
	case "m", "mb", "mi", "mib":
		n <<= 20
	case "g", "gb", "gi", "gib":
		n <<= 30
	default:
		return fmt.Errorf("%s has the unit %q; KiB, MiB and GiB are known", data, unit)
	}
	*b = byteCount(n)
	return nil
}

// span is a number of milliseconds, or text such as "5s".
type span time.Duration

func (s *span) UnmarshalJSON(data []byte) error {
	var ms uint32
	if json.Unmarshal(data, &ms) == nil {
		*s = span(time.Duration(ms) * time.Millisecond)
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s is no time; write 500 (milliseconds) or \"5s\"", data)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no time; write 500 (milliseconds) or \"5s\"", text)
	}
	*s = span(d)
	return nil
}

// resolve follows links in the granted directories, before a guest sees them; none may lead out of what is allowed.
func (s *Settings) resolve(limits Limits) error {
	for i, d := range s.Directories {
		real, err := filepath.EvalSymlinks(d.Host)
		if err != nil {
			return fmt.Errorf("customRuntimeOptions: wasm.grants.directories: %w", err)
		}
		if !slices.ContainsFunc(limits.Directories, func(allowed string) bool {
			allowed, err := filepath.EvalSymlinks(allowed)
			return err == nil && within(real, allowed)
		}) {
			return fmt.Errorf("customRuntimeOptions: wasm.grants.directories: %s leads out of the directories that this worker grants (goWorker.wasm.directories)", d.Host)
		}
		s.Directories[i].Host = real
	}
	return nil
}
