package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a configuration file; a real one has some 150 keys in three levels.
const (
	maxFileBytes = 1 << 20
	maxNodes     = 20_000
	maxDepth     = 32
)

type nodeKind int

const (
	nullNode nodeKind = iota
	scalarNode
	listNode
	mapNode
)

// node is a YAML value with the case of its keys, the text of its scalars and where it came from: what a general
// YAML decoder would have thrown away.
type node struct {
	kind   nodeKind
	text   string
	plain  bool // an unquoted scalar, whose type YAML decides
	list   []*node
	fields map[string]*node
	origin string // "line 12", "PF_workerPort", "--set workerPort"
}

func newMap(origin string) *node {
	return &node{kind: mapNode, fields: map[string]*node{}, origin: origin}
}

func (n *node) keys() []string {
	names := make([]string, 0, len(n.fields))
	for k := range n.fields {
		names = append(names, k)
	}
	sort.Strings(names)
	return names
}

// parseYAML reads the first document. Keys written twice are reported through duplicate; the last one counts.
func parseYAML(data []byte, duplicate func(path, origin string)) (*node, error) {
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read", len(data), maxFileBytes)
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, fmt.Errorf("byte %d is NUL: it is no YAML text in UTF-8 (UTF-16?)", i)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("line %d is not UTF-8", 1+bytes.Count(data[:invalidAt(data)], []byte("\n")))
	}
	doc, err := decodeDocument(data)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, errors.New("it is empty")
	}
	c := converter{duplicate: duplicate, open: map[*yaml.Node]bool{}}
	root, err := c.convert(doc, "", 0)
	if err != nil {
		return nil, err
	}
	switch root.kind {
	case mapNode:
		return root, nil
	case nullNode:
		return nil, errors.New("it is empty")
	}
	return nil, errors.New("it must be a map of keys and values (key: value lines)")
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(data)
}

func decodeDocument(data []byte) (doc *yaml.Node, err error) {
	// A panic of the parser on hostile text must not end the worker without a word.
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, fmt.Errorf("it is not valid YAML: %v", r)
		}
	}()
	var root yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("it is not valid YAML: %w", err)
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) == 0 {
		return nil, nil
	}
	return root.Content[0], nil
}

type converter struct {
	count     int
	open      map[*yaml.Node]bool // aliases being followed
	duplicate func(path, origin string)
}

func (c *converter) convert(y *yaml.Node, path string, depth int) (*node, error) {
	if c.count++; c.count > maxNodes {
		return nil, fmt.Errorf("line %d: more than %d values (aliases counted out)", y.Line, maxNodes)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: nested more than %d levels deep", y.Line, maxDepth)
	}
	n := &node{origin: fmt.Sprintf("line %d", y.Line)}
	switch y.Kind {
	case yaml.AliasNode:
		if c.open[y.Alias] {
			return nil, fmt.Errorf("line %d: alias *%s contains itself", y.Line, y.Value)
		}
		c.open[y.Alias] = true
		defer delete(c.open, y.Alias)
		return c.convert(y.Alias, path, depth+1)
	case yaml.ScalarNode:
		convertScalar(y, n)
		return n, nil
	case yaml.SequenceNode:
		n.kind = listNode
		for i, item := range y.Content {
			child, err := c.convert(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, child)
		}
		return n, nil
	case yaml.MappingNode:
		n.kind, n.fields = mapNode, map[string]*node{}
		return n, c.convertMap(y, n, path, depth)
	}
	return nil, fmt.Errorf("line %d: unexpected YAML node", y.Line)
}

func convertScalar(y *yaml.Node, n *node) {
	n.kind, n.text = scalarNode, y.Value
	n.plain = y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	if y.Style&yaml.TaggedStyle != 0 {
		n.plain = n.plain && y.Tag != "!!str"
	}
	if n.plain {
		switch y.Value {
		case "", "~", "null", "Null", "NULL":
			n.kind, n.text = nullNode, ""
		}
	}
}

func (c *converter) convertMap(y *yaml.Node, n *node, path string, depth int) error {
	var merges []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key must be a text", k.Line)
		}
		child, err := c.convert(v, join(path, k.Value), depth+1)
		if err != nil {
			return err
		}
		if k.Tag == "!!merge" {
			merges = append(merges, child)
			continue
		}
		if _, twice := n.fields[k.Value]; twice && c.duplicate != nil {
			c.duplicate(join(path, k.Value), fmt.Sprintf("line %d", k.Line))
		}
		n.fields[k.Value] = child
	}
	return merge(n, merges)
}

// merge adds what `<<` names; keys written out win.
func merge(n *node, merges []*node) error {
	for _, m := range merges {
		sources := []*node{m}
		if m.kind == listNode {
			sources = m.list
		}
		for _, s := range sources {
			if s.kind != mapNode {
				return fmt.Errorf("%s: << must name a map", m.origin)
			}
			for k, v := range s.fields {
				if _, there := n.fields[k]; !there {
					n.fields[k] = v
				}
			}
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// native is the value as general Go types, for maps whose keys are not declared. Scalars keep YAML's types only
// where the text is unambiguous; everything else stays text.
func (n *node) native() any {
	switch n.kind {
	case nullNode:
		return nil
	case listNode:
		items := make([]any, 0, len(n.list))
		for _, item := range n.list {
			items = append(items, item.native())
		}
		return items
	case mapNode:
		fields := make(map[string]any, len(n.fields))
		for k, v := range n.fields {
			fields[k] = v.native()
		}
		return fields
	}
	return n.nativeScalar()
}
