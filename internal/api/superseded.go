package api

import (
	"context"
	"strings"
	"time"

	"github.com/functions-worker/functions-worker/internal/pb"
	"go.uber.org/zap"
)

// discard deletes packages that were stored for a change which did not happen.
func (s *Server) discard(keys []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, key := range keys {
		if err := s.opts.Store.Delete(ctx, key); err != nil {
			s.log.Warn("a package of a failed request could not be removed", zap.String("package", key), zap.Error(err))
		}
	}
}

// storedPackages are the packages of a component that were uploaded for it: not URLs, built-ins, or packages that
// the user keeps in the packages service (those have no file name).
func storedPackages(meta *pb.FunctionMetaData) []string {
	var keys []string
	d := meta.GetFunctionDetails()
	for _, loc := range []*pb.PackageLocationMetaData{meta.GetPackageLocation(), meta.GetTransformFunctionPackageLocation()} {
		path := loc.GetPackagePath()
		switch {
		case path == "" || loc.GetOriginalFileName() == "" || isHTTP(path) || isFile(path) || strings.HasPrefix(path, "builtin:"):
		case isPackageURL(path) && !strings.Contains(path, "://"+d.GetTenant()+"/"+d.GetNamespace()+"/"+d.GetName()):
		default:
			keys = append(keys, path)
		}
	}
	return keys
}

// supersededPackages are the stored packages of the old metadata that the new one does not use any more.
func supersededPackages(old, now *pb.FunctionMetaData) []string {
	var keys []string
	for _, key := range storedPackages(old) {
		if key != now.GetPackageLocation().GetPackagePath() && key != now.GetTransformFunctionPackageLocation().GetPackagePath() {
			keys = append(keys, key)
		}
	}
	return keys
}
