// Command platformgen writes the table of classes that package archive knows without finding them in a package:
// the public types of the JDK, and those of the JAR that every Java instance of Pulsar has on its class path.
// Run it with `go generate ./internal/archive` when either changes; it needs JAVA_HOME and PULSAR_HOME.
package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/functions-worker/functions-worker/internal/archive"
)

func main() {
	out := flag.String("out", "platform.gz", "file to write")
	jdk := flag.String("jdk", os.Getenv("JAVA_HOME"), "JDK with jmods")
	pulsar := flag.String("pulsar", os.Getenv("PULSAR_HOME"), "unpacked Pulsar distribution")
	flag.Parse()
	if err := run(*out, *jdk, *pulsar); err != nil {
		fmt.Fprintln(os.Stderr, "platformgen:", err)
		os.Exit(1)
	}
}

func run(out, jdk, pulsar string) error {
	all := make(map[string]*archive.Class)
	jmods, err := filepath.Glob(filepath.Join(jdk, "jmods", "java.*.jmod"))
	if err != nil || len(jmods) == 0 {
		return fmt.Errorf("no jmods below %q: set JAVA_HOME to a JDK", jdk)
	}
	for _, path := range jmods {
		if err := read(path, "classes/", all); err != nil {
			return err
		}
	}
	if err := read(filepath.Join(pulsar, "instances", "java-instance.jar"), "", all); err != nil {
		return err
	}
	clients, err := filepath.Glob(filepath.Join(pulsar, "lib", "org.apache.pulsar-pulsar-client-original-*.jar"))
	if err != nil || len(clients) != 1 {
		return fmt.Errorf("no client library below %q: set PULSAR_HOME to a Pulsar distribution", pulsar)
	}
	schemas := make(map[string]*archive.Class)
	if err := read(clients[0], "", schemas); err != nil {
		return err
	}
	for name, c := range schemas {
		if strings.HasPrefix(name, "org.apache.pulsar.client.impl.schema.") {
			all[name] = c
		}
	}
	return write(out, selectClasses(all))
}

// read collects the classes of a JAR, or those of a jmod, which are below a prefix.
func read(path, prefix string, into map[string]*archive.Class) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data = bytes.TrimPrefix(data, []byte("JM\x01\x00"))
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range zr.File {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok || !strings.HasSuffix(name, ".class") || strings.HasPrefix(name, "META-INF/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
		class, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
		c, err := archive.ParseClass(class)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
		if into[c.Name] == nil {
			into[c.Name] = c
		}
	}
	return nil
}

// selectClasses keeps public types outside of internal packages, with all their super types.
func selectClasses(all map[string]*archive.Class) map[string]*archive.Class {
	kept := make(map[string]*archive.Class)
	var keep func(name string)
	keep = func(name string) {
		c := all[name]
		if c == nil || kept[name] != nil {
			return
		}
		kept[name] = c
		keep(c.Super)
		for _, i := range c.Interfaces {
			keep(i)
		}
	}
	for name, c := range all {
		if c.Access&archive.AccPublic != 0 && c.Access&archive.AccSynthetic == 0 && !internal(name) {
			keep(name)
		}
	}
	return kept
}

func internal(name string) bool {
	for _, prefix := range []string{"sun.", "com.sun.", "jdk.internal.", "apple.", "org.jcp.", "javax.swing.", "org.checkerframework."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.Contains(name, ".shaded.") || strings.Contains(name, ".shade.")
}

func write(path string, classes map[string]*archive.Class) error {
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		if _, err := io.WriteString(zw, archive.FormatPlatformLine(classes[name])); err != nil {
			return err
		}
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), 0o644)
}
