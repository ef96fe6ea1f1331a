package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// WriteEnv writes the PF_ variables of environ into a configuration file, as the official images' gen-yml-from-env.py does:
// keys sorted, comments lost, the same result when it is done again (configuration contract, section 6.1). The worker
// itself needs it not, since it reads the variables too. The warnings are for the user.
func WriteEnv(path string, environ []string) ([]Warning, error) {
	var r Report
	data, err := Sources{Path: path}.read(nil, &r)
	if err != nil {
		return nil, err
	}
	root, err := parseYAML(data, func(string, string) {})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	applyEnv(root, environ, &r)
	r.Path = path
	if err := r.err(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root.yaml()); err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	return r.Warnings, replaceFile(path, out.Bytes())
}

// yaml is the node as the encoder takes it. Text that has been quoted stays quoted where YAML would take it for another type.
func (n *node) yaml() *yaml.Node {
	switch n.kind {
	case mapNode:
		y := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range n.keys() {
			y.Content = append(y.Content, scalar(key, false), n.fields[key].yaml())
		}
		return y
	case listNode:
		y := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range n.list {
			y.Content = append(y.Content, item.yaml())
		}
		return y
	case nullNode:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	return scalar(n.text, n.plain)
}

func scalar(text string, plain bool) *yaml.Node {
	if plain {
		return &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	}
	y := &yaml.Node{}
	y.SetString(text)
	return y
}

// replaceFile writes beside the file and renames, so that nobody reads half of it. A file that is mounted by itself
// cannot be replaced and is written over.
func replaceFile(path string, data []byte) error {
	path, err := filepath.EvalSymlinks(path) // the file, not a link to it
	if err != nil {
		return fmt.Errorf("writing the file: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".functions_worker-*.yml")
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return os.WriteFile(path, data, info.Mode())
	}
	if err != nil {
		return fmt.Errorf("writing beside %s: %w", path, err)
	}
	defer os.Remove(temp.Name()) // not there any more when all went well
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Chmod(info.Mode()), temp.Close()); err != nil {
		return fmt.Errorf("writing beside %s: %w", path, err)
	}
	if err := os.Rename(temp.Name(), path); errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
		return os.WriteFile(path, data, info.Mode())
	} else if err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}
