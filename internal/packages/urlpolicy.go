package packages

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// URLPolicyConfig names the URLs that packages may be referenced by (security-and-metrics contract, section 8.1).
type URLPolicyConfig struct {
	ConnectorsDirectory, FunctionsDirectory string
	// ReferenceConnectors and ReferenceFunctions allow file: URLs in the respective directory
	// (enableReferencingConnectorDirectoryFiles, enableReferencingFunctionsDirectoryFiles).
	ReferenceConnectors, ReferenceFunctions bool
	// ConnectorPatterns and FunctionPatterns are regular expressions that must match a whole normalised URL
	// (additionalEnabledConnectorUrlPatterns, additionalEnabledFunctionsUrlPatterns). Without any, http is refused.
	ConnectorPatterns, FunctionPatterns []string
}

// URLPolicy decides which package URLs may be used. It is immutable.
type URLPolicy struct{ connectors, functions rules }

type rules struct {
	directory string // absolute and clean; "" when references are off
	patterns  []*regexp.Regexp
}

// NewURLPolicy compiles the patterns; the error names the configuration key and the pattern.
func NewURLPolicy(cfg URLPolicyConfig) (*URLPolicy, error) {
	var p URLPolicy
	var err error
	if p.connectors, err = newRules(cfg.ReferenceConnectors, cfg.ConnectorsDirectory, cfg.ConnectorPatterns); err != nil {
		return nil, fmt.Errorf("additionalEnabledConnectorUrlPatterns: %w", err)
	}
	if p.functions, err = newRules(cfg.ReferenceFunctions, cfg.FunctionsDirectory, cfg.FunctionPatterns); err != nil {
		return nil, fmt.Errorf("additionalEnabledFunctionsUrlPatterns: %w", err)
	}
	return &p, nil
}

func newRules(reference bool, directory string, patterns []string) (rules, error) {
	var r rules
	if reference && directory != "" {
		abs, err := filepath.Abs(directory)
		if err != nil {
			return rules{}, err
		}
		r.directory = abs
	}
	for _, pattern := range patterns {
		compiled, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil {
			return rules{}, fmt.Errorf("pattern %q cannot be used (look-around and back references of Java are not supported): %w", pattern, err)
		}
		r.patterns = append(r.patterns, compiled)
	}
	return r, nil
}

// Allowed says whether rawURL may be referenced as the package of a connector (sink, source) or of a function.
func (p *URLPolicy) Allowed(connector bool, rawURL string) bool {
	kind := Function
	if connector {
		kind = Sink
	}
	_, err := p.check(kind, rawURL)
	return err == nil
}

// check returns the normalised URL, the only one that may be fetched afterwards; ErrNotAllowed otherwise. AnyKind is
// allowed what functions or connectors are allowed.
func (p *URLPolicy) check(kind Kind, rawURL string) (permit, error) {
	normal, err := normalizeURL(rawURL)
	if err != nil {
		return permit{}, fmt.Errorf("%w: %w", ErrNotAllowed, err)
	}
	u, err := url.Parse(normal)
	if err != nil {
		return permit{}, fmt.Errorf("%w: it cannot be read", ErrNotAllowed) // the parser's error may quote a password
	}
	if u.Scheme != "file" && u.Scheme != "http" && u.Scheme != "https" || !strings.HasPrefix(normal, u.Scheme+":") {
		return permit{}, fmt.Errorf("%w: its scheme must be file, http or https", ErrNotAllowed)
	}
	if u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") || strings.ContainsRune(u.Path, 0)) {
		return permit{}, fmt.Errorf("%w: it is no absolute path on this host", ErrNotAllowed)
	}
	if u.Scheme != "file" && u.Hostname() == "" {
		return permit{}, fmt.Errorf("%w: it names no host", ErrNotAllowed)
	}
	if kind != Function {
		if ok, within := p.connectors.allow(u, normal); ok {
			return permit{u, within}, nil
		}
	}
	if kind == Function || kind == AnyKind {
		if ok, within := p.functions.allow(u, normal); ok {
			return permit{u, within}, nil
		}
	}
	return permit{}, ErrNotAllowed
}

