package wasm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseSettings(t *testing.T) {
	limits := DefaultLimits()
	limits.Directories, limits.Environment = []string{"/srv/data"}, []string{"REGION"}
	standard := Settings{Memory: 64 << 20, Timeout: 5 * time.Second, Output: 5 << 20, Concurrency: 1}
	with := func(change func(*Settings)) Settings {
		s := standard
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		options string
		want    Settings
		wantErr string
	}{
		"nothing":        {"", standard, ""},
		"keys of others": {`{"extraLabels":{"a":"b"}}`, standard, ""},
		"null":           {`{"wasm":null}`, standard, ""},
		"all":            {`{"wasm":{"maxMemory":"32MiB","timeout":"2s","maxOutput":1024,"concurrency":4}}`, Settings{Memory: 32 << 20, Timeout: 2 * time.Second, Output: 1024, Concurrency: 4}, ""},
		"pages":          {`{"wasm":{"memoryPages":10}}`, with(func(s *Settings) { s.Memory = 10 * pageSize }), ""},
		"milliseconds":   {`{"wasm":{"timeout":250}}`, with(func(s *Settings) { s.Timeout = 250 * time.Millisecond }), ""},
		"rounded down":   {`{"wasm":{"maxMemory":100000}}`, with(func(s *Settings) { s.Memory = pageSize }), ""},
		"grants": {`{"wasm":{"grants":{"directories":[{"host":"/srv/data/a/","guest":"/in","write":true}],"environment":["REGION"]}}}`, with(func(s *Settings) {
			s.Directories = []Directory{{"/srv/data/a", "/in", true}}
			s.Environment = []string{"REGION"}
		}), ""},
		"no JSON":         {`{`, standard, "customRuntimeOptions: it is not a JSON object"},
		"a list":          {`[]`, standard, "not a JSON object"},
		"wasm is a text":  {`{"wasm":"fast"}`, standard, "a JSON string does not fit"},
		"unknown key":     {`{"wasm":{"maxMemry":1}}`, standard, `unknown field "maxMemry"`},
		"too much memory": {`{"wasm":{"maxMemory":"8GiB"}}`, standard, "more than this worker allows (268435456, goWorker.wasm.maxMemory)"},
		"too many pages":  {`{"wasm":{"memoryPages":4294967295}}`, standard, "more than this worker allows"},
		"too little":      {`{"wasm":{"maxMemory":1}}`, standard, "less than one page"},
		"both":            {`{"wasm":{"maxMemory":"1MiB","memoryPages":1}}`, standard, "say the same"},
		"a bad unit":      {`{"wasm":{"maxMemory":"1XiB"}}`, standard, "no number of bytes"},
		"negative":        {`{"wasm":{"maxMemory":-1}}`, standard, "no number of bytes"},
		"too long":        {`{"wasm":{"timeout":"1h"}}`, standard, "more than this worker allows (1m0s, goWorker.wasm.maxTimeout)"},
		"too short":       {`{"wasm":{"timeout":"1ns"}}`, standard, "less than a millisecond"},
		"no time":         {`{"wasm":{"timeout":"soon"}}`, standard, "is no time"},
		"negative time":   {`{"wasm":{"timeout":"-1s"}}`, standard, "is no time"},
		"too much output": {`{"wasm":{"maxOutput":"1GiB"}}`, standard, "wasm.maxOutput"},
		"concurrency":     {`{"wasm":{"concurrency":1000}}`, standard, "wasm.concurrency: 1000 is not between"},
		"another dir":     {`{"wasm":{"grants":{"directories":[{"host":"/etc","guest":"/in"}]}}}`, standard, "not below a directory that this worker grants"},
		"a dir beside":    {`{"wasm":{"grants":{"directories":[{"host":"/srv/data2","guest":"/in"}]}}}`, standard, "not below a directory"},
		"a way out":       {`{"wasm":{"grants":{"directories":[{"host":"/srv/data/../../etc","guest":"/in"}]}}}`, standard, "not below a directory"},
		"relative":        {`{"wasm":{"grants":{"directories":[{"host":"data","guest":"/in"}]}}}`, standard, "must be absolute"},
		"another name":    {`{"wasm":{"grants":{"environment":["AWS_SECRET_ACCESS_KEY"]}}}`, standard, "not a variable that this worker grants"},
		"network":         {`{"wasm":{"grants":{"network":["*"]}}}`, standard, `unknown field "network"`},
		"long":            {`{"x":"` + strings.Repeat("x", maxOptions) + `"}`, standard, "at most 65536 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseSettings(tc.options, limits)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, s)
		})
	}
}

// A link inside a granted directory must not lead out of what the operator allows.
func TestGrantedLinks(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink(outside, link))
	limits := DefaultLimits()
	limits.Directories = []string{root}
	_, err := ParseSettings(`{"wasm":{"grants":{"directories":[{"host":"`+link+`","guest":"/in"}]}}}`, limits)
	require.NoError(t, err, "submission does not look at the disk")
	s, _ := ParseSettings(`{"wasm":{"grants":{"directories":[{"host":"`+link+`","guest":"/in"}]}}}`, limits)
	require.ErrorContains(t, s.resolve(limits), "leads out of")
	s, err = ParseSettings(`{"wasm":{"grants":{"directories":[{"host":"`+root+`","guest":"/in"}]}}}`, limits)
	require.NoError(t, err)
	require.NoError(t, s.resolve(limits))
}
