package process

import (
	"regexp"
	"strings"
)

// secretOptions are the options whose values may hold credentials or user configuration.
var secretOptions = map[string]bool{
	"--function_details": true, "--client_auth_params": true, "--secrets_provider_config": true, "-instance-conf": true,
}

var secretProperty = regexp.MustCompile(`(?i)^(-[^=]*(?:password|passwd|secret|token|credential|apikey|api\.key|private)[^=]*=).+`)

// redact gives the command line for the log, without what must not be there.
func redact(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if i > 0 && secretOptions[args[i-1]] {
			a = "<redacted>"
		}
		out[i] = redactArgument(a)
	}
	return strings.Join(out, " ")
}

func redactArgument(a string) string {
	a = secretProperty.ReplaceAllString(a, "${1}<redacted>")
	if len(a) > 2048 {
		return a[:2048] + "…"
	}
	return a
}
