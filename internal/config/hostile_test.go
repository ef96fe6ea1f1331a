package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bomb doubles a list at each level through aliases: two to the power of levels values.
func bomb(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < levels; i++ {
		prev, name := string(rune('a'+i-1)), string(rune('a'+i))
		b.WriteString(name + "0: &" + name + "0 [*" + prev + "0, *" + prev + "0]\n")
	}
	return b.String()
}

func TestHostileYAML(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	cases := map[string]struct {
		content string
		want    string
	}{
		"empty":              {"", "it is empty"},
		"only a marker":      {"---\n", "it is empty"},
		"comment":            {"# nothing\n", "it is empty"},
		"null":               {"~", "it is empty"},
		"list":               {"- a\n", "must be a map"},
		"text":               {"hello", "must be a map"},
		"NUL":                {"workerId: a\x00b", "NUL"},
		"not UTF-8":          {"workerPort: 1\nworkerId: \xff\xfe", "line 2 is not UTF-8"},
		"UTF-16":             {"\xff\xfew\x00", "NUL"},
		"too large":          {strings.Repeat("#", maxFileBytes+1), "more than the"},
		"aliases":            {bomb(24), "more than 20000 values"},
		"alias of itself":    {"a: &a [*a]\n", ""},
		"deep":               {"a: " + deep, ""},
		"deep block":         {deepBlock(200), "levels deep"},
		"unknown alias":      {"a: *b\n", "not valid YAML"},
		"tab":                {"a:\n\t- b\n", "not valid YAML"},
		"unfinished":         {"a: [1, 2\n", "not valid YAML"},
		"key is a list":      {"? [a]\n: b\n", "a key must be a text"},
		"merge of a text":    {"<<: text\n", "<< must name a map"},
		"many problems":      {"workerPort: x\nuseTls: y\nsuperUserRoles: {a: b}\n", "superUserRoles"},
		"section is a text":  {"goWorker: text\n", "goWorker"},
		"properties is list": {"properties: [a]\n", "properties"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			w, _, err := Load(Sources{Content: []byte(c.content)})
			require.Nil(t, w)
			require.Contains(t, problemsOf(t, err), c.want)
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func deepBlock(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestSecondDocumentIsNotRead(t *testing.T) {
	w, _, err := load(t, "---\nworkerId: other\n")
	require.NoError(t, err)
	require.Equal(t, "w-1", w.WorkerID)
}

func TestAnchorsAndDuplicates(t *testing.T) {
	w, r, err := load(t, "workerId: &id w-2\npulsarFunctionsCluster: *id\n")
	require.NoError(t, err)
	require.Equal(t, "w-2", w.WorkerID)
	require.Equal(t, "w-2", w.PulsarFunctionsCluster)
	require.Contains(t, r.Warnings[0].String(), "workerId: is written twice")
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"missing": filepath.Join(dir, "none.yml"), "directory": dir, "device": "/dev/zero"} {
		t.Run(name, func(t *testing.T) {
			_, r, err := Load(Sources{Env: []string{"PULSAR_WORKER_CONF=" + path}})
			require.Equal(t, path, r.Path)
			require.Contains(t, problemsOf(t, err), "PULSAR_WORKER_CONF")
		})
	}
	home := filepath.Join(dir, "home")
	require.NoError(t, os.MkdirAll(filepath.Join(home, "conf"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "conf", "functions_worker.yml"), []byte(minimal), 0o600))
	w, _, err := Load(Sources{Env: []string{"PULSAR_HOME=" + home}})
	require.NoError(t, err)
	require.Equal(t, home, w.Computed.Home)
}

func FuzzLoad(f *testing.F) {
	distributed, err := os.ReadFile(filepath.Join("testdata", "distributed.yml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(distributed, "PF_workerPort", "6750")
	f.Add([]byte(minimal), "PF_properties_a_b", "c")
	f.Add([]byte(bomb(5)), "PF__", "")
	f.Add([]byte("properties: {brokerClient_x: !!binary aGk=}\nfunctionInstanceMinResources: {cpu: .inf}"), "PF_containerFactory", "k8s")
	host := func() (string, error) { return "h", nil }
	f.Fuzz(func(t *testing.T, content []byte, name, value string) {
		w, _, err := Load(Sources{Content: append([]byte(minimal), content...), Env: []string{name + "=" + value}, Hostname: host})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("an error without problems: %v", err)
			}
			return
		}
		if strings.Contains(w.WorkerID, ":") || w.WorkerPort == nil && !w.Computed.TLS {
			t.Fatalf("accepted: %q", content)
		}
		// The printed form must itself be a readable configuration.
		if _, err := w.MarshalJSON(); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny([]byte(w.Redacted()), "\x00\x1b") {
			t.Fatalf("control characters in print: %q", w.Redacted())
		}
	})
}
