package kubernetes

import (
	"strings"

	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// shard is how the shell of a pod names the ordinal.
const shard = "$SHARD_ID"

// safeInShell are the characters that a POSIX shell leaves alone within a word. A star is among them because class paths
// have one: no file in an image is called like a class path.
const safeInShell = "_-./:=,+@%*"

// quote makes one word of a text for the shell. What needs no quotes gets none, so that commands equal those of Java workers.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune(safeInShell, r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shellWords writes words for the shell.
func shellWords(words []launch.Word) []string {
	out := make([]string, len(words))
	for i, w := range words {
		switch w.Kind {
		case launch.Flags: // the shell is meant to read them
			out[i] = w.Text
		case launch.JSON:
			out[i] = "'" + w.Text + "'"
		case launch.Ordinal:
			if w.Text != "" {
				out[i] = quote(w.Text)
			}
			out[i] += shard
		default:
			out[i] = quote(w.Text)
		}
	}
	return out
}

// keepDollars protects a command from the kubelet, which replaces $(NAME) by variables and $$ by $.
func keepDollars(command string) string {
	if !strings.Contains(command, "$(") && !strings.Contains(command, "$$") {
		return command
	}
	var b strings.Builder
	for i := range len(command) {
		b.WriteByte(command[i])
		if command[i] == '$' && i+1 < len(command) && (command[i+1] == '$' || command[i+1] == '(') {
			b.WriteByte('$')
		}
	}
	return b.String()
}
