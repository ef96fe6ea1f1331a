package cleanup

import (
	"strings"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// transformSuffix is added to a sink's name for the package of its transform function.
const transformSuffix = "__sink-function"

// storedPackages are the packages of a component that were uploaded for it: not URLs, built-ins, or packages that the
// user keeps in the packages service. The latter have no file name, or that of a temporary file (coordination contract,
// section 9.3).
func storedPackages(meta *pb.FunctionMetaData) []string {
	var keys []string
	for _, loc := range []*pb.PackageLocationMetaData{meta.GetPackageLocation(), meta.GetTransformFunctionPackageLocation()} {
		path, file := loc.GetPackagePath(), loc.GetOriginalFileName()
		switch {
		case path == "" || file == "":
		case hasPrefix(path, "http://", "https://", "file:", "builtin:"):
		case hasPrefix(path, "function://", "sink://", "source://") && (!ownName(meta.GetFunctionDetails(), path) || strings.HasSuffix(file, ".tmp")):
		default:
			keys = append(keys, path)
		}
	}
	return keys
}

func hasPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// ownName says whether a package of the packages service has the name that a worker gives to uploads for the component.
func ownName(d *pb.FunctionDetails, url string) bool {
	_, name, _ := strings.Cut(url, "://")
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return false
	}
	own := pb.FullyQualifiedName(d)
	return name[:at] == own || name[:at] == own+transformSuffix
}

// supersededPackages are the stored packages of the old metadata that the new one does not use any more.
func supersededPackages(old, now *pb.FunctionMetaData) []string {
	used := map[string]bool{}
	note(used, now)
	var keys []string
	for _, key := range storedPackages(old) {
		if !used[key] {
			keys = append(keys, key)
		}
	}
	return keys
}
