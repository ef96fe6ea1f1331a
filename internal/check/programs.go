package check

import (
	"archive/zip"
	"context"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/functions-worker/functions-worker/internal/config"
)

const leastJava = 17

var (
	javaVersion   = regexp.MustCompile(`version "([0-9]+)(?:\.([0-9]+))?[^"]*"`)
	pythonVersion = regexp.MustCompile(`Python ([0-9]+)\.([0-9]+)`)
)

// javaMajor reads the answer of `java -version`: 17.0.15 is 17, 1.8.0_402 is 8; 0 when there is no version in it.
func javaMajor(output string) int {
	m := javaVersion.FindStringSubmatch(output)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(m[1])
	if major == 1 {
		major, _ = strconv.Atoi(m[2])
	}
	return major
}

func runsProcesses(w *config.Worker) bool {
	return w.Computed.Runtime == config.RuntimeProcess || w.Computed.Runtime == config.RuntimeThread
}

// checkJava looks at what Java functions, sources and sinks need. A worker without it runs the other languages.
func checkJava(ctx context.Context, w *config.Worker, p Probes) []Finding {
	if !runsProcesses(w) || p.FindFile == nil || p.Run == nil {
		return nil
	}
	return append(checkJavaProgram(ctx, w, p), checkInstanceJar(w))
}

func checkJavaProgram(ctx context.Context, w *config.Worker, p Probes) []Finding {
	const key = "goWorker.javaExecutable"
	program := w.Go.JavaExecutable
	path, err := p.FindFile(program)
	if err != nil {
		return []Finding{warn(key, "install a Java runtime of version 17 or later, put it first in PATH, or set the key", "%s is not found (%v): Java functions, sources and sinks will not run", program, err)}
	}
	output, err := p.Run(ctx, path, "-version")
	if err != nil {
		return []Finding{warn(key, "repair the Java installation", "%s -version fails (%v): %s", path, err, firstLine(output))}
	}
	major := javaMajor(output)
	switch {
	case major == 0:
		return []Finding{warn(key, "name a Java runtime of version 17 or later", "%s names no version: %s", path, firstLine(output))}
	case major < leastJava:
		return []Finding{warn(key, "install version 17 or later", "%s is Java %d; instances of Pulsar 4.0 need %d", path, major, leastJava)}
	}
	return []Finding{ok(key, "%s is Java %d", path, major)}
}

func checkInstanceJar(w *config.Worker) Finding {
	const key = "functionRuntimeFactoryConfigs.javaInstanceJarLocation"
	path := w.Computed.Process.JavaInstanceJar
	remedy := "set PULSAR_HOME to a Pulsar distribution, or name its instances/java-instance.jar here"
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return warn(key, remedy, "%s is not there: Java functions, sources and sinks will not run", path)
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return warn(key, remedy, "%s is no jar: %v", path, err)
	}
	_ = archive.Close()
	return ok(key, "%s is there", path)
}

// Modules that python_instance_main.py imports, with the package that brings each.
var pythonModules = []struct{ module, pkg string }{
	{"pulsar", "pulsar-client[functions]"}, {"pulsar.functions", "pulsar-client[functions]"}, {"google.protobuf", "protobuf"},
	{"grpc", "grpcio"}, {"prometheus_client", "prometheus_client"}, {"ratelimit", "ratelimit"}, {"bookkeeper.kv.client", "apache-bookkeeper-client"},
}

// pythonProgram prints one line "missing <module>: <error>" per module that cannot be imported.
func pythonProgram() string {
	var b strings.Builder
	b.WriteString("import importlib, sys\nfor m in (")
	for _, m := range pythonModules {
		b.WriteString(strconv.Quote(m.module) + ", ")
	}
	b.WriteString("):\n    try:\n        importlib.import_module(m)\n    except Exception as e:\n        print('missing', m, repr(e)[:200])\n")
	return b.String()
}

func checkPython(ctx context.Context, w *config.Worker, p Probes) []Finding {
	if !runsProcesses(w) || p.FindFile == nil || p.Run == nil {
		return nil
	}
	findings := checkPythonProgram(ctx, w, p)
	const key = "functionRuntimeFactoryConfigs.pythonInstanceLocation"
	path := w.Computed.Process.PythonInstanceFile
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return append(findings, warn(key, "set PULSAR_HOME to a Pulsar distribution, or name its instances/python-instance/python_instance_main.py here", "%s is not there: Python functions will not run", path))
	}
	return append(findings, ok(key, "%s is there", path))
}

func checkPythonProgram(ctx context.Context, w *config.Worker, p Probes) []Finding {
	const key = "goWorker.pythonExecutable"
	program := w.Go.PythonExecutable
	path, err := p.FindFile(program)
	if err != nil {
		return []Finding{warn(key, "install Python 3, put it first in PATH, or set the key", "%s is not found (%v): Python functions will not run", program, err)}
	}
	version, err := p.Run(ctx, path, "--version")
	m := pythonVersion.FindStringSubmatch(version)
	switch {
	case err != nil:
		return []Finding{warn(key, "repair the Python installation", "%s --version fails (%v): %s", path, err, firstLine(version))}
	case m == nil || m[1] != "3":
		return []Finding{warn(key, "name a Python 3", "%s is not Python 3: %s", path, firstLine(version))}
	}
	output, err := p.Run(ctx, path, "-c", pythonProgram())
	if err != nil {
		return []Finding{warn(key, "repair the Python installation", "%s cannot import modules (%v): %s", path, err, firstLine(output))}
	}
	if missing, packages := missingModules(output); len(missing) > 0 {
		return []Finding{warn(key, "run "+path+` -m pip install "pulsar-client[functions]", which brings `+strings.Join(packages, ", ")+
			"; best in a virtual environment whose bin is first in PATH (the version that fits the broker: 3.13.0 for Pulsar 4.0)",
			"%s cannot import %s: Python functions will not run", path, strings.Join(missing, ", "))}
	}
	return []Finding{ok(key, "%s is Python %s.%s and has the modules that instances import", path, m[1], m[2])}
}

// missingModules reads the answer of pythonProgram: the modules, and the packages that bring them.
func missingModules(output string) (modules, packages []string) {
	for _, line := range strings.Split(output, "\n") {
		rest, found := strings.CutPrefix(strings.TrimSpace(line), "missing ")
		if !found {
			continue
		}
		module, why, _ := strings.Cut(rest, " ")
		// A module that is there but broken needs its reason; a missing one explains itself.
		if !strings.HasPrefix(why, "ModuleNotFoundError") {
			module += " (" + why + ")"
		}
		modules = append(modules, module)
		for _, m := range pythonModules {
			if strings.HasPrefix(rest, m.module+" ") && !slices.Contains(packages, m.pkg) {
				packages = append(packages, m.pkg)
			}
		}
	}
	return modules, packages
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	if line == "" {
		return "(no output)"
	}
	return line
}
