package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/functions-worker/functions-worker/internal/pb"
)

const (
	// maxFileName leaves room for the suffix of the temporary file below the usual limit of 255.
	maxFileName = 180
	// transformDirectory keeps a sink's transform function apart from the sink, whose file may have the same name.
	transformDirectory = ".transform"
)

// Local brings a package to a file of this host and returns its path: file: URLs and built-ins where they are, anything
// else downloaded to <downloadDirectory>/<tenant>/<namespace>/<name>/<instance>/<file>. The file appears there only when
// it is complete; that of a native Go function is executable. transform selects the transform function of a sink.
func (f *Fetcher) Local(ctx context.Context, details *pb.FunctionDetails, loc *pb.PackageLocationMetaData, instanceID int32, transform bool) (string, error) {
	kind := KindOf(pb.ComponentTypeOf(details))
	if transform {
		kind = Function
	}
	location := loc.GetPackagePath()
	if isFileURL(location) {
		file, err := f.localFile(location, kind)
		if err != nil {
			return "", err
		}
		return file, checkRegular(file)
	}
	if name := builtinName(details, location, kind); name != "" {
		file, err := f.builtinFile(name, kind)
		switch {
		case err != nil:
			return "", err
		case file == "": // it is compiled into the worker
			return builtinPrefix + name, nil
		}
		return file, checkRegular(file)
	}
	directory, err := f.instanceDirectory(details, instanceID)
	if err != nil {
		return "", err
	}
	if transform {
		directory = filepath.Join(directory, transformDirectory)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.cfg.Timeout)
		defer cancel()
	}
	body, _, err := f.stream(ctx, location, kind)
	if err != nil {
		return "", err
	}
	body = f.limit(body, location)
	defer body.Close()
	mode := os.FileMode(0o644)
	if details.GetRuntime() == pb.FunctionDetails_GO {
		mode = 0o755
	}
	file := filepath.Join(directory, localName(details, loc))
	err = f.makeDirectory(filepath.Dir(file))
	if err == nil {
		err = place(ctx, body, file, instanceID, mode)
	}
	if err != nil {
		return "", fmt.Errorf("fetching package %s: %w", Redact(location), err)
	}
	return file, nil
}

