package supervisor

import (
	"fmt"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/functions-worker/functions-worker/internal/pb"
)

// failedStarts is how often in a row a new version may fail to start before the one that ran before it takes its place.
const failedStarts = 3

// rollBack gives the series of the version before, when the version of sr does not start; nil when it is to be tried again.
func (t *task) rollBack(sr *series, reason string) *series {
	if t.fallback == nil || sr.proven || sr.back || sr.failures < failedStarts {
		return nil
	}
	from, to := sr.spec.GetFunctionMetaData().GetVersion(), t.fallback.spec.GetFunctionMetaData().GetVersion()
	note := fmt.Sprintf("version %d did not start, %d times in a row (%s); version %d runs instead, until the function is updated or restarted", from, sr.failures, reason, to)
	t.logger().Error("an update is rolled back", zap.String("why", note))
	t.set(func(v *view) { v.note, v.lastExit, v.reason = note, nil, "" })
	return &series{gen: sr.gen, revision: *t.fallback, launches: sr.launches, back: true}
}

// neitherStarts says that the version before does not start either: what keeps them from it is not the update (a broker that is
// away, say). The wanted version is tried again then, and no other takes its place any more.
func (t *task) neitherStarts(sr *series) bool {
	if !sr.back || sr.proven || sr.failures < failedStarts {
		return false
	}
	t.logger().Warn("the version before does not start either; the wanted one is tried again", zap.Uint64("version", t.wanted().GetFunctionMetaData().GetVersion()))
	t.fallback = nil
	t.set(func(v *view) { v.note = "" })
	return true
}

// leave decides what remains on this machine of a version that runs no more: when another version is to follow, one
// that has run is kept in case the next one does not start.
func (t *task) leave(sr *series) {
	if t.s.o.Factory.ExternallyManaged() {
		return
	}
	wanted := t.wanted()
	switch goesOn := wanted != nil && pb.WantsToRun(wanted) && t.root.Err() == nil; {
	case goesOn && sr.proven && !sameFunction(wanted, sr.spec):
		kept, err := t.setAside(sr.revision)
		if err == nil {
			t.fallback = kept
			return
		}
		t.logger().Warn("the version before cannot be kept; should the new one not start, it cannot take its place", zap.Error(err))
	case goesOn && t.fallback != nil:
		return // its files are where those of sr are
	}
	t.fallback = nil
	t.removeFiles(sr.spec)
}

func (t *task) setAside(v revision) (*revision, error) {
	for _, file := range []*string{&v.packageFile, &v.transformFile} {
		if *file == "" {
			continue
		}
		var err error
		if *file, err = t.s.o.Packages.SetAside(v.spec.GetFunctionMetaData().GetFunctionDetails(), v.spec.GetInstanceId(), *file); err != nil {
			return nil, err
		}
	}
	return &v, nil
}

// sameFunction says whether two versions differ in nothing that an instance is started with.
func sameFunction(a, b *pb.Instance) bool {
	x, y := a.GetFunctionMetaData(), b.GetFunctionMetaData()
	return proto.Equal(x.GetFunctionDetails(), y.GetFunctionDetails()) && proto.Equal(x.GetPackageLocation(), y.GetPackageLocation()) &&
		proto.Equal(x.GetTransformFunctionPackageLocation(), y.GetTransformFunctionPackageLocation())
}
