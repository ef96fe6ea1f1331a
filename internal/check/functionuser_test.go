package check

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFunctionUserIsTried uses real users: a distribution and a Java that only root reaches let functions fail.
func TestFunctionUserIsTried(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run programs as another user")
	}
	directory := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(directory), 0o755)) // of this test: made for its own user alone
	java := filepath.Join(directory, "java")
	require.NoError(t, os.WriteFile(java, []byte("#!/bin/sh\nid -u\n"), 0o755))
	w, _ := loadConfig(t, map[string]string{"goWorker.functionUser": "61000-61009", "goWorker.javaExecutable": java, "goWorker.pythonExecutable": "/no/such/python"})
	p := System(w)
	output, err := p.AsFunction(t.Context(), java)
	require.NoError(t, err)
	require.Equal(t, "61000\n", output)

	findings := checkFunctionUser(t.Context(), w, p)
	require.Len(t, findings, 1)
	require.Equal(t, OK, findings[0].Severity, findings[0].What)

	require.NoError(t, os.Chmod(filepath.Dir(java), 0o700))
	jar := filepath.Dir(w.Computed.Process.JavaInstanceJar)
	require.NoError(t, os.Chmod(jar, 0o700))
	findings = checkFunctionUser(t.Context(), w, p)
	require.Len(t, findings, 3)
	for _, f := range findings {
		require.Equal(t, Warn, f.Severity)
	}
	require.Contains(t, findings[0].What, java+" cannot be run by the user of functions")
	require.Contains(t, findings[0].What, filepath.Dir(java)+" is closed: drwx------, of user 0 and group 0")
	require.Contains(t, findings[1].What, "java-instance.jar cannot be read by the user of functions; "+jar+" is closed")
	require.Contains(t, findings[2].What, "Python functions: ")
}

func TestFunctionUserWithoutTheRight(t *testing.T) {
	w, _ := loadConfig(t, map[string]string{"goWorker.functionUser": "61000"})
	p := healthy()
	require.Empty(t, checkFunctionUser(t.Context(), w, p), "no probe")
	p.AsFunction = func(context.Context, string, ...string) (string, error) {
		return "", errors.New("operation not permitted")
	}
	findings := checkFunctionUser(t.Context(), w, p)
	require.Len(t, findings, 1)
	require.Equal(t, Fail, findings[0].Severity)
	require.Contains(t, findings[0].Remedy, "CAP_SETUID")

	w.Go.FunctionUser = "nobody-knows-this-user"
	findings = checkFunctionUser(t.Context(), w, System(w))
	require.Equal(t, Fail, findings[0].Severity)
	require.Contains(t, findings[0].What, "neither a user of this host")
}

func TestOwnRoleFinding(t *testing.T) {
	w, _ := loadConfig(t, nil)
	p := Probes{OwnRole: func(context.Context) error { return errors.New("superUserRoles (a) does not name it") }}
	require.Empty(t, checkOwnRole(t.Context(), w, p), "without authorization nobody asks for roles")
	w.AuthenticationEnabled, w.AuthorizationEnabled = true, true
	findings := checkOwnRole(t.Context(), w, p)
	require.Equal(t, Fail, findings[0].Severity)
	require.Contains(t, findings[0].What, "superUserRoles (a) does not name it")
	p.OwnRole = func(context.Context) error { return nil }
	require.Equal(t, OK, checkOwnRole(t.Context(), w, p)[0].Severity)
}
