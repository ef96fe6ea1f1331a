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

// scrub takes the credentials of the instance out of its output: the Python instance logs its whole command line, and the
// last lines of a run reach everyone who may ask for the function's status.
func scrub(text string, auth *Auth) string {
	if auth == nil {
		return text
	}
	_, value, _ := strings.Cut(auth.Params, ":") // token:<the token>
	for _, secret := range []string{auth.Params, value} {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "<redacted>")
		}
	}
	return text
}
