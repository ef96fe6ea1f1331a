package metrics

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// page merges Prometheus text of several origins: each family is declared once and its samples stand together, which
// the plain concatenation that the Java worker sends does not hold to. Lines that do not parse, and series that were
// there already, are left out and counted in a comment.
type page struct {
	order    []string
	families map[string]*family
	series   map[string]bool
	comments []string
	skipped  int
	example  string
}

type family struct {
	help, kind string // as declared; kind "" until a TYPE line came
	samples    []string
}

func newPage() *page { return &page{families: map[string]*family{}, series: map[string]bool{}} }

// comment adds a remark to the end of the page.
func (p *page) comment(text string) {
	p.comments = append(p.comments, strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, text))
}

func (p *page) skip(line string) {
	p.skipped++
	if p.example == "" {
		p.example = strconv.QuoteToASCII(line[:min(len(line), 120)])
	}
}

func (p *page) family(name string) *family {
	f := p.families[name]
	if f == nil {
		f = &family{}
		p.families[name] = f
		p.order = append(p.order, name)
	}
	return f
}

// add merges one text. Declarations hold for the rest of that text.
func (p *page) add(text string) {
	conflicts := map[string]bool{} // families that this text declares with another type than before
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(strings.TrimLeft(line, " \t"), " \t\r")
		switch {
		case line == "":
		case strings.HasPrefix(line, "#"):
			p.declare(line, conflicts)
		default:
			p.sample(line, conflicts)
		}
	}
}

// declare reads HELP and TYPE lines; other comments are dropped.
func (p *page) declare(line string, conflicts map[string]bool) {
	fields := strings.SplitN(strings.TrimLeft(line[1:], " \t"), " ", 3)
	if len(fields) < 3 || (fields[0] != "HELP" && fields[0] != "TYPE") {
		return
	}
	name, rest := fields[1], strings.TrimSpace(fields[2])
	if !validName(name) || !utf8.ValidString(rest) {
		p.skip(line)
		return
	}
	if fields[0] == "HELP" {
		if f := p.family(name); f.help == "" && validHelp(rest) {
			f.help = rest
		}
		return
	}
	if !slices.Contains([]string{"counter", "gauge", "summary", "histogram", "untyped"}, rest) {
		p.skip(line)
		return
	}
	switch f := p.family(name); {
	case f.kind == "" && len(f.samples) == 0:
		f.kind = rest
		delete(conflicts, name)
	case f.kind != rest:
		conflicts[name] = true
	default:
		delete(conflicts, name)
	}
}

// validHelp: a backslash may only start \\ or \n.
func validHelp(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) || (s[i] != '\\' && s[i] != 'n') {
				return false
			}
		}
	}
	return true
}

// sample keeps one line under its family.
func (p *page) sample(line string, conflicts map[string]bool) {
	s, ok := parseSample(line)
	if !ok {
		p.skip(line)
		return
	}
	owner := p.owner(s)
	f := p.family(owner)
	if conflicts[owner] || !f.takes(owner, s) || p.series[s.series] {
		p.skip(line)
		return
	}
	p.series[s.series] = true
	f.samples = append(f.samples, line)
}

// owner is the family of a sample: its name, or the summary or histogram that it is a part of.
func (p *page) owner(s sample) string {
	for _, suffix := range []string{"_sum", "_count", "_bucket"} {
		base, cut := strings.CutSuffix(s.name, suffix)
		if f := p.families[base]; cut && f != nil && (f.kind == "histogram" || (f.kind == "summary" && suffix != "_bucket")) {
			return base
		}
	}
	return s.name
}

// takes reports whether a sample fits the type of its family.
func (f *family) takes(owner string, s sample) bool {
	switch f.kind {
	case "histogram":
		if s.name == owner {
			return false
		}
		return s.name != owner+"_bucket" || s.number("le")
	case "summary":
		return s.name != owner || s.number("quantile")
	}
	return true
}

// String writes the page.
func (p *page) String() string {
	var b strings.Builder
	for _, name := range p.order {
		f := p.families[name]
		if len(f.samples) == 0 {
			continue
		}
		if f.help != "" {
			b.WriteString("# HELP " + name + " " + f.help + "\n")
		}
		if f.kind != "" {
			b.WriteString("# TYPE " + name + " " + f.kind + "\n")
		}
		for _, line := range f.samples {
			b.WriteString(line + "\n")
		}
	}
	for _, c := range p.comments {
		b.WriteString("# " + c + "\n")
	}
	if p.skipped > 0 {
		b.WriteString("# " + strconv.Itoa(p.skipped) + " lines of instances were left out, the first: " + p.example + "\n")
	}
	return b.String()
}
