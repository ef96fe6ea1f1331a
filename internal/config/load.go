package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Sources is where a configuration comes from. Later ones win: file, PF_ variables, overrides.
type Sources struct {
	// Path of the file. Empty: PULSAR_WORKER_CONF, else conf/functions_worker.yml of the Pulsar home.
	Path string
	// Content is used instead of a file when it is not nil.
	Content []byte
	// Env lists NAME=value, as os.Environ gives it. Nil means no environment at all.
	Env []string
	// Overrides are key=value settings of the command line; a nested key is written with dots (goWorker.logLevel).
	Overrides map[string]string
	// Runtimes names further runtime factories that this program has registered, besides the known class names.
	Runtimes []string
	// Hostname finds the fully qualified name of the host; nil asks the system.
	Hostname func() (string, error)
}

// Problem is one thing that keeps the worker from starting.
type Problem struct {
	Key      string
	Value    string // printable, masked when it may be secret; "" when there is none
	What     string
	Accepted string
	Remedy   string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Key)
	if p.Value != "" {
		fmt.Fprintf(&b, ": %q", p.Value)
	}
	fmt.Fprintf(&b, ": %s", p.What)
	if p.Accepted != "" {
		fmt.Fprintf(&b, "; accepted: %s", p.Accepted)
	}
	if p.Remedy != "" {
		fmt.Fprintf(&b, "; remedy: %s", p.Remedy)
	}
	return b.String()
}

// Error is all problems of a configuration together.
type Error struct {
	Path     string
	Problems []Problem
}

func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, fmt.Sprintf("the configuration %s has %d problem(s):", e.Path, len(e.Problems)))
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}

// Warning is something that works but probably not as meant.
type Warning struct{ Key, Text string }

func (w Warning) String() string { return w.Key + ": " + w.Text }

// Report says how a configuration came about.
type Report struct {
	// Path of the file that was read.
	Path string
	// Warnings, in the order of discovery.
	Warnings []Warning
	// Origin of each key that was given: "line 12", "PF_workerPort", "the command line (…)".
	Origin map[string]string

	problems []Problem
}

func (r *Report) warn(key, format string, args ...any) {
	r.Warnings = append(r.Warnings, Warning{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (r *Report) problem(p Problem) { r.problems = append(r.problems, p) }

// Load reads, computes and validates. On failure the error is an *Error that lists every problem; the Report is valid
// in both cases, so that warnings can be shown beside the problems.
func Load(s Sources) (*Worker, Report, error) {
	r := Report{Origin: map[string]string{}}
	env := environment(s.Env)
	data, err := s.read(env, &r)
	if err != nil {
		r.problem(Problem{Key: "configuration file", What: err.Error(),
			Remedy: "name a readable file with -c or the environment variable PULSAR_WORKER_CONF"})
		return nil, r, r.err()
	}
	root, err := parseYAML(data, func(path, origin string) {
		r.warn(path, "is written twice; the last one counts (%s)", origin)
	})
	if err != nil {
		r.problem(Problem{Key: "configuration file", What: err.Error(), Remedy: "correct " + r.Path})
		return nil, r, r.err()
	}
	applyEnv(root, s.Env, &r)
	applyOverrides(root, s.Overrides, &r)
	w := decodeWorker(root, &r)
	w.compute(root, env, s, &r)
	w.validate(&r)
	if err := r.err(); err != nil {
		return nil, r, err
	}
	return w, r, nil
}

func (r *Report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return &Error{Path: r.Path, Problems: r.problems}
}

func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

func (s Sources) read(env map[string]string, r *Report) ([]byte, error) {
	if s.Content != nil {
		r.Path = "given as text"
		return s.Content, nil
	}
	r.Path = s.Path
	if r.Path == "" {
		r.Path = env["PULSAR_WORKER_CONF"]
	}
	if r.Path == "" {
		r.Path = filepath.Join(env["PULSAR_HOME"], "conf", "functions_worker.yml")
	}
	info, err := os.Stat(r.Path)
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	// A pipe or device could block or never end.
	if !info.Mode().IsRegular() {
		return nil, errors.New(r.Path + " is not a regular file")
	}
	f, err := os.Open(r.Path)
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.Path, err)
	}
	return data, nil
}
