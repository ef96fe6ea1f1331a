package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// process is what /proc tells of one process.
type process struct {
	pid     int
	command string // arguments, separated by blanks
}

// running lists all processes whose command line contains every one of the texts.
func processesWith(t *testing.T, texts ...string) []process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []process
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it ended meanwhile
		}
		command := strings.ReplaceAll(string(data), "\x00", " ")
		matches := command != ""
		for _, text := range texts {
			matches = matches && strings.Contains(command, text)
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && matches && pid != os.Getpid() {
			all = append(all, process{pid: pid, command: command})
		}
	}
	return all
}
