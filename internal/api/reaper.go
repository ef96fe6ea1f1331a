package api

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/functions-worker/functions-worker/internal/pb"
	"go.uber.org/zap"
)

// How the reaper waits: until no metadata and no assignment refers to a package, but not for ever.
const (
	reapInterval = time.Second
	reapGiveUp   = 15 * time.Minute
)

// reaper deletes stored packages that an update or a delete left behind, once nothing in the cluster refers to them:
// until then an instance may still be about to download one. What is pending when the worker ends stays in the store.
type reaper struct {
	cluster Cluster
	store   PackageStore
	log     *zap.Logger
	ctx     context.Context // ends with the server
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newReaper(c Cluster, store PackageStore, log *zap.Logger) *reaper {
	ctx, cancel := context.WithCancel(context.Background())
	return &reaper{cluster: c, store: store, log: log, ctx: ctx, cancel: cancel}
}

// add hands over keys of packages that fqfn used.
func (p *reaper) add(fqfn string, keys ...string) {
	if len(keys) == 0 || p.ctx.Err() != nil {
		return
	}
	p.running.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, reapGiveUp)
		defer cancel()
		tick := time.NewTicker(reapInterval)
		defer tick.Stop()
		for {
			if keys = p.removeUnused(ctx, fqfn, keys); len(keys) == 0 {
				return
			}
			select {
			case <-ctx.Done():
				p.log.Info("packages that are no longer the current ones were not removed", zap.String("function", fqfn), zap.Strings("packages", keys))
				return
			case <-tick.C:
			}
		}
	})
}

// stop ends the waiting and returns when nothing runs any more.
func (p *reaper) stop() {
	p.cancel()
	p.running.Wait()
}

// removeUnused deletes the packages that nothing refers to and returns the others.
func (p *reaper) removeUnused(ctx context.Context, fqfn string, keys []string) (left []string) {
	used := p.used(fqfn)
	for _, key := range keys {
		if used[key] {
			left = append(left, key)
			continue
		}
		if err := p.store.Delete(ctx, key); err != nil {
			p.log.Warn("a package that nothing uses could not be removed", zap.String("function", fqfn), zap.String("package", key), zap.Error(err))
		}
	}
	return left
}

// used are the packages that metadata of any component, or an assignment of this one, refers to.
func (p *reaper) used(fqfn string) map[string]bool {
	used := map[string]bool{}
	note := func(meta *pb.FunctionMetaData) {
		used[meta.GetPackageLocation().GetPackagePath()] = true
		used[meta.GetTransformFunctionPackageLocation().GetPackagePath()] = true
	}
	for _, meta := range p.cluster.AllFunctions() {
		note(meta)
	}
	for _, a := range p.cluster.FunctionAssignments(fqfn) {
		note(a.GetInstance().GetFunctionMetaData())
	}
	return used
}

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
