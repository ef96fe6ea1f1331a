package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Settings with a flag and an environment variable of their own, besides --set and PF_goWorker_….
var ownFlags = []struct{ flag, env, key, usage string }{
	{"log-level", "FUNCTIONS_WORKER_LOG_LEVEL", "goWorker.logLevel", "least severity that is logged: debug, info, warn or error"},
	{"log-format", "FUNCTIONS_WORKER_LOG_FORMAT", "goWorker.logFormat", "form of log lines: console or json"},
	{"pulsar-home", "", "goWorker.pulsarHome", "directory of the Pulsar distribution (default: PULSAR_HOME, else the working directory)"},
}

// AddFlags declares the flags that choose and override the configuration.
func AddFlags(flags *pflag.FlagSet) {
	flags.StringP("conf", "c", "", "configuration file (default: PULSAR_WORKER_CONF, else conf/functions_worker.yml of the Pulsar home)")
	flags.StringArray("set", nil, "key=value: override a key of the file; nested keys with dots; may be repeated")
	for _, f := range ownFlags {
		flags.String(f.flag, "", f.usage)
	}
}

// SourcesFrom makes the sources of Load from parsed flags and the environment. A flag wins over its variable, and both
// over --set, PF_ variables and the file.
func SourcesFrom(flags *pflag.FlagSet, environ []string) (Sources, error) {
	env := environment(environ)
	// viper decides between flag and variable only: it would lower the case of the file's free keys.
	v := viper.New()
	s := Sources{Env: environ, Overrides: map[string]string{}}
	if s.Env == nil {
		s.Env = []string{}
	}
	settings, err := flags.GetStringArray("set")
	if err != nil {
		return Sources{}, fmt.Errorf("reading --set: %w", err)
	}
	for _, setting := range settings {
		key, value, ok := strings.Cut(setting, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return Sources{}, errors.New("--set needs key=value, for example --set workerPort=6750")
		}
		s.Overrides[key] = value
	}
	for _, f := range ownFlags {
		if err := v.BindPFlag(f.key, flags.Lookup(f.flag)); err != nil {
			return Sources{}, fmt.Errorf("reading --%s: %w", f.flag, err)
		}
		if value := env[f.env]; f.env != "" && value != "" {
			v.SetDefault(f.key, value)
		}
		if value := v.GetString(f.key); value != "" {
			s.Overrides[f.key] = value
		}
	}
	if s.Path, err = flags.GetString("conf"); err != nil {
		return Sources{}, fmt.Errorf("reading --conf: %w", err)
	}
	return s, nil
}
