//lint:file-ignore ST1005 some errors have the text of the Java worker, which clients know

package process

import (
	"io"
	"os"
	"regexp"
	"strings"
)

const (
	tailBytes  = 16 << 10 // kept of the output of a run
	tailLines  = 20       // shown in the status
	shownBytes = 4 << 10
)

// fileSize is the size of a file, 0 when there is none.
func fileSize(path string) int64 {
	info, err := os.Lstat(path)
	if path == "" || err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// readEnd gives the last bytes of what was written to a file beyond the offset from; a smaller file was rotated.
func readEnd(path string, from, limit int64) string {
	if path == "" {
		return ""
	}
	f, err := openPlain(path, os.O_RDONLY)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	if info.Size() < from {
		from = 0
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(from, info.Size()-limit), limit))
	if err != nil {
		return ""
	}
	return string(b)
}

var (
	// exceptionLine is how Java, Python and Go begin or end the report of a fatal error.
	exceptionLine = regexp.MustCompile(`^(?:Caused by: |Exception in thread "[^"]*" )?((?:[A-Za-z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Exit|Interrupt)(?::.*)?)$|^((?:panic|fatal error|Error): .+)$`)
	timestamped   = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]`)
)

// javaFatal precedes, in the log of a Java instance, the exception that ended the function.
const javaFatal = "Uncaught exception in Java Instance"

// cause finds in the output of a run the one line that tells why it ended, "" when there is none.
func cause(text string) string {
	fatal := strings.LastIndex(text, javaFatal)
	if fatal >= 0 {
		text = text[fatal:]
	}
	found := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if fatal >= 0 && i > 0 && timestamped.MatchString(line) {
			break // what follows is about closing down
		}
		if m := exceptionLine.FindStringSubmatch(line); m != nil {
			found = m[1] + m[2]
		}
	}
	if len(found) > 500 {
		found = found[:500] + "…"
	}
	return strings.ToValidUTF8(found, "\uFFFD")
}

var stackFrame = regexp.MustCompile(`^\s+(at |\.\.\. \d+ (more|common frames))`)

// lastLines shortens output for people: the frames of Java stack traces go, and of the rest the last lines stay.
func lastLines(text string) string {
	var kept []string
	for _, line := range strings.Split(strings.ToValidUTF8(text, "\uFFFD"), "\n") {
		line = strings.TrimRight(strings.ReplaceAll(line, "\x00", ""), " \t\r")
		if line != "" && !stackFrame.MatchString(line) {
			if len(line) > 500 {
				line = strings.ToValidUTF8(line[:500], "") + "…"
			}
			kept = append(kept, line)
		}
	}
	if len(kept) > tailLines {
		kept = kept[len(kept)-tailLines:]
	}
	size := 0
	for i := len(kept) - 1; i >= 0; i-- {
		if size += len(kept[i]) + 1; size > shownBytes {
			kept = kept[i+1:]
			break
		}
	}
	return strings.Join(kept, "\n")
}
