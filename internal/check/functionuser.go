package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/functions-worker/functions-worker/internal/config"
)

// checkFunctionUser tries as the user of functions what the start of an instance does: programs and files that only the worker's own
// user reaches (in /root, in a home directory) let every function fail.
func checkFunctionUser(ctx context.Context, w *config.Worker, p Probes) []Finding {
	const key = "goWorker.functionUser"
	if w.Computed.Runtime == config.RuntimeKubernetes || w.Go.FunctionUser == "" || p.AsFunction == nil || p.FindFile == nil {
		return nil
	}
	if _, err := p.AsFunction(ctx, "/bin/sh", "-c", "true"); err != nil {
		remedy := "name a user, a user id, or a range of ids, and run the worker as root, or with CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_KILL and CAP_DAC_OVERRIDE"
		if errors.Is(err, fs.ErrNotExist) {
			return []Finding{warn(key, "install a shell to have this checked", "what functions can reach was not looked at: %v", err)}
		}
		return []Finding{fail(key, remedy, "no program can be run as %s: %v", w.Go.FunctionUser, err)}
	}
	var findings []Finding
	for _, program := range []struct{ name, argument, languages string }{
		{w.Go.JavaExecutable, "-version", "Java functions, sources and sinks"},
		{w.Go.PythonExecutable, "--version", "Python functions"},
	} {
		path, err := p.FindFile(program.name)
		if err != nil {
			continue // its own check says so
		}
		if output, err := p.AsFunction(ctx, path, program.argument); err != nil {
			findings = append(findings, warn(key, "install it where every user reaches it, or open the way to it (chmod o+rx)",
				"%s: %s cannot be run by the user of functions (%v)%s%s", program.languages, path, err, said(output), closedPart(path)))
		}
	}
	for _, file := range []struct{ path, languages string }{
		{w.Computed.Process.JavaInstanceJar, "Java functions, sources and sinks"},
		{w.Computed.Process.PythonInstanceFile, "Python functions"},
	} {
		if _, err := os.Stat(file.path); err != nil {
			continue // its own check says so
		}
		if _, err := p.AsFunction(ctx, "/bin/sh", "-c", `test -r "$1"`, "sh", file.path); err != nil {
			findings = append(findings, warn(key, "put the Pulsar distribution where every user reaches it, or open the way to it (chmod o+rx)",
				"%s: %s cannot be read by the user of functions%s", file.languages, file.path, closedPart(file.path)))
		}
	}
	if len(findings) > 0 {
		return findings
	}
	return []Finding{ok(key, "programs run as %s, and reach what instances are made of", w.Go.FunctionUser)}
}

func said(output string) string {
	if strings.TrimSpace(output) == "" {
		return ""
	}
	return ": " + firstLine(output)
}

// closedPart names the first directory on the way to a file, links resolved, that others than its owner and group may not pass.
func closedPart(path string) string {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	for i, c := range resolved {
		if c != filepath.Separator || i == 0 {
			continue
		}
		if info, err := os.Stat(resolved[:i]); err == nil && info.Mode().Perm()&0o001 == 0 {
			return fmt.Sprintf("; %s is closed: %s%s", resolved[:i], info.Mode(), owner(info))
		}
	}
	return ""
}

func owner(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf(", of user %d and group %d", st.Uid, st.Gid)
}