// place writes a file under a temporary name and renames it.
func place(ctx context.Context, body io.Reader, file string, instanceID int32, mode os.FileMode) error {
	temp := file + "." + strconv.Itoa(int(instanceID)) + "." + uuid.NewString()
	err := writeFile(temp, mode, func(out *os.File) error {
		_, err := io.Copy(out, contextReader{ctx, body})
		return err
	})
	if err == nil {
		err = os.Chmod(temp, mode) // whatever the umask says
	}
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// asideDirectory holds, in an instance's directory, the packages of the version before.
const asideDirectory = "previous"

// SetAside moves a package that Local downloaded for an instance out of the way of the next one, until Remove, and tells
// where it is then. What is used in place stays, and so does what is aside.
func (f *Fetcher) SetAside(details *pb.FunctionDetails, instanceID int32, file string) (string, error) {
	directory, err := f.instanceDirectory(details, instanceID)
	if err != nil {
		return "", err
	}
	inside, err := filepath.Rel(directory, file)
	if err != nil || !filepath.IsLocal(inside) || strings.HasPrefix(inside, asideDirectory+string(filepath.Separator)) {
		return file, nil
	}
	kept := filepath.Join(directory, asideDirectory, inside)
	if err = f.makeDirectory(filepath.Dir(kept)); err == nil {
		err = os.Rename(file, kept)
	}
	if err != nil {
		return "", fmt.Errorf("keeping the package of the version before of %s: %w", pb.FullyQualifiedName(details), err)
	}
	return kept, nil
}

// Remove deletes what Local downloaded for an instance.
func (f *Fetcher) Remove(details *pb.FunctionDetails, instanceID int32) error {
	directory, err := f.instanceDirectory(details, instanceID)
	if err != nil {
		return err
	}
	f.directories.Lock()
	defer f.directories.Unlock()
	if err := os.RemoveAll(directory); err != nil {
		return fmt.Errorf("removing the downloads of %s: %w", pb.FullyQualifiedName(details), err)
	}
	// The directories of the function, its namespace and its tenant go with their last instance.
	for range 3 {
		if directory = filepath.Dir(directory); os.Remove(directory) != nil {
			break
		}
	}
	return nil
}

// makeDirectory makes the directory of an instance, not while Remove takes its parents away.
func (f *Fetcher) makeDirectory(directory string) error {
	f.directories.Lock()
	defer f.directories.Unlock()
	if f.cfg.Private {
		inside, err := filepath.Rel(f.cfg.DownloadDirectory, directory)
		parts := strings.Split(inside, string(filepath.Separator))
		if err != nil || len(parts) < instanceDepth {
			return fmt.Errorf("%s is no directory of an instance", directory)
		}
		instance := filepath.Join(append([]string{f.cfg.DownloadDirectory}, parts[:instanceDepth]...)...)
		if err := os.MkdirAll(filepath.Dir(instance), 0o755); err != nil {
			return err
		}
		if err := os.Mkdir(instance, 0o700); err != nil && !errors.Is(err, os.ErrExist) { // one that is there may be given to a function already
			return err
		}
	}
	return os.MkdirAll(directory, 0o755)
}

// instanceDepth is how far the directory of an instance is below the download directory: tenant, namespace, name, instance.
const instanceDepth = 4

// instanceDirectory refuses names that would lead out of the download directory.
func (f *Fetcher) instanceDirectory(details *pb.FunctionDetails, instanceID int32) (string, error) {
	parts := []string{details.GetTenant(), details.GetNamespace(), details.GetName()}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\\\x00") {
			return "", fmt.Errorf("function %q cannot have a directory: name %q is not valid", pb.FullyQualifiedName(details), part)
		}
	}
	return filepath.Join(f.cfg.DownloadDirectory, parts[0], parts[1], parts[2], strconv.Itoa(int(instanceID))), nil
}

// builtinName is the built-in a function is made of. The metadata's field decides, as in Java; the path is for metadata
// that has only that.
func builtinName(details *pb.FunctionDetails, location string, kind Kind) string {
	var name string
	switch kind {
	case Sink:
		name = details.GetSink().GetBuiltin()
	case Source:
		name = details.GetSource().GetBuiltin()
	default:
		name = details.GetBuiltin()
	}
	if name == "" {
		name, _ = strings.CutPrefix(location, builtinPrefix)
		if name == location {
			return ""
		}
	}
	return name
}

func checkRegular(file string) error {
	opened, err := openRegular(file)
	if err != nil {
		return fmt.Errorf("opening package: %w", err)
	}
	return opened.Close()
}

// localName is the file name of a download (coordination contract, section 8.1): that of the upload, else one made from
// the class name. It is a plain name whatever the metadata says.
func localName(details *pb.FunctionDetails, loc *pb.PackageLocationMetaData) string {
	if name := baseName(loc.GetOriginalFileName()); name != "" {
		return name
	}
	class := strings.Split(details.GetClassName(), ".")
	name := class[len(class)-1]
	if len(class) > 1 {
		name = class[len(class)-2]
	}
	if name = baseName(name); name == "" {
		name = "function"
	}
	switch details.GetRuntime() {
	case pb.FunctionDetails_PYTHON:
		return name + ".py"
	case pb.FunctionDetails_GO:
		return name + ".go"
	}
	return name + ".jar"
}

// baseName reduces a name to a harmless last path element; "" when nothing is left.
func baseName(name string) string {
	name = name[strings.LastIndexAny(name, "/\\")+1:]
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, name)
	if name == "." || name == ".." {
		return ""
	}
	if name == transformDirectory {
		name = "_" + name
	}
	for len(name) > maxFileName { // from the front: the extension means something
		_, size := utf8.DecodeRuneInString(name)
		name = name[size:]
	}
	if name == "." || name == ".." {
		return ""
	}
	return name
}
