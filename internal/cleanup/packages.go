package cleanup

import (
	"regexp"
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
	if key := credentialKey(meta); key != "" {
		keys = append(keys, key)
	}
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
		if !used[identityOf(key)] {
			keys = append(keys, key)
		}
	}
	return keys
}

// credentialScheme begins the keys of credentials that are kept in Kubernetes; they are removed like packages.
const credentialScheme = "credential:"

// credentialID is how a Secret is named in the metadata (Kubernetes contract, section 8.3). Whatever else lies there, such as
// a token in clear, must not get into an entry.
var credentialID = regexp.MustCompile(`^[a-z0-9]{5}$`)

// CredentialKey is the key of the credentials of a function with these customRuntimeOptions, which say in which Kubernetes
// namespace they are; "" when there are none.
func CredentialKey(spec *pb.FunctionAuthenticationSpec, customRuntimeOptions string) string {
	if !credentialID.Match(spec.GetData()) {
		return ""
	}
	return credentialScheme + string(spec.GetData()) + ":" + customRuntimeOptions
}

// ParseCredentialKey takes a key of CredentialKey apart.
func ParseCredentialKey(key string) (id, customRuntimeOptions string, ok bool) {
	rest, ok := strings.CutPrefix(key, credentialScheme)
	if !ok {
		return "", "", false
	}
	id, customRuntimeOptions, _ = strings.Cut(rest, ":")
	return id, customRuntimeOptions, true
}

// identityOf is what makes two keys name the same thing: the options of a function may change without its credentials.
func identityOf(key string) string {
	if id, _, ok := ParseCredentialKey(key); ok {
		return credentialScheme + id
	}
	return key
}

func credentialKey(meta *pb.FunctionMetaData) string {
	return CredentialKey(meta.GetFunctionAuthSpec(), meta.GetFunctionDetails().GetCustomRuntimeOptions())
}