// permit is a URL that may be fetched. within is the directory that made a file: URL acceptable, "" if a pattern did.
type permit struct {
	url    *url.URL
	within string
}

func (r rules) allow(u *url.URL, normal string) (ok bool, within string) {
	if r.directory != "" && u.Scheme == "file" && isWithin(filepath.Clean(u.Path), r.directory) {
		return true, r.directory
	}
	// What is opened is the path without escapes and dots, so that must be allowed as well as the text.
	return r.matches(normal) && (u.Scheme != "file" || r.matchesPath(filepath.Clean(u.Path))), ""
}

func (r rules) matches(text string) bool {
	return slices.ContainsFunc(r.patterns, func(p *regexp.Regexp) bool { return p.MatchString(text) })
}

// matchesPath says whether a pattern allows the file in one of the ways to write its URL.
func (r rules) matchesPath(path string) bool {
	escaped := (&url.URL{Path: path}).EscapedPath()
	return slices.ContainsFunc([]string{"file://", "file:", "file://localhost"}, func(prefix string) bool { return r.matches(prefix + escaped) })
}

// allowsFile says whether a path, all links in it followed, may be a package of the kind.
func (p *URLPolicy) allowsFile(kind Kind, path string) bool {
	within := func(r rules) bool {
		if r.matchesPath(path) {
			return true
		}
		root, err := filepath.EvalSymlinks(r.directory)
		return r.directory != "" && err == nil && isWithin(path, root)
	}
	return kind != Function && within(p.connectors) || (kind == Function || kind == AnyKind) && within(p.functions)
}

// isWithin compares clean absolute paths.
func isWithin(path, directory string) bool {
	return path == directory || directory == "/" || strings.HasPrefix(path, directory+"/")
}

var errURLSyntax = errors.New("it is no valid URL")

// normalizeURL checks the characters of a URL as Java's URI class does and normalises its path as that does: double
// slashes and dot segments go, percent escapes and the case of letters stay.
func normalizeURL(raw string) (string, error) {
	if len(raw) > maxKey {
		return "", errors.New("it is too long")
	}
	for i, c := range raw {
		if unicode.IsSpace(c) || unicode.IsControl(c) || c == utf8.RuneError || strings.ContainsRune("\"<>\\^`{|}", c) {
			return "", errURLSyntax
		}
		if c == '%' && (i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2])) {
			return "", errURLSyntax
		}
	}
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok || scheme == "" || !strings.HasPrefix(rest, "/") {
		return "", errURLSyntax // no scheme, or opaque as in file:name
	}
	tail := ""
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		rest, tail = rest[:at], rest[at:]
	}
	authority := ""
	path := rest
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		authority, path = "//"+after, ""
		if at := strings.IndexByte(after, '/'); at >= 0 {
			authority, path = "//"+after[:at], after[at:]
		}
	}
	if strings.ContainsAny(path, "[]") {
		return "", errURLSyntax
	}
	normal := normalizePath(path)
	if normal == path {
		return raw, nil
	}
	if authority == "//" {
		authority = "" // Java writes a changed file:///a as file:/a
	}
	return scheme + ":" + authority + normal + tail, nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// normalizePath works on an absolute path; dot segments that would lead above the root stay, as in Java.
func normalizePath(path string) string {
	if path == "" {
		return ""
	}
	var kept []string
	directory := false
	for segment := range strings.SplitSeq(path, "/") {
		directory = true
		switch {
		case segment == "" || segment == ".":
		case segment == ".." && len(kept) > 0 && kept[len(kept)-1] != "..":
			kept = kept[:len(kept)-1]
		default:
			kept = append(kept, segment)
			directory = false
		}
	}
	normal := "/" + strings.Join(kept, "/")
	if directory && len(kept) > 0 {
		normal += "/"
	}
	return normal
}
