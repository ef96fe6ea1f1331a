package instance

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/functions-worker/functions-worker/internal/pb"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	loaded := func(answer string) Loader {
		return func(context.Context, Package) (Program, error) {
			return Handler(func(context.Context, []byte) (*Result, error) {
				return &Result{Message: Message{Payload: []byte(answer)}}, nil
			}), nil
		}
	}
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "package")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	all, err := NewPrograms(loaded("wasm"), Builtin{Name: "shout", Load: loaded("builtin")},
		Builtin{Name: "shout", Kind: pb.FunctionDetails_SINK, Load: loaded("sink")})
	require.NoError(t, err)
	sink, source := &pb.FunctionDetails{ComponentType: pb.FunctionDetails_SINK}, &pb.FunctionDetails{ComponentType: pb.FunctionDetails_SOURCE}
	bare, err := NewPrograms(nil)
	require.NoError(t, err)
	for name, test := range map[string]struct {
		programs  *Programs
		pkg       Package
		want, err string
	}{
		"compiled in":              {programs: all, pkg: Package{Builtin: "shout"}, want: "builtin"},
		"compiled in, a sink":      {programs: all, pkg: Package{Builtin: "shout", Details: sink}, want: "sink"},
		"compiled in, no source":   {programs: all, pkg: Package{Builtin: "shout", Details: source}, err: `built-in source "shout" is not compiled into`},
		"compiled in, unknown":     {programs: all, pkg: Package{Builtin: "nope"}, err: `"nope" is not compiled into`},
		"no programs at all":       {pkg: Package{Builtin: "shout"}, err: `"shout" is not compiled into`},
		"module":                   {programs: all, pkg: Package{File: file("\x00asm\x01\x00\x00\x00")}, want: "wasm"},
		"module without a host":    {programs: bare, pkg: Package{File: file("\x00asm\x01\x00\x00\x00")}, err: "no host for"},
		"native binary":            {programs: all, pkg: Package{File: file("\x7fELF\x02")}, err: ErrNotHosted.Error()},
		"shorter than the magic":   {programs: all, pkg: Package{File: file("\x00as")}, err: ErrNotHosted.Error()},
		"empty file":               {programs: all, pkg: Package{File: file("")}, err: ErrNotHosted.Error()},
		"file that does not exist": {programs: all, pkg: Package{File: filepath.Join(t.TempDir(), "gone")}, err: "reading the package"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.pkg.Details == nil {
				test.pkg.Details = testConfig().Details
			}
			program, err := test.programs.Load(t.Context(), test.pkg)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			result, err := program.Handle(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, test.want, string(result.Payload))
			require.NoError(t, program.Close(t.Context()))
		})
	}
	for name, bad := range map[string][]Builtin{
		"no name": {{Load: loaded("")}}, "slash": {{Name: "a/b", Load: loaded("")}}, "no code": {{Name: "a"}},
		"twice": {{Name: "a", Load: loaded("")}, {Name: "a", Load: loaded("")}},
	} {
		_, err := NewPrograms(nil, bad...)
		require.Error(t, err, name)
	}
}

func TestStateIsNotEnabledWithoutAStore(t *testing.T) {
	t.Parallel()
	e, err := New(Options{Config: testConfig(), Program: Handler(shout), Client: newFakeClient()})
	require.NoError(t, err)
	_, err = e.context.State().Increment(t.Context(), "k", 1)
	require.ErrorIs(t, err, ErrStateDisabled)
	require.EqualError(t, err, "State t/n/f is not enabled.")
	require.ErrorIs(t, e.context.State().Put(t.Context(), "k", nil), ErrStateDisabled)
}
