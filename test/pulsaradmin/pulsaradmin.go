// Package pulsaradmin runs the distribution's own pulsar-admin for tests.
package pulsaradmin

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// ArchiveVariable names the directory that `scripts/pulsar.sh admin-archive` has filled: with its archive of loaded classes a
// call takes about half of the processor time. It may be unset.
const ArchiveVariable = "PULSAR_TEST_ADMIN_ARCHIVE"

// Tool is bin/pulsar-admin of the distribution at Home.
type Tool struct {
	Home     string
	JVMFlags string // more options of its JVM, blanks between them
}

// Command is a call of it, with the environment of this process.
func (t Tool) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(t.Home, "bin", "pulsar-admin"), args...)
	cmd.Env = append(os.Environ(), t.environment(os.Getenv(ArchiveVariable))...)
	return cmd
}

// environment makes the JVM use the archive. It refuses archives when a directory with files is in the class path, so the one of
// the logging configuration, which is all that the script wants it for, is an empty one.
func (t Tool) environment(dir string) []string {
	flags := "PULSAR_MEM=-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC " + t.JVMFlags // a small JVM for a short program
	archive := filepath.Join(dir, "classes.jsa")
	if _, err := os.Stat(archive); dir == "" || err != nil {
		return []string{flags}
	}
	return []string{
		flags + " -Xlog:disable -XX:SharedArchiveFile=" + archive,
		"PULSAR_LOG_CONF=" + filepath.Join(dir, "empty", "log4j2.yaml"),
		"PULSAR_EXTRA_OPTS=-Dlog4j.configurationFile=" + filepath.Join(t.Home, "conf", "log4j2.yaml"),
	}
}
