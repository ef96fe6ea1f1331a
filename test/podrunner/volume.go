package podrunner

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// publish puts files into a volume as the kubelet does, so that a reader sees all of the old or all of the new ones: they lie in
// a directory of their own, the link ..data leads there and is exchanged, and every name leads through it.
func publish(dir string, files map[string][]byte, mode os.FileMode) error {
	link := filepath.Join(dir, "..data")
	old, err := os.Readlink(link)
	if err == nil {
		if same, err := holds(filepath.Join(dir, old), files); same || err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	next := fmt.Sprintf("..%d", time.Now().UnixNano())
	if err := writeFiles(filepath.Join(dir, next), files, mode); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, next), 0o755); err != nil { // without any file, too
		return err
	}
	if err := os.Symlink(next, link+"_tmp"); err != nil {
		return err
	}
	if err := os.Rename(link+"_tmp", link); err != nil {
		return err
	}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		if err := os.Symlink(filepath.Join("..data", top), filepath.Join(dir, top)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// holds says whether a directory has just these files.
func holds(dir string, files map[string][]byte) (bool, error) {
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			found[name], err = os.ReadFile(path)
		}
		return err
	})
	return maps.EqualFunc(found, files, bytes.Equal), err
}
